"""Kernels of the products with stored entries: A·w is one dot product per voxel, Aᵀ·g one sum per group of voxels.

Four voxels at a time: they share the bixels' weights (or sums), and the processor has four chains of sums to work at.
Rows are padded to whole vectors, so no loop has a rest.
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


@kernel()
def _widest(group_width: Any) -> Any:
    widest = 0
    for g in range(group_width.shape[0]):
        widest = max(widest, group_width[g])
    return widest


@kernel()
def _gather(runs: Any, run_start: Any, run_length: Any, lattice: Any, local: Any) -> None:
    """Copy a group's bixels from the flattened lattice; the padding is 0."""
    place = np.uintp(0)
    one = np.uintp(1)
    for run in range(runs[0], runs[1]):
        start = np.uintp(run_start[run])
        for i in range(np.uintp(run_length[run])):
            local[place] = lattice[start + i]
            place += one
    for i in range(place, np.uintp(local.shape[0])):
        local[i] = 0.0


@kernel()
def _whole(width: int) -> Any:
    """Entries of a row, in a form that shows the compiler that they are a multiple of :data:`PAD`."""
    # Unsigned indices: numba then leaves out Python's wrap-around of negative ones, which no vector loop survives.
    return np.uintp(PAD) * (np.uintp(width) // np.uintp(PAD))


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
    order, voxel_pointer, run_pointer, run_start, run_length, group_width, entry_pointer, share_pointer = layout
    widest = _widest(group_width)
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for share in prange(share_pointer.shape[0] - 1):
        buffer = np.empty(widest, dtype=np.float32)
        for g in range(share_pointer[share], share_pointer[share + 1]):
            local = buffer[: group_width[g]]
            _gather((run_pointer[g], run_pointer[g + 1]), run_start, run_length, lattice, local)
            entry, count = np.uintp(entry_pointer[g]), _whole(group_width[g])
            place, last = np.uintp(voxel_pointer[g]), np.uintp(voxel_pointer[g + 1])
            while place + three < last:
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
    order, voxel_pointer, run_pointer, run_start, run_length, group_width, entry_pointer, share_pointer = layout
    widest = _widest(group_width)
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for share in prange(share_pointer.shape[0] - 1):
        buffer = np.empty(widest, dtype=np.float32)
        for g in range(share_pointer[share], share_pointer[share + 1]):
            local = buffer[: group_width[g]]
            local[:] = 0.0
            entry, count = np.uintp(entry_pointer[g]), _whole(group_width[g])
            place, last = np.uintp(voxel_pointer[g]), np.uintp(voxel_pointer[g + 1])
            while place + three < last:
                g0 = voxel_values[np.uintp(order[place])] * scale[place]
                g1 = voxel_values[np.uintp(order[place + one])] * scale[place + one]
                g2 = voxel_values[np.uintp(order[place + two])] * scale[place + two]
                g3 = voxel_values[np.uintp(order[place + three])] * scale[place + three]
                _add_four(values, entry, count, (g0, g1, g2, g3), local)
                place += four
                entry += four * count
            while place < last:
                value = voxel_values[np.uintp(order[place])] * scale[place]
                for i in range(count):
                    local[i] += np.float32(values[entry + i]) * value
                place += one
                entry += count
            at = np.uintp(0)
            for run in range(run_pointer[g], run_pointer[g + 1]):
                start = np.uintp(run_start[run])
                for i in range(np.uintp(run_length[run])):
                    partial[np.uintp(share), start + i] += local[at + i]
                at += np.uintp(run_length[run])


@kernel(parallel=True)
def dense_times(values: Any, weights: Any, found: Any) -> None:
    """Product of a dense array (rows, columns) with ``weights``; columns a multiple of :data:`PAD`."""
    rows, count = values.shape[0], _whole(values.shape[1])
    flat = values.reshape(values.size)
    for share in prange(SHARES):
        for row in range(np.uintp(share * rows // SHARES), np.uintp((share + 1) * rows // SHARES)):
            entry = row * count
            total = np.float32(0.0)
            for i in range(count):
                total += flat[entry + i] * weights[i]
            found[row] = total


@kernel(parallel=True)
def dense_transposed(values: Any, row_values: Any, partial: Any) -> None:
    """Transpose of :func:`dense_times`; ``partial`` (shares, columns), zeros on entry."""
    rows, count = values.shape[0], _whole(values.shape[1])
    flat = values.reshape(values.size)
    for share in prange(SHARES):
        local = partial[share]
        for row in range(np.uintp(share * rows // SHARES), np.uintp((share + 1) * rows // SHARES)):
            entry, value = row * count, row_values[row]
            for i in range(count):
                local[i] += flat[entry + i] * value
