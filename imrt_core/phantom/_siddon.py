"""Exact lengths of rays through voxels, for simulated radiographs: on purpose not the projector of the matches."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from imrt_core._numba import kernel

Array = NDArray[Any]


@kernel(parallel=True)
def _lengths(soft: Array, bone: Array, starts: Array, ends: Array, lengths: Array, found: Array) -> None:
    nz, ny, nx = soft.shape
    size = (nx, ny, nz)
    for n in numba.prange(ends.shape[0]):
        low, high = 0.0, 1.0
        slope, at = np.empty(3), np.empty(3, dtype=np.int64)
        next_t, step_t, step = np.empty(3), np.empty(3), np.empty(3, dtype=np.int64)
        for c in range(3):
            slope[c] = ends[n, c] - starts[c]
            if abs(slope[c]) < 1e-12:
                if not -0.5 < starts[c] < size[c] - 0.5:
                    high = -1.0
                continue
            one, other = (-0.5 - starts[c]) / slope[c], (size[c] - 0.5 - starts[c]) / slope[c]
            low, high = max(low, min(one, other)), min(high, max(one, other))
        found[n, 0] = 0.0
        found[n, 1] = 0.0
        if low >= high:
            continue
        for c in range(3):
            # A hair inside, so that the first voxel is the one entered.
            place = starts[c] + (low + 1e-9) * slope[c]
            at[c] = min(max(int(np.floor(place + 0.5)), 0), size[c] - 1)
            step[c] = 1 if slope[c] > 0 else -1
            if abs(slope[c]) < 1e-12:
                next_t[c], step_t[c] = np.inf, np.inf
            else:
                border = at[c] + 0.5 * step[c]
                next_t[c] = (border - starts[c]) / slope[c]
                step_t[c] = abs(1.0 / slope[c])
        t, total_soft, total_bone = low, 0.0, 0.0
        while t < high:
            c = 0
            if next_t[1] < next_t[c]:
                c = 1
            if next_t[2] < next_t[c]:
                c = 2
            until = min(next_t[c], high)
            if until > t:
                total_soft += (until - t) * soft[at[2], at[1], at[0]]
                total_bone += (until - t) * bone[at[2], at[1], at[0]]
            t = until
            next_t[c] += step_t[c]
            at[c] += step[c]
            if at[c] < 0 or at[c] >= size[c]:
                break
        found[n, 0] = total_soft * lengths[n]
        found[n, 1] = total_bone * lengths[n]


def two_materials(
    soft: Array, bone: Array, index_from_ray: Array, source: Array, pixels: Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum two densities over the voxels that each ray crosses, weighted with the exact lengths [1]_.

    Parameters
    ----------
    soft, bone : ndarray, shape (nz, ny, nx)
        Densities, constant within a voxel, zero beyond.
    index_from_ray : ndarray, 4×4
        From the frame of the rays (mm) to the index (i, j, k).
    source : ndarray, shape (3,)
        Where the rays begin.
    pixels : ndarray, shape (n, 3)
        Where they end.

    Returns
    -------
    soft, bone : ndarray, shape (n,)
        Density times mm.

    References
    ----------
    .. [1] Siddon RL. Fast calculation of the exact radiological path for a three-dimensional CT array. Med Phys 12
       (1985) 252-255.
    """
    found = np.empty((len(pixels), 2))
    ends = pixels @ index_from_ray[:3, :3].T + index_from_ray[:3, 3]
    start = index_from_ray[:3, :3] @ source + index_from_ray[:3, 3]
    lengths = np.linalg.norm(pixels - source, axis=1)
    _lengths(
        np.ascontiguousarray(soft, dtype=np.float32),
        np.ascontiguousarray(bone, dtype=np.float32),
        np.ascontiguousarray(start, dtype=np.float64),
        np.ascontiguousarray(ends, dtype=np.float64),
        lengths,
        found,
    )
    return found[:, 0], found[:, 1]
