"""Compiled loops over grids: inversion, composition and Jacobian. Naive twins are in ``tests/naive_registration.py``.

One thread writes one plane of the output: results do not depend on the thread count.
"""

from __future__ import annotations

from math import floor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from imrt_core._numba import kernel

Array = NDArray[Any]


@kernel()
def _vector_at(vectors: Array, x: float, y: float, z: float, out: Array) -> None:
    """Write the trilinear vector at an index (i, j, k) to ``out``; beyond the grid its edge value holds."""
    nz, ny, nx = vectors.shape[:3]
    x = min(max(x, 0.0), nx - 1.0)
    y = min(max(y, 0.0), ny - 1.0)
    z = min(max(z, 0.0), nz - 1.0)
    i0, j0, k0 = min(floor(x), max(nx - 2, 0)), min(floor(y), max(ny - 2, 0)), min(floor(z), max(nz - 2, 0))
    i1, j1, k1 = min(i0 + 1, nx - 1), min(j0 + 1, ny - 1), min(k0 + 1, nz - 1)
    fx, fy, fz = x - i0, y - j0, z - k0
    w00, w01, w10, w11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
    for c in range(3):
        low = w00 * vectors[k0, j0, i0, c] + w01 * vectors[k0, j0, i1, c]
        low += w10 * vectors[k0, j1, i0, c] + w11 * vectors[k0, j1, i1, c]
        high = w00 * vectors[k1, j0, i0, c] + w01 * vectors[k1, j0, i1, c]
        high += w10 * vectors[k1, j1, i0, c] + w11 * vectors[k1, j1, i1, c]
        out[c] = low * (1 - fz) + high * fz


@kernel(parallel=True)
def _invert(
    vectors: Array,
    index_from_lps: Array,
    fixed_from_out: Array,
    lps_from_out: Array,
    iterations: int,
    tolerance_mm: float,
    out: Array,
    error: Array,
) -> None:
    mz, my, mx = out.shape[:3]
    for k in numba.prange(mz):
        q = np.empty(3)
        p = np.empty(3)
        u = np.empty(3)
        for j in range(my):
            for i in range(mx):
                for a in range(3):
                    q[a] = (
                        fixed_from_out[a, 0] * i
                        + fixed_from_out[a, 1] * j
                        + fixed_from_out[a, 2] * k
                        + fixed_from_out[a, 3]
                    )
                    p[a] = q[a]
                left = 0.0
                for _ in range(iterations):
                    x = (
                        index_from_lps[0, 0] * p[0]
                        + index_from_lps[0, 1] * p[1]
                        + index_from_lps[0, 2] * p[2]
                        + index_from_lps[0, 3]
                    )
                    y = (
                        index_from_lps[1, 0] * p[0]
                        + index_from_lps[1, 1] * p[1]
                        + index_from_lps[1, 2] * p[2]
                        + index_from_lps[1, 3]
                    )
                    z = (
                        index_from_lps[2, 0] * p[0]
                        + index_from_lps[2, 1] * p[1]
                        + index_from_lps[2, 2] * p[2]
                        + index_from_lps[2, 3]
                    )
                    left = 0.0
                    _vector_at(vectors, x, y, z, u)
                    for a in range(3):
                        gap = q[a] - p[a] - u[a]
                        left += gap * gap
                        p[a] += gap
                    if left < tolerance_mm * tolerance_mm:
                        break
                for a in range(3):
                    out[k, j, i, a] = p[a] - (
                        lps_from_out[a, 0] * i + lps_from_out[a, 1] * j + lps_from_out[a, 2] * k + lps_from_out[a, 3]
                    )
                error[k, j, i] = np.sqrt(left)


