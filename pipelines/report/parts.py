"""The parts that a fraction report is made of: plain figures with their units, no pixels.

Everything here is a frozen pydantic model that reads attributes too (``model_validate(obj)`` with ``from_attributes``),
so that a dataclass of the libraries with the same names fills it. NaN becomes None: an unknown number is absent from
the JSON and shown as "–", never as 0.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, BeforeValidator, ConfigDict

from imrt_core.patient import Goal

Decision = Literal["treat", "shift", "reoptimise", "replan", "review"]
GoalStatus = Literal["met", "violated", "undecided"]


def _unknown_if_nan(value: Any) -> Any:
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        return None
    return float(value) if isinstance(value, np.number) else value


#: A number, or None where it is not known (NaN and infinities become None).
Figure = Annotated[float | None, BeforeValidator(_unknown_if_nan)]
Point = tuple[float, float, float]


class Part(BaseModel):
    """Base: frozen, no unknown fields, fillable from attributes, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, allow_inf_nan=False)


class QualityFigure(Part):
    """One named number of a check. ``limit`` is text, e.g. ``"<= 2"``; ``passed`` None: not judged."""

    name: str
    value: Figure = None
    unit: str = ""
    limit: str = ""
    passed: bool | None = None
    note: str = ""


class Shift(Part):
    """Table motion in IEC 61217 as CLINICAL defines it: + up, + towards the gantry, + X; right-handed about Xt, Yt, Zt.

    Has the attribute names of ``registration.CouchShift``: ``Shift.model_validate(couch_shift)``.
    """

    vertical_mm: float
    longitudinal_mm: float
    lateral_mm: float
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    yaw_deg: float = 0.0


class ShiftReport(Part):
    """The couch shift of the day, or why it is withheld.

    Parameters
    ----------
    found : Shift or None
        From the match, unrounded (``registration.couch_shift``); None where withheld.
    proposed : Shift or None
        Rounded to the table's step, rotations it cannot make dropped (``AppliedShift.proposed``).
    applied : Shift or None
        What the table is asked to do (``AppliedShift.applied``: no motion beyond the limits), or did, as recorded.
    residual : Shift or None
        The further motion still needed after ``applied``; the dose of the day contains it.
    apply_shift : bool
        Printed as "apply this shift: yes/no". False beyond the protocol's limits and where withheld.
    within_limits : bool or None
        Against the protocol's and the table's limits; None where there is no shift.
    source : {"proposed", "recorded"}
        ``recorded`` after ``igrt fraction record`` (or a treatment record), with ``applied`` from there.
    reasons : tuple of str
        Why withheld, limited, or a rotation was dropped; plain sentences.
    machine_isocentre_lps : tuple of float or None
        Machine isocentre in the image of the day, LPS mm.
    machine_isocentre_source : str
        ``"option"``, ``"spatial registration object"`` or ``"machine file, rule cbct: origin"``.
    planned_isocentre_lps : tuple of float or None
        In the planning CT, LPS mm.
    patient_position : str
        HFS, HFP, FFS or FFP; empty where unknown. Tells which side of the patient +X is.
    table_angle_deg : float
        IEC Patient Support Angle at imaging.
    """

    found: Shift | None = None
    proposed: Shift | None = None
    applied: Shift | None = None
    residual: Shift | None = None
    apply_shift: bool = False
    within_limits: bool | None = None
    source: Literal["proposed", "recorded"] = "proposed"
    reasons: tuple[str, ...] = ()
    machine_isocentre_lps: Point | None = None
    machine_isocentre_source: str = ""
    planned_isocentre_lps: Point | None = None
    patient_position: str = ""
    table_angle_deg: float = 0.0


class MatchReport(Part):
    """The rigid match (``registration.register_rigid``), LPS mm and degrees of ``moving_from_fixed``.

    Parameters
    ----------
    roi : str
        What was matched, in words: ``"bone within 40 mm of PTV70"``.
    translation_mm, rotation_deg, centre_lps, euler_order
        Of ``moving_from_fixed`` about ``centre_lps``: q = R (p − c) + c + t, R = Rz·Rx·Ry for ``"ZXY"``.
    target_minus_bone_mm : tuple of float or None
        How far the target moved beyond the bones, LPS mm (bone match against target match).
    """

    roi: str
    passed: bool
    reasons: tuple[str, ...] = ()
    translation_mm: Point
    rotation_deg: Point
    centre_lps: Point
    euler_order: str = "ZXY"
    metric_name: str = ""
    metric: Figure = None
    target_minus_bone_mm: Point | None = None
    figures: tuple[QualityFigure, ...] = ()
    seconds: Figure = None


class DeformableReport(Part):
    """Deformable registration quality (``registration.register_deformable``), or ``passed=False`` with the reason."""

    passed: bool
    reasons: tuple[str, ...] = ()
    method: str = ""
    figures: tuple[QualityFigure, ...] = ()
    seconds: Figure = None


