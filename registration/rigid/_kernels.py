"""Compiled loops of the rigid refinement: cast here, compute there. Naive twins are in ``tests/naive_registration.py``.

All sums run over a fixed number of blocks, each summed in order and then added in order, so the result does not
depend on the number of threads. Index coordinates are (i, j, k) = array axes (2, 1, 0).
"""

from __future__ import annotations

from math import floor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from imrt_core._numba import kernel

Array = NDArray[Any]

#: Fixed number of partial sums: the order of additions does not depend on how many threads run.
BLOCKS = 32
#: Terms of the smooth intensity model beside scale: 1, x, y, z, xx, yy, zz, xy, xz, yz.
SHADING_TERMS = 10
#: Unknowns of one Gauss-Newton step: 3 rotations, 3 translations, scale, shading.
UNKNOWNS = 6 + 1 + SHADING_TERMS


@kernel()
def _bspline_weights(t: float, w: Array, d: Array) -> None:
    """Cubic B-spline weights and their derivatives for the taps at −1, 0, 1, 2 of the fraction t in [0, 1)."""
    s = 1.0 - t
    w[0] = s * s * s / 6.0
    w[1] = 2.0 / 3.0 - 0.5 * t * t * (2.0 - t)
    w[2] = 2.0 / 3.0 - 0.5 * s * s * (2.0 - s)
    w[3] = t * t * t / 6.0
    d[0] = -0.5 * s * s
    d[1] = 1.5 * t * t - 2.0 * t
    d[2] = -1.5 * s * s + 2.0 * s
    d[3] = 0.5 * t * t


@kernel()
def _mirror(i: int, n: int) -> int:
    """Index reflected at the first and last voxel centre (the boundary of scipy's spline filter, mode 'mirror')."""
    if i < 0:
        i = -i
    if i >= n:
        i = 2 * (n - 1) - i
    return min(max(i, 0), n - 1)


