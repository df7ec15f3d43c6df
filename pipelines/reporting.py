"""Writing reports, DICOM of the day and the ledger's rows from what the stages left in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imrt_core.evaluate import Decision
from imrt_core.machine import load_machine
from pipelines.report import (
    CourseReport,
    FractionImages,
    FractionReport,
    FractionSummary,
    ReportFiles,
    render_course,
    render_fraction,
)
from pipelines.report.parts import GoalLine, StageSeconds
from registration import DayStructures, DeformableMatch, RigidMatch
from registration.itk import read_volume

from . import filling
from .approving import signed_state
from .codec import read_npz, read_value_json
from .errors import CourseError
from .ledger import FractionRow, open_ledger
from .ledger.ledger import now
from .provenance import provenance, versions
from .results import (
    Baseline,
    DayDensity,
    DayDose,
    DayImage,
    DayShift,
    GoalsOfDay,
    PlanForDay,
    Planning,
    PlanOfRecord,
    Withheld,
)
from .stages.export import write_day
from .store import CourseFolder, FractionFolder


@dataclass(frozen=True, eq=False)
class WrittenReport:
    """Where a fraction's report is, and its verdict."""

    html: Path
    pdf: Path
    decision: str


@dataclass(frozen=True, eq=False)
class FractionOutputs:
    """Everything that a fraction's stages left in the store."""

    planning: Planning
    plan_of_record: PlanOfRecord
    baseline: Baseline
    image: DayImage
    match: RigidMatch
    shift: DayShift
    deformation: DeformableMatch | Withheld
    structures: DayStructures | Withheld
    density: DayDensity | Withheld
    dose: DayDose | Withheld
    goals: GoalsOfDay | Withheld
    decision: Decision
    plan: PlanForDay

    @classmethod
    def read(cls, fraction: FractionFolder) -> FractionOutputs:
        """Read them.

        Raises
        ------
        StorageError
            If a stage has not run.
        """
        stages = fraction.course.path / "stages"

        def output(asset: str) -> Any:
            return read_npz(fraction.output(asset, ".npz"))

        return cls(
            planning=read_npz(stages / "planning_data.npz"),
            plan_of_record=read_npz(stages / "plan_of_record.npz"),
            baseline=read_npz(stages / "baseline.npz"),
            image=output("setup_image"),
            match=output("rigid_match"),
            shift=read_value_json(fraction.output("couch_shift", ".json")),
            deformation=output("deformation"),
            structures=output("structures_of_day"),
            density=output("density_of_day"),
            dose=output("dose_of_day"),
            goals=output("goals_of_day"),
            decision=read_value_json(fraction.output("decision", ".json")),
            plan=output("plan_of_day"),
        )


def write_fraction_report(
    fraction: FractionFolder, *, stage_seconds: Mapping[str, float] | None = None
) -> WrittenReport:
    """Write a fraction's report, the DICOM of the day and the ledger's row.

    Parameters
    ----------
    fraction : FractionFolder
        Whose stages have run.
    stage_seconds : mapping of str to float, optional
        Wall time of each stage; those of the last report are kept if not given.

    Raises
    ------
    CourseError, StorageError
        If the fraction has no image, or its stages have not run to their end.
    """
    fraction.setup_record()
    course = fraction.course
    if not fraction.output("plan_of_day", ".npz").is_file():
        raise CourseError(
            "the fraction has not been run to its end",
            found="no plan of day",
            expected="igrt fraction run first",
            where=f"{course.course} {fraction.key}",
            code="fraction-not-run",
        )
    outputs = FractionOutputs.read(fraction)
    report = fraction_report(fraction, outputs, stage_seconds or _seconds_before(fraction))
    files = render_fraction(report, _images(course, outputs), fraction.report)
    written = write_day(fraction, outputs)
    used = outputs.shift.used
    with open_ledger() as ledger:
        ledger.set_fraction(
            course.course,
            fraction.key,
            FractionRow(
                state="recorded" if fraction.delivery() else signed_state(ledger, fraction) or "computed",
                decision=report.decision,
                reasons=report.reasons,
                shift=_shift_row(outputs.shift) if used else None,
                goals=[line.model_dump(mode="json") for line in report.goals],
                versions=versions(),
            ),
        )
        ledger.add_files(course.course, fraction.key, "report", [files.html, files.pdf, files.json], root=course.path)
        ledger.add_files(course.course, fraction.key, "dicom", written, root=course.path)
        if report.decision == "review":
            reason = f"{fraction.key}: {report.reasons[0]}" if report.reasons else fraction.key
            ledger.set_course_state(course.course, "needs a person", reason)
    return WrittenReport(files.html, files.pdf, report.decision)


