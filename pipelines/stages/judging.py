"""Baseline with its gate, accumulation, the goals table and the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

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
from imrt_core.evaluate.accumulation import Accumulation, FractionDose, accumulate, pull_back
from imrt_core.patient import DisplacementField, Goal, Plan, PlanningData, RigidTransform, Volume

from ..course_record import CourseRecord, DeliveryRecord
from ..protocol import Protocol
from ..results import Baseline, DayDose, DayShift, GoalsOfDay, Withheld
from .dose import course_dvhs

#: Gate of CLINICAL "Dose": gamma 3 %/2 mm, goals and prescription against the planning system's dose.
GAMMA_LIMIT_PERCENT, GOAL_LIMIT_PERCENT, PRESCRIPTION_LIMIT_PERCENT = 95.0, 2.0, 5.0


def judged_names(protocol: Protocol, goals: Sequence[Goal]) -> tuple[str, ...]:
    """Return the structures that need a DVH: those of the goals, targets and CTVs."""
    targets = [name for target in protocol.targets for name in (target.name, target.ctv) if name]
    return tuple(dict.fromkeys([*targets, *(goal.structure for goal in goals)]))


def baseline_of(
    data: PlanningData, plan: Plan, dose: PlanDose, course: CourseRecord, protocol: Protocol, course_dose_gy: Volume
) -> Baseline:
    """Judge our dose of the plan of record, and compare it with the planning system's.

    Parameters
    ----------
    data : PlanningData
        With RTPLAN and RTDOSE where they came.
    plan : Plan
        Plan of record.
    dose : PlanDose
        Our dose of one fraction.
    course, protocol
        Goals and prescription.
    course_dose_gy : Volume
        Our dose of all fractions.
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


@dataclass(frozen=True, eq=False)
class DeliveredFraction:
    """An earlier fraction as the store knows it.

    Parameters
    ----------
    number : int
        From 1.
    fraction_dose_gy : Volume
        Day frame, of the plan that was delivered.
    moving_from_fixed : DisplacementField or RigidTransform
        Planning points to points of the day.
    delivery : DeliveryRecord or None
        None: assumed.
    findings : tuple of Finding
        Of its decision.
    """

    number: int
    fraction_dose_gy: Volume
    moving_from_fixed: DisplacementField | RigidTransform
    delivery: DeliveryRecord | None
    findings: tuple[Finding, ...]


def accumulated_to(
    number: int,
    earlier: Sequence[DeliveredFraction],
    today: DayDose,
    today_from_fixed: DisplacementField | RigidTransform,
    *,
    delivered_today: DeliveryRecord | None,
    planned_course_gy: Volume,
    planned_fractions: int,
    not_delivered: frozenset[int] = frozenset(),
) -> tuple[Accumulation, tuple[str, ...]]:
    """Sum what was delivered before fraction ``number`` (and in it, where recorded) and project to the end.

    A fraction without an image of its own takes the dose of the nearest earlier one that has one, or of the plan; it
    is "assumed", as is everything that was not recorded.

    Parameters
    ----------
    number : int
        Today's fraction.
    earlier : sequence of DeliveredFraction
        Computed fractions before today.
    today, today_from_fixed
        Today's dose, day frame, and the map from planning to day.
    delivered_today : DeliveryRecord or None
        A record of today's delivery: then today counts as delivered.
    planned_course_gy : Volume
        Baseline, planning frame.
    planned_fractions : int
        Of the course.
    not_delivered : frozenset of int
        Numbers of fractions recorded as not delivered.

    Returns
    -------
    Accumulation, tuple of str
        With sentences on what was assumed.
    """
    grid = planned_course_gy.grid
    planned_gy = planned_course_gy.with_array(planned_course_gy.array / np.float32(planned_fractions))
    by_number = {fraction.number: fraction for fraction in earlier}
    pulled: dict[int, Volume] = {}
    fractions: list[FractionDose] = []
    standing_in: dict[int, list[int]] = {}
    source = 0
    for n in range(1, number):
        if n in by_number:
            source = n
        if n in not_delivered:
            continue
        if source not in pulled:
            pulled[source] = _pulled(by_number[source], planned_gy) if source else planned_gy
        recorded = n in by_number and by_number[n].delivery is not None
        if n not in by_number:
            standing_in.setdefault(source, []).append(n)
        fractions.append(
            FractionDose(
                number=n, dose_gy=pulled[source], moving_from_fixed=RigidTransform.identity(), assumed=not recorded
            )
        )
    today_gy = _filled(pull_back(today.fraction_dose_gy, today_from_fixed, grid=grid), planned_gy)
    if delivered_today is not None and delivered_today.delivered != "none":
        fractions.append(
            FractionDose(number=number, dose_gy=today_gy, moving_from_fixed=RigidTransform.identity())
        )
    notes = [
        f"fractions {_ranges(numbers)} have no image: assumed as "
        + (f"fx{source:02d}" if source else "planned")
        for source, numbers in sorted(standing_in.items())
    ]
    result = accumulate(
        fractions,
        grid=grid,
        planned_fractions=planned_fractions,
        remaining_fraction_gy=today_gy,
        planned_fraction_gy=planned_gy,
    )
    return result, tuple(notes)


