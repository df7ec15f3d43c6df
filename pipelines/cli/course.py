"""``igrt course add/list/show``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from imrt_core.machine import load_machine

from ..ledger import open_ledger
from ..registering import AddedCourse, add_course, load_added
from ..store import CourseFolder, courses
from .answers import BaselineAnswer, BeamAnswer, CourseAnswer, CourseLine, CourseListAnswer, GoalAnswer
from .mu_check import plan_part
from .output import ForceOption, JsonOption, answering
from .progress import stages_shown

PositionOption = Annotated[
    str | None, typer.Option("--patient-position", help="HFS, HFP, FFS or FFP, where the images do not say.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Register and list courses.")
    group.command("add")(answering(add))
    group.command("list")(answering(list_all))
    group.command("show")(answering(show))
    app.add_typer(group, name="course")


def add(
    dicom_dir: Annotated[Path, typer.Argument(help="Folder with CT, RTSTRUCT and, where there are, RTPLAN, RTDOSE.")],
    protocol: Annotated[str, typer.Option(help="Name of a shipped protocol, or a YAML file.")],
    machine: Annotated[str | None, typer.Option(help="Name of a shipped machine, or a TOML file.")] = None,
    course: Annotated[str | None, typer.Option("--id", help="Course id; a pseudonym if not given.")] = None,
    patient_position: PositionOption = None,
    allow_unvalidated_model: Annotated[
        bool,
        typer.Option("--allow-unvalidated-model", help="Take a beam model that was compared with no measurement."),
    ] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> CourseAnswer:
    """Register a course; without an RTPLAN it is planned."""
    started = time.perf_counter()
    with stages_shown("course add") as on_stage:
        added = add_course(
            dicom_dir,
            protocol=protocol,
            machine=machine,
            course=course,
            patient_position=patient_position,
            replace=force,
            allow_unvalidated_model=allow_unvalidated_model,
            on_stage=on_stage,
        )
    return course_answer(added, seconds=time.perf_counter() - started)


def list_all(as_json: JsonOption = False) -> CourseListAnswer:
    """List the registered courses."""
    lines = []
    with open_ledger() as ledger:
        for folder in courses():
            record = folder.record()
            state, reason = ledger.course_state(folder.course)
            lines.append(
                CourseLine(
                    course=folder.course,
                    protocol=record.protocol,
                    fractions=record.fractions,
                    fractions_run=_run(folder),
                    state=state,
                    reason=reason,
                )
            )
    return CourseListAnswer(courses=tuple(lines))


def show(
    course: Annotated[str, typer.Argument(metavar="ID", help="Course id.")], as_json: JsonOption = False
) -> CourseAnswer:
    """Show a course: plan, goals, state."""
    return course_answer(load_added(CourseFolder(course)))


def course_answer(added: AddedCourse, *, seconds: float | None = None) -> CourseAnswer:
    """Put a course into the form of the answer."""
    record, plan, baseline = added.record, added.plan.plan, added.baseline
    with open_ledger() as ledger:
        state, _ = ledger.course_state(record.course)
    reasons = [f"engine not validated for this plan: {text}" for text in baseline.gate_reasons]
    if baseline.gate_passed is not False:
        reasons = []
    reasons += [
        f"hard goal not met by the plan: {g.goal} ({g.value:.1f})" for g in baseline.goals if g.goal.hard and not g.ok
    ]
    if baseline.mu_check is not None:
        reasons += [f"independent MU check: {text}" for text in baseline.mu_check.differing]
    reasons += [f"plan of record: {text}" for text in added.plan.objections]
    reasons += load_machine(added.folder.machine_file).model.validity_warnings
    return CourseAnswer(
        course=record.course,
        protocol=record.protocol,
        machine=record.machine,
        unvalidated_model_allowed=record.unvalidated_model_allowed,
        prescription_gy=record.prescription_gy,
        fractions=record.fractions,
        plan_origin=record.plan_origin,
        patient_position=record.patient_position,
        isocentre_lps=plan.isocentre_lps,
        structures=tuple(record.roi_names),
        beams=tuple(
            BeamAnswer(
                name=beam.name,
                gantry_deg=beam.control_points[0].gantry_deg,
                table_deg=beam.control_points[0].table_deg,
                mu=beam.mu,
            )
            for beam in plan.beams
        ),
        goals=tuple(
            GoalAnswer(
                goal=str(g.goal),
                value=g.value,
                low=g.low,
                high=g.high,
                limit=g.goal.limit,
                status=g.status.value,
                ok=g.ok,
                tps=baseline.tps_goals.get(str(g.goal)),
            )
            for g in baseline.goals
        ),
        not_applicable=record.not_applicable,
        baseline=BaselineAnswer(
            validated=baseline.gate_passed,
            gamma_pass_percent=baseline.gamma_pass_percent,
            reasons=baseline.gate_reasons,
        ),
        mu_check=plan_part(baseline.mu_check),
        state=state,
        reasons=tuple(reasons),
        folder=str(added.folder.path),
        fractions_run=_run(added.folder),
        seconds=seconds,
    )


def _run(folder: CourseFolder) -> tuple[str, ...]:
    return tuple(f.key for f in folder.fractions() if f.is_complete)
