"""What the dose was: beams, goals, histograms, the engine's baseline and the plans."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BeforeValidator

from imrt_core.patient import Goal

from .base import Figure, GoalStatus, Part, Point, QualityFigure


class BeamRow(Part):
    """One beam, per fraction: ``imrt_core.dose.BeamDose`` on the planning CT and on today's patient after the shift."""

    number: int
    name: str
    gantry_deg: float
    gantry_stop_deg: Figure = None
    table_deg: float = 0.0
    mu: float
    ssd_planned_mm: Figure = None
    ssd_today_mm: Figure = None
    radiological_depth_planned_mm: Figure = None
    radiological_depth_today_mm: Figure = None
    fraction_dose_at_isocentre_planned_gy: Figure = None
    fraction_dose_at_isocentre_today_gy: Figure = None
    note: str = ""


class GoalLine(Part):
    """One row of the goals table, course scale (``imrt_core.evaluate.goals.GoalRow`` has these names).

    ``planned``: our dose of the plan of record on the planning CT; ``tps``: the treatment-planning system's dose beside
    it; ``today``: today's fraction dose × planned fractions; ``accumulated``: delivered so far; ``projected``: whole
    course. Only today and projected are judged. ``low``/``high``: band of the judged value. ``plan_only``: a goal of a
    PTV, shown but never triggering from a delivered dose.
    """

    goal: Annotated[str, BeforeValidator(str)]
    planned: Figure = None
    tps: Figure = None
    today: Figure = None
    accumulated: Figure = None
    projected: Figure = None
    low: Figure = None
    high: Figure = None
    limit: float
    status: GoalStatus
    ok: bool
    planned_status: GoalStatus | None = None
    today_status: GoalStatus | None = None
    plan_only: bool = False
    note: str = ""

    @property
    def parsed(self) -> Goal:
        """The goal's structure, metric (with unit), comparison and hardness."""
        return Goal.parse(self.goal)


class Curve(Part):
    """A cumulative DVH: relative volume (%) receiving at least ``dose_gy`` (course scale), optionally with a band."""

    dose_gy: tuple[float, ...]
    volume_percent: tuple[float, ...]
    low_percent: tuple[float, ...] = ()
    high_percent: tuple[float, ...] = ()

    @classmethod
    def from_arrays(cls, dose_gy: ArrayLike, cumulative: ArrayLike, *, total: float, points: int = 240) -> Self:
        """Thin a cumulative histogram for drawing.

        Parameters
        ----------
        dose_gy : array_like, shape (n,)
            Ascending dose, course scale (``DVH.dose_edges_gy``, times the planned fractions for a fraction's dose).
        cumulative : array_like, shape (n,)
            Volume at or above that dose (``DVH.cumulative_cc``).
        total : float
            The structure's volume in the same unit.
        points : int
            At most this many points are kept.
        """
        dose = np.asarray(dose_gy, dtype=float)
        percent = 100.0 * np.asarray(cumulative, dtype=float) / total
        length = min(len(dose), len(percent))
        # Everything beyond the first empty bin is zero: one point says so.
        beyond = np.flatnonzero(percent[:length] <= 0)
        last = int(beyond[0]) if len(beyond) else length - 1
        keep = np.unique(np.linspace(0, last, min(points, last + 1)).round().astype(int))
        return cls(
            dose_gy=tuple(np.round(dose[keep], 3).tolist()), volume_percent=tuple(np.round(percent[keep], 3).tolist())
        )


class DvhPair(Part):
    """DVH of one structure, course scale: planned (dashed), today (solid), and the plan of day if there is one."""

    structure: str
    color_rgb: tuple[int, int, int] = (120, 120, 120)
    planned: Curve | None = None
    today: Curve | None = None
    plan_of_day: Curve | None = None
    note: str = ""


class MuCheckRow(Part):
    """One beam of the independent MU check, per fraction (``imrt_core.evaluate.mu_check.BeamMuCheck``).

    ``passed`` None: the check could not be made, ``note`` says why.
    """

    number: int
    name: str
    mu: float
    mu_by_check: Figure = None
    point_lps: Point | None = None
    check_dose_gy: Figure = None
    engine_dose_gy: Figure = None
    difference_percent: Figure = None
    passed: bool | None = None
    note: str = ""


