"""From what the stages left in the store to the fraction's report model: selection and words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from imrt_core.dose import BeamDose
from imrt_core.evaluate import DVH
from imrt_core.evaluate.body_contour import ContourChange
from imrt_core.machine import Machine
from imrt_core.patient import Beam, Plan, StructureSet
from pipelines.report.parts import (
    AuditEntry,
    BeamRow,
    BodyContour,
    Curve,
    DeformableReport,
    DensityReport,
    DoseBasis,
    DvhPair,
    EngineBaseline,
    FractionState,
    GoalLine,
    ImageSummary,
    MatchReport,
    PlanComparison,
    PlanOfDay,
    PlanSummary,
    QualityFigure,
    Shift,
    ShiftReport,
    StructureRow,
)
from registration import CouchShift, DayStructures, DeformableMatch, RigidMatch
from registration.hu_of_day import LIMIT_HU

from .course_record import CourseRecord, DeliveryRecord
from .ledger.tables import Event
from .results import Baseline, DayDensity, DayDose, DayImage, DayShift, GoalsOfDay, PlanForDay, PlanOfRecord, Withheld

#: Figures of the match that have a unit in their name.
_UNITS = {"_mm": "mm", "_deg": "°", "_hu": "HU", "_percent": "%", "_cc": "cc", "_gy": "Gy"}


def quality_figures(quality: Any) -> tuple[QualityFigure, ...]:
    """Return the finite numbers of a quality dataclass by name, with the unit that the name ends in."""
    if not is_dataclass(quality):
        return ()
    found = []
    for field in fields(quality):
        value = getattr(quality, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        unit = next((text for ending, text in _UNITS.items() if field.name.endswith(ending)), "")
        name = field.name.removesuffix(next((e for e in _UNITS if field.name.endswith(e)), "")).replace("_", " ")
        found.append(QualityFigure(name=name, value=float(value), unit=unit))
    return tuple(found)


def shift_report(shift: DayShift) -> ShiftReport:
    """Return the couch shift as the report shows it."""
    return ShiftReport(
        found=_shift(shift.exact),
        proposed=_shift(shift.applied.proposed if shift.applied else None),
        applied=_shift(shift.used),
        residual=_shift(shift.residual),
        apply_shift=shift.applied is not None and shift.applied.within_limits and shift.source == "proposed",
        within_limits=shift.applied.within_limits if shift.applied else None,
        source="recorded" if shift.source == "recorded" else "proposed",
        reasons=shift.reasons,
        machine_isocentre_lps=shift.machine_isocentre_lps,
        machine_isocentre_source=shift.machine_isocentre_source if shift.machine_isocentre_lps else "",
        planned_isocentre_lps=shift.planned_isocentre_lps,
        patient_position=shift.patient_position or "",
    )


def match_report(match: RigidMatch) -> MatchReport:
    """Return the rigid match as the report shows it."""
    return MatchReport(
        roi=match.quality.region,
        passed=match.quality.passed,
        reasons=match.quality.reasons,
        translation_mm=match.translation_mm,
        rotation_deg=match.rotation_deg,
        centre_lps=match.centre_lps,
        metric_name="correlation",
        metric=match.metric,
        figures=quality_figures(match.quality),
        seconds=match.seconds,
    )


def image_summary(day: DayImage) -> ImageSummary:
    """Return which image governs."""
    image = day.image
    scanner = image.scanner
    return ImageSummary(
        acquired=image.acquired,
        modality=scanner.modality,
        device=" ".join(text for text in (scanner.manufacturer, scanner.model, scanner.station) if text),
        kvp=scanner.kvp,
        patient_position=image.patient_position,
        patient_position_source=day.position_source,
        series_uid=image.series_uid,
        spacing_mm=image.hu.grid.spacing_mm,
        shape_zyx=image.hu.grid.shape,
        images_in_fraction=day.images_in_fraction,
        note="; ".join(day.notes),
    )


def plan_summary(plan: PlanOfRecord, course: CourseRecord) -> PlanSummary:
    """Return the plan of record."""
    return PlanSummary(
        label=plan.plan.label,
        sop_instance_uid=plan.plan.sop_instance_uid,
        approval_status=plan.plan.approval_status,
        intent=plan.plan.intent,
        fractions_planned=plan.plan.fractions_planned,
        prescription_gy=tuple(course.prescription_gy.items()),
        total_mu=plan.plan.total_mu,
        origin=plan.origin,
    )


def fraction_state(number: int, planned: int, image: DayImage, delivery: DeliveryRecord | None) -> FractionState:
    """Return which fraction this is and whether it was delivered."""
    states = {"full": "delivered", "partial": "delivered", "none": "not-delivered"}
    note = ""
    if delivery is not None and delivery.delivered == "partial":
        note = "partial: " + ", ".join(f"{name} {mu:g} MU" for name, mu in delivery.mu_by_beam.items())
    return FractionState.model_validate(
        {
            "number": number,
            "planned": planned,
            "clinic_date": image.image.acquired[:10],
            "delivery": states[delivery.delivered] if delivery else "pending",
            "delivery_note": note,
            "written": "after-delivery" if delivery else "before-delivery",
        }
    )


def beam_rows(plan: Plan, planned: Sequence[BeamDose], today: DayDose | Withheld) -> tuple[BeamRow, ...]:
    """Return SSD, depth and dose at the isocentre of every beam, planned against today."""
    day = {} if isinstance(today, Withheld) else {beam.name: beam for beam in today.beams}
    rows = []
    for beam, of_plan in zip(plan.beams, planned, strict=True):
        of_day = day.get(beam.name)
        rows.append(
            BeamRow(
                number=beam.number,
                name=beam.name,
                gantry_deg=beam.control_points[0].gantry_deg,
                gantry_stop_deg=_stop(beam),
                table_deg=beam.control_points[0].table_deg,
                mu=beam.mu,
                ssd_planned_mm=of_plan.ssd_mm,
                ssd_today_mm=of_day.ssd_mm if of_day else None,
                radiological_depth_planned_mm=of_plan.radiological_depth_mm,
                radiological_depth_today_mm=of_day.radiological_depth_mm if of_day else None,
                fraction_dose_at_isocentre_planned_gy=of_plan.dose_at_isocentre_gy,
                fraction_dose_at_isocentre_today_gy=of_day.dose_at_isocentre_gy if of_day else None,
            )
        )
    return tuple(rows)


def goal_lines(goals: GoalsOfDay | Withheld, baseline: Baseline) -> tuple[GoalLine, ...]:
    """Return the goals table; without a dose of the day, the baseline alone, undecided."""
    if isinstance(goals, Withheld):
        return tuple(
            GoalLine(
                goal=str(result.goal),
                planned=result.value,
                tps=baseline.tps_goals.get(str(result.goal)),
                limit=result.goal.limit,
                status="undecided",
                ok=False,
                note=goals.reason,
            )
            for result in baseline.goals
        )
    return tuple(
        GoalLine(
            goal=str(row.goal),
            planned=row.planned,
            tps=baseline.tps_goals.get(str(row.goal)),
            today=row.today,
            accumulated=row.accumulated,
            projected=row.projected,
            low=row.low,
            high=row.high,
            limit=row.limit,
            status=row.status.value,
            ok=row.ok,
            note="applies to plans" if row.plan_only else "",
        )
        for row in goals.rows
    )


def dvh_pairs(
    baseline: Baseline, goals: GoalsOfDay | Withheld, plan: PlanForDay, structures: StructureSet
) -> tuple[DvhPair, ...]:
    """Return the DVHs: planned, today, plan of day."""
    today: Mapping[str, DVH] = {} if isinstance(goals, Withheld) else goals.dvhs
    adapted = plan.dvhs or {}
    return tuple(
        DvhPair(
            structure=name,
            color_rgb=structures[name].color_rgb if name in structures else (120, 120, 120),
            planned=_curve(planned),
            today=_curve(today.get(name)),
            plan_of_day=_curve(adapted.get(name)),
        )
        for name, planned in baseline.dvhs.items()
    )


def engine_baseline(baseline: Baseline) -> EngineBaseline:
    """Return how our dose compares with the planning system's."""
    return EngineBaseline(
        validated=baseline.gate_passed,
        reasons=baseline.gate_reasons,
        gamma_pass_percent=baseline.gamma_pass_percent,
    )


