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

from imrt_core.evaluate import GoalResult
from imrt_core.machine import Machine
from imrt_core.patient import Goal, Grid, Plan, PlanError, StructureSet, Volume

from .constraints import DoseLimit
from .delivery import RESEARCH_LABEL
from .objectives import Objective
from .plan_types import BeamDirection, PlanResult, PlanSettings
from .planning import fluence_of_plan, planning_session
from .reweight_plan import reweighted_plan
from .rounds import planned_in_rounds, rank_of
from .session import PlanningSession, ProgressCallback, StageWatch

#: A warm start needs fewer iterations.
DAY_SETTINGS = replace(PlanSettings(), max_iterations=60)


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
    met : int or None
        Goals that its plan meets; None where the plan was given up on an estimate, without a dose of its own.
    judged : int
        Number of goals.
    feasible : bool or None
        Whether every hard goal holds; None as for ``met``.
    missing : tuple of GoalResult
        Goals that had to be met and are not. Of a plan that was given up: mean doses that the voxels of the
        optimisation put clearly beyond their limits.
    """

    tier: Tier
    seconds: float
    met: int | None
    judged: int
    feasible: bool | None
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


def directions_of(plan: Plan) -> tuple[BeamDirection, ...]:
    """Return the beam directions of a plan, each once.

    Raises
    ------
    PlanError
        If a beam is an arc.
    """
    directions = []
    for beam in plan.beams:
        point = beam.control_points[0]
        if beam.is_arc:
            raise PlanError("arcs cannot be re-optimised yet", where=f"beam {beam.name}")
        directions.append(
            BeamDirection(gantry_deg=point.gantry_deg, collimator_deg=point.collimator_deg, table_deg=point.table_deg)
        )
    return tuple(dict.fromkeys(directions))


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
    scratch_for_soft_goals: bool = False,
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
    scratch_for_soft_goals : bool
        From scratch is tried only where the best tier before breaks a hard goal: the problem is nearly convex, so that
        another start seldom leads to a better plan, and the patient waits. True to try it for any goal.
    red, structures, isocentre_lps, patient_position
        Of the day, in the frame of the day, for the patient after the stated couch shift.
    machine : Machine
        As for :func:`~imrt_core.optimize.make_plan`.
    plan_of_record : Plan
        Gives beam directions and starting fluence; becomes the predecessor.
    goals, prescription_gy
        Course scale.
    fractions : int
        For a plan of the day: the planned fractions of the course (today's dose is judged × this number). For a replan:
        the remaining fractions, with the dose delivered so far as ``background_gy``.
    one_day : bool
        Plan of the day (Number of Fractions Planned = 1) or replan of the remaining fractions.
    objectives, limits, settings, background_gy, dose_grid, label, plan_uid, progress
        As for :func:`~imrt_core.optimize.make_plan`.

    Raises
    ------
    PlanError
        As :func:`~imrt_core.optimize.make_plan`; also if no tier is named or leads to a plan, a plan of the day comes
        with a background, or the plan of record is an arc.
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
        if tier is Tier.FROM_SCRATCH and best is not None and best[2].feasible and not scratch_for_soft_goals:
            continue
        started = perf_counter()
        watch.round = 0
        result = _tried(tier, session, plan_of_record, must, watch)
        if not isinstance(result, PlanResult):
            tried.append(TierResult(tier, perf_counter() - started, None, len(goals), None, result))
            continue
        missing = tuple(g for g in result.goals if not g.ok and (g.goal in must or g.goal.hard))
        met = sum(g.ok for g in result.goals)
        tried.append(TierResult(tier, perf_counter() - started, met, len(result.goals), result.feasible, missing))
        rank = (result.feasible, -len(missing), *rank_of(result))
        if best is None or rank > best[0]:
            best = rank, tier, result
        if not missing:
            break
    if best is None:
        raise PlanError(
            "no tier that was asked for leads to the goals",
            found=", ".join(str(g.goal) for g in tried[-1].missing),
            expected=f"another tier than {', '.join(t.tier for t in tried)}",
        )
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


def _tried(
    tier: Tier, session: PlanningSession, record: Plan, must: Collection[Goal], watch: StageWatch
) -> PlanResult | tuple[GoalResult, ...]:
    match tier:
        case Tier.REWEIGHT:
            return reweighted_plan(session, record, must, watch)
        case Tier.WARM_START:
            return planned_in_rounds(session, watch, fluence_of_plan(session, record))
        case _:
            return planned_in_rounds(session, watch, None)
