"""The incoming folder: a complete setup series becomes a fraction and a run; everything else waits or is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator

from dagster import DefaultSensorStatus, RunRequest, SensorEvaluationContext, SensorResult, SkipReason, sensor

from imrt_core.patient import InputRefusedError

from .intake import (
    GIVE_UP_S,
    QUIET_S,
    Delivery,
    accept,
    acquisition_time,
    course_of,
    deliveries,
    gather_loose_files,
    next_fraction,
    refuse_delivery,
    the_image_series,
)
from .jobs import fraction_job
from .partitions import partition_key
from .store import FractionFolder


@sensor(job=fraction_job, minimum_interval_seconds=15, default_status=DefaultSensorStatus.RUNNING)
def incoming_folder_sensor(context: SensorEvaluationContext) -> SensorResult | SkipReason:
    """Look at ``incoming`` and start a run for every complete setup series.

    A folder is looked at once it has been quiet for a while; it stays while its geometry is incomplete, and goes to
    quarantine, whole, when it does not get completed or nobody's course fits. No kernel runs here.
    """
    requests, notes = [], []
    for delivery, outcome in sort_deliveries():
        if isinstance(outcome, FractionFolder):
            requests.append(request_for(outcome, reason="arrived"))
        else:
            notes.append(f"{delivery.path.name}: {outcome}")
    for note in notes:
        context.log.info(note)
    if not requests:
        return SkipReason("; ".join(notes) or "nothing in the incoming folder")
    return SensorResult(run_requests=requests)


def sort_deliveries() -> Iterator[tuple[Delivery, FractionFolder | str]]:
    """Take every folder of ``incoming`` where it belongs.

    Yields
    ------
    tuple
        The delivery with the fraction that it now belongs to, or with the reason why it waits or was refused.
    """
    quiet_s = float(os.environ.get("IGRT_QUIET_S", QUIET_S))
    give_up_s = float(os.environ.get("IGRT_GIVE_UP_S", GIVE_UP_S))
    gather_loose_files(quiet_s=quiet_s)
    for delivery in deliveries():
        if delivery.quiet_s < quiet_s:
            yield delivery, "still arriving"
            continue
        try:
            yield delivery, take(delivery)
        except InputRefusedError as error:
            if error.code in ("series-incomplete", "series-not-one") and delivery.quiet_s < give_up_s:
                yield delivery, f"waiting: {error.message} ({error.found})"
            else:
                place = refuse_delivery(delivery.path, error)
                yield delivery, f"refused, in quarantine as {place.name}: {error.message}"


def take(delivery: Delivery) -> FractionFolder:
    """Move a complete series into the fraction that it belongs to.

    Raises
    ------
    InputRefusedError
        If it is not complete, or course or fraction are not certain.
    """
    series = the_image_series(delivery.path)
    course = course_of(series)
    acquired = acquisition_time(series)
    fraction = next_fraction(course, acquired)
    accept(delivery.path, fraction, acquired=acquired, series_uid=series.series_uid, move=True)
    return fraction


def request_for(fraction: FractionFolder, *, reason: str) -> RunRequest:
    """Return the run of a fraction; the key changes with the image, so each image runs once per ``reason``."""
    image = fraction.setup_record().governing
    key = partition_key(fraction.course.course, fraction.key)
    return RunRequest(run_key=f"{key}:{image.sha256[:16]}:{reason}", partition_key=key)