def fraction_report(
    fraction: FractionFolder, outputs: FractionOutputs, stage_seconds: Mapping[str, float]
) -> FractionReport:
    """Fill the report of one fraction."""
    course = fraction.course
    record = course.record()
    machine = load_machine(course.machine_file)
    drawn = outputs.planning.data.structures
    delivery = fraction.delivery()
    with open_ledger() as ledger:
        events = ledger.events(course=course.course, fraction=fraction.key)
    stages = {
        "dose of the day": outputs.dose,
        "density": outputs.density,
        "structures of the day": outputs.structures,
        "deformable registration": outputs.deformation,
        "goals": outputs.goals,
    }
    missing = [f"{name}: {value.reason}" for name, value in stages.items() if isinstance(value, Withheld)]
    return FractionReport(
        course=course.course,
        site=record.site,
        protocol=record.protocol,
        decision=outputs.decision.decision.value,
        reasons=outputs.decision.reasons,
        fraction=filling.fraction_state(fraction.number, record.fractions, outputs.image, delivery),
        image=filling.image_summary(outputs.image),
        plan=filling.plan_summary(outputs.plan_of_record, record),
        shift=filling.shift_report(outputs.shift),
        match=filling.match_report(outputs.match),
        deformable=filling.deformable_report(outputs.deformation),
        structures=filling.structure_rows(drawn, outputs.structures),
        density=filling.density_report(outputs.density),
        body_contour=filling.body_contour(
            None if isinstance(outputs.density, Withheld) else outputs.density.contour,
            flag_mm=course.protocol().decision.contour_flag_mm,
        ),
        beams=filling.beam_rows(outputs.plan_of_record.plan, outputs.baseline.beams, outputs.dose),
        dose=filling.dose_basis(outputs.dose, outputs.shift, outputs.plan_of_record, machine, record.machine_sha256),
        goals=filling.goal_lines(outputs.goals, outputs.baseline),
        dvh=filling.dvh_pairs(outputs.baseline, outputs.goals, outputs.plan, drawn),
        baseline=filling.engine_baseline(outputs.baseline, machine),
        plan_of_day=filling.plan_of_day_report(outputs.plan, outputs.plan_of_record, outputs.goals, outputs.shift),
        missing=(*missing, *record.not_applicable),
        audit=filling.audit(events),
        stage_seconds=tuple(StageSeconds(stage=name, seconds=value) for name, value in stage_seconds.items()),
        provenance=provenance(course, fraction),
        written_at=now(),
    )


def write_course_report(course: CourseFolder) -> ReportFiles:
    """Write the report of a course so far."""
    record = course.record()
    stages = course.path / "stages"
    plan: PlanOfRecord = read_npz(stages / "plan_of_record.npz")
    baseline: Baseline = read_npz(stages / "baseline.npz")
    summaries = []
    for fraction in course.fractions():
        path = fraction.report / "fraction_report.json"
        if path.is_file():
            of_day = FractionReport.model_validate_json(path.read_text(encoding="utf-8"))
            href = f"../{fraction.key}/report/fraction_report.html"
            summaries.append(FractionSummary.from_report(of_day, href=href))
    report = CourseReport(
        course=course.course,
        site=record.site,
        protocol=record.protocol,
        plan=filling.plan_summary(plan, record),
        baseline=filling.engine_baseline(baseline, load_machine(course.machine_file)),
        planned_goals=tuple(
            GoalLine(
                goal=str(result.goal),
                planned=result.value,
                tps=baseline.tps_goals.get(str(result.goal)),
                low=result.low,
                high=result.high,
                limit=result.goal.limit,
                status=result.status.value,
                ok=result.ok,
            )
            for result in baseline.goals
        ),
        fractions=tuple(summaries),
        provenance=provenance(course),
        written_at=now(),
    )
    return render_course(report, course.report)


def _images(course: CourseFolder, outputs: FractionOutputs) -> FractionImages:
    fractions = outputs.plan_of_record.plan.fractions_planned
    today = outputs.dose
    return FractionImages(
        planning_hu=outputs.planning.data.ct.hu,
        day_hu=outputs.image.image.hu,
        isocentre_lps=outputs.plan_of_record.plan.isocentre_lps,
        machine_isocentre_lps=outputs.shift.machine_isocentre_lps,
        moving_from_fixed=outputs.match.moving_from_fixed,
        shift_motion_lps=outputs.shift.motion,
        deformation=None if isinstance(outputs.deformation, Withheld) else outputs.deformation.moving_from_fixed,
        course_dose_planned_gy=read_volume(course.path / "stages" / "planned_dose.mha"),
        course_dose_today_gy=(
            None
            if isinstance(today, Withheld)
            else today.fraction_dose_gy.with_array(today.fraction_dose_gy.array * fractions)
        ),
        structures_planned=outputs.planning.data.structures,
        structures_day=None if isinstance(outputs.structures, Withheld) else outputs.structures.structures,
    )


def _seconds_before(fraction: FractionFolder) -> dict[str, float]:
    path = fraction.report / "fraction_report.json"
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    return {item["stage"]: item["seconds"] for item in content.get("stage_seconds", [])}


def _shift_row(shift: DayShift) -> dict[str, float]:
    used = shift.used
    if used is None:
        return {}
    names = ("vertical_mm", "longitudinal_mm", "lateral_mm", "pitch_deg", "roll_deg", "yaw_deg")
    return {name: getattr(used, name) for name in names}
