"""The Dagster instance under ``IGRT_HOME``, and runs in this process."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from dagster import DagsterInstance, EventLogEntry

from .files import write_text
from .home import dagster_folder, home
from .partitions import COURSES


def prepare_dagster_home() -> Path:
    """Set ``DAGSTER_HOME`` (and ``IGRT_HOME`` for child processes) and write ``dagster.yaml`` on first use.

    Raises
    ------
    StorageError
        If the folder cannot be written.
    """
    folder = dagster_folder()
    settings = folder / "dagster.yaml"
    if not settings.is_file():
        write_text(settings, dagster_yaml())
    os.environ["IGRT_HOME"] = str(home())
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def dagster_yaml() -> str:
    """Return the packaged settings of the instance."""
    return (resources.files("pipelines") / "dagster.yaml").read_text(encoding="utf-8")


@contextmanager
def dagster_instance() -> Iterator[DagsterInstance]:
    """Open the instance of this ``IGRT_HOME``."""
    prepare_dagster_home()
    with DagsterInstance.get() as instance:
        yield instance


def run_job(
    job_name: str,
    partition: str,
    *,
    instance: DagsterInstance,
    on_stage: Callable[[str], None] | None = None,
) -> dict[str, float]:
    """Run a job for one partition in this process.

    Parameters
    ----------
    job_name, partition : str
        A job of the definitions, and its partition key.
    instance : DagsterInstance
        Where the run is recorded.
    on_stage : callable, optional
        Told the name of each stage as it starts.

    Returns
    -------
    dict of str to float
        Wall time of each stage in seconds.

    Raises
    ------
    InputRefusedError
        What a stage refused, as it was raised there.
    Exception
        Any other error of a stage: a bug.
    """
    from .definitions import defs  # here: the definitions import every stage

    run_id = str(uuid.uuid4())
    if on_stage is not None:

        def listen(event: EventLogEntry) -> None:
            happened = event.dagster_event
            if happened is not None and happened.is_step_start and happened.step_key:
                on_stage(happened.step_key)

        instance.add_event_listener(run_id, listen)
    result = defs.resolve_job_def(job_name).execute_in_process(
        instance=instance,
        partition_key=partition,
        run_id=run_id,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    return {
        event.step_key: event.step_success_data.duration_ms / 1000.0
        for event in result.get_step_success_events()
        if event.step_key
    }


def add_course_partition(instance: DagsterInstance, course: str) -> None:
    """Make a course known to Dagster; again is fine."""
    instance.add_dynamic_partitions(COURSES, [course])


def remove_course_partition(instance: DagsterInstance, course: str) -> None:
    """Take a course away from Dagster's list; its past runs stay."""
    if course in instance.get_dynamic_partitions(COURSES):
        instance.delete_dynamic_partition(COURSES, course)
