"""Did the target move against the bones? The match of its soft tissue, by translation, on top of the bone match.

The couch follows the bones (or what the protocol says); a target that has moved beyond them is missed by that much.
Bone near the target is left out, so that it cannot hold the target where the bones are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import RegistrationError, RigidTransform, Volume

from ..preprocess import PreparedImage, body_mask, bone_region, distance_to
from .levels import (
    FINE_RESOLUTION,
    MID_RESOLUTION,
    MIN_VOXELS,
    OPEN_WINDOW_HU,
    Region,
    level_of,
    region_samples,
)
from .refine import Fit, refine
from .samples import Level

#: Tissue this far around the target belongs to its match: its edges, and what moves with it.
MARGIN_MM = 3.0
#: Tissue this near to bone does not: the blurred edge of bone is brighter than anything else.
FROM_BONE_MM = 4.0
#: Matches from starts this far away must agree within :data:`MAX_SPREAD_MM`.
_START_MM = 4.0
MAX_SPREAD_MM = 1.0
#: So many of the five starts must lead there.
MIN_AGREEING = 3
#: Correlation and visible share below which the match says nothing.
MIN_CORRELATION, MIN_OVERLAP = 0.5, 0.7


@dataclass(frozen=True)
class TargetMatch:
    """How far the target lies from where the bones put it.

    Parameters
    ----------
    shift_mm : tuple of float
        Target minus bones, along the axes of the planning CT (LPS).
    correlation, overlap : float
        Of its soft tissue; share of it that the day's image shows.
    spread_mm : float
        Largest difference from matches of four displaced starts that end in something like the target.
    passed : bool
        Whether the figure may be believed. It never gates the bone match.
    reasons : tuple of str
        Why not.
    """

    shift_mm: tuple[float, float, float]
    correlation: float
    overlap: float
    spread_mm: float
    passed: bool
    reasons: tuple[str, ...] = ()


def match_target(
    planning: PreparedImage,
    day: PreparedImage,
    target: Volume,
    bones: RigidTransform,
    *,
    seed: int,
    expected_mm: ArrayLike = ((0.0, 0.0, 0.0),),
) -> TargetMatch:
    """Match the target's soft tissue by translation.

    Parameters
    ----------
    planning, day : PreparedImage
        Both images; that of the day with its shading taken off.
    target : Volume
        Mask (> 0.5), planning frame.
    bones : RigidTransform
        moving_from_fixed of the bones.
    seed : int
        Of the samples drawn.
    expected_mm : array_like, shape (n, 3)
        Where to look for it: displacements beyond the bones along the planning axes. The best one counts.
    """
    unknown = (float("nan"),) * 3
    try:
        region = _soft_tissue(planning, target)
        mid, fine = (
            level_of(region_samples(planning, region, resolution, points=points, seed=seed), day, resolution)
            for resolution, points in ((MID_RESOLUTION, 20_000), (FINE_RESOLUTION, 40_000))
        )
    except RegistrationError as error:
        return TargetMatch(unknown, np.nan, 0.0, np.nan, False, (f"no target match: {error}",))
    where = _best_of(mid, bones, np.asarray(expected_mm, dtype=np.float64))
    fits = [_translated(mid, fine, bones, where + start) for start in (np.zeros(3), *_starts())]
    if any(fit.points_seen < MIN_VOXELS for fit in fits):
        return TargetMatch(unknown, np.nan, 0.0, np.nan, False, ("the image of the day does not show the target",))
    shifts = np.array([_beyond_bones(fit, bones, fine) for fit in fits])
    # a start that ends in something unlike the target is lost; one that ends elsewhere in something like it is a rival
    alike = np.array([fit.correlation >= MIN_CORRELATION for fit in fits])
    apart = np.linalg.norm(shifts - shifts[0], axis=1)
    spread_mm = float(apart[alike].max(initial=0.0))
    agreeing = int(np.sum(apart <= MAX_SPREAD_MM))
    fit = fits[0]
    checks = (
        (fit.converged, "the target match did not converge"),
        (fit.overlap >= MIN_OVERLAP, f"the image of the day shows {fit.overlap:.0%} of the target's surroundings"),
        (fit.correlation >= MIN_CORRELATION, f"correlation {fit.correlation:.2f} is below {MIN_CORRELATION:.2f}"),
        (spread_mm <= MAX_SPREAD_MM, f"target matches from other starts differ by {spread_mm:.1f} mm"),
        (agreeing >= MIN_AGREEING, f"{agreeing} of {len(fits)} starts lead to this match of the target"),
    )
    reasons = tuple(text for good, text in checks if not good)
    x, y, z = (float(v) for v in shifts[0])
    return TargetMatch((x, y, z), fit.correlation, fit.overlap, spread_mm, not reasons, reasons)


def _soft_tissue(planning: PreparedImage, target: Volume) -> Region:
    """Return the target's surroundings without bone.

    Raises
    ------
    RegistrationError
        If fewer than 500 voxels are left.
    """
    grid = planning.hu.grid
    mask = target.resampled_to(grid, outside=0.0).array > 0.5
    near = distance_to(mask, grid).array <= MARGIN_MM
    body = body_mask(planning.hu)
    bone = bone_region(planning.hu, body)
    soft = near & (distance_to(bone, grid).array > FROM_BONE_MM)
    if soft.sum() < MIN_VOXELS:
        raise RegistrationError(
            "the target holds too little soft tissue",
            found=f"{int(soft.sum())} voxels of the planning CT",
            expected=f">= {MIN_VOXELS}",
        )
    return Region("target", distance_to(soft, grid), OPEN_WINDOW_HU, 0.0)


def _best_of(mid: Level, bones: RigidTransform, expected_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the displacement, along the axes of the day, from which the coarse match correlates best."""
    starts = [bones.rotation @ place for place in expected_mm]
    if len(starts) == 1:
        return np.asarray(starts[0])
    return np.asarray(max(starts, key=lambda start: _coarse(mid, bones, start).correlation))


def _starts() -> tuple[NDArray[np.float64], ...]:
    corners = ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1))
    return tuple(_START_MM * np.array(corner) / np.sqrt(3.0) for corner in corners)


def _translated(mid: Level, fine: Level, bones: RigidTransform, start_mm: NDArray[np.float64]) -> Fit:
    near = _coarse(mid, bones, start_mm).moving_from_fixed
    return refine(fine, near, tolerance_mm=0.01, translation_only=True, even_shading=True)


def _coarse(mid: Level, bones: RigidTransform, start_mm: NDArray[np.float64]) -> Fit:
    away = RigidTransform.from_parameters(translation_mm=start_mm, rotation_deg=(0.0, 0.0, 0.0)) @ bones
    return refine(mid, away, tolerance_mm=0.05, translation_only=True, even_shading=True)


def _beyond_bones(fit: Fit, bones: RigidTransform, level: Level) -> NDArray[np.float64]:
    """Return the target's displacement beyond the bones along the planning axes."""
    centre = level.points_lps.mean(axis=0)
    moved = fit.moving_from_fixed.apply(centre) - bones.apply(centre)
    return np.asarray(bones.rotation.T @ moved)