def _pulled(fraction: DeliveredFraction, planned_gy: Volume) -> Volume:
    dose = pull_back(fraction.fraction_dose_gy, fraction.moving_from_fixed, grid=planned_gy.grid)
    return _filled(dose, planned_gy)


def _filled(dose_gy: Volume, planned_gy: Volume) -> Volume:
    """Where the dose of a day does not reach, the planned fraction stands in."""
    array = np.asarray(dose_gy.array, dtype=np.float32)
    return dose_gy.with_array(np.where(np.isnan(array), planned_gy.array, array).astype(np.float32))


def _ranges(numbers: Sequence[int]) -> str:
    """Return ``2–17, 19`` for sorted numbers."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][1] + 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(f"{a}" if a == b else f"{a}–{b}" for a, b in parts)


def goals_today(
    baseline: Baseline,
    course: CourseRecord,
    protocol: Protocol,
    *,
    today: Mapping[str, DVH],
    accumulated: Mapping[str, DVH] | None,
    projected: Mapping[str, DVH] | None,
) -> GoalsOfDay:
    """Build the goals table of the day from DVHs in course scale."""
    goals = [Goal.parse(text) for text in course.goals]
    targets = {target.name for target in protocol.targets}
    rows = compare_goals(
        goals,
        planned=baseline.dvhs,
        today=today,
        accumulated=accumulated,
        projected=projected,
        is_plan_only=lambda structure: structure in targets,
    )
    return GoalsOfDay(rows=rows, dvhs=today)


def coverage(
    protocol: Protocol,
    baseline: Baseline,
    today: Mapping[str, DVH],
    projected: Mapping[str, DVH] | None,
) -> tuple[TargetCoverage, ...]:
    """Return near-minimum doses of the CTVs: what delivered-dose triggers use."""
    found = []
    for target in protocol.targets:
        ctv = target.ctv
        if ctv and ctv in baseline.dvhs and ctv in today:
            found.append(
                TargetCoverage(
                    name=ctv,
                    prescription_gy=target.dose_gy,
                    planned_d98_gy=baseline.dvhs[ctv].metric("D98%[Gy]"),
                    today_d98_gy=today[ctv].metric("D98%[Gy]"),
                    projected_d98_gy=projected[ctv].metric("D98%[Gy]") if projected and ctv in projected else None,
                )
            )
    return tuple(found)


def decision_of_day(
    *,
    protocol: Protocol,
    baseline: Baseline,
    position_known: Check,
    match: Check,
    shift: DayShift,
    deformable: Check,
    density: Check,
    outside_image: tuple[str, ...],
    contour_change_mm: float,
    ctv_volume_change_percent: tuple[tuple[str, float], ...],
    goals: GoalsOfDay | Withheld,
    covered: tuple[TargetCoverage, ...],
    remaining_fractions: int,
    previous: Sequence[tuple[Finding, ...]],
) -> Decision:
    """Put the evidence together and decide."""
    residual = shift.residual
    engine = Check(passed=baseline.gate_passed, reasons=baseline.gate_reasons)
    return decide(
        Evidence(
            identity=position_known,
            match=match,
            shift_mm=shift.used.shift_mm if shift.used else None,
            shift_deg=shift.used.rotation_deg if shift.used else None,
            shift_limits=Check(
                passed=shift.applied.within_limits if shift.applied else False,
                reasons=shift.reasons,
            ),
            residual_mm=max(map(abs, residual.shift_mm)) if residual else 0.0,
            residual_deg=max(map(abs, residual.rotation_deg)) if residual else 0.0,
            deformable=deformable,
            outside_image=outside_image,
            density=density,
            contour_change_mm=contour_change_mm,
            ctv_volume_change_percent=ctv_volume_change_percent,
            baseline=engine,
            goals=goals.rows if isinstance(goals, GoalsOfDay) else (),
            coverage=covered,
            remaining_fractions=remaining_fractions,
            previous=tuple(previous),
        ),
        protocol.decision,
    )
