"""Coordinate systems of IEC 61217 and how they hang on the patient (DICOM LPS).

All systems here have their origin at the isocentre, are right-handed, and are in mm:

* *fixed*: X to the right of a viewer who faces the gantry, Y towards the gantry, Z up;
* *gantry*: fixed, rotated about Y by the gantry angle; the source lies at (0, 0, SAD);
* *beam limiting device* (BLD): gantry, rotated about Z by the collimator angle; jaws and leaves live here;
* *patient support*: fixed, rotated about Z by the table angle; the patient lies in it as the patient position says.

Rotations are ``dst_from_src`` matrices, positive angles right-handed about the positive axis.

References
----------
.. [1] IEC 61217:2011, Radiotherapy equipment - Coordinates, movements and scales.
.. [2] DICOM PS3.3 C.8.8.25.6.2 (table angles) and C.8.8.14 (RT Beams).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import PATIENT_POSITIONS, GeometryError

Matrix = NDArray[np.float64]

# Rows are the support X, Y, Z axes (table angle 0) in LPS. Head first: superior (+z) towards the gantry (+Y).
# Supine: anterior (−y) up (+Z).
_SUPPORT_FROM_LPS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "HFS": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "HFP": ((-1, 0, 0), (0, 0, 1), (0, 1, 0)),
    "FFS": ((-1, 0, 0), (0, 0, -1), (0, -1, 0)),
    "FFP": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}


def _about_y(angle_deg: float) -> Matrix:
    c, s = _cos_sin(angle_deg)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def _about_z(angle_deg: float) -> Matrix:
    c, s = _cos_sin(angle_deg)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _cos_sin(angle_deg: float) -> tuple[float, float]:
    if not np.isfinite(angle_deg):
        raise GeometryError("an angle must be finite", found=str(angle_deg), expected="degrees")
    angle = np.deg2rad(angle_deg)
    return float(np.cos(angle)), float(np.sin(angle))


def support_from_lps(patient_position: str) -> Matrix:
    """Return the 3×3 rotation from LPS to the patient-support axes.

    Parameters
    ----------
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.

    Raises
    ------
    GeometryError
        For any other position. It is never assumed.
    """
    if patient_position not in _SUPPORT_FROM_LPS:
        raise GeometryError(
            "the patient position must be known", found=repr(patient_position), expected=" ".join(PATIENT_POSITIONS)
        )
    return np.array(_SUPPORT_FROM_LPS[patient_position], dtype=float)


def fixed_from_support(table_deg: float) -> Matrix:
    """Return the 3×3 rotation of the Patient Support Angle: positive turns the table's head end towards −X."""
    return _about_z(table_deg)


def fixed_from_lps(patient_position: str, *, table_deg: float = 0.0) -> Matrix:
    """Return the 3×3 rotation from LPS to the fixed axes, the patient lying on a table at ``table_deg``."""
    return fixed_from_support(table_deg) @ support_from_lps(patient_position)


def fixed_from_gantry(gantry_deg: float) -> Matrix:
    """Return the 3×3 rotation of the gantry: at 90° the source stands on fixed +X."""
    return _about_y(gantry_deg)


def gantry_from_bld(collimator_deg: float) -> Matrix:
    """Return the 3×3 rotation of the collimator, counter-clockwise as seen from the source."""
    return _about_z(collimator_deg)


def bld_from_lps(
    *, gantry_deg: float, collimator_deg: float = 0.0, table_deg: float = 0.0, patient_position: str
) -> Matrix:
    """Return the 3×3 rotation from LPS to the beam-limiting-device axes."""
    fixed_from_bld = fixed_from_gantry(gantry_deg) @ gantry_from_bld(collimator_deg)
    return fixed_from_bld.T @ fixed_from_lps(patient_position, table_deg=table_deg)


def source_lps(
    *,
    gantry_deg: float,
    table_deg: float = 0.0,
    patient_position: str,
    isocentre_lps: ArrayLike,
    sad_mm: float = 1000.0,
) -> NDArray[np.float64]:
    """Return where the source stands in the patient frame.

    Parameters
    ----------
    gantry_deg, table_deg : float
        IEC 61217.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    isocentre_lps : array_like, shape (3,)
        LPS mm.
    sad_mm : float
        Source-axis distance.

    Returns
    -------
    ndarray, shape (3,)
        LPS mm.
    """
    lps_from_gantry = fixed_from_lps(patient_position, table_deg=table_deg).T @ fixed_from_gantry(gantry_deg)
    return np.asarray(np.asarray(isocentre_lps, dtype=float) + lps_from_gantry[:, 2] * sad_mm)
