"""Clinical goals: judged on a set of DVHs, and compared over a course.

All doses are in course scale. Each judgement has a value and the lowest and highest value that what is not known
allows; it is ``undecided`` where the limit lies between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..patient.errors import ProtocolError
from ..patient.goals import Goal
from .metrics import DVH


class Status(StrEnum):
    """What a goal's value says."""

    MET = "met"
    VIOLATED = "violated"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class GoalResult:
    """A goal judged on one dose distribution.

    Parameters
    ----------
    goal : Goal
        What was judged.
    value, low, high : float
        In the metric's unit; ``low`` and ``high`` bound what the value can be.
    status : Status
        ``met`` or ``violated`` if both bounds agree, else ``undecided``.
    """

    goal: Goal
    value: float
    low: float
    high: float
    status: Status

    @property
    def ok(self) -> bool:
        """Whether the goal is met."""
        return self.status == Status.MET


@dataclass(frozen=True)
class GoalRow:
    """One line of the goals table (CLINICAL "Dose"), all in course scale.

    Parameters
    ----------
    goal : Goal
        What is judged.
    planned : float
        Baseline: our dose of the plan of record on the planning CT.
    today : float
        Today's fraction dose × planned fractions.
    accumulated : float or None
        Delivered so far; None before the first fraction.
    projected : float or None
        Accumulated + remaining fractions at today's anatomy; None where nothing was accumulated.
    low, high : float
        Bounds of the judged value: ``projected`` where there is one, else ``today``.
    limit : float
        Of the goal.
    status : Status
        Of the judged value.
    ok : bool
        ``status`` is met.
    planned_status, today_status : Status
        Of the baseline and of today's dose by themselves.
    plan_only : bool
        The goal applies to plans and never triggers from a delivered dose (goals of PTVs).
    """

    goal: Goal
    planned: float
    today: float
    accumulated: float | None
    projected: float | None
    low: float
    high: float
    limit: float
    status: Status
    ok: bool
    planned_status: Status
    today_status: Status
    plan_only: bool = False

    @property
    def judged(self) -> float:
        """The value that ``status`` is about."""
        return self.today if self.projected is None else self.projected


def judge(goal: Goal, value: float, *, low: float | None = None, high: float | None = None) -> GoalResult:
    """Judge one value with its bounds. A value that is not a number is undecided."""
    low = value if low is None else min(low, value)
    high = value if high is None else max(high, value)
    if math.isnan(value) or math.isnan(low) or math.isnan(high):
        status = Status.UNDECIDED
    else:
        ends = {goal.is_met(low), goal.is_met(high)}
        status = Status.UNDECIDED if len(ends) > 1 else (Status.MET if ends == {True} else Status.VIOLATED)
    return GoalResult(goal, value, low, high, status)


def judge_goals(
    goals: Sequence[Goal],
    dvhs: Mapping[str, DVH],
    *,
    dose_band_percent: float = 0.0,
) -> tuple[GoalResult, ...]:
    """Judge goals on the DVHs of one dose distribution.

    Parameters
    ----------
    goals : sequence of Goal
        Structures named as the keys of ``dvhs``.
    dvhs : mapping of str to DVH
        Course scale.
    dose_band_percent : float
        Uncertainty of the dose: bounds are those of the same histogram with doses this much lower and higher, and
        of the volume outside the dose grid.

    Returns
    -------
    tuple of GoalResult
        In the order of ``goals``.

    Raises
    ------
    ProtocolError
        If a goal names a structure without a DVH.
    """
    return tuple(_judge_on(goal, _find(goal, dvhs), dose_band_percent) for goal in goals)


def compare_goals(
    goals: Sequence[Goal],
    *,
    planned: Mapping[str, DVH],
    today: Mapping[str, DVH],
    accumulated: Mapping[str, DVH] | None = None,
    projected: Mapping[str, DVH] | None = None,
    dose_band_percent: float = 0.0,
    is_plan_only: Callable[[str], bool] | None = None,
) -> tuple[GoalRow, ...]:
    """Build the goals table of a fraction; every DVH in course scale (see :meth:`DVH.scaled`).

    Only ``today`` and ``projected`` are judged: the row's status is that of ``projected`` where there is one, else of
    ``today``; the baseline is the comparison.

    Parameters
    ----------
    goals : sequence of Goal
        Of the protocol.
    planned, today, accumulated, projected : mapping of str to DVH
        By protocol name of the structure; the last two None before anything was delivered.
    dose_band_percent : float
        Applies to ``today`` and ``projected``, as in :func:`judge_goals`.
    is_plan_only : callable, optional
        Whether goals of the named structure apply to plans alone. By default names that start with ``PTV`` (TG-263).

    Raises
    ------
    ProtocolError
        If a goal names a structure without a DVH in one of the given sets.
    """
    plan_only = is_plan_only if is_plan_only is not None else _is_ptv
    rows = []
    for goal in goals:
        baseline = _judge_on(goal, _find(goal, planned), 0.0)
        of_day = _judge_on(goal, _find(goal, today), dose_band_percent)
        judged = of_day if projected is None else _judge_on(goal, _find(goal, projected), dose_band_percent)
        rows.append(
            GoalRow(
                goal=goal,
                planned=baseline.value,
                today=of_day.value,
                accumulated=None if accumulated is None else _find(goal, accumulated).metric(goal.metric),
                projected=None if projected is None else judged.value,
                low=judged.low,
                high=judged.high,
                limit=goal.limit,
                status=judged.status,
                ok=judged.ok,
                planned_status=baseline.status,
                today_status=of_day.status,
                plan_only=plan_only(goal.structure),
            )
        )
    return tuple(rows)


def _judge_on(goal: Goal, dvh: DVH, dose_band_percent: float) -> GoalResult:
    low, high = dvh.bounds(goal.metric)
    if dose_band_percent > 0:
        low = dvh.scaled(1 - dose_band_percent / 100).bounds(goal.metric)[0]
        high = dvh.scaled(1 + dose_band_percent / 100).bounds(goal.metric)[1]
    return judge(goal, dvh.metric(goal.metric), low=low, high=high)


def _find(goal: Goal, dvhs: Mapping[str, DVH]) -> DVH:
    if goal.structure not in dvhs:
        raise ProtocolError(
            "a goal names a structure that has no dose-volume histogram",
            found=", ".join(sorted(dvhs)) or "no structures",
            expected=goal.structure,
            where=f"goal {goal}",
        )
    return dvhs[goal.structure]


def _is_ptv(structure: str) -> bool:
    return structure.upper().startswith("PTV")
