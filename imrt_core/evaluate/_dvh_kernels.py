"""Kernels of the dose-volume histogram.

The planes (or slices) are dealt to a fixed number of parts, each with a histogram of its own, which are added in order
at the end: the result does not depend on the number of threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from .._numba import kernel

#: Rows of the statistics of one part.
INSIDE_MM3, OUTSIDE_MM3, DOSE_MM3, LOWEST, HIGHEST, NOT_FINITE = range(6)
STATISTICS = 6
#: Parts that the work is dealt to, whatever the number of threads.
PARTS = 16
#: Additive recurrence R3 (M. Roberts 2018): 1/g, 1/g², 1/g³ with g⁴ = g + 1. Points at the centres of the sub-voxels
#: would all have one of a few doses where a gradient runs along an axis, and Dx would be half a step off; these spread
#: evenly through the sub-voxels and are the same on every run.
SPREAD = (0.8191725133961645, 0.6710436067037893, 0.5497004779019703)
#: Coverage below this is rounding of the rasteriser.
_NOTHING = 1e-6


class DoseGrid(NamedTuple):
    """Dose array [z, y, x] in Gy, and the 4×4 matrix to its index (i, j, k) from the point's coordinates."""

    array: NDArray[np.float32]
    index_from_point: NDArray[np.float64]


class Bins(NamedTuple):
    """Histogram bins: the lower edge of the first, and their width, in Gy."""

    first_gy: float
    width_gy: float


class Cells(NamedTuple):
    """A structure as boxes with a filled fraction: ``cover[p, j, i]``.

    Box i reaches from ``corner[0] + i * size[0]`` over ``size[0]``, j likewise, and p from ``lower[p]`` to
    ``upper[p]``, in the coordinates of the points (LPS mm, or the index of a mask). ``mm3`` is the volume of a unit
    cube of these coordinates. A box is sampled at ``divide`` = (along i, j, p) sub-voxels, each at one point: sub-voxel
    n, counted through all boxes, at n times :data:`SPREAD` modulo 1 along its edges.
    """

    cover: NDArray[np.float32]
    corner: NDArray[np.float64]
    size: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    divide: NDArray[np.int64]
    mm3: float


@kernel()
def trilinear(array: NDArray[np.float32], i: float, j: float, k: float) -> float:
    """Interpolate at an index; beyond the outer voxel centres the edge value holds.

    Written as a + f (b − a), which returns a constant dose unchanged.
    """
    nz, ny, nx = array.shape
    i = min(max(i, 0.0), nx - 1.0)
    j = min(max(j, 0.0), ny - 1.0)
    k = min(max(k, 0.0), nz - 1.0)
    i0, j0, k0 = int(i), int(j), int(k)
    i1, j1, k1 = min(i0 + 1, nx - 1), min(j0 + 1, ny - 1), min(k0 + 1, nz - 1)
    fi, fj, fk = i - i0, j - j0, k - k0
    a00 = array[k0, j0, i0] + fi * (array[k0, j0, i1] - array[k0, j0, i0])
    a01 = array[k0, j1, i0] + fi * (array[k0, j1, i1] - array[k0, j1, i0])
    a10 = array[k1, j0, i0] + fi * (array[k1, j0, i1] - array[k1, j0, i0])
    a11 = array[k1, j1, i0] + fi * (array[k1, j1, i1] - array[k1, j1, i0])
    low = a00 + fj * (a01 - a00)
    high = a10 + fj * (a11 - a10)
    return float(low + fk * (high - low))


@kernel()
def _add(
    dose: DoseGrid,
    bins: Bins,
    x: float,
    y: float,
    z: float,
    weight: float,
    histogram: NDArray[np.float64],
    statistics: NDArray[np.float64],
) -> None:
    """Add one sub-voxel at a point with its volume in mm³."""
    m = dose.index_from_point
    i = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
    j = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
    k = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
    nz, ny, nx = dose.array.shape
    edge = -0.5 - 1e-9
    if not (edge <= i <= nx - 1 - edge and edge <= j <= ny - 1 - edge and edge <= k <= nz - 1 - edge):
        statistics[OUTSIDE_MM3] += weight
        return
    value = trilinear(dose.array, i, j, k)
    if not np.isfinite(value):
        statistics[NOT_FINITE] += 1
        return
    b = int((value - bins.first_gy) / bins.width_gy)
    # The division may round across an edge: edges are first + b * width, and an edge belongs to the bin above it.
    if bins.first_gy + b * bins.width_gy > value:
        b -= 1
    elif bins.first_gy + (b + 1) * bins.width_gy <= value:
        b += 1
    histogram[min(max(b, 0), len(histogram) - 1)] += weight
    statistics[INSIDE_MM3] += weight
    statistics[DOSE_MM3] += weight * value
    statistics[LOWEST] = min(statistics[LOWEST], value)
    statistics[HIGHEST] = max(statistics[HIGHEST], value)


@kernel(parallel=True)
def histogram_of_cells(
    cells: Cells, dose: DoseGrid, bins: Bins, histograms: NDArray[np.float64], statistics: NDArray[np.float64]
) -> None:
    """Sample every box at its sub-voxels, into one row of ``histograms`` and ``statistics`` per part."""
    parts = len(histograms)
    planes, ny, nx = cells.cover.shape
    na, nb, nc = cells.divide[0], cells.divide[1], cells.divide[2]
    dx, dy = cells.size[0] / na, cells.size[1] / nb
    for part in numba.prange(parts):
        histogram, figures = histograms[part], statistics[part]
        for p in range(part, planes, parts):
            dz = (cells.upper[p] - cells.lower[p]) / nc
            for j in range(ny):
                for i in range(nx):
                    if cells.cover[p, j, i] > _NOTHING:
                        weight = cells.cover[p, j, i] * dx * dy * dz * cells.mm3
                        for c in range(nc):
                            for b in range(nb):
                                row = ((p * nc + c) * ny * nb + j * nb + b) * nx * na + i * na
                                for a in range(na):
                                    n = float(row + a)
                                    u, v, w = n * SPREAD[0], n * SPREAD[1], n * SPREAD[2]
                                    x = cells.corner[0] + i * cells.size[0] + (a + u - np.floor(u)) * dx
                                    y = cells.corner[1] + j * cells.size[1] + (b + v - np.floor(v)) * dy
                                    z = cells.lower[p] + (c + w - np.floor(w)) * dz
                                    _add(dose, bins, x, y, z, weight, histogram, figures)
