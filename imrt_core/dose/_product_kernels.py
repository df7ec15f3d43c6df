"""Kernels of the products with stored entries: A·w is one dot product per voxel, Aᵀ·g one sum per group of voxels.

Short rows are read four at a time: they share the bixels' weights (or sums), and the processor has four chains of sums
to work at. Long ones follow one another, since memory is read fastest as one stream. Rows are padded to whole vectors,
so no loop has a rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

#: Entries of a voxel are padded with zeros to a multiple of this.
PAD = 16
#: Shares of the entries in a product, each with a partial sum of its own; fixed, so that sums do not depend on threads.
#: A share's groups follow one another in memory: the processor reads ahead.
SHARES = 16
#: Rows of at most so many bytes are read four at a time (measured: 192 bytes are faster so, 384 are not).
FOUR_ROWS_BYTES = 256


@kernel()
def _whole(width: int) -> Any:
    """Entries of a row, in a form that shows the compiler that they are a multiple of :data:`PAD`."""
    # Unsigned indices: numba then leaves out Python's wrap-around of negative ones, which no vector loop survives.
    return np.uintp(PAD) * (np.uintp(width) // np.uintp(PAD))


@kernel()
def _fours(values: Any, count: Any, rows: Any) -> Any:
    """How many of ``rows`` are read four at a time."""
    return rows - rows % np.uintp(4) if count * np.uintp(values.itemsize) <= np.uintp(FOUR_ROWS_BYTES) else np.uintp(0)


@kernel()
def _four_dots(values: Any, entry: Any, count: Any, local: Any) -> Any:
    """Dot products of four rows that follow one another."""
    a, b, c, d = entry, entry + count, entry + np.uintp(2) * count, entry + np.uintp(3) * count
    t0, t1, t2, t3 = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for i in range(count):
        x = local[i]
        t0 += np.float32(values[a + i]) * x
        t1 += np.float32(values[b + i]) * x
        t2 += np.float32(values[c + i]) * x
        t3 += np.float32(values[d + i]) * x
    return t0, t1, t2, t3


@kernel(parallel=True)
def groups_times_weights(layout: Any, values: Any, scale: Any, lattice: Any, dose: Any) -> None:
    """Add A·w (w on the flattened lattice) to the dose of every voxel; ``layout``: :attr:`GroupLayout.arrays`."""
    order, voxel_pointer, bixel_pointer, bixel, entry_pointer, share_pointer = layout
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for share in prange(share_pointer.shape[0] - 1):
        local = np.empty(lattice.shape[0] + PAD, dtype=np.float32)
        for g in range(share_pointer[share], share_pointer[share + 1]):
            count, at = _whole(bixel_pointer[g + 1] - bixel_pointer[g]), np.uintp(bixel_pointer[g])
            for i in range(count):
                local[i] = lattice[np.uintp(bixel[at + i])]
            entry = np.uintp(entry_pointer[g])
            place, last = np.uintp(voxel_pointer[g]), np.uintp(voxel_pointer[g + 1])
            by_four = place + _fours(values, count, last - place)
            while place < by_four:
                t0, t1, t2, t3 = _four_dots(values, entry, count, local)
                dose[np.uintp(order[place])] += t0 * scale[place]
                dose[np.uintp(order[place + one])] += t1 * scale[place + one]
                dose[np.uintp(order[place + two])] += t2 * scale[place + two]
                dose[np.uintp(order[place + three])] += t3 * scale[place + three]
                place += four
                entry += four * count
            while place < last:
                total = np.float32(0.0)
                for i in range(count):
                    total += np.float32(values[entry + i]) * local[i]
                dose[np.uintp(order[place])] += total * scale[place]
                place += one
                entry += count


@kernel()
def _add_four(values: Any, entry: Any, count: Any, g: Any, local: Any) -> None:
    """Add four rows, each times its voxel's value."""
    a, b, c, d = entry, entry + count, entry + np.uintp(2) * count, entry + np.uintp(3) * count
    g0, g1, g2, g3 = g
    for i in range(count):
        first = np.float32(values[a + i]) * g0 + np.float32(values[b + i]) * g1
        local[i] += first + (np.float32(values[c + i]) * g2 + np.float32(values[d + i]) * g3)


@kernel(parallel=True)
def groups_transposed(layout: Any, values: Any, scale: Any, voxel_values: Any, partial: Any) -> None:
    """Aᵀ·g on the flattened lattice, shape (shares, cells), double precision; within a group single precision."""
    order, voxel_pointer, bixel_pointer, bixel, entry_pointer, share_pointer = layout
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for share in prange(share_pointer.shape[0] - 1):
        local = np.empty(partial.shape[1] + PAD, dtype=np.float32)
        total = partial[share]
        for g in range(share_pointer[share], share_pointer[share + 1]):
            count, at = _whole(bixel_pointer[g + 1] - bixel_pointer[g]), np.uintp(bixel_pointer[g])
            for i in range(count):
                local[i] = 0.0
            entry = np.uintp(entry_pointer[g])
            place, last = np.uintp(voxel_pointer[g]), np.uintp(voxel_pointer[g + 1])
            by_four = place + _fours(values, count, last - place)
            while place < by_four:
                g0 = voxel_values[np.uintp(order[place])] * scale[place]
                g1 = voxel_values[np.uintp(order[place + one])] * scale[place + one]
                g2 = voxel_values[np.uintp(order[place + two])] * scale[place + two]
                g3 = voxel_values[np.uintp(order[place + three])] * scale[place + three]
                _add_four(values, entry, count, (g0, g1, g2, g3), local)
                place += four
                entry += four * count
            while place < last:
                value = voxel_values[np.uintp(order[place])] * scale[place]
                # voxels on which no objective pulls
                if value != np.float32(0.0):
                    for i in range(count):
                        local[i] += np.float32(values[entry + i]) * value
                place += one
                entry += count
            for i in range(count):
                total[np.uintp(bixel[at + i])] += local[i]


@kernel(parallel=True)
def dense_times(values: Any, weights: Any, found: Any) -> None:
    """Product of a dense array (rows, columns) with ``weights``; columns a multiple of :data:`PAD`."""
    rows, count = values.shape[0], _whole(values.shape[1])
    flat = values.reshape(values.size)
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for share in prange(SHARES):
        row, last = np.uintp(share * rows // SHARES), np.uintp((share + 1) * rows // SHARES)
        by_four = row + _fours(flat, count, last - row)
        while row < by_four:
            t0, t1, t2, t3 = _four_dots(flat, row * count, count, weights)
            found[row], found[row + one], found[row + two], found[row + three] = t0, t1, t2, t3
            row += four
        while row < last:
            total = np.float32(0.0)
            for i in range(count):
                total += flat[row * count + i] * weights[i]
            found[row] = total
            row += one


@kernel(parallel=True)
def dense_transposed(values: Any, row_values: Any, partial: Any) -> None:
    """Transpose of :func:`dense_times`; ``partial`` (shares, columns), zeros on entry."""
    rows, count = values.shape[0], _whole(values.shape[1])
    flat = values.reshape(values.size)
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for share in prange(SHARES):
        local = partial[share]
        row, last = np.uintp(share * rows // SHARES), np.uintp((share + 1) * rows // SHARES)
        by_four = row + _fours(flat, count, last - row)
        while row < by_four:
            g = row_values[row], row_values[row + one], row_values[row + two], row_values[row + three]
            _add_four(flat, row * count, count, g, local)
            row += four
        while row < last:
            value = row_values[row]
            for i in range(count):
                local[i] += flat[row * count + i] * value
            row += one