def invert(
    vectors_mm: Array,
    index_from_lps: Array,
    rigid: Array,
    lps_from_out: Array,
    out_shape: tuple[int, int, int],
    *,
    iterations: int = 40,
    tolerance_mm: float = 0.005,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Invert p + u(p) = R q by fixed-point iteration; beyond its grid u holds its edge value.

    Parameters
    ----------
    vectors_mm : ndarray, shape (nz, ny, nx, 3)
        u.
    index_from_lps, rigid, lps_from_out : ndarray, 4×4
        Index of u's grid from LPS, R, LPS of q from index of the output.
    out_shape : tuple of int
        Shape of the output grid.

    Returns
    -------
    p − q, shape (*out_shape, 3), and the last |R q − p − u(p)| in mm.
    """
    out = np.empty((*out_shape, 3), dtype=np.float32)
    error = np.empty(out_shape, dtype=np.float32)
    _invert(
        np.ascontiguousarray(vectors_mm, dtype=np.float32),
        np.ascontiguousarray(index_from_lps, dtype=np.float64),
        np.ascontiguousarray(rigid @ lps_from_out, dtype=np.float64),
        np.ascontiguousarray(lps_from_out, dtype=np.float64),
        iterations,
        tolerance_mm,
        out,
        error,
    )
    return out, error


@kernel(parallel=True)
def _compose(vectors: Array, index_from_out: Array, lps_from_out: Array, rigid: Array, out: Array) -> None:
    mz, my, mx = out.shape[:3]
    for k in numba.prange(mz):
        p = np.empty(3)
        a = np.empty(3)
        w = np.empty(3)
        for j in range(my):
            for i in range(mx):
                for c in range(3):
                    p[c] = lps_from_out[c, 0] * i + lps_from_out[c, 1] * j + lps_from_out[c, 2] * k + lps_from_out[c, 3]
                    a[c] = (
                        index_from_out[c, 0] * i
                        + index_from_out[c, 1] * j
                        + index_from_out[c, 2] * k
                        + index_from_out[c, 3]
                    )
                _vector_at(vectors, a[0], a[1], a[2], w)
                for c in range(3):
                    out[k, j, i, c] = (
                        rigid[c, 0] * (p[0] + w[0])
                        + rigid[c, 1] * (p[1] + w[1])
                        + rigid[c, 2] * (p[2] + w[2])
                        + rigid[c, 3]
                        - p[c]
                    )


def compose(
    vectors_mm: Array, index_from_lps: Array, rigid: Array, lps_from_out: Array, out_shape: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Return R (p + w(p)) + t − p at the voxels of a grid; beyond its own grid w holds its edge value.

    Parameters
    ----------
    vectors_mm : ndarray, shape (nz, ny, nx, 3)
        w, LPS mm.
    index_from_lps : ndarray, 4×4
        Index of w's grid from LPS.
    rigid : ndarray, 4×4
        R and t.
    lps_from_out : ndarray, 4×4
        LPS from index of the output.
    out_shape : tuple of int
        Shape of the output grid.
    """
    out = np.empty((*out_shape, 3), dtype=np.float32)
    _compose(
        np.ascontiguousarray(vectors_mm, dtype=np.float32),
        np.ascontiguousarray(index_from_lps @ lps_from_out, dtype=np.float64),
        np.ascontiguousarray(lps_from_out, dtype=np.float64),
        np.ascontiguousarray(rigid, dtype=np.float64),
        out,
    )
    return out


@kernel(parallel=True)
def _jacobian(vectors: Array, per_index: Array, out: Array) -> None:
    nz, ny, nx = out.shape
    for k in numba.prange(nz):
        m = np.empty((3, 3))
        k0, k1 = max(k - 1, 0), min(k + 1, nz - 1)
        for j in range(ny):
            j0, j1 = max(j - 1, 0), min(j + 1, ny - 1)
            for i in range(nx):
                i0, i1 = max(i - 1, 0), min(i + 1, nx - 1)
                for c in range(3):
                    di = (vectors[k, j, i1, c] - vectors[k, j, i0, c]) / max(i1 - i0, 1)
                    dj = (vectors[k, j1, i, c] - vectors[k, j0, i, c]) / max(j1 - j0, 1)
                    dk = (vectors[k1, j, i, c] - vectors[k0, j, i, c]) / max(k1 - k0, 1)
                    for d in range(3):
                        m[c, d] = di * per_index[0, d] + dj * per_index[1, d] + dk * per_index[2, d]
                    m[c, c] += 1.0
                out[k, j, i] = (
                    m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
                    - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
                    + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
                )


def jacobian_determinant(vectors_mm: Array, index_from_lps: Array) -> NDArray[np.float32]:
    """Return det d(p + u)/dp by central differences, one-sided at the borders, 0 along an axis of one voxel.

    Parameters
    ----------
    vectors_mm : ndarray, shape (nz, ny, nx, 3)
        u, LPS mm.
    index_from_lps : ndarray, 4×4
        Of u's grid: row a holds the change of index a (i, j, k) per mm along x, y, z.
    """
    out = np.empty(vectors_mm.shape[:3], dtype=np.float32)
    _jacobian(
        np.ascontiguousarray(vectors_mm, dtype=np.float32),
        np.ascontiguousarray(index_from_lps[:3, :3], dtype=np.float64),
        out,
    )
    return out
