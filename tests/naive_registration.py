"""Slow and obvious twins of the registration kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def normal_equations(
    residuals: Array, gradients: Array, arms: Array, weights: Array, fixed: Array
) -> tuple[Array, Array]:
    """Build J row by row and form JᵀWJ and JᵀWr."""
    rows = []
    for g, q, f in zip(gradients, arms, fixed, strict=True):
        x, y, z = q
        turning = np.cross(q, g)
        rows.append([*turning, *g, -f, -1, -x, -y, -z, -x * x, -y * y, -z * z, -x * y, -x * z, -y * z])
    j = np.array(rows)
    w = np.diag(weights)
    return j.T @ w @ j, j.T @ w @ residuals


def subtract_model(values: Array, fixed: Array, arms: Array, intensity: Array) -> Array:
    """Scale and quadratic shading, point by point."""
    out = []
    for v, f, (x, y, z) in zip(values, fixed, arms, strict=True):
        terms = [f, 1, x, y, z, x * x, y * y, z * z, x * y, x * z, y * z]
        out.append(v - sum(c * t for c, t in zip(intensity, terms, strict=True)))
    return np.array(out)


def trilinear(array: NDArray[np.generic], ijk: Array) -> float:
    """Interpolate at one index, clamped to the voxel centres."""
    total = 0.0
    upper = np.array(array.shape[::-1]) - 1
    at = np.clip(ijk, 0, upper)
    base = np.minimum(np.floor(at).astype(int), np.maximum(upper - 1, 0))
    for dk in (0, 1):
        for dj in (0, 1):
            for di in (0, 1):
                corner = base + np.array([di, dj, dk])
                part = np.prod([1 - abs(at[a] - corner[a]) if corner[a] <= upper[a] else 0 for a in range(3)])
                if part > 0:
                    total += part * float(array[corner[2], corner[1], corner[0]])
    return total


def vector_at(vectors: NDArray[np.generic], ijk: Array) -> Array:
    """Interpolate a vector at one index, clamped."""
    return np.array([trilinear(vectors[..., c], ijk) for c in range(3)])


def pull(source: NDArray[np.generic], index_from_lps: Array, lps_from_like: Array, shape: tuple[int, int, int],
         vectors: NDArray[np.generic] | None, outside: float) -> Array:  # fmt: skip
    """Sample voxel by voxel."""
    out = np.full(shape, outside)
    upper = np.array(source.shape[::-1]) - 0.5
    for k, j, i in np.ndindex(*shape):
        p = (lps_from_like @ [i, j, k, 1])[:3]
        if vectors is not None:
            p = p + vectors[k, j, i]
        at = (index_from_lps @ [*p, 1])[:3]
        if np.all(at >= -0.5) and np.all(at <= upper):
            out[k, j, i] = trilinear(source, at)
    return out


def compose(vectors: NDArray[np.generic], index_from_lps: Array, rigid: Array, lps_from_out: Array,
            shape: tuple[int, int, int]) -> Array:  # fmt: skip
    """R (p + w(p)) + t − p, voxel by voxel."""
    out = np.empty((*shape, 3))
    for k, j, i in np.ndindex(*shape):
        p = (lps_from_out @ [i, j, k, 1])[:3]
        w = vector_at(vectors, (index_from_lps @ [*p, 1])[:3])
        out[k, j, i] = (rigid @ [*(p + w), 1])[:3] - p
    return out


def negative_laplacian(x: Array, spacing_zyx_mm: tuple[float, float, float]) -> Array:
    """Sum of differences to the neighbours that exist, over the squared spacing."""
    out = np.zeros_like(x)
    for index in np.ndindex(*x.shape[:3]):
        for axis in range(3):
            for step in (-1, 1):
                other = list(index)
                other[axis] += step
                if 0 <= other[axis] < x.shape[axis]:
                    out[index] += (x[index] - x[tuple(other)]) / spacing_zyx_mm[axis] ** 2
    return out


def accumulate(fixed: Array, gradient: Array, weight: Array, moving: Array, seen: NDArray[np.bool_],
               moving_index_from_fixed_lps: Array, fixed_lps_from_index: Array, lattice: Array,
               factors: tuple[int, int, int], cut_hu: float) -> tuple[Array, Array]:  # fmt: skip
    """Residual, mean gradient and weight of every voxel, added to its cell."""
    matrix, vector = np.zeros((*lattice.shape[:3], 6)), np.zeros(lattice.shape)
    upper = np.array(moving.shape[::-1]) - 1
    for k, j, i in np.ndindex(*fixed.shape):
        if weight[k, j, i] == 0:
            continue
        cell = (k // factors[0], j // factors[1], i // factors[2])
        u = vector_at(lattice, (np.array([i, j, k]) + 0.5) / np.array(factors[::-1]) - 0.5)
        p = (fixed_lps_from_index @ [i, j, k, 1])[:3] + u
        at = (moving_index_from_fixed_lps @ [*p, 1])[:3]
        if np.any(at < 0) or np.any(at > upper):
            continue
        ni, nj, nk = np.floor(at + 0.5).astype(int)
        if not seen[nk, nj, ni]:
            continue
        base = np.minimum(np.floor(at).astype(int), upper - 1)
        # Trilinear is linear along each axis inside a voxel cube: its slope is the difference of the two faces.
        slope = np.empty(3)
        for axis in range(3):
            low, high = at.copy(), at.copy()
            low[axis], high[axis] = base[axis], base[axis] + 1
            slope[axis] = trilinear(moving, high) - trilinear(moving, low)
        g = 0.5 * (gradient[k, j, i] + moving_index_from_fixed_lps[:3, :3].T @ slope)
        r = trilinear(moving, at) - fixed[k, j, i]
        w = weight[k, j, i] / (1 + (r / cut_hu) ** 2) ** 2
        matrix[cell] += w * np.array([g[0] * g[0], g[0] * g[1], g[0] * g[2], g[1] * g[1], g[1] * g[2], g[2] * g[2]])
        vector[cell] -= w * g * r
    return matrix, vector


def jacobian_determinant(vectors: Array, index_from_lps: Array) -> Array:
    """det(I + du/dp) by numpy's gradients along the index axes and the chain rule."""
    out = np.empty(vectors.shape[:3])
    axes = (2, 1, 0)
    along = [np.gradient(vectors, axis=a) if vectors.shape[a] > 1 else np.zeros_like(vectors) for a in axes]
    for place in np.ndindex(out.shape):
        matrix = np.eye(3)
        for a in range(3):
            matrix += np.outer(along[a][place], index_from_lps[a, :3])
        out[place] = np.linalg.det(matrix)
    return out
