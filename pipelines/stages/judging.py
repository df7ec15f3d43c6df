"""Baseline with its gate, the goals table and the decision."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from imrt_core.dose import PlanDose
from imrt_core.evaluate import (
    DVH,
    Check,
    Decision,
    Evidence,
    Finding,
    TargetCoverage,
    compare_goals,
    decide,
    gamma,
    judge_goals,
)
from imrt_core.evaluate.accumulation import Accumulation
from imrt_core.evaluate.mu_check import MuCheck
from imrt_core.patient import Goal, PlanningData, Volume
from registration import DayStructures, DeformableMatch, RigidMatch

from ..course_record import CourseRecord
from ..protocol import Protocol
from ..results import Baseline, DayDensity, DayDose, DayImage, DayShift, GoalsOfDay, Planning, Withheld
from . import anatomy
from .dose import course_dvhs

#: Gate of CLINICAL "Dose": gamma 3 %/2 mm, goals and prescription against the planning system's dose.
GAMMA_LIMIT_PERCENT, GOAL_LIMIT_PERCENT, PRESCRIPTION_LIMIT_PERCENT = 95.0, 2.0, 5.0


def judged_names(protocol: Protocol, goals: Sequence[Goal]) -> tuple[str, ...]:
    """Return the structures that need a DVH: those of the goals, targets and CTVs."""
    targets = [name for target in protocol.targets for name in (target.name, target.ctv) if name]
    return tuple(dict.fromkeys([*targets, *(goal.structure for goal in goals)]))


def baseline_of(
    data: PlanningData,
    dose: PlanDose,
    course: CourseRecord,
    protocol: Protocol,
    course_dose_gy: Volume,
    *,
    mu_check: MuCheck | None = None,
) -> Baseline:
    """Judge our dose of the plan of record, and compare it with the planning system's.

    Parameters
    ----------
    data : PlanningData
        With RTPLAN and RTDOSE where they came.
    dose : PlanDose
        Our dose of one fraction.
    course, protocol
        Goals and prescription.
    course_dose_gy : Volume
        Our dose of all fractions.
    mu_check : MuCheck or None
        Independent check of the plan; kept with the baseline.
    """
    goals = [Goal.parse(text) for text in course.goals]
    highest = max(course.prescription_gy.values())
    names = judged_names(protocol, goals)
    dvhs = course_dvhs(names, data.structures, course_dose_gy, factor=1.0, prescription_gy=highest)
    results = judge_goals(goals, dvhs)
    tps: dict[str, DVH] = {}
    if data.course_dose is not None:
        tps = course_dvhs(names, data.structures, data.course_dose.dose_gy, factor=1.0, prescription_gy=highest)
    tps_goals = {str(goal): tps[goal.structure].metric(goal.metric) for goal in goals if goal.structure in tps}
    passed, reasons, pass_percent = _gate(data, course, course_dose_gy, dvhs, tps, goals)
    return Baseline(
        goals=results,
        dvhs=dvhs,
        tps_goals=tps_goals,
        beams=dose.beams,
        gate_passed=passed,
        gate_reasons=reasons,
        gamma_pass_percent=pass_percent,
        warnings=dose.warnings,
        mu_check=mu_check,
    )


def _gate(
    data: PlanningData,
    course: CourseRecord,
    course_dose_gy: Volume,
    dvhs: Mapping[str, DVH],
    tps: Mapping[str, DVH],
    goals: Sequence[Goal],
) -> tuple[bool | None, tuple[str, ...], float | None]:
    if data.plan is None:
        return None, ("the course was planned here; there is no planning system's plan to validate",), None
    if data.course_dose is None:
        return False, ("an RTPLAN came without its RTDOSE: the engine cannot be validated for it",), None
    reasons = []
    result = gamma(data.course_dose.dose_gy, course_dose_gy, dose_percent=3.0, distance_mm=2.0, cutoff_percent=10.0)
    if not result.pass_percent >= GAMMA_LIMIT_PERCENT:
        reasons.append(f"gamma 3 %/2 mm passes {result.pass_percent:.1f} %, {GAMMA_LIMIT_PERCENT:g} % needed")
    highest = max(course.prescription_gy.values())
    for goal in goals:
        if goal.structure in tps:
            ours, theirs = dvhs[goal.structure].metric(goal.metric), tps[goal.structure].metric(goal.metric)
            # A dose within 2 % of the prescription; volumes have no dose scale and are compared in points.
            scale = highest if goal.metric.unit == "Gy" else 100.0
            if goal.metric.unit in ("Gy", "%") and not abs(ours - theirs) <= GOAL_LIMIT_PERCENT / 100 * scale:
                reasons.append(f"{goal}: {ours:.1f} against {theirs:.1f} {goal.metric.unit} of the planning system")
    reasons += _prescription_faults(data, course, tps)
    return not reasons, tuple(reasons), result.pass_percent


def _prescription_faults(data: PlanningData, course: CourseRecord, tps: Mapping[str, DVH]) -> list[str]:
    """Prescription, ΣBeamDose × N and RTDOSE target mean within 5 % (CLINICAL, "Dose")."""
    plan = data.plan
    if plan is None:
        return []
    target, prescribed = max(course.prescription_gy.items(), key=lambda item: item[1])
    said = {"protocol": prescribed}
    if plan.prescription_gy:
        said["RTPLAN prescription"] = max(dose for _, dose in plan.prescription_gy)
    beam_doses = [beam.beam_dose_gy for beam in plan.beams]
    if all(dose is not None for dose in beam_doses):
        said["sum of BeamDose × fractions"] = plan.fractions_planned * sum(dose or 0.0 for dose in beam_doses)
    if target in tps:
        said[f"RTDOSE mean of {target}"] = tps[target].mean_gy
    limit = PRESCRIPTION_LIMIT_PERCENT / 100 * prescribed
    if max(said.values()) - min(said.values()) > limit:
        told = ", ".join(f"{name} {dose:.1f} Gy" for name, dose in said.items())
        return [f"the prescription is not the same everywhere: {told}"]
    return []


def goals_of_day(
    course: CourseRecord,
    protocol: Protocol,
    planning: Planning,
    baseline: Baseline,
    structures: DayStructures | Withheld,
    today: DayDose | Withheld,
    accumulated: Accumulation | Withheld,
) -> GoalsOfDay | Withheld:
    """Build the goals table of the day, course scale.

    ``today`` is judged on today's structures; ``accumulated`` and ``projected`` on the planning structures.
    """
    if isinstance(structures, Withheld):
        return structures
    if isinstance(today, Withheld):
        return today
    if isinstance(accumulated, Withheld):
        return accumulated
    goals = [Goal.parse(text) for text in course.goals]
    names = judged_names(protocol, goals)
    highest = max(course.prescription_gy.values())
    drawn = planning.data.structures
    dvhs = course_dvhs(
        names, structures.structures, today.fraction_dose_gy, factor=course.fractions, prescription_gy=highest
    )
    projected = course_dvhs(names, drawn, accumulated.projected_gy, factor=1.0, prescription_gy=highest)
    so_far = None
    if accumulated.delivered:
        so_far = course_dvhs(names, drawn, accumulated.accumulated_gy, factor=1.0, prescription_gy=highest)
    lost = sorted({goal.structure for goal in goals} - set(dvhs))
    if lost:
        return Withheld(f"not on the image of the day: {', '.join(lost)}")
    targets = {target.name for target in protocol.targets}
    rows = compare_goals(
        goals,
        planned=baseline.dvhs,
        today=dvhs,
        accumulated=so_far,
        projected=projected,
        is_plan_only=lambda structure: structure in targets,
    )
    return GoalsOfDay(rows=rows, dvhs=dvhs, coverage=_coverage(protocol, baseline, dvhs, projected))


def _coverage(
    protocol: Protocol, baseline: Baseline, today: Mapping[str, DVH], projected: Mapping[str, DVH]
) -> tuple[TargetCoverage, ...]:
    """Return near-minimum doses of the CTVs: what delivered-dose triggers use."""
    return tuple(
        TargetCoverage(
            name=ctv,
            prescription_gy=target.dose_gy,
            planned_d98_gy=baseline.dvhs[ctv].metric("D98%[Gy]"),
            today_d98_gy=today[ctv].metric("D98%[Gy]"),
            projected_d98_gy=projected[ctv].metric("D98%[Gy]"),
        )
        for target in protocol.targets
        if (ctv := target.ctv) and ctv in baseline.dvhs and ctv in today and ctv in projected
    )


def decision_of_day(
    course: CourseRecord,
    protocol: Protocol,
    planning: Planning,
    baseline: Baseline,
    image: DayImage,
    match: RigidMatch,
    shift: DayShift,
    deformation: DeformableMatch | Withheld,
    structures: DayStructures | Withheld,
    density: DayDensity | Withheld,
    goals: GoalsOfDay | Withheld,
    *,
    number: int,
    planned_course_gy: Volume,
    previous: Sequence[tuple[Finding, ...]],
) -> Decision:
    """Put the evidence together and decide.

    Parameters
    ----------
    planned_course_gy : Volume
        Baseline; says which part of a hard-limit organ must be in the image.
    number : int
        Today's fraction.
    previous : sequence of tuple of Finding
        Findings of the earlier fractions, oldest first.
    """
    residual = shift.residual
    change_mm = 0.0  # where the density is withheld, that alone is for a person
    if not isinstance(density, Withheld):
        change_mm = density.contour.largest_mm if density.contour is not None else math.nan
    position = image.image.patient_position
    return decide(
        Evidence(
            identity=Check(passed=position is not None, reasons=image.notes),
            match=Check(passed=match.quality.passed, reasons=match.quality.reasons),
            shift_mm=shift.used.shift_mm if shift.used else None,
            shift_deg=shift.used.rotation_deg if shift.used else None,
            shift_limits=Check(passed=shift.applied.within_limits if shift.applied else False, reasons=shift.reasons),
            residual_mm=max(map(abs, residual.shift_mm)) if residual else 0.0,
            residual_deg=max(map(abs, residual.rotation_deg)) if residual else 0.0,
            deformable=_verdict(deformation),
            outside_image=anatomy.outside_image(planning, course, protocol, image, match, planned_course_gy),
            density=(
                Check(passed=False, reasons=(density.reason,))
                if isinstance(density, Withheld)
                else Check(passed=density.passed, reasons=density.reasons)
            ),
            contour_change_mm=change_mm,
            ctv_volume_change_percent=anatomy.ctv_changes(planning, structures),
            # A plan that was made here has no planning system's dose to be validated against; the gate is for others.
            baseline=Check(passed=baseline.gate_passed is not False, reasons=baseline.gate_reasons),
            goals=goals.rows if isinstance(goals, GoalsOfDay) else (),
            coverage=goals.coverage if isinstance(goals, GoalsOfDay) else (),
            remaining_fractions=course.fractions - number + 1,
            previous=tuple(previous),
        ),
        protocol.decision,
    )


def _verdict(deformation: DeformableMatch | Withheld) -> Check:
    if isinstance(deformation, Withheld):
        return Check(passed=False, reasons=(deformation.reason,))
    return Check(passed=deformation.quality.passed, reasons=deformation.quality.reasons)
