"""Does a rigid match agree with itself? Figures from parts of the region and from other starts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from imrt_core.patient import RigidTransform

from ._kernels import look_up
from .refine import Fit, refine, without_each
from .samples import Level

#: A block with fewer points has no say of its own.
_MIN_BLOCK_POINTS = 300
#: Restarts and blocks show whether the same minimum is found, not its last hundredth of a millimetre. A step this short
#: leaves an error that is shorter still.
_RESTART_POINTS, _TOLERANCE_MM = 20_000, 0.01


@dataclass(frozen=True)
class BlockFigures:
    """How parts of the region agree.

    Parameters
    ----------
    local_shift_mm, local_shift_max_mm : float
        Median and largest translation that a block takes alone, its rotation kept.
    uncertainty_mm, uncertainty_deg : float
        Jackknife standard error of the match (at the centre) over the blocks.
    """

    local_shift_mm: float
    local_shift_max_mm: float
    uncertainty_mm: float
    uncertainty_deg: float


def difference(a: RigidTransform, b: RigidTransform, centre_lps: NDArray[np.float64]) -> tuple[float, float]:
    """Return the distance in mm at a point, and the angle in degrees, between two matches."""
    distance = float(np.linalg.norm(a.apply(centre_lps) - b.apply(centre_lps)))
    return distance, float(np.rad2deg(Rotation.from_matrix(a.rotation.T @ b.rotation).magnitude()))


def block_figures(level: Level, fit: Fit, centre_lps: NDArray[np.float64]) -> BlockFigures:
    """Match eight blocks of the region alone, and the region without each of them.

    A rigid match of the right patient is confirmed by every part. Blocks that go their own way show posture that is
    not rigid, or another patient.
    """
    _, seen = sampled(level, fit.moving_from_fixed)
    blocks = _blocks(level.points_lps, seen)
    shifts = []
    for block in blocks:
        own = refine(
            level.subset(block), fit.moving_from_fixed, iterations=12, tolerance_mm=_TOLERANCE_MM, translation_only=True
        )
        shifts.append(difference(own.moving_from_fixed, fit.moving_from_fixed, level.points_lps[block].mean(axis=0))[0])
    if len(blocks) < 3:
        return BlockFigures(np.inf, np.inf, np.inf, np.inf)
    left_out = [difference(rest, fit.moving_from_fixed, centre_lps) for rest in without_each(level, fit, blocks)]
    n = len(blocks)
    # Jackknife: sqrt((n − 1)/n · Σ d²), about the full match instead of the mean of the replicates.
    error = np.sqrt((n - 1) / n * np.sum(np.square(left_out), axis=0))
    return BlockFigures(float(np.median(shifts)), float(np.max(shifts)), float(error[0]), float(error[1]))


def restart_spread(level: Level, coarse: Level, fit: Fit, centre_lps: NDArray[np.float64]) -> tuple[float, float]:
    """Return the largest difference (mm, degrees) of matches started 5 mm and 2° away in four directions."""
    centre = fit.moving_from_fixed.apply(centre_lps)
    keep = np.zeros(len(level.points_lps), dtype=bool)
    keep[:: max(1, len(keep) // _RESTART_POINTS)] = True
    sample = level.subset(keep)
    reference = refine(sample, fit.moving_from_fixed, tolerance_mm=_TOLERANCE_MM).moving_from_fixed
    worst = (0.0, 0.0)
    for corner in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        direction = np.array(corner) / np.sqrt(3.0)
        away = RigidTransform.from_parameters(
            translation_mm=5.0 * direction, rotation_deg=2.0 * direction[[1, 2, 0]], centre_lps=centre
        )
        near = refine(coarse, away @ fit.moving_from_fixed, tolerance_mm=0.05).moving_from_fixed
        found = refine(sample, near, tolerance_mm=_TOLERANCE_MM).moving_from_fixed
        mm, deg = difference(found, reference, centre_lps)
        worst = (max(worst[0], mm), max(worst[1], deg))
    return worst


def bone_dice(level: Level, fit: Fit, *, threshold_hu: float) -> float:
    """Return the Dice overlap of bone at the sampled points that both images show; NaN with under 200 bone points."""
    values, seen = sampled(level, fit.moving_from_fixed)
    mapped = fit.moving_from_fixed.apply(level.points_lps[seen])
    day = (values[seen] - fit.shading_at(mapped)) / max(fit.scale, 1e-3) > threshold_hu
    planned = level.fixed_hu[seen] > threshold_hu
    if planned.sum() < 200:
        return float("nan")
    return float(2.0 * (day & planned).sum() / (day.sum() + planned.sum()))


def sampled(level: Level, transform: RigidTransform) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the moving HU at the sampled points, and which of them the moving image shows."""
    values, _, _, seen = look_up(
        level.coefficients,
        level.seen,
        level.points_lps,
        level.grid.index_from_lps @ transform.matrix,
        transform.matrix,
        np.eye(3),
    )
    return values, seen > 0


def _blocks(points_lps: NDArray[np.float64], seen: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """Split the visible points along z into four slabs of equal count, each in a left and a right half."""
    blocks = []
    z = points_lps[:, 2]
    edges = np.quantile(z[seen], [0.0, 0.25, 0.5, 0.75, 1.0]) if seen.any() else np.zeros(5)
    edges[-1] += 1.0
    for lower, upper in pairwise(edges):
        slab = seen & (z >= lower) & (z < upper)
        if not slab.any():
            continue
        left = points_lps[:, 0] > np.median(points_lps[slab, 0])
        blocks += [half for half in (slab & left, slab & ~left) if half.sum() >= _MIN_BLOCK_POINTS]
    return blocks
