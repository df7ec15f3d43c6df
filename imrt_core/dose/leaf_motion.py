"""How long each cell is open while edges move: exact for edges that move linearly with the meterset.

An opening along one axis lies above every lower edge (leaf, neighbour's leaf, jaw) and below every upper one. Between
the moments at which two edges cross, one lower and one upper edge bound it. A cell's covered part is a clipped linear
function of time there, and its mean has a closed form: no sampling of the motion.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from imrt_core._numba import kernel

Array = NDArray[np.float64]

#: An edge that moves by less than this part of a cell is taken at its middle.
_STILL = 1e-6


def open_meterset(edges_mm: Array, lower_mm: Array, upper_mm: Array, mu: Array) -> Array:
    """Return MU × covered part of every cell, summed over segments.

    Parameters
    ----------
    edges_mm : ndarray, shape (cells + 1,)
        Cell edges, evenly spaced.
    lower_mm, upper_mm : ndarray, shape (segments, rows, n, 2)
        Positions of the lower and upper edges at the start and the end of every segment.
    mu : ndarray, shape (segments,)
        Meterset of every segment.

    Returns
    -------
    ndarray, shape (rows, cells)
    """
    total = np.zeros((lower_mm.shape[1], len(edges_mm) - 1))
    if len(mu):
        _add_open_meterset(
            np.ascontiguousarray(edges_mm, dtype=np.float64),
            np.ascontiguousarray(lower_mm, dtype=np.float64),
            np.ascontiguousarray(upper_mm, dtype=np.float64),
            np.ascontiguousarray(mu, dtype=np.float64),
            total,
        )
    return total


def coverage(edges: Array, lower: Array, upper: Array) -> Array:
    """Return the part of each cell that each interval covers, shape (intervals, cells)."""
    left = np.maximum(edges[None, :-1], lower[:, None])
    right = np.minimum(edges[None, 1:], upper[:, None])
    return np.asarray(np.clip(right - left, 0, None) / np.diff(edges)[None, :])


@kernel()
def _mean_beyond(start: float, stop: float) -> float:
    """Mean part of the unit cell 0 … 1 above an edge that moves from ``start`` to ``stop`` (in cells)."""
    if abs(stop - start) < _STILL:
        return 1.0 - min(max(0.5 * (start + stop), 0.0), 1.0)
    below_start = 0.0 if start <= 0 else (0.5 * start * start if start < 1 else start - 0.5)
    below_stop = 0.0 if stop <= 0 else (0.5 * stop * stop if stop < 1 else stop - 0.5)
    return 1.0 - (below_stop - below_start) / (stop - start)


@kernel()
def _moments(lower: Any, upper: Any, moments: Any) -> int:
    """Write 0, 1 and every crossing of two edges between them, ascending; return how many."""
    moments[0] = 0.0
    moments[1] = 1.0
    count = 2
    n, m = lower.shape[0], upper.shape[0]
    for first in range(n + m):
        for second in range(first + 1, n + m):
            a0, a1 = (lower[first, 0], lower[first, 1]) if first < n else (upper[first - n, 0], upper[first - n, 1])
            b0, b1 = (
                (lower[second, 0], lower[second, 1]) if second < n else (upper[second - n, 0], upper[second - n, 1])
            )
            before, after = a0 - b0, a1 - b1
            if before * after >= 0:
                continue
            moment = before / (before - after)
            place = count
            while moments[place - 1] > moment:
                moments[place] = moments[place - 1]
                place -= 1
            moments[place] = moment
            count += 1
    return count


@kernel(parallel=True)
def _add_open_meterset(edges: Any, lower: Any, upper: Any, mu: Any, total: Any) -> None:
    """Add to ``total`` (rows, cells); every thread has rows of its own."""
    width = (edges[-1] - edges[0]) / (edges.shape[0] - 1)
    cells = total.shape[1]
    edge_count = lower.shape[2] + upper.shape[2]
    for row in prange(total.shape[0]):
        moments = np.empty(2 + edge_count * (edge_count - 1) // 2)
        steps = np.zeros(cells + 1)
        for segment in range(mu.shape[0]):
            low, high = lower[segment, row], upper[segment, row]
            count = _moments(low, high, moments)
            for n in range(count - 1):
                start, stop = moments[n], moments[n + 1]
                middle = 0.5 * (start + stop)
                below, above = 0, 0
                for k in range(1, low.shape[0]):
                    if (1 - middle) * low[k, 0] + middle * low[k, 1] > (
                        (1 - middle) * low[below, 0] + middle * low[below, 1]
                    ):
                        below = k
                for k in range(1, high.shape[0]):
                    if (1 - middle) * high[k, 0] + middle * high[k, 1] < (
                        (1 - middle) * high[above, 0] + middle * high[above, 1]
                    ):
                        above = k
                a0 = ((1 - start) * low[below, 0] + start * low[below, 1] - edges[0]) / width
                a1 = ((1 - stop) * low[below, 0] + stop * low[below, 1] - edges[0]) / width
                b0 = ((1 - start) * high[above, 0] + start * high[above, 1] - edges[0]) / width
                b1 = ((1 - stop) * high[above, 0] + stop * high[above, 1] - edges[0]) / width
                if a0 + a1 >= b0 + b1:
                    continue
                weight = mu[segment] * (stop - start)
                if max(b0, b1) <= 0 or min(a0, a1) >= cells:
                    continue
                # Edge cells one by one; the cells between are open throughout and go into a difference array.
                begin = int(max(np.floor(min(a0, a1)), 0.0))
                end = int(min(np.ceil(max(b0, b1)), float(cells)))
                inner = int(min(max(np.ceil(max(a0, a1)), 0.0), float(end)))
                outer = int(max(min(np.floor(min(b0, b1)), float(cells)), float(inner)))
                steps[inner] += weight
                steps[outer] -= weight
                for cell in range(begin, inner):
                    total[row, cell] += weight * (
                        _mean_beyond(a0 - cell, a1 - cell) - _mean_beyond(b0 - cell, b1 - cell)
                    )
                for cell in range(outer, end):
                    total[row, cell] += weight * (
                        _mean_beyond(a0 - cell, a1 - cell) - _mean_beyond(b0 - cell, b1 - cell)
                    )
        level = 0.0
        for cell in range(cells):
            level += steps[cell]
            total[row, cell] += level
