"""Sampling a volume on another grid, compiled. The naive twin is in ``tests/naive_registration.py``.

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
    held: bool,
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
                if not held and not (
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


@kernel(parallel=True)
def _pull_along_axes(source: Array, scale: Array, offset: Array, held: bool, outside: float, out: Array) -> None:
    nz, ny, nx = source.shape
    mz, my, mx = out.shape
    first = np.empty(mx, dtype=np.int64)
    share = np.empty(mx, dtype=np.float32)
    shown = np.empty(mx, dtype=np.bool_)
    for i in range(mx):
        x = scale[0] * i + offset[0]
        shown[i] = held or -0.5 - 1e-6 <= x <= nx - 0.5 + 1e-6
        x = min(max(x, 0.0), nx - 1.0)
        first[i] = min(floor(x), max(nx - 2, 0))
        share[i] = x - first[i]
    last = nx - 1
    for k in numba.prange(mz):
        row = np.empty(nx + 1, dtype=np.float32)
        z = scale[2] * k + offset[2]
        row_shown = held or -0.5 - 1e-6 <= z <= nz - 0.5 + 1e-6
        z = min(max(z, 0.0), nz - 1.0)
        k0 = min(floor(z), max(nz - 2, 0))
        k1 = min(k0 + 1, nz - 1)
        fz = np.float32(z - k0)
        for j in range(my):
            y = scale[1] * j + offset[1]
            if not (row_shown and (held or -0.5 - 1e-6 <= y <= ny - 0.5 + 1e-6)):
                for i in range(mx):
                    out[k, j, i] = outside
                continue
            y = min(max(y, 0.0), ny - 1.0)
            j0 = min(floor(y), max(ny - 2, 0))
            j1 = min(j0 + 1, ny - 1)
            fy = np.float32(y - j0)
            for i in range(nx):
                low = source[k0, j0, i] + (source[k0, j1, i] - source[k0, j0, i]) * fy
                high = source[k1, j0, i] + (source[k1, j1, i] - source[k1, j0, i]) * fy
                row[i] = low + (high - low) * fz
            row[nx] = row[last]
            for i in range(mx):
                value = row[first[i]]
                out[k, j, i] = value + (row[first[i] + 1] - value) * share[i] if shown[i] else outside


def pull(
    source: Array,
    index_from_lps: Array,
    lps_from_like: Array,
    like_shape: tuple[int, int, int],
    *,
    vectors_mm: Array | None,
    nearest: bool,
    outside: float | None,
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
    outside : float or None
        Beyond the voxels' extent; within the outer half voxel, and with None everywhere, the edge value holds.
    """
    dtype = source.dtype if nearest else np.float32
    values = np.ascontiguousarray(source, dtype=dtype)
    out = np.empty(like_shape, dtype=dtype)
    displaced = vectors_mm is not None
    vectors = np.ascontiguousarray(vectors_mm if displaced else np.zeros((1, 1, 1, 3)), dtype=np.float32)
    matrix = np.ascontiguousarray((index_from_lps @ lps_from_like)[:3], dtype=np.float64)
    linear = np.ascontiguousarray(index_from_lps[:3, :3], dtype=np.float64)
    held, beyond = outside is None, 0.0 if outside is None else float(outside)
    straight = np.diag(matrix[:, :3])
    # Two grids with the same axes need no general index for every voxel.
    if not displaced and not nearest and np.abs(matrix[:, :3] - np.diag(straight)).max() * max(like_shape) < 1e-9:
        _pull_along_axes(values, np.ascontiguousarray(straight), np.ascontiguousarray(matrix[:, 3]), held, beyond, out)
    else:
        _pull(values, matrix, linear, vectors, displaced, nearest, held, beyond, out)
    return out
