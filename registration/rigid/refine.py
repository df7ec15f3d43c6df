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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from imrt_core.patient import RigidTransform

from ._kernels import SHADING_TERMS, look_up, normal_equations, subtract_model
from .samples import Level

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
        # Wide at first, so that a displaced edge is not taken for an outlier before it can pull.
        weights = _robust_weights(sample, residuals, spread, widened=3.0 if done <= 3 else 1.0)
        matrix, vector = normal_equations(residuals, sample.gradients, sample.arms, weights, sample.fixed)
        step = _solved(matrix, vector, free)
        turn, move = step[:3], step[3:6] * _LENGTH
        transform = _stepped(transform, centre_fixed, turn, move)
        intensity = intensity + step[6:]
        if np.linalg.norm(move) + radius * np.linalg.norm(turn) < tolerance_mm:
            converged = True
            break
    return _fit(level, transform, centre_fixed, intensity, done, converged)


def without_each(level: Level, fit: Fit, blocks: Sequence[NDArray[np.bool_]]) -> list[RigidTransform]:
    """Return the match without each of some blocks of points, by one Gauss-Newton step from the match with all.

    The equations of a block are taken off the sum; from a converged match one Newton step of the robust cost (with
    its second derivative, not the weights of reweighted least squares) is the first-order jackknife.

    Parameters
    ----------
    level : Level
        What was matched.
    fit : Fit
        Its match.
    blocks : sequence of ndarray of bool, shape (n,)
        Points to leave out.
    """
    transform, centre_fixed = fit.moving_from_fixed, level.points_lps.mean(axis=0)
    sample = _evaluate(level, transform, centre_fixed)
    intensity = np.concatenate([[fit.scale], fit.shading / _INTENSITY])
    residuals, spread = _residuals(sample, intensity)
    weights, curvature = _robust_weights(sample, residuals, spread), _robust_curvature(sample, residuals, spread)

    def equations(part: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        r, g, a, f = residuals[part], sample.gradients[part], sample.arms[part], sample.fixed[part]
        _, slope = normal_equations(r, g, a, weights[part], f)
        return normal_equations(r, g, a, curvature[part], f)[0], slope

    matrix, vector = equations(np.ones(len(weights), dtype=bool))
    free = np.ones(len(vector), dtype=bool)
    own = _solved(matrix, vector, free)
    found = []
    for block in blocks:
        less_matrix, less_vector = equations(block)
        # What is left of the match's own step is no effect of the block.
        step = _solved(matrix - less_matrix, vector - less_vector, free) - own
        found.append(_stepped(transform, centre_fixed, step[:3], step[3:6] * _LENGTH))
    return found


def _robust_weights(
    sample: _Sample, residuals: NDArray[np.float64], spread: float, *, widened: float = 1.0
) -> NDArray[np.float64]:
    """Geman and McClure's weights of what the moving image shows."""
    return np.asarray(sample.seen / (1.0 + (residuals / (_robust_width(spread) * widened)) ** 2) ** 2)


def _robust_curvature(sample: _Sample, residuals: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
    """Second derivative of Geman and McClure's cost, whose first is weight times residual."""
    squared = (residuals / _robust_width(spread)) ** 2
    return np.asarray(sample.seen * (1.0 - 3.0 * squared) / (1.0 + squared) ** 3)


def _robust_width(spread: float) -> float:
    return _ROBUST_SIGMAS * max(spread, _FLOOR_HU / _INTENSITY)


def _solved(matrix: NDArray[np.float64], vector: NDArray[np.float64], free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the damped Gauss-Newton step of the free unknowns, 0 elsewhere."""
    step = np.zeros(len(vector))
    damping = 1e-6 * np.trace(matrix) / len(vector) * np.eye(int(free.sum()))
    part = matrix[np.ix_(free, free)]
    step[free] = -np.linalg.solve(part + np.diag(1e-4 * np.diag(part)) + damping, vector[free])
    return step


def _stepped(
    transform: RigidTransform,
    centre_fixed: NDArray[np.float64],
    turn: NDArray[np.float64],
    move_mm: NDArray[np.float64],
) -> RigidTransform:
    """Return a match turned (rotation vector) about the moved centre and moved, both at most a step's worth."""
    shrink = min(1.0, _MAX_STEP_RAD / max(float(np.linalg.norm(turn)), 1e-12))
    shrink = min(shrink, _MAX_STEP_MM / max(float(np.linalg.norm(move_mm)), 1e-12))
    centre = transform.apply(centre_fixed)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn * shrink).as_matrix()
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + move_mm * shrink
    return RigidTransform.from_matrix(matrix) @ transform


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
