"""Dose of the day and its goals, as the report shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from imrt_core.dose import BeamDose
from imrt_core.evaluate import DVH
from imrt_core.machine import Machine
from imrt_core.patient import Beam, Plan, StructureSet
from pipelines.report.parts import (
    BeamRow,
    Curve,
    DoseBasis,
    DvhPair,
    EngineBaseline,
    GoalLine,
)

from ..results import Baseline, DayDose, DayShift, GoalsOfDay, PlanForDay, PlanOfRecord, Withheld
from .plans import mu_check_figure


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


def engine_baseline(baseline: Baseline, machine: Machine) -> EngineBaseline:
    """Return how our dose compares with the planning system's, and whether its beam model is validated."""
    return EngineBaseline(
        validated=baseline.gate_passed,
        reasons=baseline.gate_reasons,
        gamma_pass_percent=baseline.gamma_pass_percent,
        model_warnings=machine.model.validity_warnings,
        mu_check=mu_check_figure(baseline.mu_check),
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
            "engine": "collapsed cone",
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


def _stop(beam: Beam) -> float | None:
    return beam.control_points[-1].gantry_deg if beam.is_arc else None


def _curve(dvh: DVH | None) -> Curve | None:
    if dvh is None:
        return None
    return Curve.from_arrays(dvh.dose_edges_gy, dvh.cumulative_cc, total=float(dvh.cumulative_cc[0]))
