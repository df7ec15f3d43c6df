"""One fraction from its setup image to its report, as a Dagster run in this process; and what was delivered."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from imrt_core.dicom import find_series
from imrt_core.evaluate import Decision
from imrt_core.patient import InputRefusedError, Plan

from .codec import read_npz, read_value_json
from .course_record import DeliveryRecord, write_record
from .errors import CourseError
from .instance import add_course_partition, dagster_instance, run_job
from .intake import accept, acquisition_time
from .ledger.ledger import actor, now, open_ledger
from .locks import course_lock
from .partitions import partition_key
from .results import DayShift, GoalsOfDay, PlanForDay, Withheld
from .store import CourseFolder, FractionFolder


@dataclass(frozen=True, eq=False)
class FractionOutcome:
    """What a fraction's run has left in the store.

    Parameters
    ----------
    fraction : FractionFolder
        Where everything lies.
    shift, goals, decision, plan
        Outputs of the stages.
    report : Path
        HTML.
    seconds : float
        Wall time of the run; NaN when read back.
    stage_seconds : mapping of str to float
        By stage.
    """

    fraction: FractionFolder
    shift: DayShift
    goals: GoalsOfDay | Withheld
    decision: Decision
    plan: PlanForDay
    report: Path
    seconds: float
    stage_seconds: Mapping[str, float]


def run_fraction(
    course: CourseFolder,
    fraction: str | int,
    *,
    setup: Path,
    machine_isocentre_lps: tuple[float, float, float] | None = None,
    patient_position: str | None = None,
    force: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> FractionOutcome:
    """Take in a setup image and run the daily chain on it.

    Parameters
    ----------
    course, fraction
        Which fraction.
    setup : Path
        Folder of the setup series, and a registration object if one comes; copied as received.
    machine_isocentre_lps, patient_position
        Options; they come before what image, registration object and machine file say.
    force : bool
        Run again what has a report or a delivery record.
    on_stage : callable, optional
        Told the name of each stage as it starts.

    Raises
    ------
    InputRefusedError
        If course or fraction do not exist, or the image cannot be used (it is then in quarantine, whole).
    """
    started = time.perf_counter()
    record = course.record()
    place = course.fraction(fraction)
    if place.number > record.fractions:
        raise CourseError(
            "the course has fewer fractions",
            found=place.key,
            expected=f"fx01 to fx{record.fractions:02d}",
            where=course.course,
            code="fraction-invalid",
        )
    if not setup.exists():
        raise InputRefusedError(
            "there is no such folder", found=str(setup), expected="a folder of DICOM files", code="input-not-found"
        )
    series = [s for s in find_series(setup) if s.modality == "CT"]
    with dagster_instance() as instance:
        with course_lock(course.course, holder=f"fraction run {place.key}"):
            accept(
                setup,
                place,
                acquired=acquisition_time(series[0]) if len(series) == 1 else "",
                series_uid=series[0].series_uid if len(series) == 1 else "",
                machine_isocentre_lps=machine_isocentre_lps,
                patient_position=patient_position,
                force=force,
            )
        add_course_partition(instance, course.course)
        seconds = run_job("fraction_job", partition_key(course.course, place.key), instance=instance, on_stage=on_stage)
    return read_outcome(place, seconds=time.perf_counter() - started, stage_seconds=seconds)


def read_outcome(
    fraction: FractionFolder, *, seconds: float = float("nan"), stage_seconds: Mapping[str, float] | None = None
) -> FractionOutcome:
    """Read what a finished run has left.

    Raises
    ------
    StorageError
        If the fraction has not been run to its end.
    """
    return FractionOutcome(
        fraction=fraction,
        shift=read_value_json(fraction.output("couch_shift", ".json")),
        goals=read_npz(fraction.output("goals_of_day", ".npz")),
        decision=read_value_json(fraction.output("decision", ".json")),
        plan=read_npz(fraction.output("plan_of_day", ".npz")),
        report=fraction.report / "fraction_report.html",
        seconds=seconds,
        stage_seconds=stage_seconds or {},
    )


def record_delivery(course: CourseFolder, fraction: str | int, delivery: DeliveryRecord, *, force: bool = False) -> str:
    """Keep what really happened in a fraction, and bring dose, goals and report up to date with it.

    The decision and the plan of the day stay as they were when the fraction was delivered.

    Returns
    -------
    str
        The fraction's state.

    Raises
    ------
    CourseError
        If a record exists already and ``force`` is False, or it names a beam that the plan does not have.
    """
    record = course.record()
    place = course.fraction(fraction)
    if place.number > record.fractions:
        raise CourseError("the course has fewer fractions", found=place.key, expected=f"<= fx{record.fractions:02d}")
    if place.delivery() is not None and not force:
        raise CourseError(
            "the fraction is recorded already",
            found=str(place.delivery_file.name),
            expected="--force to correct the record",
            where=f"{course.course} {place.key}",
            code="fraction-recorded",
        )
    plan = _recorded_plan(place, delivery.plan_uid)
    beams = {b.name for b in plan.beams}
    if unknown := sorted(set(delivery.mu_by_beam) - beams):
        raise CourseError(
            "the record names beams that the plan does not have",
            found=", ".join(unknown),
            expected=", ".join(sorted(beams)),
            code="beam-unknown",
        )
    with course_lock(course.course, holder=f"fraction record {place.key}"):
        write_record(place.delivery_file, delivery)
        with open_ledger() as ledger:
            ledger.set_delivered(course.course, place.key, delivery.model_dump(mode="json"))
    if place.is_complete:
        with dagster_instance() as instance:
            add_course_partition(instance, course.course)
            run_job("record_job", partition_key(course.course, place.key), instance=instance)
    return "recorded"


def _recorded_plan(fraction: FractionFolder, plan_uid: str) -> Plan:
    """Return the plan that a record names: the plan of record, or the fraction's plan of day."""
    record: Plan = read_npz(fraction.course.path / "stages" / "plan_of_record.npz").plan
    known = {record.sop_instance_uid: record}
    adapted = fraction.output("plan_of_day", ".npz")
    if adapted.is_file() and (made := read_npz(adapted).plan) is not None:
        known[made.sop_instance_uid] = made
    if plan_uid and plan_uid not in known:
        raise CourseError(
            "the record names a plan that this fraction does not have",
            found=plan_uid,
            expected=", ".join(known),
            where=f"{fraction.course.course} {fraction.key}",
            code="plan-unknown",
        )
    return known[plan_uid] if plan_uid else record


def delivery_record(
    *,
    shift: tuple[float, ...] | None,
    delivered: str,
    mu_by_beam: Mapping[str, float],
    plan_uid: str,
) -> DeliveryRecord:
    """Build a record from what the command line says.

    Parameters
    ----------
    shift : tuple of float or None
        Vertical, longitudinal, lateral mm and, where given, pitch, roll, yaw degrees.
    delivered : str
        ``"full"``, ``"none"`` or ``"partial"``.
    mu_by_beam : mapping
        MU of a partial delivery.
    plan_uid : str
        SOP Instance UID of the plan; empty for the plan of record.
    """
    rotation = (shift[3], shift[4], shift[5]) if shift is not None and len(shift) == 6 else None
    return DeliveryRecord.model_validate(
        {
            "applied_shift_mm": shift[:3] if shift is not None else None,
            "applied_rotation_deg": rotation,
            "delivered": delivered,
            "mu_by_beam": dict(mu_by_beam),
            "plan_uid": plan_uid,
            "recorded": now(),
            "by": actor(),
        }
    )
