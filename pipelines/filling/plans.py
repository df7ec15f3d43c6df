"""The plan of record and the plan of the day, as the report shows them."""

from __future__ import annotations

from imrt_core.evaluate.mu_check import MuCheck
from imrt_core.evaluate.plan_complexity import modulation_complexity_score
from imrt_core.optimize import TierResult
from imrt_core.patient import Plan, PlanError
from pipelines.report.parts import (
    MuCheckRow,
    PlanComparison,
    PlanOfDay,
    PlanSummary,
    QualityFigure,
    TierRow,
)

from ..course_record import CourseRecord
from ..results import DayShift, GoalsOfDay, PlanForDay, PlanOfRecord, Withheld


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
        notes=plan.notes,
        objections=plan.objections,
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
            "modulation_complexity_score": _complexity(made),
            "modulation_complexity_score_of_record": _complexity(record.plan) if made else None,
            "seconds": plan.seconds,
            "comparison": comparison,
            "mu_check": mu_check_figure(plan.mu_check),
            "mu_check_beams": _mu_check_rows(plan.mu_check),
            "tiers": tuple(_tier_row(tier) for tier in plan.tiers),
            "tier_reason": plan.tier_reason,
            "objections": plan.objections,
        }
    )


def _tier_row(tier: TierResult) -> TierRow:
    return TierRow(
        tier=tier.tier.value,
        goals_met=tier.met,
        goals=tier.judged,
        feasible=tier.feasible,
        seconds=tier.seconds,
        missing=tuple(
            f"{result.goal} (is {'about ' if tier.met is None else ''}{result.value:.1f})" for result in tier.missing
        ),
    )


def _complexity(plan: Plan | None) -> float | None:
    """Return the score; None without a plan, and for a received one whose beams have no aperture to judge."""
    if plan is None:
        return None
    try:
        return modulation_complexity_score(plan)
    except PlanError:
        return None


def mu_check_figure(check: MuCheck | None) -> QualityFigure | None:
    """Return the outcome of an independent MU check with the largest difference of a beam."""
    if check is None:
        return None
    judged = sum(beam.passed is not None for beam in check.beams)
    tables = ", ".join(dict.fromkeys(beam.tables for beam in check.beams if beam.tables))
    return QualityFigure(
        name="Independent MU check",
        value=check.largest_percent,
        unit="%",
        limit=f"<= {check.tolerance_percent:g}",
        passed=check.passed,
        note=f"{judged} of {len(check.beams)} beams judged" + (f", tables {tables}" if tables else ""),
    )


def _mu_check_rows(check: MuCheck | None) -> tuple[MuCheckRow, ...]:
    return tuple(
        MuCheckRow(
            number=beam.number,
            name=beam.name,
            mu=beam.mu,
            mu_by_check=beam.mu_for_engine_dose,
            point_lps=beam.point_lps,
            check_dose_gy=beam.check_dose_gy,
            engine_dose_gy=beam.engine_dose_gy,
            difference_percent=beam.difference_percent,
            passed=beam.passed,
            note="; ".join((*beam.reasons, *beam.notes)),
        )
        for beam in (check.beams if check else ())
    )