def dose_basis(
    today: DayDose | Withheld, shift: DayShift, plan: PlanOfRecord, machine: Machine, machine_sha256: str
) -> DoseBasis | None:
    """Return what the dose of the day was computed with; None where there is none."""
    if isinstance(today, Withheld):
        return None
    notes = []
    if shift.source == "proposed" and shift.applied is not None and not shift.applied.within_limits:
        notes.append("The proposed shift is beyond the limits: the dose is of the patient as imaged, not shifted.")
    return DoseBasis.model_validate(
        {
            "engine": "beamlet (finite-size pencil beam)",
            "machine": machine.name,
            "machine_version": machine.version,
            "beam_model_sha256": machine_sha256,
            "grid_mm": max(today.fraction_dose_gy.grid.spacing_mm),
            "shift_used": shift.source,
            "plan_label": plan.plan.label,
            "warnings": today.warnings,
            "notes": notes,
            "fraction_max_gy": float(today.fraction_dose_gy.array.max()),
        }
    )


def plan_of_day_report(
    plan: PlanForDay, record: PlanOfRecord, goals: GoalsOfDay | Withheld, shift: DayShift
) -> PlanOfDay:
    """Return the plan of day beside the scheduled one, goal by goal."""
    scheduled = {} if isinstance(goals, Withheld) else {str(row.goal): row for row in goals.rows}
    comparison = tuple(
        PlanComparison(
            goal=str(result.goal),
            scheduled=scheduled[str(result.goal)].today if str(result.goal) in scheduled else None,
            plan_of_day=result.value,
            limit=result.goal.limit,
            scheduled_ok=(
                scheduled[str(result.goal)].today_status.value == "met" if str(result.goal) in scheduled else None
            ),
            plan_of_day_ok=result.ok,
        )
        for result in plan.goals
    )
    made = plan.plan
    return PlanOfDay.model_validate(
        {
            "outcome": plan.outcome,
            "reason": plan.reason,
            "label": made.label if made else (record.plan.label if plan.outcome == "kept" else ""),
            "sop_instance_uid": made.sop_instance_uid if made else "",
            "fractions": made.fractions_planned if made else 1,
            "apply_shift": shift.applied is not None and shift.applied.within_limits,
            "isocentre_lps": made.isocentre_lps if made else None,
            "total_mu": made.total_mu if made else None,
            "total_mu_of_record": record.plan.total_mu,
            "segments": plan.segments,
            "seconds": plan.seconds,
            "comparison": comparison,
        }
    )


