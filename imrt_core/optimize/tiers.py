"""Re-optimisation in tiers: the least change of the plan of record that meets the goals on today's anatomy.

Reweighted apertures keep every leaf position; a warm start keeps the beams and begins at the plan's fluence; from
scratch only the beam directions stay. Each tier is judged on the collapsed-cone dose of what the machine would deliver,
and the first that meets the goals is taken. All of them share one influence matrix.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from time import perf_counter

import numpy as np

from imrt_core.evaluate import GoalResult
from imrt_core.machine import DeliveryLimits, Machine
from imrt_core.patient import Beam, Goal, Grid, Plan, PlanError, StructureSet, Volume

from .constraints import DoseLimit
from .delivery import DESCRIPTION, RESEARCH_LABEL
from .objectives import Objective
from .plan_types import PlanResult, PlanSettings
from .planning import fluence_of_plan, planning_session
from .reoptimise import DAY_SETTINGS, directions_of
from .reweight import aperture_groups, best_factors, group_doses, lowest_factors, reweighted
from .rounds import PlanningSession, ProgressCallback, StageWatch, planned_in_rounds, rank_of
from .sequencing import delivery_seconds


class Tier(StrEnum):
    """How much of the plan of record may change."""

    REWEIGHT = "reweight"
    WARM_START = "warm-start"
    FROM_SCRATCH = "from-scratch"


@dataclass(frozen=True, eq=False)
class TierResult:
    """What one tier came to.

    Parameters
    ----------
    tier : Tier
        How the plan was made.
    seconds : float
        Wall time of this tier; the influence matrix, which all share, is not in it.
    met, judged : int
        Goals that its plan meets, of how many.
    feasible : bool
        Whether every hard goal holds.
    missing : tuple of GoalResult
        Goals that had to be met and are not.
    """

    tier: Tier
    seconds: float
    met: int
    judged: int
    feasible: bool
    missing: tuple[GoalResult, ...]


@dataclass(frozen=True, eq=False)
class TieredPlan:
    """The plan that was taken, and what every tier that was tried came to.

    Parameters
    ----------
    result : PlanResult
        The plan; ``stage_seconds`` are those of all tiers together.
    tier : Tier
        Where it comes from.
    tiers : tuple of TierResult
        In the order in which they were tried.
    reason : str
        Why the tiers ended there, in a sentence.
    """

    result: PlanResult
    tier: Tier
    tiers: tuple[TierResult, ...]
    reason: str


def reoptimise_in_tiers(
    red: Volume,
    structures: StructureSet,
    machine: Machine,
    *,
    plan_of_record: Plan,
    goals: Sequence[Goal],
    prescription_gy: Sequence[tuple[str, float]],
    fractions: int,
    isocentre_lps: tuple[float, float, float],
    patient_position: str,
    one_day: bool = True,
    tiers: Sequence[Tier] = tuple(Tier),
    required: Collection[Goal] | None = None,
    objectives: Sequence[Objective] | None = None,
    limits: Sequence[DoseLimit] | None = None,
    settings: PlanSettings | None = None,
    background_gy: Volume | None = None,
    dose_grid: Grid | None = None,
    label: str = RESEARCH_LABEL,
    plan_uid: str = "",
    progress: ProgressCallback | None = None,
) -> TieredPlan:
    """Re-optimise a plan for the anatomy of the day, changing as little of it as the goals allow.

    Parameters
    ----------
    tiers : sequence of Tier
        Which to try, in this order.
    required : collection of Goal or None
        A tier is good enough when it meets these, and every hard goal; None for all goals. Those that the plan of
        record never met need not be among them.
    red, structures, machine, plan_of_record, goals, prescription_gy, fractions, isocentre_lps, patient_position
        As for :func:`~imrt_core.optimize.reoptimise.reoptimise`.
    one_day, objectives, limits, settings, background_gy, dose_grid, label, plan_uid, progress
        As for :func:`~imrt_core.optimize.reoptimise.reoptimise`.

    Raises
    ------
    PlanError
        As :func:`~imrt_core.optimize.reoptimise.reoptimise`; also if no tier is named.
    """
    if not tiers:
        raise PlanError("re-optimisation needs a tier", found="none", expected=", ".join(Tier))
    if one_day and background_gy is not None:
        raise PlanError(
            "a plan of the day is judged on today's dose alone", found="a background dose", expected="one_day=False"
        )
    watch = StageWatch(progress)
    session = planning_session(
        red,
        structures,
        machine,
        goals=goals,
        prescription_gy=prescription_gy,
        fractions=fractions,
        beams=directions_of(plan_of_record),
        isocentre_lps=isocentre_lps,
        patient_position=patient_position,
        objectives=objectives,
        limits=limits,
        settings=settings or DAY_SETTINGS,
        background_gy=background_gy,
        fractions_planned=1 if one_day else fractions,
        dose_grid=dose_grid,
        label=label,
        plan_uid=plan_uid,
        predecessor_uid=plan_of_record.sop_instance_uid,
        watch=watch,
    )
    must = set(goals if required is None else required)
    tried: list[TierResult] = []
    best: tuple[tuple[object, ...], Tier, PlanResult] | None = None
    for tier in tiers:
        started = perf_counter()
        watch.round = 0
        result = _tried(tier, session, plan_of_record, watch)
        missing = tuple(g for g in result.goals if not g.ok and (g.goal in must or g.goal.hard))
        met = sum(g.ok for g in result.goals)
        tried.append(TierResult(tier, perf_counter() - started, met, len(result.goals), result.feasible, missing))
        rank = (result.feasible, -len(missing), *rank_of(result))
        if best is None or rank > best[0]:
            best = rank, tier, result
        if not missing:
            break
    assert best is not None
    _, taken, result = best
    result = replace(result, stage_seconds=watch.seconds)
    return TieredPlan(result, taken, tuple(tried), _reason(taken, tried))


def _reason(taken: Tier, tried: Sequence[TierResult]) -> str:
    last = tried[-1]
    if not last.missing:
        before = " and ".join(t.tier for t in tried[:-1])
        return f"{taken}: the first that meets the goals" + (f"; {before} did not." if before else ".")
    lacking = ", ".join(str(g.goal) for g in next(t for t in tried if t.tier is taken).missing)
    return f"{taken}: the best of {', '.join(t.tier for t in tried)}; none meets {lacking}."


def _tried(tier: Tier, session: PlanningSession, record: Plan, watch: StageWatch) -> PlanResult:
    match tier:
        case Tier.REWEIGHT:
            return _reweighted(session, record, watch)
        case Tier.WARM_START:
            return planned_in_rounds(session, watch, fluence_of_plan(session, record))
        case _:
            return planned_in_rounds(session, watch, None)


def _reweighted(session: PlanningSession, record: Plan, watch: StageWatch) -> PlanResult:
    """Keep apertures, change their MU; judged like every plan."""
    case, judge = session.case, session.judge
    plan = _at_today(record, session)
    with watch.stage("optimise"):
        groups = aperture_groups(plan)
        doses = group_doses(
            plan,
            groups,
            case,
            bixel_mm=session.settings.bixel_mm,
            transmission=session.machine.model.mlc_transmission,
        )
    with watch.stage("final_dose"):
        delivered = session.dose_at_rows_gy(plan)
    with watch.stage("optimise"):
        factors, found = best_factors(
            doses,
            case.objectives,
            case,
            limits=case.limits,
            fractions=judge.fractions,
            offset_gy=case.background_gy + judge.fractions * (delivered - doses.sum(axis=1, dtype=np.float64)),
            lowest=lowest_factors(plan, groups, session.machine.limits),
        )
    plan = reweighted(plan, groups, factors)
    with watch.stage("final_dose"):
        forward = session.dose(plan, case.dose_grid, keep_beams=True)
        verdict = judge.judge(forward.fraction_dose_gy)
    beams = tuple(beam.scaled(verdict.scale) for beam in forward.beams)
    whole = aperture_groups(plan, per_beam=1)
    scaled = reweighted(plan, whole, np.full(len(whole), verdict.scale))
    with_doses = tuple(
        replace(b, beam_dose_gy=d.dose_at_isocentre_gy, beam_dose_point_lps=b.isocentre_lps)
        for b, d in zip(scaled.beams, beams, strict=True)
    )
    return PlanResult(
        plan=replace(scaled, beams=with_doses),
        fraction_dose_gy=verdict.fraction_dose_gy,
        course_dose_gy=verdict.course_dose_gy,
        goals=verdict.goals,
        dvhs=verdict.dvhs,
        feasible=not verdict.hard_violations,
        hard_violations=verdict.hard_violations,
        objective=found.objective,
        iterations=found.iterations,
        kkt_residual=found.kkt_residual,
        scale=verdict.scale,
        mu=sum(b.mu for b in scaled.beams),
        segments=sum(_segments(b) for b in scaled.beams),
        delivery_seconds=sum(_seconds(b, session.machine.limits) for b in scaled.beams),
        stage_seconds=watch.seconds,
        beams=beams,
        warnings=forward.warnings,
    )


def _segments(beam: Beam) -> int:
    """Intervals between control points that deliver MU."""
    return int(np.count_nonzero(np.diff([p.cumulative_weight for p in beam.control_points]) > 0))


def _seconds(beam: Beam, limits: DeliveryLimits) -> float:
    leaves = [p.leaves_mm for p in beam.control_points if p.leaves_mm is not None]
    mu = beam.mu * np.array([p.cumulative_weight for p in beam.control_points])
    rate = beam.control_points[0].dose_rate_mu_per_min or limits.dose_rate_mu_per_min
    if len(leaves) < len(mu):
        return float(mu[-1]) * 60.0 / rate
    return delivery_seconds(np.stack(leaves), mu, limits, rate)


def _at_today(record: Plan, session: PlanningSession) -> Plan:
    """Return the plan of record's beams around today's isocentre, with the identity of a new plan."""
    isocentre = session.case.geometry[0].isocentre_lps
    identity = session.identity
    beams = tuple(
        replace(b, control_points=tuple(replace(p, isocentre_lps=isocentre) for p in b.control_points))
        for b in record.beams
    )
    return Plan(
        beams=beams,
        label=identity.label,
        fractions_planned=identity.fractions_planned,
        prescription_gy=identity.prescription_gy,
        sop_instance_uid=identity.plan_uid,
        frame_of_reference_uid=identity.frame_of_reference_uid,
        structure_set_uid=identity.structure_set_uid,
        patient_position=identity.patient_position,
        predecessor_uid=identity.predecessor_uid,
        description=DESCRIPTION,
    )
