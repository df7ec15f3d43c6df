"""What assets need besides their inputs: the lock of their course."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dagster import ConfigurableResource, InitResourceContext

from .locks import course_lock
from .partitions import course_and_fraction

PARTITION_TAG = "dagster/partition"


class CourseLock(ConfigurableResource):  # type: ignore[type-arg]
    """Held from the first stage of a run to its last, so that nobody else works on the same course.

    The lock is that of the command line too; a second run waits, or fails with the holder's name.
    """

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Iterator[CourseLock]:
        """Take the lock of the course in the run's partition key."""
        run = context.run
        key = run.tags.get(PARTITION_TAG, "") if run is not None else ""
        if run is None or not key:
            yield self
            return
        course, fraction = course_and_fraction(key)
        with course_lock(course, holder=f"Dagster run {run.run_id[:8]} ({run.job_name} {fraction})".strip()):
            yield self
