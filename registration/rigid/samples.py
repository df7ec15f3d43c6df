"""What a refinement compares: points of the planning CT, and the image of the day as a spline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, Volume

from .._filter_kernels import spline_coefficients
from ..preprocess import Mask


@dataclass(frozen=True, eq=False)
class Level:
    """Samples of the fixed image and the moving image of one resolution.

    Parameters
    ----------
    points_lps : ndarray, shape (n, 3)
        Sampled fixed points.
    fixed_hu : ndarray, shape (n,)
        Windowed intensities there.
    coefficients : ndarray, shape (nz, ny, nx)
        Cubic B-spline coefficients of the windowed moving image.
    seen : ndarray of uint8
        Where the moving image may be used.
    grid : Grid
        Grid of the moving image.
    """

    points_lps: NDArray[np.float64]
    fixed_hu: NDArray[np.float64]
    coefficients: NDArray[np.float32]
    seen: NDArray[np.uint8]
    grid: Grid

    def subset(self, keep: NDArray[np.bool_]) -> Level:
        """Return the level with some of the fixed points."""
        return Level(self.points_lps[keep], self.fixed_hu[keep], self.coefficients, self.seen, self.grid)


@dataclass(frozen=True, eq=False)
class FixedSamples:
    """Points of the planning CT with their intensities, and the window that both images are clipped to."""

    points_lps: NDArray[np.float64]
    fixed_hu: NDArray[np.float64]
    window_hu: tuple[float, float]


def draw_samples(
    fixed: Volume, region: Mask, *, window_hu: tuple[float, float], points: int, seed: int = 0
) -> FixedSamples:
    """Draw voxels of a region without replacement; seeded, so that the same input gives the same sample.

    Parameters
    ----------
    fixed : Volume
        HU at the resolution of the level, already smoothed.
    region : ndarray of bool
        On the same grid.
    window_hu : tuple of float
        Clip for both images.
    points : int
        Most points to draw.
    """
    flat = np.flatnonzero(region)
    if flat.size > points:
        flat = np.sort(np.random.default_rng(seed).choice(flat, size=points, replace=False))
    k, j, i = np.unravel_index(flat, region.shape)
    values = np.clip(fixed.array.ravel()[flat].astype(np.float64), *window_hu)
    return FixedSamples(fixed.grid.to_lps(np.stack([i, j, k], axis=-1)), values, window_hu)


def make_level(samples: FixedSamples, moving: Volume, seen: Mask) -> Level:
    """Clip the moving image (HU, smoothed) to the window of the samples and prepare its spline."""
    clipped = np.clip(moving.array, *samples.window_hu).astype(np.float32)
    coefficients = spline_coefficients(clipped)
    return Level(samples.points_lps, samples.fixed_hu, coefficients, seen.astype(np.uint8), moving.grid)
