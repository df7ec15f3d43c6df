from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from dagster import AssetKey, DefaultScheduleStatus, DefaultSensorStatus

from pipelines.definitions import defs
from pipelines.errors import CourseError
from pipelines.instance import dagster_yaml, prepare_dagster_home
from pipelines.partitions import course_and_fraction, fraction_partitions, partition_key

ROOT = Path(__file__).resolve().parents[2]
FRACTION = (
    "setup_image",
    "rigid_match",
    "couch_shift",
    "deformation",
    "structures_of_day",
    "density_of_day",
    "dose_of_day",
    "goals_of_day",
    "decision",
    "plan_of_day",
    "accumulated_dose",
    "fraction_report",
)
COURSE = ("planning_data", "plan_of_record", "planned_dose", "baseline")


def test_assets_have_the_names_of_the_design() -> None:
    graph = defs.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {*FRACTION, *COURSE}
    for name in FRACTION:
        assert graph.get(AssetKey(name)).partitions_def == fraction_partitions, name
    # no edge from the accumulated dose to itself: it reads the store
    assert AssetKey("accumulated_dose") not in graph.get(AssetKey("accumulated_dose")).parent_keys
    assert AssetKey("accumulated_dose") in graph.get(AssetKey("goals_of_day")).parent_keys
    assert AssetKey("couch_shift") in graph.get(AssetKey("dose_of_day")).parent_keys


def test_checks_jobs_sensor_and_schedule() -> None:
    repository = defs.get_repository_def()
    checks = {key.name for key in defs.resolve_asset_graph().asset_check_keys}
    assert checks == {"match_quality", "shift_within_limits", "deformable_quality", "density_quality", "goals_met"}
    job = defs.resolve_job_def("fraction_job")
    assert job.executor_def.name == "in_process"
    steps = {node.name for node in job.nodes}
    assert {*FRACTION} <= steps and not {*COURSE} & steps
    assert repository.get_sensor_def("incoming_folder_sensor").default_status == DefaultSensorStatus.RUNNING
    schedule = repository.get_schedule_def("daily_fractions")
    assert schedule.default_status == DefaultScheduleStatus.RUNNING and schedule.job_name == "fraction_job"


def test_dagster_yaml_at_the_root_is_the_packaged_one() -> None:
    text = dagster_yaml()
    assert (ROOT / "dagster.yaml").read_text() == text
    settings = yaml.safe_load(text)
    assert settings["telemetry"] == {"enabled": False} and settings["nux"] == {"enabled": False}
    (limit,) = settings["concurrency"]["runs"]["tag_concurrency_limits"]
    assert limit["value"] == {"applyLimitPerUniqueValue": True} and limit["limit"] == 1
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert workspace["load_from"] == [{"python_module": {"module_name": "pipelines.definitions"}}]


def test_dagster_home_is_written_once_and_then_left_alone(igrt_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "elsewhere")
    folder = prepare_dagster_home()
    assert folder == igrt_home.resolve() / "dagster" and (folder / "dagster.yaml").read_text() == dagster_yaml()
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    prepare_dagster_home()
    assert "nux" not in (folder / "dagster.yaml").read_text()


@pytest.mark.parametrize("course", ["a|b", "a/b", "..", "", "a b"])
def test_partition_keys_are_checked(course: str) -> None:
    with pytest.raises(CourseError):
        partition_key(course, 1)
    with pytest.raises(CourseError):
        course_and_fraction(f"{course}|fx01")


def test_partition_keys() -> None:
    assert str(partition_key("c1", "7")) == "c1|fx07"
    assert course_and_fraction("c1|fx07") == ("c1", "fx07") and course_and_fraction("c1") == ("c1", "")
