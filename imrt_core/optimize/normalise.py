"""Normalisation: the one factor on all MU that a planner chooses last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from imrt_core.evaluate import DVH
from imrt_core.patient import Goal, Metric, MetricKind, PlanError

#: Lower dose levels may pull the plan up by this much, hard limits may pull it down by that much.
_MOST_ABOVE = 1.03
_MOST_BELOW = 0.95
#: Hard limits keep this share in reserve: a plan that stands exactly at one breaks it on the first day's noise.
_HARD_RESERVE = 0.01
#: Values come this close to their limits on the safe side.
_SAFETY = 1e-4


def dose_for_goal(goal: Goal, dvh: DVH) -> tuple[float, float]:
    """Return (dose found, dose wanted) in Gy of a goal that more or less dose can fulfil.

    ``V70Gy[%] >= 95`` is read as ``D95% >= 70 Gy``.

    Raises
    ------
    PlanError
        If the goal is about a volume only.
    """
    metric = goal.metric
    if metric.kind is MetricKind.VOLUME:
        raise PlanError("no dose can fulfil a goal on a structure's volume", found=str(goal))
    if metric.kind is MetricKind.VOLUME_AT_DOSE:
        volume_cc = goal.limit if metric.unit == "cc" else goal.limit / 100.0 * dvh.volume_cc
        wanted = metric.at if metric.at_unit == "Gy" else metric.at / 100.0 * _prescription(goal, dvh)
        return dvh.dose_at_volume_gy(volume_cc), wanted
    unit = 1.0 if metric.unit == "Gy" else _prescription(goal, dvh) / 100.0
    return dvh.metric(metric) * unit, goal.limit * unit


def _prescription(goal: Goal, dvh: DVH) -> float:
    if dvh.prescription_gy is None:
        raise PlanError("a goal in percent needs a prescription", found=str(goal))
    return dvh.prescription_gy


def normalising_scale(
    dvh_of: Callable[[str, float], DVH],
    goals: Sequence[Goal],
    prescription_gy: Sequence[tuple[str, float]],
) -> float:
    """Return the factor on all MU.

    The highest dose level gets its first coverage goal exactly (D95 % = prescription if it has none). Its other ones
    and those of lower levels may ask for up to 3 % more; hard upper goals are then held with 1 % in reserve, at the
    cost of up to 5 % of the highest level's dose.

    Parameters
    ----------
    dvh_of : callable
        From a structure's name and a factor to its DVH in course scale.
    goals : sequence of Goal
        Course scale.
    prescription_gy : sequence of (str, float)
        Course dose of every target.
    """
    targets = sorted(prescription_gy, key=lambda item: -item[1])
    coverage = {name: [g for g in goals if g.structure == name and not g.is_upper] for name, _ in targets}
    highest, highest_gy = targets[0]
    if not coverage[highest]:
        coverage[highest] = [Goal(highest, Metric.parse("D95%[Gy]"), ">=", highest_gy)]
    first, *further = coverage[highest]
    needed = _scale_for(first, dvh_of)
    others = [_scale_for(goal, dvh_of) for goal in [*further, *(g for name, _ in targets[1:] for g in coverage[name])]]
    scale = min(max([needed, *others]), _MOST_ABOVE * needed)
    reserved = [replace(g, limit=(1.0 - _HARD_RESERVE) * g.limit) for g in goals if g.hard and g.is_upper]
    allowed = [_scale_for(goal, dvh_of) for goal in reserved]
    if allowed and min(allowed) < scale:
        scale = max(min(allowed), _MOST_BELOW * needed)
    return scale


def _scale_for(goal: Goal, dvh_of: Callable[[str, float], DVH]) -> float:
    """Find the factor that just fulfils a goal (secant; dose is linear in the factor, metrics nearly so)."""
    scale, last = 1.0, None
    for _ in range(6):
        found, wanted = dose_for_goal(goal, dvh_of(goal.structure, scale))
        wanted *= 1.0 + (_SAFETY if not goal.is_upper else -_SAFETY)
        if abs(found - wanted) <= 0.5 * _SAFETY * wanted:
            break
        slope = found / scale if last is None or scale == last[0] else (found - last[1]) / (scale - last[0])
        if not slope > 0:
            raise PlanError(
                "no factor on the dose can fulfil a goal", found=str(goal), expected="dose in the structure"
            )
        last = (scale, found)
        scale = max(scale + (wanted - found) / slope, 0.05)
    return scale
