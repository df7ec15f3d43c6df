"""Gauss-Newton refinement of a rigid match at one resolution, robust to anatomy that moved and to CBCT shading.

The model at fixed points p of a region is ``moving(T p) = scale·fixed(p) + shading(T p)`` with a quadratic shading
(cupping, HU shift) fitted together with the six degrees of freedom; residuals are weighted by Geman and McClure's
function of their median absolute deviation, so that tissue that deformed loses its say. The moving image is a cubic
B-spline: linear interpolation pulls a noisy match towards half voxels.

References
----------
.. [1] M. Unser, Splines: a perfect fit for signal and image processing, IEEE Signal Process. Mag. 16 (1999).
.. [2] S. Geman, D. McClure, Statistical methods for tomographic image reconstruction, Bull. ISI 52 (1987).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from imrt_core.patient import Grid, RigidTransform, Volume

from ..preprocess import Mask
from ._kernels import SHADING_TERMS, look_up, normal_equations, subtract_model

#: Lengths of the equations are in units of 100 mm, intensities in units of 100 HU, so that all unknowns are near 1.
_LENGTH = 100.0
_INTENSITY = 100.0
#: Residual at which Geman-McClure weights fall to 1/4, in standard deviations (from the median absolute deviation).
_ROBUST_SIGMAS = 3.0
#: Noise floor of the residuals in HU: on noise-free images weights must not collapse onto a few perfect points.
_FLOOR_HU = 15.0
#: Largest step of one iteration.
_MAX_STEP_MM = 8.0
_MAX_STEP_RAD = np.deg2rad(4.0)


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
class Fit:
    """A refined match and how well it fits.

    Parameters
    ----------
    moving_from_fixed : RigidTransform
        The match.
    scale, shading : float, ndarray (10,)
        Intensity model; ``shading`` are the coefficients in HU of 1, x, y, z, xx, yy, zz, xy, xz, yz with lengths in
        100 mm from ``centre_lps``.
    centre_lps : ndarray, shape (3,)
        Origin of the shading, frame of the moving image.
    correlation : float
        Of the two images over the points seen, after the shading is taken off.
    points_seen, points : int
        How many sampled points the moving image shows, and how many there are.
    residual_hu : float
        1.4826 times the median absolute residual.
    iterations : int
        Iterations used.
    converged : bool
        Whether the last step was below the tolerance.
    """

    moving_from_fixed: RigidTransform
    scale: float
    shading: NDArray[np.float64]
    centre_lps: NDArray[np.float64]
    correlation: float
    points_seen: int
    points: int
    residual_hu: float
    iterations: int
    converged: bool

    @property
    def overlap(self) -> float:
        """Fraction of the sampled fixed points that the moving image shows."""
        return self.points_seen / max(self.points, 1)

    def shading_at(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Shading in HU at (…, 3) points of the moving image."""
        arms = (np.asarray(points_lps, dtype=float) - self.centre_lps) / _LENGTH
        return np.asarray(_shading_basis(arms) @ self.shading)


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
    coefficients = ndimage.spline_filter(clipped, order=3, mode="mirror", output=np.float32)
    return Level(samples.points_lps, samples.fixed_hu, coefficients, seen.astype(np.uint8), moving.grid)