class StructureRow(Part):
    """One structure, planned and propagated.

    ``method``: how it came to today's image, e.g. ``"rigid"``, ``"deformable"``, ``"CTV of day + 5 mm"``.
    Volumes in cm³; ``dice`` against the rigidly moved planned structure. ``centroid_shift_mm``: how far the centroid
    lies from its planned place after the couch shift.
    """

    name: str
    interpreted_type: str = "ORGAN"
    method: str
    planned_volume_cc: Figure = None
    day_volume_cc: Figure = None
    dice: Figure = None
    centroid_shift_mm: Figure = None
    reviewed: bool = False
    reviewed_by: str = ""
    note: str = ""


class TissueCheck(Part):
    """Density check in one tissue: mean HU (and relative electron density) today against plan."""

    tissue: str
    planned_hu: Figure = None
    day_hu: Figure = None
    planned_red: Figure = None
    day_red: Figure = None
    limit_hu: Figure = None
    passed: bool | None = None


class DensityReport(Part):
    """How the HU of the day became density: ``registration.hu_of_day`` and ``imrt_core.machine.density``."""

    method: str
    curve: str = ""
    passed: bool
    reasons: tuple[str, ...] = ()
    tissues: tuple[TissueCheck, ...] = ()
    figures: tuple[QualityFigure, ...] = ()


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


class BodyContour(Part):
    """Change of the outer contour after the shift, mm; flagged at ``flag_mm`` (CLINICAL: 5 mm)."""

    largest_mm: Figure = None
    mean_mm: Figure = None
    flag_mm: float = 5.0
    flagged: bool = False
    where: str = ""
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


class EngineBaseline(Part):
    """Our engine's dose of the plan of record against the treatment-planning system's, judged on ``course add``.

    ``validated`` None: no TPS dose to compare with. False: "engine not validated for this plan", every decision review.
    """

    validated: bool | None = None
    reasons: tuple[str, ...] = ()
    gamma_pass_percent: Figure = None
    gamma_criteria: str = "3 % / 2 mm, global, cutoff 10 %"
    figures: tuple[QualityFigure, ...] = ()


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
    """The plan of record (``imrt_core.patient.Plan``)."""

    label: str
    sop_instance_uid: str = ""
    approval_status: str = ""
    intent: str = ""
    fractions_planned: int
    prescription_gy: tuple[tuple[str, float], ...] = ()
    total_mu: Figure = None
    origin: str = ""


class PlanComparison(Part):
    """One goal: scheduled plan on today's anatomy against the plan of day, course scale."""

    goal: Annotated[str, BeforeValidator(str)]
    scheduled: Figure = None
    plan_of_day: Figure = None
    limit: float
    scheduled_ok: bool | None = None
    plan_of_day_ok: bool | None = None


class PlanOfDay(Part):
    """The plan of the day: kept, re-optimised, or not computed with the reason. Always UNAPPROVED until a person signs.

    ``apply_shift`` is printed beside the plan: a plan of day is made for the patient *after* the stated shift.
    ``mu_check``: independent MU check; None where it was not made, and the report says so.
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
    seconds: Figure = None
    comparison: tuple[PlanComparison, ...] = ()
    mu_check: QualityFigure | None = None
    checks: tuple[QualityFigure, ...] = ()


class ImageSummary(Part):
    """The setup image that governs. ``acquired``: ISO 8601, as the file says; voxel spacing along x, y, z in mm."""

    acquired: str = ""
    modality: str = ""
    device: str = ""
    kvp: Figure = None
    patient_position: str | None = None
    patient_position_source: str = ""
    series_uid: str = ""
    spacing_mm: Point | None = None
    shape_zyx: tuple[int, int, int] | None = None
    images_in_fraction: int = 1
    note: str = ""


class FractionState(Part):
    """Which fraction this is. ``delivery`` "assumed": not recorded. ``written``: before or after delivery."""

    number: int
    planned: int
    clinic_date: str = ""
    delivery: Literal["pending", "assumed", "delivered", "not-delivered"] = "pending"
    delivery_note: str = ""
    written: Literal["before-delivery", "after-delivery"] = "before-delivery"


class AuditEntry(Part):
    """Who did what when. ``when`` ISO 8601 with zone; ``who`` a person, or the program for automatic steps."""

    when: str
    who: str
    what: str


class StageSeconds(Part):
    """Wall time of one stage."""

    stage: str
    seconds: float


class NamedHash(Part):
    """SHA-256 of an input, by what it is (never a path)."""

    what: str
    sha256: str


class NamedVersion(Part):
    """Version of a program or library."""

    name: str
    version: str


class Provenance(Part):
    """What made these numbers."""

    software_version: str
    code_revision: str = ""
    protocol: str = ""
    protocol_version: str = ""
    versions: tuple[NamedVersion, ...] = ()
    hashes: tuple[NamedHash, ...] = ()


class PatientLabel(Part):
    """Identity printed on the report only when asked for; None elsewhere."""

    patient_id: str
    name: str = ""
    birth_date: str = ""
