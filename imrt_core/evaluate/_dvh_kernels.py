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
from ..patient._rasterize import cover_plane

#: Rows of the statistics of one part.
INSIDE_MM3, OUTSIDE_MM3, DOSE_MM3, LOWEST, HIGHEST, NOT_FINITE = range(6)
STATISTICS = 6
#: Parts that the work is dealt to, whatever the number of threads.
PARTS = 16
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


class Planes(NamedTuple):
    """Edges of all contour planes (see ``_rasterize``) and their slabs."""

    edges: NDArray[np.float64]
    start: NDArray[np.int64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


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
def histogram_of_planes(
    planes: Planes,
    dose: DoseGrid,
    bins: Bins,
    pitch_mm: float,
    histograms: NDArray[np.float64],
    statistics: NDArray[np.float64],
) -> None:
    """Sample every contour plane's slab with sub-voxels of at most ``pitch_mm``; points are LPS mm."""
    parts = len(histograms)
    for part in numba.prange(parts):
        histogram, figures = histograms[part], statistics[part]
        for p in range(part, len(planes.start) - 1, parts):
            edges = planes.edges[planes.start[p] : planes.start[p + 1]]
            if len(edges) == 0:
                continue
            x0, x1 = min(edges[:, 0].min(), edges[:, 2].min()), max(edges[:, 0].max(), edges[:, 2].max())
            y0, y1 = min(edges[:, 1].min(), edges[:, 3].min()), max(edges[:, 1].max(), edges[:, 3].max())
            nx, ny = int(np.ceil((x1 - x0) / pitch_mm)), int(np.ceil((y1 - y0) / pitch_mm))
            nx, ny = max(nx, 1), max(ny, 1)
            dx, dy = (x1 - x0) / nx, (y1 - y0) / ny
            thickness = planes.upper[p] - planes.lower[p]
            layers = max(int(np.ceil(thickness / pitch_mm - 1e-9)), 1)
            dz = thickness / layers
            cover = np.empty((ny, nx), np.float32)
            cover_plane(edges, x0, y0, dx, dy, 8, cover)
            for layer in range(layers):
                z = planes.lower[p] + (layer + 0.5) * dz
                for j in range(ny):
                    for i in range(nx):
                        if cover[j, i] > _NOTHING:
                            _add(
                                dose,
                                bins,
                                x0 + (i + 0.5) * dx,
                                y0 + (j + 0.5) * dy,
                                z,
                                cover[j, i] * dx * dy * dz,
                                histogram,
                                figures,
                            )


@kernel(parallel=True)
def histogram_of_mask(
    mask: NDArray[np.float32],
    voxel_mm3: float,
    divide: NDArray[np.int64],
    dose: DoseGrid,
    bins: Bins,
    histograms: NDArray[np.float64],
    statistics: NDArray[np.float64],
) -> None:
    """Sample every voxel of a mask with ``divide`` = (along i, j, k) sub-voxels; points are indices of the mask."""
    parts = len(histograms)
    n = divide[0] * divide[1] * divide[2]
    for part in numba.prange(parts):
        histogram, figures = histograms[part], statistics[part]
        for k in range(part, mask.shape[0], parts):
            for j in range(mask.shape[1]):
                for i in range(mask.shape[2]):
                    if mask[k, j, i] > _NOTHING:
                        weight = mask[k, j, i] * voxel_mm3 / n
                        for c in range(divide[2]):
                            for b in range(divide[1]):
                                for a in range(divide[0]):
                                    _add(
                                        dose,
                                        bins,
                                        i + (a + 0.5) / divide[0] - 0.5,
                                        j + (b + 0.5) / divide[1] - 0.5,
                                        k + (c + 0.5) / divide[2] - 0.5,
                                        weight,
                                        histogram,
                                        figures,
                                    )