def refine(
    level: Level,
    start: RigidTransform,
    *,
    iterations: int = 30,
    tolerance_mm: float = 0.003,
    translation_only: bool = False,
    even_shading: bool = False,
) -> Fit:
    """Refine a match.

    Parameters
    ----------
    level : Level
        What to match.
    start : RigidTransform
        moving_from_fixed to start from.
    iterations : int
        Most iterations.
    tolerance_mm : float
        Stop when a step moves no sampled point by about more than this.
    translation_only : bool
        Keep the rotation.
    even_shading : bool
        Fit one HU offset only. In a small region a quadratic shading looks like a displaced edge.
    """
    transform = start
    centre_fixed = level.points_lps.mean(axis=0)
    radius = float(np.sqrt(np.mean(np.sum((level.points_lps - centre_fixed) ** 2, axis=1))))
    free = np.ones(6 + 1 + SHADING_TERMS, dtype=bool)
    free[:3] = not translation_only
    free[8:] = not even_shading
    intensity: NDArray[np.float64] | None = None
    converged, done, spread = False, 0, np.inf
    for done in range(1, iterations + 1):
        sample = _evaluate(level, transform, centre_fixed)
        if sample.seen.sum() < 200:
            break
        if intensity is None:
            intensity = _initial_intensity(sample)
        residuals, spread = _residuals(sample, intensity)
        # Geman-McClure; wide at first, so that a displaced edge is not taken for an outlier before it can pull.
        width = _ROBUST_SIGMAS * max(spread, _FLOOR_HU / _INTENSITY) * (3.0 if done <= 3 else 1.0)
        weights = sample.seen / (1.0 + (residuals / width) ** 2) ** 2
        matrix, vector = normal_equations(residuals, sample.gradients, sample.arms, weights, sample.fixed)
        step = np.zeros(len(vector))
        damping = 1e-6 * np.trace(matrix) / len(vector) * np.eye(int(free.sum()))
        part = matrix[np.ix_(free, free)]
        step[free] = -np.linalg.solve(part + np.diag(1e-4 * np.diag(part)) + damping, vector[free])
        turn, move = step[:3], step[3:6] * _LENGTH
        shrink = min(1.0, _MAX_STEP_RAD / max(float(np.linalg.norm(turn)), 1e-12))
        shrink = min(shrink, _MAX_STEP_MM / max(float(np.linalg.norm(move)), 1e-12))
        centre = transform.apply(centre_fixed)
        matrix4 = np.eye(4)
        matrix4[:3, :3] = Rotation.from_rotvec(turn * shrink).as_matrix()
        matrix4[:3, 3] = centre - matrix4[:3, :3] @ centre + move * shrink
        transform = RigidTransform.from_matrix(matrix4) @ transform
        intensity = intensity + step[6:]
        if np.linalg.norm(move) + radius * np.linalg.norm(turn) < tolerance_mm:
            converged = True
            break
    return _fit(level, transform, centre_fixed, intensity, done, converged)


@dataclass(frozen=True, eq=False)
class _Sample:
    fixed: NDArray[np.float64]
    values: NDArray[np.float64]
    gradients: NDArray[np.float64]
    arms: NDArray[np.float64]
    seen: NDArray[np.float64]


def _evaluate(level: Level, transform: RigidTransform, centre_fixed: NDArray[np.float64]) -> _Sample:
    arm_from_fixed = transform.matrix.copy()
    arm_from_fixed[:3, 3] -= transform.apply(centre_fixed)
    arm_from_fixed[:3] /= _LENGTH
    # ∂/∂p = (∂index/∂p)ᵀ ∂/∂index, in 100 HU per 100 mm.
    slope_to_space = level.grid.index_from_lps[:3, :3].T * (_LENGTH / _INTENSITY)
    values, gradients, arms, seen = look_up(
        level.coefficients,
        level.seen,
        level.points_lps,
        level.grid.index_from_lps @ transform.matrix,
        arm_from_fixed,
        slope_to_space,
    )
    return _Sample(level.fixed_hu / _INTENSITY, values / _INTENSITY, gradients, arms, seen)


def _initial_intensity(sample: _Sample) -> NDArray[np.float64]:
    """Start with scale 1 and the median difference as shading."""
    seen = sample.seen > 0
    intensity = np.zeros(1 + SHADING_TERMS)
    intensity[0] = 1.0
    intensity[1] = np.median(sample.values[seen] - sample.fixed[seen])
    return intensity


def _residuals(sample: _Sample, intensity: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    residuals = subtract_model(sample.values, sample.fixed, sample.arms, intensity)
    seen = sample.seen > 0
    return residuals, 1.4826 * float(np.median(np.abs(residuals[seen]))) if seen.any() else np.inf


def _shading_basis(arms: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = arms[..., 0], arms[..., 1], arms[..., 2]
    return np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, x * z, y * z], axis=-1)


def _fit(
    level: Level,
    transform: RigidTransform,
    centre_fixed: NDArray[np.float64],
    intensity: NDArray[np.float64] | None,
    iterations: int,
    converged: bool,
) -> Fit:
    sample = _evaluate(level, transform, centre_fixed)
    seen = sample.seen > 0
    count = int(seen.sum())
    correlation, spread = -1.0, np.inf
    if intensity is None:
        intensity = np.concatenate([[1.0], np.zeros(SHADING_TERMS)])
    if count >= 200:
        residuals, spread = _residuals(sample, intensity)
        corrected = (residuals + intensity[0] * sample.fixed)[seen]
        fixed = sample.fixed[seen]
        if corrected.std() > 0 and fixed.std() > 0:
            correlation = float(np.corrcoef(corrected, fixed)[0, 1])
    return Fit(
        moving_from_fixed=transform,
        scale=float(intensity[0]),
        shading=intensity[1:] * _INTENSITY,
        centre_lps=transform.apply(centre_fixed),
        correlation=correlation,
        points_seen=count,
        points=len(level.fixed_hu),
        residual_hu=spread * _INTENSITY,
        iterations=iterations,
        converged=converged,
    )
