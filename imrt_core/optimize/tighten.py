"""Goals and prescription moved by what a judged plan lacks, for another round of optimisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from imrt_core.evaluate import DVH, GoalResult
from imrt_core.patient import Goal, MetricKind

from .constraints import DoseLimit, LimitKind
from .normalise import dose_for_goal

#: A limit or aim is moved by what is lacking times this.
_OVERCORRECTION = 1.3
#: Another round can make up for this share of a dose; aims further off pull against goals that can be met.
_WITHIN_REACH = 0.05


@dataclass(frozen=True)
class Aims:
    """Goals and prescription that objectives are made from; course Gy."""

    goals: tuple[Goal, ...]
    prescription_gy: tuple[tuple[str, float], ...]


def tightened_aims(aims: Aims, results: Sequence[GoalResult], dvhs: Mapping[str, DVH]) -> Aims | None:
    """Move the aims of goals that a plan just misses.

    Parameters
    ----------
    aims : Aims
        Of the round that led to the plan, goals in the order of ``results``.
    results : sequence of GoalResult
        The clinical goals, judged.
    dvhs : mapping of str to DVH
        Course Gy, of every structure with a goal.

    Returns
    -------
    Aims or None
        None if no goal is missed by so little that another round may reach it (5 % of its dose).
    """
    goals = list(aims.goals)
    prescription = dict(aims.prescription_gy)
    moved = False
    for index, result in enumerate(results):
        goal = result.goal
        if result.ok or goal.metric.kind is MetricKind.VOLUME:
            continue
        found_gy, wanted_gy = dose_for_goal(goal, dvhs[goal.structure])
        if abs(found_gy - wanted_gy) > _WITHIN_REACH * wanted_gy:
            continue
        change_gy = _OVERCORRECTION * (wanted_gy - found_gy)
        if goal.structure in prescription and not goal.is_upper:
            prescription[goal.structure] += change_gy
        else:
            goals[index] = _moved(goals[index], change_gy / wanted_gy)
        moved = True
    return Aims(tuple(goals), tuple(prescription.items())) if moved else None


def _moved(goal: Goal, share: float) -> Goal:
    """Goal with its dose changed by a share of it."""
    if goal.metric.kind is MetricKind.VOLUME_AT_DOSE:
        return replace(goal, metric=replace(goal.metric, at=goal.metric.at * (1.0 + share)))
    return replace(goal, limit=goal.limit * (1.0 + share))


def tightened_limits(
    limits: Sequence[DoseLimit], violations: Sequence[tuple[GoalResult, float]]
) -> tuple[DoseLimit, ...]:
    """Move limits of violated hard dose goals further in, by what the evaluated dose exceeds them."""
    excess_gy = {r.goal.structure: amount for r, amount in violations if r.goal.metric.unit == "Gy"}
    tightened = []
    for limit in limits:
        sign = 1.0 if limit.kind is LimitKind.MIN else -1.0
        change = sign * _OVERCORRECTION * excess_gy.get(limit.structure, 0.0)
        tightened.append(replace(limit, dose_gy=max(limit.dose_gy + change, 0.0)))
    return tuple(tightened)
