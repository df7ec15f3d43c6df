"""Jobs: planning of a course, a fraction from image to report, and a fraction brought up to date after its record."""

from __future__ import annotations

from dagster import AssetSelection, define_asset_job, in_process_executor

planning_job = define_asset_job(
    "planning_job",
    selection=AssetSelection.groups("course"),
    executor_def=in_process_executor,
    description="Planning objects, plan of record, its dose and the baseline of one course.",
)
fraction_job = define_asset_job(
    "fraction_job",
    selection=AssetSelection.groups("fraction"),
    executor_def=in_process_executor,
    description="One fraction: from the setup image to the report.",
)
record_job = define_asset_job(
    "record_job",
    selection=AssetSelection.assets(
        "couch_shift", "dose_of_day", "accumulated_dose", "goals_of_day", "fraction_report"
    ),
    executor_def=in_process_executor,
    description="A recorded fraction: dose, goals and report of what was delivered; decision and plan of day stay.",
)
JOBS = (planning_job, fraction_job, record_job)
