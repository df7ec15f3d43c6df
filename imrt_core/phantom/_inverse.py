"""Kernel: where a point of the day was on the planning CT."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from imrt_core._numba import kernel
from imrt_core.patient import DisplacementField, Grid, RigidTransform

_ITERATIONS = 60
_TOLERANCE_MM = 1e-3


def planning_index_of_day(
    day: Grid, *, moving_from_fixed: RigidTransform, deformation: DisplacementField
) -> NDArray[np.float32]:
    """Return the fractional planning indices (k, j, i) of every voxel of a grid in the frame of the day.

    The day's point of a planning point p is ``T(p + d(p))``; this solves for p by fixed-point iteration of
    ``p = T⁻¹(q) − d(p)`` to 0.001 mm, with d trilinear, and its edge values held beyond the grid.

    Parameters
    ----------
    day : Grid
        In the frame of the day.
    moving_from_fixed : RigidTransform
        T, the bony transform.
    deformation : DisplacementField
        d on the planning grid (axis-aligned), in the bony frame.

    Returns
    -------
    ndarray, shape (3, nz, ny, nx), float32
        For :func:`scipy.ndimage.map_coordinates`.
    """
    fixed = deformation.grid
    matrix = fixed.index_from_lps @ moving_from_fixed.inverse().matrix @ day.lps_from_index
    in_voxels = np.asarray(deformation.vectors_mm / np.asarray(fixed.spacing_mm), dtype=np.float32)
    out = np.empty((3, *day.shape), dtype=np.float32)
    tolerance = _TOLERANCE_MM / max(fixed.spacing_mm)
    _solve(np.ascontiguousarray(matrix), in_voxels, tolerance, _ITERATIONS, out)
    return out


@kernel(parallel=True)
def _solve(
    matrix: NDArray[np.float64],
    displacement: NDArray[np.float32],
    tolerance: float,
    iterations: int,
    out: NDArray[np.float32],
) -> None:
    """Solve ``p = start − d(p)`` in index units for every day voxel; ``displacement`` is (z, y, x, 3) of (x, y, z)."""
    nz, ny, nx = displacement.shape[:3]
    for k in numba.prange(out.shape[1]):
        for j in range(out.shape[2]):
            for i in range(out.shape[3]):
                x0 = matrix[0, 0] * i + matrix[0, 1] * j + matrix[0, 2] * k + matrix[0, 3]
                y0 = matrix[1, 0] * i + matrix[1, 1] * j + matrix[1, 2] * k + matrix[1, 3]
                z0 = matrix[2, 0] * i + matrix[2, 1] * j + matrix[2, 2] * k + matrix[2, 3]
                x, y, z = x0, y0, z0
                for _ in range(iterations):
                    xc = min(max(x, 0.0), nx - 1.0)
                    yc = min(max(y, 0.0), ny - 1.0)
                    zc = min(max(z, 0.0), nz - 1.0)
                    ix, iy, iz = min(int(xc), nx - 2), min(int(yc), ny - 2), min(int(zc), nz - 2)
                    fx, fy, fz = xc - ix, yc - iy, zc - iz
                    dx, dy, dz = 0.0, 0.0, 0.0
                    for c in range(8):
                        a, b, d = c & 1, (c >> 1) & 1, c >> 2
                        weight = (fx if a else 1 - fx) * (fy if b else 1 - fy) * (fz if d else 1 - fz)
                        dx += weight * displacement[iz + d, iy + b, ix + a, 0]
                        dy += weight * displacement[iz + d, iy + b, ix + a, 1]
                        dz += weight * displacement[iz + d, iy + b, ix + a, 2]
                    change = max(abs(x0 - dx - x), abs(y0 - dy - y), abs(z0 - dz - z))
                    x, y, z = x0 - dx, y0 - dy, z0 - dz
                    if change < tolerance:
                        break
                out[0, k, j, i] = z
                out[1, k, j, i] = y
                out[2, k, j, i] = x
