"""Truth of a simulated set-up: where the patient lies, and the couch motion that brings him back.

Written from CLINICAL's definition alone, a few independent lines: nothing here comes from ``registration`` or
``imrt_core.geometry.iec61217``, which are tested against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import IdentityError, RigidTransform

#: Rows: IEC fixed X, Y, Z of an LPS vector (IEC 61217 with DICOM PS3.3 C.7.3.1.1.2 patient positions).
_IEC_FROM_LPS = {
    "HFS": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "HFP": ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "FFS": ((-1, 0, 0), (0, 0, -1), (0, -1, 0)),
    "FFP": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}


@dataclass(frozen=True)
class CouchMotion:
    """Table motion about the machine isocentre.

    Parameters
    ----------
    shift_mm : tuple of float
        Vertical, longitudinal, lateral.
    rotation_deg : tuple of float
        Pitch, roll, yaw; R = Rz(yaw)·Rx(pitch)·Ry(roll) about Xt, Yt, Zt, applied before the shift.
    """

    shift_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]


def set_up(
    *,
    planned_isocentre_lps: ArrayLike,
    machine_isocentre_lps: ArrayLike,
    offset_mm: ArrayLike,
    rotation_deg: ArrayLike,
) -> RigidTransform:
    """Return moving_from_fixed of a patient who lies off by an offset and a rotation about the isocentre.

    Parameters
    ----------
    planned_isocentre_lps, machine_isocentre_lps : array_like, shape (3,)
        In the planning frame and in the frame of the day, mm.
    offset_mm : array_like, shape (3,)
        Where the planned isocentre lies, relative to the machine isocentre, LPS mm.
    rotation_deg : array_like, shape (3,)
        About LPS x, y, z (R = Rz·Rx·Ry), pivot at the isocentre.
    """
    planned = np.asarray(planned_isocentre_lps, dtype=float)
    offset = np.asarray(machine_isocentre_lps, dtype=float) + np.asarray(offset_mm, dtype=float) - planned
    return RigidTransform.from_parameters(translation_mm=offset, rotation_deg=rotation_deg, centre_lps=planned)


def couch_motion(
    moving_from_fixed: RigidTransform,
    *,
    planned_isocentre_lps: ArrayLike,
    machine_isocentre_lps: ArrayLike,
    patient_position: str,
) -> CouchMotion:
    """Return the table motion that brings the planned isocentre to the machine's and undoes the rotation.

    Raises
    ------
    IdentityError
        If the patient position is none of the four.
    """
    if patient_position not in _IEC_FROM_LPS:
        raise IdentityError(
            "unsupported patient position", found=str(patient_position), expected=" ".join(_IEC_FROM_LPS)
        )
    axes: NDArray[np.float64] = np.array(_IEC_FROM_LPS[patient_position], dtype=float)
    found = moving_from_fixed.apply(np.asarray(planned_isocentre_lps, dtype=float))
    rotation = axes @ moving_from_fixed.rotation.T @ axes.T
    shift = -rotation @ (axes @ (found - np.asarray(machine_isocentre_lps, dtype=float)))
    # Third row of Rz·Rx·Ry is (−cos p sin r, sin p, cos p cos r), second column (−sin y cos p, cos y cos p, sin p).
    pitch = math.asin(float(np.clip(rotation[2, 1], -1.0, 1.0)))
    roll = math.atan2(-rotation[2, 0], rotation[2, 2])
    yaw = math.atan2(-rotation[0, 1], rotation[1, 1])
    lateral, longitudinal, vertical = (float(v) for v in shift)
    return CouchMotion(
        shift_mm=(vertical, longitudinal, lateral),
        rotation_deg=(math.degrees(pitch), math.degrees(roll), math.degrees(yaw)),
    )
