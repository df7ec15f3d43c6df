"""The daily round: every fraction that has an image but no report yet gets a run."""

from __future__ import annotations

from collections.abc import Iterator

from dagster import (
    DagsterRunStatus,
    DefaultScheduleStatus,
    RunRequest,
    RunsFilter,
    ScheduleEvaluationContext,
    SkipReason,
    schedule,
)

from .intake import outstanding
from .jobs import fraction_job
from .sensors import request_for

_UNDER_WAY = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
]


@schedule(
    job=fraction_job,
    cron_schedule="30 5 * * *",
    name="daily_fractions",
    default_status=DefaultScheduleStatus.RUNNING,
)
def daily_fractions(context: ScheduleEvaluationContext) -> Iterator[RunRequest | SkipReason]:
    """Yield one run per outstanding fraction; its key holds the day, so that a failed one is tried again tomorrow.

    Written by hand: ``build_schedule_from_partitioned_job`` refuses partitions with a dynamic dimension.
    """
    busy = {
        run.tags.get("dagster/partition")
        for run in context.instance.get_runs(filters=RunsFilter(job_name=fraction_job.name, statuses=_UNDER_WAY))
    }
    requests = [request_for(f, reason=context.scheduled_execution_time.date().isoformat()) for f in outstanding()]
    waiting = [r for r in requests if r.partition_key not in busy]
    yield from waiting
    if not waiting:
        yield SkipReason("no fraction is outstanding")
