"""Kernels of the influence matrix that look at all voxels: where they are, how wide the Gaussians are there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel


@kernel(parallel=True)
def voxel_points(voxels: Any, rows: int, columns: int, lps_from_index: Any, points: Any) -> None:
    """LPS of voxels given by flat C-order index into a grid of ``rows`` × ``columns`` per slice."""
    a = lps_from_index
    for n in prange(voxels.shape[0]):
        i, rest = voxels[n] % columns, voxels[n] // columns
        j, k = rest % rows, rest // rows
        for axis in range(3):
            points[n, axis] = a[axis, 0] * i + a[axis, 1] * j + a[axis, 2] * k + a[axis, 3]


@kernel(parallel=True)
def kernel_widths(scale_near: Any, scale_far: Any, widths: Any, is_near: Any, source: Any, found: Any) -> None:
    """σ_k of every voxel, √(source² + (s·w_k)²), with s of the near or the far mean density."""
    for n in prange(found.shape[0]):
        for k in range(widths.shape[0]):
            scaled = (scale_near[n] if is_near[k] else scale_far[n]) * widths[k]
            found[n, k] = np.sqrt(source * source + scaled * scaled)
