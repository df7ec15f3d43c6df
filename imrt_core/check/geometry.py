"""Where a point lies in a beam, and how deep: IEC 61217 and a straight ray, written for the check alone.

Fixed axes from LPS by patient position, then the table about Z, the gantry about Y, the collimator about Z; all
right-handed about the isocentre, the source at +SAD on the gantry's Z (IEC 61217; DICOM PS3.3 C.8.8.14, C.8.8.25.6.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from imrt_core.patient import GeometryError, Volume

Array = NDArray[np.float64]
Point = tuple[float, float, float]

#: Fixed X, Y, Z (table at 0) as signed LPS axes.
_FIXED_AXES = {"HFS": "+x+z-y", "HFP": "-x+z+y", "FFS": "-x-z-y", "FFP": "+x-z+y"}
#: Length of a step of the ray sum, mm.
STEP_MM = 1.0
#: Air counts nothing: calibrations already cross a metre of it.
AIR = 0.01


@dataclass(frozen=True)
class Pose:
    """Machine angles and isocentre at one moment."""

    gantry_deg: float
    collimator_deg: float
    table_deg: float
    isocentre_lps: Point


@dataclass(frozen=True, eq=False)
class SeenPoint:
    """A point as the source sees it.

    Parameters
    ----------
    u_mm, v_mm : float
        Projection to the isocentre plane, BLD X and Y.
    distance_mm : float
        From the source, along the beam axis.
    source_lps : ndarray, shape (3,)
        Source in the patient frame.
    """

    u_mm: float
    v_mm: float
    distance_mm: float
    source_lps: Array


def seen_from_source(point_lps: Point, pose: Pose, *, patient_position: str, sad_mm: float) -> SeenPoint:
    """Project a point.

    Raises
    ------
    GeometryError
        If the patient position is not one of the four, or the point is not in front of the source.
    """
    if patient_position not in _FIXED_AXES:
        raise GeometryError(
            "the patient position must be known", found=repr(patient_position), expected=" ".join(_FIXED_AXES)
        )
    signed = _FIXED_AXES[patient_position]
    fixed_from_lps = np.zeros((3, 3))
    for row in range(3):
        fixed_from_lps[row, "xyz".index(signed[2 * row + 1])] = float(signed[2 * row] + "1")
    table = Rotation.from_euler("z", pose.table_deg, degrees=True)
    gantry = Rotation.from_euler("y", pose.gantry_deg, degrees=True)
    collimator = Rotation.from_euler("z", pose.collimator_deg, degrees=True)
    beam_from_lps = (gantry * collimator).inv().as_matrix() @ table.as_matrix() @ fixed_from_lps
    x, y, z = beam_from_lps @ (np.array(point_lps) - pose.isocentre_lps)
    distance = sad_mm - z
    if not distance > 0:
        raise GeometryError("the point is behind the source", found=str(point_lps), where="independent check")
    source = np.array(pose.isocentre_lps) + beam_from_lps.T @ np.array([0.0, 0.0, sad_mm])
    return SeenPoint(float(x * sad_mm / distance), float(y * sad_mm / distance), float(distance), source)


@dataclass(frozen=True, eq=False)
class Depths:
    """Along the rays from several sources to one point.

    Parameters
    ----------
    radiological_mm : ndarray, shape (n,)
        Sum of relative electron density times length.
    tissue_mm : ndarray, shape (n,)
        Length from the skin (density 0.4) to the point.
    """

    radiological_mm: Array
    tissue_mm: Array


def depths(red: Volume, sources_lps: Sequence[Array], point_lps: Point) -> Depths:
    """Sum density along straight rays, at the middles of steps of about a millimetre, trilinear.

    Raises
    ------
    GeometryError
        If a density on a ray is negative or not finite.
    """
    point = np.array(point_lps)
    vectors = point - np.array(sources_lps)
    lengths = np.linalg.norm(vectors, axis=1)
    count = int(np.ceil(lengths.max() / STEP_MM))
    along = (np.arange(count) + 0.5) / count
    samples = np.array(sources_lps)[:, None, :] + along[None, :, None] * vectors[:, None, :]
    density = red.sample(samples, outside=0.0)
    if not np.all(np.isfinite(density)) or np.any(density < 0):
        raise GeometryError("densities must be finite and not negative", where="independent check, ray to the point")
    step = lengths / count
    radiological = np.where(density < AIR, 0.0, density).sum(axis=1) * step
    skin = np.argmax(density >= 0.4, axis=1)
    tissue = np.where(np.any(density >= 0.4, axis=1), (count - skin) * step, 0.0)
    return Depths(radiological, tissue)
