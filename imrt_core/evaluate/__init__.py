"""Judging dose: DVH, goals, overlap, gamma, accumulation and the decision."""

from .decision import decide
from .dvh import DVH, dvh
from .evidence import Check, Decision, Evidence, Finding, TargetCoverage, Verdict
from .gamma import GammaResult, gamma
from .goals import GoalResult, GoalRow, Status, compare_goals, judge_goals
from .policy import Policy

__all__ = [
    "DVH",
    "Check",
    "Decision",
    "Evidence",
    "Finding",
    "GammaResult",
    "GoalResult",
    "GoalRow",
    "Policy",
    "Status",
    "TargetCoverage",
    "Verdict",
    "compare_goals",
    "decide",
    "dvh",
    "gamma",
    "judge_goals",
]
