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
def _sample_cubic(coefficients: Array, index: Array, values: Array, gradients: Array) -> None:
    nz, ny, nx = coefficients.shape
    n = index.shape[0]
    for block in numba.prange(BLOCKS):
        wx = np.empty(4)
        wy = np.empty(4)
        wz = np.empty(4)
        dx = np.empty(4)
        dy = np.empty(4)
        dz = np.empty(4)
        for p in range(block * n // BLOCKS, (block + 1) * n // BLOCKS):
            i0 = floor(index[p, 0])
            j0 = floor(index[p, 1])
            k0 = floor(index[p, 2])
            _bspline_weights(index[p, 0] - i0, wx, dx)
            _bspline_weights(index[p, 1] - j0, wy, dy)
            _bspline_weights(index[p, 2] - k0, wz, dz)
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
            gradients[p, 0] = gx
            gradients[p, 1] = gy
            gradients[p, 2] = gz


def sample_cubic(coefficients: Array, index_ijk: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Evaluate a cubic B-spline and its gradient.

    Parameters
    ----------
    coefficients : ndarray, shape (nz, ny, nx)
        Of ``scipy.ndimage.spline_filter(..., order=3, mode="mirror")``.
    index_ijk : ndarray, shape (n, 3)
        Fractional indices inside the array.

    Returns
    -------
    values, shape (n,), and gradients per voxel along i, j, k, shape (n, 3).
    """
    index = np.ascontiguousarray(index_ijk, dtype=np.float64)
    values = np.empty(len(index))
    gradients = np.empty((len(index), 3))
    _sample_cubic(np.ascontiguousarray(coefficients, dtype=np.float32), index, values, gradients)
    return values, gradients


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
