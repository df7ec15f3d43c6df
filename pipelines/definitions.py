"""Everything that Dagster sees: ``-m pipelines.definitions``."""

from __future__ import annotations

from dagster import Definitions, in_process_executor

from .assets import ALL
from .checks import CHECKS
from .io_managers import JsonIOManager, MhaIOManager, NpzIOManager
from .jobs import JOBS
from .resources import CourseLock
from .schedules import daily_fractions
from .sensors import incoming_folder_sensor

defs = Definitions(
    assets=list(ALL),
    asset_checks=list(CHECKS),
    jobs=list(JOBS),
    schedules=[daily_fractions],
    sensors=[incoming_folder_sensor],
    resources={
        "course_lock": CourseLock(),
        "npz": NpzIOManager(),
        "json": JsonIOManager(),
        "mha": MhaIOManager(),
    },
    executor=in_process_executor,
)
