"""``igrt fraction run/record``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..store import CourseFolder
from ..treating import FractionOutcome, delivery_record, record_delivery, run_fraction
from .answers import AppliedAnswer, FractionAnswer, GoalRowAnswer, RecordAnswer
from .course import PositionOption
from .mu_check import plan_part
from .output import ForceOption, JsonOption, answering, parse_numbers
from .progress import stages_shown

CourseArgument = Annotated[str, typer.Argument(metavar="COURSE", help="Course id.")]
FractionArgument = Annotated[str, typer.Argument(metavar="FX", help="fx01, or 1.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Run a fraction's daily chain; record what was delivered.")
    group.command("run")(answering(run))
    group.command("record")(answering(record))
    app.add_typer(group, name="fraction")


def run(
    course: CourseArgument,
    fraction: FractionArgument,
    setup: Annotated[Path, typer.Option(help="Folder of the setup image (DICOM).")],
    machine_isocentre: Annotated[
        str | None, typer.Option(help="x,y,z of the machine isocentre in the setup image, LPS mm.")
    ] = None,
    patient_position: PositionOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> FractionAnswer:
    """Run the whole daily chain for one fraction, as a Dagster run in this process."""
    point = None
    if machine_isocentre is not None:
        x, y, z = parse_numbers(machine_isocentre, (3,), option="--machine-isocentre")
        point = (x, y, z)
    with stages_shown(f"{course} {fraction}") as on_stage:
        outcome = run_fraction(
            CourseFolder(course),
            fraction,
            setup=setup,
            machine_isocentre_lps=point,
            patient_position=patient_position,
            force=force,
            on_stage=on_stage,
        )
    return fraction_answer(outcome)


def record(
    course: CourseArgument,
    fraction: FractionArgument,
    delivered: Annotated[str, typer.Option(help="full, none, or BEAM=MU,BEAM=MU…")],
    applied_shift: Annotated[
        str | None, typer.Option(help="V,LNG,LAT[,PITCH,ROLL,YAW] that the table made, mm and degrees.")
    ] = None,
    plan: Annotated[
        str, typer.Option(help="UID of the plan that was delivered; the plan of record if not given.")
    ] = "",
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> RecordAnswer:
    """Say what really happened in a fraction."""
    shift = parse_numbers(applied_shift, (3, 6), option="--applied-shift") if applied_shift is not None else None
    kind, mu_by_beam = _delivered(delivered)
    folder = CourseFolder(course)
    folder.record()
    state = record_delivery(
        folder,
        fraction,
        delivery_record(shift=shift, delivered=kind, mu_by_beam=mu_by_beam, plan_uid=plan),
        force=force,
    )
    return RecordAnswer(course=course, fraction=folder.fraction(fraction).key, state=state)


def fraction_answer(outcome: FractionOutcome) -> FractionAnswer:
    """Put a fraction's outcome into the form of the answer."""
    shift = outcome.shift
    applied = None
    if shift.used is not None and shift.residual is not None and shift.applied is not None:
        applied = AppliedAnswer(
            shift_mm=shift.used.shift_mm,
            rotation_deg=shift.used.rotation_deg,
            residual_shift_mm=shift.residual.shift_mm,
            residual_rotation_deg=shift.residual.rotation_deg,
            within_limits=shift.applied.within_limits,
            apply_shift=shift.applied.within_limits and shift.source == "proposed",
            source=shift.source,
        )
    rows = getattr(outcome.goals, "rows", ())
    return FractionAnswer(
        course=outcome.fraction.course.course,
        fraction=outcome.fraction.key,
        decision=outcome.decision.decision.value,
        reasons=outcome.decision.reasons,
        shift_mm=shift.exact.shift_mm if shift.exact else None,
        rotation_deg=shift.exact.rotation_deg if shift.exact else None,
        shift_reasons=shift.reasons,
        applied=applied,
        goals=tuple(
            GoalRowAnswer(
                goal=str(row.goal),
                planned=row.planned,
                today=row.today,
                accumulated=row.accumulated,
                projected=row.projected,
                low=row.low,
                high=row.high,
                limit=row.limit,
                status=row.status.value,
                ok=row.ok,
            )
            for row in rows
        ),
        reoptimised=outcome.plan.outcome == "reoptimised",
        plan_of_day=f"{outcome.plan.outcome}: {outcome.plan.reason}",
        mu_check=plan_part(outcome.plan.mu_check),
        report=str(outcome.report),
        seconds=outcome.seconds,
        stage_seconds=dict(outcome.stage_seconds),
    )


def _delivered(text: str) -> tuple[str, dict[str, float]]:
    if text in ("full", "none"):
        return text, {}
    mu: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            mu[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip() or not 0 <= mu[name.strip()] < 1e5:
            raise typer.BadParameter(f"--delivered needs full, none or BEAM=MU,…, not '{text}'")
    return "partial", mu