class EngineBaseline(Part):
    """Our engine's dose of the plan of record against the treatment-planning system's, judged on ``course add``.

    ``validated`` None: no TPS dose to compare with. False: "engine not validated for this plan", every decision review.
    ``model_warnings``: a beam model that was compared with no measurement. ``mu_check``: independent MU check of the
    plan of record; None where it was never made.
    """

    validated: bool | None = None
    reasons: tuple[str, ...] = ()
    gamma_pass_percent: Figure = None
    gamma_criteria: str = "3 % / 2 mm, global, cutoff 10 %"
    figures: tuple[QualityFigure, ...] = ()
    model_warnings: tuple[str, ...] = ()
    mu_check: QualityFigure | None = None


class DoseBasis(Part):
    """What the dose of the day was computed with.

    ``shift_used``: ``"recorded"`` (applied shift as recorded), ``"proposed"`` (rounded and limited), or ``"none"``.
    """

    engine: str
    engine_version: str = ""
    machine: str
    machine_version: str = ""
    beam_model_sha256: str = ""
    grid_mm: Figure = None
    shift_used: Literal["recorded", "proposed", "none"]
    plan_label: str = ""
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fraction_max_gy: Figure = None


class PlanSummary(Part):
    """The plan of record (``imrt_core.patient.Plan``).

    ``notes``: beams that were moved or left out when it was made here. ``objections``: what clearance and avoidance
    have against the beams of one that came.
    """

    label: str
    sop_instance_uid: str = ""
    approval_status: str = ""
    intent: str = ""
    fractions_planned: int
    prescription_gy: tuple[tuple[str, float], ...] = ()
    total_mu: Figure = None
    origin: str = ""
    notes: tuple[str, ...] = ()
    objections: tuple[str, ...] = ()


class PlanComparison(Part):
    """One goal: scheduled plan on today's anatomy against the plan of day, course scale."""

    goal: Annotated[str, BeforeValidator(str)]
    scheduled: Figure = None
    plan_of_day: Figure = None
    limit: float
    scheduled_ok: bool | None = None
    plan_of_day_ok: bool | None = None


class TierRow(Part):
    """A way of re-optimisation that was tried: how much of the plan of record it changes, and what it came to.

    ``missing``: goals that the plan of record met when it was planned, or hard ones, that this plan does not meet.
    ``goals_met`` and ``feasible`` are None where the plan was given up on an estimate of mean doses.
    ``seconds`` without the influence matrix, which all share.
    """

    tier: str
    goals_met: int | None
    goals: int
    feasible: bool | None
    seconds: float
    missing: tuple[str, ...] = ()


class PlanOfDay(Part):
    """The plan of the day: kept, re-optimised, or not computed with the reason. Always UNAPPROVED until a person signs.

    ``modulation_complexity_score``: 1 for one open field, less the more the leaves modulate (McNiven 2010).
    ``apply_shift`` is printed beside the plan: a plan of day is made for the patient *after* the stated shift.
    ``mu_check``: outcome of the independent MU check, with its beams in ``mu_check_beams``; None where there is no new
    plan, or one that was made before there was a check. A check that did not pass must be overridden to approve.
    ``objections``: what clearance and avoidance have against its beams on today's anatomy.
    """

    outcome: Literal["kept", "reoptimised", "not-computed"]
    reason: str
    label: str = ""
    sop_instance_uid: str = ""
    approval_status: str = "UNAPPROVED"
    intent: str = "RESEARCH"
    fractions: int = 1
    apply_shift: bool = False
    isocentre_lps: Point | None = None
    total_mu: Figure = None
    total_mu_of_record: Figure = None
    segments: int | None = None
    modulation_complexity_score: Figure = None
    modulation_complexity_score_of_record: Figure = None
    seconds: Figure = None
    comparison: tuple[PlanComparison, ...] = ()
    mu_check: QualityFigure | None = None
    mu_check_beams: tuple[MuCheckRow, ...] = ()
    checks: tuple[QualityFigure, ...] = ()
    tiers: tuple[TierRow, ...] = ()
    tier_reason: str = ""
    objections: tuple[str, ...] = ()
