"""What the decision of a fraction rests on, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from .goals import GoalRow


class Verdict(StrEnum):
    """The five answers (CLINICAL "Decision")."""

    TREAT = "treat"
    SHIFT = "shift"
    REOPTIMISE = "reoptimise"
    REPLAN = "replan"
    REVIEW = "review"


@dataclass(frozen=True, kw_only=True)
class Check:
    """The result of one quality check, with what was measured.

    Parameters
    ----------
    passed : bool or None
        None where nothing was to be checked; only the deformable registration may be left out like this. A check that
        could not be done is False.
    reasons : tuple of str
        Why it failed: plain sentences with numbers and units.
    """

    passed: bool | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TargetCoverage:
    """Near-minimum dose of a CTV, course scale, in Gy.

    Parameters
    ----------
    name : str
        Of the CTV.
    prescription_gy, planned_d98_gy, today_d98_gy : float
        Prescription, baseline, and today's fraction × planned fractions.
    projected_d98_gy : float or None
        Accumulated + remaining; None before anything was delivered.
    """

    name: str
    prescription_gy: float
    planned_d98_gy: float
    today_d98_gy: float
    projected_d98_gy: float | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One trigger condition as it stood on one fraction; kept in the ledger as history for later fractions.

    Parameters
    ----------
    name : str
        Text of the goal, or ``"CTV… coverage"``, or ``"body contour"``.
    today : bool
        Exceeded in today's dose or anatomy.
    projected : bool
        Exceeded at the projected end of the course (the same as ``today`` where nothing is projected).
    """

    name: str
    today: bool
    projected: bool


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the decision of one fraction may look at. No field has a comfortable default.

    Parameters
    ----------
    identity : Check
        Patient, position and plan are certain.
    match : Check
        Rigid match within its action level.
    shift_mm, shift_deg : tuple of float or None
        Couch shift after rounding and limits ([vertical, longitudinal, lateral], [pitch, roll, yaw]); None where it
        is withheld.
    shift_limits : Check
        Within the protocol's and the table's limits; where withheld, its reasons say why.
    residual_mm, residual_deg : float
        Largest component that remains after rounding and dropped rotations.
    deformable : Check
        Quality of the deformable registration within 2 cm of the targets.
    outside_image : tuple of str
        Targets and hard-limit organs that are not wholly inside the image of the day.
    density : Check
        Density of the day.
    contour_change_mm : float
        Largest change of the body contour.
    ctv_volume_change_percent : tuple of (str, float)
        Volume of the day against planning, by CTV; negative is a loss.
    baseline : Check
        Our dose of the plan of record agrees with the planning system's ("engine validated for this plan").
    goals : tuple of GoalRow
        The goals table.
    coverage : tuple of TargetCoverage
        One per CTV.
    remaining_fractions : int
        Still to be delivered, today included.
    previous : tuple of tuple of Finding
        ``Decision.findings`` of the earlier fractions of the active plan, oldest first.
    """

    identity: Check
    match: Check
    shift_mm: tuple[float, float, float] | None
    shift_deg: tuple[float, float, float] | None
    shift_limits: Check
    residual_mm: float
    residual_deg: float
    deformable: Check
    outside_image: tuple[str, ...]
    density: Check
    contour_change_mm: float
    ctv_volume_change_percent: tuple[tuple[str, float], ...]
    baseline: Check
    goals: tuple[GoalRow, ...]
    coverage: tuple[TargetCoverage, ...]
    remaining_fractions: int
    previous: tuple[tuple[Finding, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer of a fraction.

    Parameters
    ----------
    decision : Verdict
        The answer.
    reasons : tuple of str
        Plain sentences, the deciding ones first.
    findings : tuple of Finding
        State of every trigger condition, to be kept for the fractions to come.
    """

    decision: Verdict
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def plan_allowed(self) -> bool:
        """Whether a plan of day may be computed: never while a person must look."""
        return self.decision != Verdict.REVIEW

    @property
    def plan_wanted(self) -> bool:
        """Whether the answer asks for a new plan."""
        return self.decision in (Verdict.REOPTIMISE, Verdict.REPLAN)


def streak(name: str, previous: Sequence[Sequence[Finding]], *, projected: bool) -> int:
    """Count the latest earlier fractions in a row on which the named condition was exceeded."""
    count = 0
    for fraction in reversed(previous):
        found = next((f for f in fraction if f.name == name), None)
        if found is None or not (found.projected if projected else found.today):
            break
        count += 1
    return count
