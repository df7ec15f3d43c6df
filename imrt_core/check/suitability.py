"""Where a point dose can be compared, and where a better point lies.

A hand calculation at a point is meant for points in tissue, beyond the build-up, away from field edges and steep
gradients (AAPM TG-114, Med Phys 38 (2011) 504, section on calculation points). Elsewhere a difference says little of
the plan, and none at all says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import GeometryError, Volume

from .geometry import Point
from .point_dose import PointDose
from .tables import CheckTables

#: A millimetre of misplacement may change the dose by this much, percent: well inside the 5 % of the verdict.
GRADIENT_PERCENT_PER_MM = 2.0
#: Less of the open fluence than this within 5 mm is mostly leakage and scatter.
LEAST_OPEN = 0.1
#: Mean electron density within 5 mm of the point: soft tissue, neither lung nor dense bone.
DENSITY = (0.8, 1.25)
NEIGHBOURHOOD_MM = 5.0
#: Electron contamination and a noisy TPR rule above it.
LEAST_DEPTH_MM = 15.0
#: A ring's mean opening may differ this much inside the smallest measured field, percent.
UNRESOLVED_PERCENT = 3.0
#: Openings may be this much beyond the measured fields.
FIELD_MARGIN = 1.1


def unsuitable_because(found: PointDose, red: Volume, tables: CheckTables, *, point_lps: Point) -> tuple[str, ...]:
    """Say why a beam's dose at a point is no ground for a verdict; nothing where it is.

    Parameters
    ----------
    found : PointDose
        What the check finds there.
    red : Volume
        Electron density relative to water.
    tables : CheckTables
        For the ranges of the measurements.
    point_lps : tuple of float
        The point.
    """
    reasons = []
    density = mean_density(red, point_lps)
    if not DENSITY[0] <= density <= DENSITY[1]:
        reasons.append(f"density {density:.2f} around the point, soft tissue is {DENSITY[0]:g} to {DENSITY[1]:g}")
    if found.shallowest_mm < LEAST_DEPTH_MM:
        reasons.append(f"{found.shallowest_mm:.0f} mm deep, build-up ends at {LEAST_DEPTH_MM:g} mm")
    if found.radiological_depth_mm > tables.depth_range_mm[1]:
        reasons.append(f"{found.radiological_depth_mm:.0f} mm deep, measured to {tables.depth_range_mm[1]:g} mm")
    if found.open_part < LEAST_OPEN:
        reasons.append(
            f"{100 * found.open_part:.0f} % of the open fluence at the point, needs {100 * LEAST_OPEN:.0f} %"
        )
    elif found.gradient_percent_per_mm > GRADIENT_PERCENT_PER_MM:
        reasons.append(
            f"the dose changes by {found.gradient_percent_per_mm:.1f} % per mm across the beam (edge or modulation), "
            f"at most {GRADIENT_PERCENT_PER_MM:g} %"
        )
    smallest, largest = tables.measured_field_mm
    if found.opening_mm * FIELD_MARGIN < smallest or found.opening_mm > largest * FIELD_MARGIN:
        reasons.append(
            f"opening of {found.opening_mm:.0f} mm equivalent side, measured {smallest:.0f} to {largest:.0f} mm"
        )
    elif found.open_part >= LEAST_OPEN and found.unresolved_percent > UNRESOLVED_PERCENT:
        reasons.append(f"the opening varies inside the smallest measured field of {smallest:.0f} mm")
    return tuple(reasons)


def mean_density(red: Volume, point_lps: Point) -> float:
    """Mean relative electron density within 5 mm of a point, 0 outside the volume."""
    at = np.arange(-NEIGHBOURHOOD_MM, NEIGHBOURHOOD_MM + 0.5, 1.0)
    ball = np.stack(np.meshgrid(at, at, at), axis=-1).reshape(-1, 3)
    ball = ball[np.linalg.norm(ball, axis=1) <= NEIGHBOURHOOD_MM]
    return float(red.sample(np.array(point_lps) + ball, outside=0.0).mean())


@dataclass(frozen=True)
class ProposedPoint:
    """A point with high dose, low gradient, in tissue.

    Parameters
    ----------
    point_lps : tuple of float
        Centre of a dose voxel, LPS mm.
    dose_gy : float
        Of the volume that it was chosen in.
    gradient_percent_per_mm : float
        Of that dose.
    """

    point_lps: Point
    dose_gy: float
    gradient_percent_per_mm: float


#: Points are sought where the dose is at least this part of its near-maximum.
HIGH_DOSE = 0.9


def proposed_points(dose_gy: Volume, red: Volume, *, count: int = 1) -> tuple[ProposedPoint, ...]:
    """Return points to check a plan at, flattest dose first.

    The rule: dose of at least 90 % of the near-maximum (dose of the hottest 2 %  of what gets half the maximum),
    density of soft tissue in the whole neighbourhood of 5 mm, and then the smallest largest relative change between
    neighbouring voxels over a neighbourhood of 5 mm. Points are at least 10 mm apart.

    Parameters
    ----------
    dose_gy : Volume
        Dose of the plan.
    red : Volume
        Electron density relative to water.
    count : int
        How many at most.

    Raises
    ------
    GeometryError
        If there is no such point.
    """
    dose = np.asarray(dose_gy.array, dtype=float)
    if not np.all(np.isfinite(dose)) or dose.max() <= 0:
        raise GeometryError("no dose to choose a point in", found=f"maximum {dose.max()} Gy", where="check point")
    high = dose >= HIGH_DOSE * np.percentile(dose[dose >= 0.5 * dose.max()], 98)
    density = red.resampled_to(dose_gy.grid, outside=0.0).array
    spacing = np.array(dose_gy.grid.spacing_mm)[::-1]
    ball = _ball(NEIGHBOURHOOD_MM / spacing)
    tissue = ndimage.binary_erosion((density >= DENSITY[0]) & (density <= DENSITY[1]), structure=ball)
    slope = np.zeros_like(dose)
    for axis, step in enumerate(spacing):
        if dose.shape[axis] > 1:
            slope = np.maximum(slope, np.abs(np.gradient(dose, step, axis=axis)))
    worst = ndimage.maximum_filter(slope, footprint=ball)
    candidates = np.argwhere(high & tissue)
    if len(candidates) == 0:
        raise GeometryError(
            "no point with high dose lies in soft tissue",
            expected=f"{100 * HIGH_DOSE:.0f} % of the near-maximum and density {DENSITY[0]:g} to {DENSITY[1]:g}",
            where="check point",
        )
    relative = 100 * worst[tuple(candidates.T)] / dose[tuple(candidates.T)]
    points = dose_gy.grid.to_lps(candidates[:, ::-1])
    chosen: list[ProposedPoint] = []
    for n in np.argsort(relative, kind="stable"):
        if len(chosen) == count:
            break
        far = all(float(np.linalg.norm(points[n] - np.array(p.point_lps))) >= 2 * NEIGHBOURHOOD_MM for p in chosen)
        if far:
            x, y, z = (float(v) for v in points[n])
            chosen.append(ProposedPoint((x, y, z), float(dose[tuple(candidates[n])]), float(relative[n])))
    return tuple(chosen)


def _ball(radius: NDArray[np.float64]) -> NDArray[np.bool_]:
    reach = np.floor(radius + 1e-9).astype(int)
    z, y, x = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    inside = (z / radius[0]) ** 2 + (y / radius[1]) ** 2 + (x / radius[2]) ** 2 <= 1 + 1e-9
    return np.asarray(inside, dtype=bool)
