"""Where the patient was and what the image showed: shift, match, anatomy, density."""

from __future__ import annotations

from typing import Literal

from .base import Figure, Part, Point, QualityFigure


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
        How far the target moved beyond the bones, LPS mm (bone match against target match); None where that match
        cannot be believed.
    target_reasons : tuple of str
        Why it cannot.
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
    target_reasons: tuple[str, ...] = ()
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


class BodyContour(Part):
    """Change of the outer contour after the shift, mm; flagged at ``flag_mm`` (CLINICAL: 5 mm)."""

    largest_mm: Figure = None
    mean_mm: Figure = None
    flag_mm: float = 5.0
    flagged: bool = False
    where: str = ""
    note: str = ""
