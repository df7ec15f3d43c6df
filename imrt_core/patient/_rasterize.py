"""Kernels: area coverage of pixels by even-odd polygons, and their exact even-odd areas.

Everything works on the edges of one or more transverse planes: ``edges[m] = (x0, y0, x1, y1)`` in mm, horizontal edges
left out (they cross no scanline), and ``start[p] : start[p + 1]`` the edges of plane p.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from .._numba import kernel

FloatArray = NDArray[np.float64]


@kernel()
def _sorted_crossings(edges: FloatArray, active: NDArray[np.int64], count: int, y: float, found: FloatArray) -> int:
    """Write the ascending x of all crossings of the line y into ``found``; return how many there are."""
    n = 0
    for a in range(count):
        m = active[a]
        y0 = edges[m, 1]
        y1 = edges[m, 3]
        # Half open, so that a vertex on the line counts once.
        if (y0 <= y) != (y1 <= y):
            x = edges[m, 0] + (y - y0) / (y1 - y0) * (edges[m, 2] - edges[m, 0])
            b = n
            while b > 0 and found[b - 1] > x:
                found[b] = found[b - 1]
                b -= 1
            found[b] = x
            n += 1
    return n


@kernel()
def cover_plane(
    edges: FloatArray, x_first: float, y_first: float, dx: float, dy: float, sub: int, out: NDArray[np.float32]
) -> None:
    """Fill ``out[j, i]`` with the fraction of the pixel inside the polygons.

    ``(x_first, y_first)`` is the outer corner of pixel [0, 0]. Each pixel row has ``sub`` scanlines; along a scanline
    the coverage is exact.
    """
    ny, nx = out.shape
    total = len(edges)
    active = np.empty(total, np.int64)
    found = np.empty(total, np.float64)
    change = np.empty(nx + 2, np.float64)
    for j in range(ny):
        low = y_first + j * dy
        count = 0
        for m in range(total):
            if min(edges[m, 1], edges[m, 3]) < low + dy and max(edges[m, 1], edges[m, 3]) > low:
                active[count] = m
                count += 1
        if count == 0:
            out[j, :] = 0.0
            continue
        change[:] = 0.0
        for s in range(sub):
            n = _sorted_crossings(edges, active, count, low + (s + 0.5) * dy / sub, found)
            # Between an odd and the next even crossing the line is inside. A step at x adds its share of the pixel
            # that holds x and everything to the right of it: two entries of a running sum.
            sign = 1.0
            for c in range(n):
                x = min(max((found[c] - x_first) / dx, 0.0), float(nx))
                i = int(x)
                change[i] += sign * (i + 1 - x)
                change[i + 1] += sign * (x - i)
                sign = -sign
        running = 0.0
        for i in range(nx):
            running += change[i]
            out[j, i] = min(max(running / sub, 0.0), 1.0)


@kernel(parallel=True)
def cover_planes(
    edges: FloatArray,
    start: NDArray[np.int64],
    corner: FloatArray,
    pixel: FloatArray,
    sub: int,
    out: NDArray[np.float32],
) -> None:
    """:func:`cover_plane` for every plane: ``out[p, j, i]``; ``corner`` and ``pixel`` are (x, y) in mm."""
    for p in numba.prange(len(start) - 1):
        cover_plane(edges[start[p] : start[p + 1]], corner[0], corner[1], pixel[0], pixel[1], sub, out[p])


@kernel()
def even_odd_areas(edges: FloatArray, start: NDArray[np.int64]) -> FloatArray:
    """Return the even-odd area of each plane in mm².

    Between two successive vertex heights the width is linear in y, so the middle width times the height is exact
    unless edges cross inside that band.
    """
    planes = len(start) - 1
    areas = np.zeros(planes)
    for p in range(planes):
        part = edges[start[p] : start[p + 1]]
        count = len(part)
        if count == 0:
            continue
        heights = np.empty(2 * count)
        heights[:count] = part[:, 1]
        heights[count:] = part[:, 3]
        heights.sort()
        active = np.arange(count)
        found = np.empty(count)
        for b in range(2 * count - 1):
            height = heights[b + 1] - heights[b]
            if height > 0:
                n = _sorted_crossings(part, active, count, 0.5 * (heights[b] + heights[b + 1]), found)
                width = 0.0
                for c in range(0, n - 1, 2):
                    width += found[c + 1] - found[c]
                areas[p] += width * height
    return areas