def deformable_report(result: DeformableMatch | Withheld) -> DeformableReport:
    """Return the quality of the deformable registration, or why there is none."""
    if isinstance(result, Withheld):
        return DeformableReport(passed=False, reasons=(result.reason,))
    return DeformableReport(
        passed=result.quality.passed,
        reasons=result.quality.reasons,
        method="robust Gauss-Newton on a bending lattice, from the rigid match",
        figures=quality_figures(result.quality),
        seconds=result.seconds,
    )


def structure_rows(planned: StructureSet, result: DayStructures | Withheld) -> tuple[StructureRow, ...]:
    """Return how every structure came to the day."""
    if isinstance(result, Withheld):
        return ()
    return tuple(
        StructureRow(
            name=row.name,
            interpreted_type=planned[row.name].interpreted_type if row.name in planned else "ORGAN",
            method=row.method,
            planned_volume_cc=row.planned_volume_cc,
            day_volume_cc=row.day_volume_cc,
            reviewed=row.reviewed,
            note=row.note,
        )
        for row in result.rows
    )


def density_report(result: DayDensity | Withheld) -> DensityReport:
    """Return how the density of the day was made, with its check in fat and muscle."""
    if isinstance(result, Withheld):
        return DensityReport(method="none", passed=False, reasons=(result.reason,))
    tissues = tuple(
        QualityFigure(
            name=f"{tissue}: mean error after calibration",
            value=error,
            unit="HU",
            limit=f"within ±{LIMIT_HU:g}",
            passed=None if math.isnan(error) else abs(error) <= LIMIT_HU,
        )
        for tissue, error in (("fat", result.fat_error_hu), ("muscle", result.muscle_error_hu))
    )
    others = []
    for name, value in result.figures.items():
        what, _, unit = name.partition(", ")
        others.append(QualityFigure(name=what, value=value, unit=unit))
    return DensityReport(
        method=result.method,
        curve=result.curve,
        passed=result.passed,
        reasons=result.reasons,
        figures=(*tissues, *others),
    )


def body_contour(change: ContourChange | None, *, flag_mm: float) -> BodyContour:
    """Return the change of the body's outer contour."""
    if change is None:
        return BodyContour(flag_mm=flag_mm, note="the body of today could not be compared with that of planning")
    x, y, z = change.where_lps
    side = "more" if change.outward else "less"
    return BodyContour(
        largest_mm=change.largest_mm,
        mean_mm=change.mean_mm,
        flag_mm=flag_mm,
        flagged=change.largest_mm > flag_mm,
        where=f"{side} body today at LPS ({x:.0f}, {y:.0f}, {z:.0f}) mm of the planning CT",
        note="largest: 99th percentile of the in-plane distances between the two surfaces",
    )


def audit(events: Iterable[Event]) -> tuple[AuditEntry, ...]:
    """Return who did what when, from the ledger."""
    return tuple(AuditEntry(when=e.when, who=e.who, what=e.kind.replace("-", " ")) for e in events)


def _shift(shift: CouchShift | None) -> Shift | None:
    return Shift.model_validate(shift) if shift is not None else None


def _stop(beam: Beam) -> float | None:
    return beam.control_points[-1].gantry_deg if beam.is_arc else None


def _curve(dvh: DVH | None) -> Curve | None:
    if dvh is None:
        return None
    return Curve.from_arrays(dvh.dose_edges_gy, dvh.cumulative_cc, total=float(dvh.cumulative_cc[0]))