@kernel(parallel=True)
def _look_up(
    coefficients: Array,
    seen: Array,
    points: Array,
    index_from_fixed: Array,
    arm_from_fixed: Array,
    slope_to_space: Array,
    values: Array,
    gradients: Array,
    arms: Array,
    visible: Array,
) -> None:
    nz, ny, nx = coefficients.shape
    n = points.shape[0]
    for block in numba.prange(BLOCKS):
        wx, wy, wz = np.empty(4), np.empty(4), np.empty(4)
        dx, dy, dz = np.empty(4), np.empty(4), np.empty(4)
        at = np.empty(3)
        for p in range(block * n // BLOCKS, (block + 1) * n // BLOCKS):
            for c in range(3):
                at[c] = index_from_fixed[c, 3]
                arms[p, c] = arm_from_fixed[c, 3]
                for d in range(3):
                    at[c] += index_from_fixed[c, d] * points[p, d]
                    arms[p, c] += arm_from_fixed[c, d] * points[p, d]
            values[p] = 0.0
            for c in range(3):
                gradients[p, c] = 0.0
            visible[p] = 0.0
            if not (0.0 <= at[0] <= nx - 1 and 0.0 <= at[1] <= ny - 1 and 0.0 <= at[2] <= nz - 1):
                continue
            if seen[floor(at[2] + 0.5), floor(at[1] + 0.5), floor(at[0] + 0.5)] == 0:
                continue
            visible[p] = 1.0
            i0 = floor(at[0])
            j0 = floor(at[1])
            k0 = floor(at[2])
            _bspline_weights(at[0] - i0, wx, dx)
            _bspline_weights(at[1] - j0, wy, dy)
            _bspline_weights(at[2] - k0, wz, dz)
            v = 0.0
            gx = 0.0
            gy = 0.0
            gz = 0.0
            for a in range(4):
                k = _mirror(k0 - 1 + a, nz)
                for b in range(4):
                    j = _mirror(j0 - 1 + b, ny)
                    row = 0.0
                    slope = 0.0
                    for c in range(4):
                        value = coefficients[k, j, _mirror(i0 - 1 + c, nx)]
                        row += wx[c] * value
                        slope += dx[c] * value
                    v += wz[a] * wy[b] * row
                    gx += wz[a] * wy[b] * slope
                    gy += wz[a] * dy[b] * row
                    gz += dz[a] * wy[b] * row
            values[p] = v
            for c in range(3):
                gradients[p, c] = slope_to_space[c, 0] * gx + slope_to_space[c, 1] * gy + slope_to_space[c, 2] * gz


def look_up(
    coefficients: Array,
    seen: Array,
    points_lps: Array,
    index_from_fixed: Array,
    arm_from_fixed: Array,
    slope_to_space: Array,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Evaluate a cubic B-spline at mapped points.

    Parameters
    ----------
    coefficients : ndarray, shape (nz, ny, nx)
        Of :func:`registration._filter_kernels.spline_coefficients`.
    seen : ndarray, shape (nz, ny, nx)
        Non-zero where the image may be used; judged at the nearest voxel.
    points_lps : ndarray, shape (n, 3)
        Points to map.
    index_from_fixed, arm_from_fixed : ndarray, 4×4
        To the index (i, j, k) of the image, and to the arm about the centre of rotation.
    slope_to_space : ndarray, 3×3
        From the gradient per voxel along i, j, k to the gradient wanted.

    Returns
    -------
    values (n,), gradients (n, 3), arms (n, 3), and 1.0 or 0.0 for seen or not (n,); what is not seen is 0.
    """
    n = len(points_lps)
    values, gradients, arms, visible = np.empty(n), np.empty((n, 3)), np.empty((n, 3)), np.empty(n)
    _look_up(
        np.ascontiguousarray(coefficients, dtype=np.float32),
        np.ascontiguousarray(seen, dtype=np.uint8),
        np.ascontiguousarray(points_lps, dtype=np.float64),
        np.ascontiguousarray(index_from_fixed, dtype=np.float64),
        np.ascontiguousarray(arm_from_fixed, dtype=np.float64),
        np.ascontiguousarray(slope_to_space, dtype=np.float64),
        values,
        gradients,
        arms,
        visible,
    )
    return values, gradients, arms, visible


@kernel(parallel=True)
def _subtract_model(values: Array, fixed: Array, arms: Array, intensity: Array, out: Array) -> None:
    n = values.shape[0]
    for block in numba.prange(BLOCKS):
        for p in range(block * n // BLOCKS, (block + 1) * n // BLOCKS):
            x, y, z = arms[p, 0], arms[p, 1], arms[p, 2]
            shading = intensity[1] + intensity[2] * x + intensity[3] * y + intensity[4] * z
            shading += intensity[5] * x * x + intensity[6] * y * y + intensity[7] * z * z
            shading += intensity[8] * x * y + intensity[9] * x * z + intensity[10] * y * z
            out[p] = values[p] - intensity[0] * fixed[p] - shading


def subtract_model(values: Array, fixed: Array, arms: Array, intensity: Array) -> NDArray[np.float64]:
    """Return ``values − scale·fixed − shading(arms)``; intensity: scale, then 1, x, y, z, xx, yy, zz, xy, xz, yz."""
    out = np.empty(len(values))
    v, f, q, c = (np.ascontiguousarray(a, dtype=np.float64) for a in (values, fixed, arms, intensity))
    _subtract_model(v, f, q, c, out)
    return out


@kernel(parallel=True)
def _normal_equations(
    residuals: Array, gradients: Array, arms: Array, weights: Array, fixed: Array, matrix: Array, vector: Array
) -> None:
    n = residuals.shape[0]
    for block in numba.prange(BLOCKS):
        row = np.empty(UNKNOWNS)
        for p in range(block * n // BLOCKS, (block + 1) * n // BLOCKS):
            w = weights[p]
            if w == 0.0:
                continue
            x, y, z = arms[p, 0], arms[p, 1], arms[p, 2]
            gx, gy, gz = gradients[p, 0], gradients[p, 1], gradients[p, 2]
            # d(R q)/dω at ω = 0 is ω × q: gradient · (ω × q) = ω · (q × gradient).
            row[0] = y * gz - z * gy
            row[1] = z * gx - x * gz
            row[2] = x * gy - y * gx
            row[3] = gx
            row[4] = gy
            row[5] = gz
            row[6] = -fixed[p]
            row[7] = -1.0
            row[8] = -x
            row[9] = -y
            row[10] = -z
            row[11] = -x * x
            row[12] = -y * y
            row[13] = -z * z
            row[14] = -x * y
            row[15] = -x * z
            row[16] = -y * z
            for a in range(UNKNOWNS):
                scaled = w * row[a]
                vector[block, a] += scaled * residuals[p]
                for b in range(a + 1):
                    matrix[block, a, b] += scaled * row[b]


def normal_equations(
    residuals: Array, gradients: Array, arms: Array, weights: Array, fixed: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum JᵀWJ and JᵀWr of the model ``moving(T p) − scale·fixed(p) − shading(p)``.

    Parameters
    ----------
    residuals, weights, fixed : ndarray, shape (n,)
        Residuals r, weights W, and intensities of the fixed image.
    gradients : ndarray, shape (n, 3)
        Gradient of the moving image in space, at the mapped points.
    arms : ndarray, shape (n, 3)
        Mapped points relative to the centre of rotation (scaled lengths are fine if the caller scales back).

    Returns
    -------
    matrix, shape (17, 17), and vector, shape (17,).
    """
    matrix = np.zeros((BLOCKS, UNKNOWNS, UNKNOWNS))
    vector = np.zeros((BLOCKS, UNKNOWNS))
    r, g, q, w, f = (np.ascontiguousarray(a, dtype=np.float64) for a in (residuals, gradients, arms, weights, fixed))
    _normal_equations(r, g, q, w, f, matrix, vector)
    total = matrix.sum(axis=0)
    return total + np.tril(total, -1).T, vector.sum(axis=0)
