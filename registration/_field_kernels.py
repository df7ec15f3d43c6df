"""Compiled loops over grids: sampling, inversion and composition. Naive twins are in ``tests/naive_registration.py``.

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


@kernel(parallel=True)
def _pull(
    source: Array,
    index_from_like: Array,
    spacing_matrix: Array,
    vectors: Array,
    displaced: bool,
    nearest: bool,
    outside: float,
    out: Array,
) -> None:
    nz, ny, nx = source.shape
    mz, my, mx = out.shape
    for k in numba.prange(mz):
        a = np.empty(3)
        for j in range(my):
            for i in range(mx):
                for axis in range(3):
                    a[axis] = (
                        index_from_like[axis, 0] * i
                        + index_from_like[axis, 1] * j
                        + index_from_like[axis, 2] * k
                        + index_from_like[axis, 3]
                    )
                    if displaced:
                        a[axis] += (
                            spacing_matrix[axis, 0] * vectors[k, j, i, 0]
                            + spacing_matrix[axis, 1] * vectors[k, j, i, 1]
                            + spacing_matrix[axis, 2] * vectors[k, j, i, 2]
                        )
                x, y, z = a[0], a[1], a[2]
                if not (
                    -0.5 - 1e-6 <= x <= nx - 0.5 + 1e-6
                    and -0.5 - 1e-6 <= y <= ny - 0.5 + 1e-6
                    and -0.5 - 1e-6 <= z <= nz - 0.5 + 1e-6
                ):
                    out[k, j, i] = outside
                    continue
                x = min(max(x, 0.0), nx - 1.0)
                y = min(max(y, 0.0), ny - 1.0)
                z = min(max(z, 0.0), nz - 1.0)
                if nearest:
                    out[k, j, i] = source[floor(z + 0.5), floor(y + 0.5), floor(x + 0.5)]
                    continue
                i0 = min(floor(x), max(nx - 2, 0))
                j0 = min(floor(y), max(ny - 2, 0))
                k0 = min(floor(z), max(nz - 2, 0))
                i1, j1, k1 = min(i0 + 1, nx - 1), min(j0 + 1, ny - 1), min(k0 + 1, nz - 1)
                fx, fy, fz = x - i0, y - j0, z - k0
                low = (source[k0, j0, i0] * (1 - fx) + source[k0, j0, i1] * fx) * (1 - fy) + (
                    source[k0, j1, i0] * (1 - fx) + source[k0, j1, i1] * fx
                ) * fy
                high = (source[k1, j0, i0] * (1 - fx) + source[k1, j0, i1] * fx) * (1 - fy) + (
                    source[k1, j1, i0] * (1 - fx) + source[k1, j1, i1] * fx
                ) * fy
                out[k, j, i] = low * (1 - fz) + high * fz


def pull(
    source: Array,
    index_from_lps: Array,
    lps_from_like: Array,
    like_shape: tuple[int, int, int],
    *,
    vectors_mm: Array | None,
    nearest: bool,
    outside: float,
) -> NDArray[Any]:
    """Sample ``source`` at the voxels of another grid, displaced by vectors.

    Parameters
    ----------
    source : ndarray, shape (nz, ny, nx)
        Values; the dtype is kept for ``nearest``, float32 otherwise.
    index_from_lps, lps_from_like : ndarray, 4×4
        Index of the source from LPS, LPS from index of the output.
    like_shape : tuple of int
        Shape of the output.
    vectors_mm : ndarray, shape (*like_shape, 3), or None
        Displacements added to the output's points, LPS mm.
    nearest : bool
        Nearest neighbour instead of trilinear.
    outside : float
        Beyond the voxels' extent; within the outer half voxel the edge value holds.
    """
    dtype = source.dtype if nearest else np.float32
    values = np.ascontiguousarray(source, dtype=dtype)
    out = np.empty(like_shape, dtype=dtype)
    displaced = vectors_mm is not None
    vectors = np.ascontiguousarray(vectors_mm if displaced else np.zeros((1, 1, 1, 3)), dtype=np.float32)
    matrix = np.ascontiguousarray((index_from_lps @ lps_from_like)[:3], dtype=np.float64)
    linear = np.ascontiguousarray(index_from_lps[:3, :3], dtype=np.float64)
    _pull(values, matrix, linear, vectors, displaced, nearest, outside, out)
    return out


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
                    q[a] = lps_from_out[a, 0] * i + lps_from_out[a, 1] * j + lps_from_out[a, 2] * k + lps_from_out[a, 3]
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
                    out[k, j, i, a] = p[a] - q[a]
                error[k, j, i] = np.sqrt(left)


def invert(
    vectors_mm: Array,
    index_from_lps: Array,
    lps_from_out: Array,
    out_shape: tuple[int, int, int],
    *,
    iterations: int = 40,
    tolerance_mm: float = 0.005,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Invert p + u(p) = q by fixed-point iteration; beyond its grid u holds its edge value.

    Parameters
    ----------
    vectors_mm : ndarray, shape (nz, ny, nx, 3)
        u.
    index_from_lps, lps_from_out : ndarray, 4×4
        Index of u's grid from LPS, LPS from index of the output.
    out_shape : tuple of int
        Shape of the output grid.

    Returns
    -------
    p − q, shape (*out_shape, 3), and the last |q − p − u(p)| in mm.
    """
    out = np.empty((*out_shape, 3), dtype=np.float32)
    error = np.empty(out_shape, dtype=np.float32)
    _invert(
        np.ascontiguousarray(vectors_mm, dtype=np.float32),
        np.ascontiguousarray(index_from_lps, dtype=np.float64),
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
