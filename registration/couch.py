"""From a match to the motion of the treatment couch, and back (IEC 61217; the project's CLINICAL definitions).

The table moves the patient by a rotation about the *machine isocentre*, then a translation::

    q' = R (q − c) + c + t

with q a point of the patient in the image of the day, c the machine isocentre in that image, R and t such that the
planned isocentre ends at c and the anatomy has its planned orientation. Along the axes of the table (Xt, Yt, Zt),
``t`` is (lateral, longitudinal, vertical) and ``R = Rz(yaw)·Rx(pitch)·Ry(roll)``, right-handed.

References
----------
.. [1] IEC 61217:2011, Radiotherapy equipment: coordinates, movements and scales.
.. [2] DICOM PS3.3 C.8.8.25.6.2, table top pitch and roll angles.
.. [3] docs/adr/0002-couch-shift-axes.md, the choice of axes at a table angle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from imrt_core.geometry.iec61217 import fixed_from_support, support_from_lps
from imrt_core.patient import RegistrationError, RigidTransform
from imrt_core.patient.transform import euler_deg_from_rotation, rotation_from_euler_deg

#: Rotations a table may be able to make.
ROTATIONS = ("pitch", "roll", "yaw")


@dataclass(frozen=True)
class CouchShift:
    """A motion of the table: rotation about the machine isocentre, then translation.

    Parameters
    ----------
    vertical_mm, longitudinal_mm, lateral_mm : float
        + up (Zt), + towards the gantry (Yt), + Xt.
    pitch_deg, roll_deg, yaw_deg : float
        Right-handed about Xt, Yt, Zt; R = Rz(yaw)·Rx(pitch)·Ry(roll).

    Raises
    ------
    RegistrationError
        If a value is not finite.
    """

    vertical_mm: float = 0.0
    longitudinal_mm: float = 0.0
    lateral_mm: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    yaw_deg: float = 0.0

    def __post_init__(self) -> None:
        values = np.array([*self.shift_mm, *self.rotation_deg], dtype=float)
        if not np.all(np.isfinite(values)):
            raise RegistrationError("a couch shift must be finite", found=str(values.tolist()))

    @classmethod
    def from_lists(cls, shift_mm: ArrayLike, rotation_deg: ArrayLike = (0.0, 0.0, 0.0)) -> CouchShift:
        """Build from [vertical, longitudinal, lateral] mm and [pitch, roll, yaw] degrees."""
        vertical, longitudinal, lateral = (float(v) for v in np.asarray(shift_mm, dtype=float))
        pitch, roll, yaw = (float(v) for v in np.asarray(rotation_deg, dtype=float))
        return cls(vertical, longitudinal, lateral, pitch, roll, yaw)

    @property
    def shift_mm(self) -> tuple[float, float, float]:
        """[vertical, longitudinal, lateral]."""
        return (self.vertical_mm, self.longitudinal_mm, self.lateral_mm)

    @property
    def rotation_deg(self) -> tuple[float, float, float]:
        """[pitch, roll, yaw]."""
        return (self.pitch_deg, self.roll_deg, self.yaw_deg)

    @property
    def distance_mm(self) -> float:
        """Length of the translation."""
        return float(np.linalg.norm(self.shift_mm))

    @property
    def angle_deg(self) -> float:
        """Angle of the whole rotation."""
        return float(np.rad2deg(Rotation.from_matrix(self._matrices()[0]).magnitude()))

    def _matrices(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return R (3×3) and t (3) along the table's axes."""
        return _rotation(self.rotation_deg), np.array([self.lateral_mm, self.longitudinal_mm, self.vertical_mm])

    @classmethod
    def _from_matrices(cls, rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> CouchShift:
        lateral, longitudinal, vertical = translation
        pitch, roll, yaw = euler_deg_from_rotation(rotation)
        return cls.from_lists((vertical, longitudinal, lateral), (pitch, roll, yaw))


def _rotation(rotation_deg: ArrayLike) -> NDArray[np.float64]:
    # [pitch, roll, yaw] are the angles about Xt, Yt, Zt, and R = Rz·Rx·Ry in either notation.
    return rotation_from_euler_deg(rotation_deg)


def table_from_lps(patient_position: str, *, table_angle_deg: float = 0.0) -> NDArray[np.float64]:
    """Return the 3×3 matrix whose rows are the table's axes Xt, Yt, Zt in LPS.

    Parameters
    ----------
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    table_angle_deg : float
        IEC patient support angle; components along the table's axes are Rz(−angle) · components along the fixed axes.

    Raises
    ------
    GeometryError
        If the position is none of the four (it is never assumed), or the angle is not finite.
    """
    return np.asarray(fixed_from_support(table_angle_deg).T @ support_from_lps(patient_position))


def couch_shift(
    moving_from_fixed: RigidTransform,
    *,
    planned_isocentre_lps: ArrayLike,
    machine_isocentre_lps: ArrayLike,
    patient_position: str,
    table_angle_deg: float = 0.0,
) -> CouchShift:
    """Return the table motion that brings the patient of the day to the plan.

    Parameters
    ----------
    moving_from_fixed : RigidTransform
        Planning CT → image of the day, LPS mm.
    planned_isocentre_lps : array_like, shape (3,)
        Isocentre of the plan, frame of the planning CT.
    machine_isocentre_lps : array_like, shape (3,)
        The machine's isocentre in the image of the day. Never the image centre or the planned isocentre by default.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    table_angle_deg : float
        IEC patient support angle at which the drives will be moved.

    Returns
    -------
    CouchShift
        Unrounded, unlimited.

    Raises
    ------
    GeometryError, RegistrationError
        Unknown patient position; points that are not three finite numbers.
    """
    planned = _point(planned_isocentre_lps, "planned isocentre")
    machine = _point(machine_isocentre_lps, "machine isocentre")
    axes = table_from_lps(patient_position, table_angle_deg=table_angle_deg)
    rotation = moving_from_fixed.rotation.T
    found = moving_from_fixed.apply(planned)
    translation = -rotation @ (found - machine)
    return CouchShift._from_matrices(axes @ rotation @ axes.T, axes @ translation)


def patient_motion_lps(
    shift: CouchShift,
    *,
    machine_isocentre_lps: ArrayLike,
    patient_position: str,
    table_angle_deg: float = 0.0,
) -> RigidTransform:
    """Return what the table motion does to points of the patient in the image of the day.

    ``image.with_grid(image.grid.transformed(motion))`` is the patient after the shift; the machine isocentre stays
    where it was.

    Parameters
    ----------
    shift : CouchShift
        As returned by :func:`couch_shift` or :func:`applied_shift`, or as recorded.
    machine_isocentre_lps, patient_position, table_angle_deg
        As in :func:`couch_shift`.

    Returns
    -------
    RigidTransform
        after_from_before, both in the LPS frame of the image of the day.
    """
    machine = _point(machine_isocentre_lps, "machine isocentre")
    axes = table_from_lps(patient_position, table_angle_deg=table_angle_deg)
    rotation_table, translation_table = shift._matrices()
    rotation = axes.T @ rotation_table @ axes
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = machine - rotation @ machine + axes.T @ translation_table
    return RigidTransform.from_matrix(matrix)


@dataclass(frozen=True)
class TableLimits:
    """What a table can do, and how far it may be sent without a person.

    Parameters
    ----------
    translation_step_mm, rotation_step_deg : float
        Smallest steps of the drives; values are rounded to them.
    rotations : tuple of str
        Which of ``"pitch"``, ``"roll"``, ``"yaw"`` the table can make (``()`` for a 3-DoF table).
    limit_mm : tuple of float
        Largest vertical, longitudinal and lateral shift, either way.
    limit_deg : tuple of float
        Largest pitch, roll and yaw, either way; these bound the rotation *found*, also where the table cannot make it.

    Raises
    ------
    RegistrationError
        If a step or limit is not positive, or a rotation is unknown.
    """

    translation_step_mm: float = 1.0
    rotation_step_deg: float = 0.1
    rotations: tuple[str, ...] = ROTATIONS
    limit_mm: tuple[float, float, float] = (25.0, 25.0, 25.0)
    limit_deg: tuple[float, float, float] = (3.0, 3.0, 3.0)

    def __post_init__(self) -> None:
        numbers = (self.translation_step_mm, self.rotation_step_deg, *self.limit_mm, *self.limit_deg)
        if len(numbers) != 8 or not all(np.isfinite(n) and n > 0 for n in numbers):
            raise RegistrationError("steps and limits of a table must be positive", found=str(numbers))
        unknown = [name for name in self.rotations if name not in ROTATIONS]
        if unknown:
            raise RegistrationError("unknown rotation of a table", found=", ".join(unknown), expected=str(ROTATIONS))


@dataclass(frozen=True)
class AppliedShift:
    """What the table is asked to do, and what stays undone.

    Parameters
    ----------
    proposed : CouchShift
        The shift in steps of the drives, with the rotations that the table can make.
    applied : CouchShift
        ``proposed``, or no motion at all beyond the limits.
    residual : CouchShift
        The further motion that would still be needed after ``applied`` (about the same pivot).
    within_limits : bool
        False: do not move, look.
    reasons : tuple of str
        Why not.
    """

    proposed: CouchShift
    applied: CouchShift
    residual: CouchShift
    within_limits: bool
    reasons: tuple[str, ...]


def applied_shift(shift: CouchShift, table: TableLimits) -> AppliedShift:
    """Round a couch shift to what a table can do and compare it with the limits.

    Where rotations are dropped, the translation is recomputed so that the planned isocentre still ends at the machine
    isocentre: with t = −R(p − c), the feasible rotation R′ needs t′ = R′Rᵀt. Both are then rounded. The residual is
    composed exactly: motion(residual) ∘ motion(applied) = motion(shift).

    Parameters
    ----------
    shift : CouchShift
        Unrounded, from :func:`couch_shift`.
    table : TableLimits
        Steps, rotations and limits.
    """
    rotation, translation = shift._matrices()
    possible = tuple(
        _rounded(angle, table.rotation_step_deg) if name in table.rotations else 0.0
        for name, angle in zip(ROTATIONS, shift.rotation_deg, strict=True)
    )
    feasible = _rotation(possible)
    lateral, longitudinal, vertical = feasible @ rotation.T @ translation
    step = table.translation_step_mm
    proposed = CouchShift.from_lists([_rounded(v, step) for v in (vertical, longitudinal, lateral)], possible)
    reasons = [
        f"do not move, look: {name} {value:+.1f} mm is beyond {limit:g} mm"
        for name, value, limit in zip(
            ("vertical", "longitudinal", "lateral"), proposed.shift_mm, table.limit_mm, strict=True
        )
        if abs(value) > limit + 1e-9
    ]
    reasons += [
        f"do not move, look: {name} {value:+.1f}° is beyond {limit:g}°"
        for name, value, limit in zip(ROTATIONS, shift.rotation_deg, table.limit_deg, strict=True)
        if abs(value) > limit + 1e-9
    ]
    applied = CouchShift() if reasons else proposed
    rotation_applied, translation_applied = applied._matrices()
    left = rotation @ rotation_applied.T
    residual = CouchShift._from_matrices(left, translation - left @ translation_applied)
    return AppliedShift(proposed, applied, residual, not reasons, tuple(reasons))


def _rounded(value: float, step: float) -> float:
    """Round to a multiple of ``step``, halves away from zero (as a therapist does), never −0."""
    steps = np.floor(abs(value) / step + 0.5)
    # Decimal clean-up: 0.1 · 3 is not 0.3, and these numbers are read by people.
    return float(np.round(np.copysign(steps * step, value), 9)) + 0.0


def _point(point_lps: ArrayLike, name: str) -> NDArray[np.float64]:
    point = np.asarray(point_lps, dtype=float)
    if point.shape != (3,) or not np.all(np.isfinite(point)):
        raise RegistrationError(f"the {name} must be three finite numbers", found=str(point_lps), expected="x, y, z mm")
    return point
