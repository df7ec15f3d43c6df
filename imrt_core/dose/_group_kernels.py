"""Kernels of the explicit influence matrix: voxels sorted by beam's-eye-view cell, one dense block per cell.

All voxels of a cell store the same bixels, so a cell's entries are a dense array (voxels, bixels): A·w is one dot
product per voxel with the cell's weights, Aᵀ·g one sum per cell, both along contiguous memory. Rows are padded to
:data:`PAD` entries with zeros, which keeps the vector units in step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

from ._influence_kernels import CDF_LIMIT, CDF_STEP, FULL_SCALE, _row_run

#: Entries of a voxel are padded to a multiple of this.
PAD = 16
#: Shares of the entries in a product, each with a partial sum of its own; fixed, so that sums do not depend on threads.
#: A share's cells follow one another in memory: the processor reads ahead.
SHARES = 16


@kernel(parallel=True)
def cell_sizes(
    shape: Any, cell: Any, reach: float, row_span: Any, width: float, first: Any, runs: Any, size: Any
) -> None:
    """Count the runs and bixels of every cell.

    ``shape``: rows and columns of cells. ``cell``: BLD X and Y of the lower edge of cell [0, 0], and the cells' side.
    ``reach``: from a cell's centre. ``first``: lattice column and row (in bixels from the axis) of bixel [0, 0].
    """
    for n in prange(shape[0] * shape[1]):
        u = cell[0] + (n % shape[1] + 0.5) * cell[2]
        v = cell[1] + (n // shape[1] + 0.5) * cell[2]
        run_count, bixel_count = 0, 0
        for row in range(row_span.shape[0]):
            start, stop = _row_run(u, v, reach, row, row_span, width, first[0], first[1])
            if stop > start:
                run_count += 1
                bixel_count += stop - start
        runs[n] = run_count
        size[n] = bixel_count


@kernel(parallel=True)
def cell_keys(u: Any, v: Any, shape: Any, cell: Any, size: Any, key: Any) -> None:
    """Cell of every voxel; −1 where it has no bixel."""
    for n in prange(u.shape[0]):
        column, row = int(np.floor((u[n] - cell[0]) / cell[2])), int(np.floor((v[n] - cell[1]) / cell[2]))
        key[n] = -1
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            at = row * shape[1] + column
            if size[at] > 0:
                key[n] = at


@kernel(parallel=True)
def group_runs(
    group_cell: Any,
    shape: Any,
    cell: Any,
    reach: float,
    row_span: Any,
    columns: int,
    width: float,
    first: Any,
    run_pointer: Any,
    run_start: Any,
    run_length: Any,
) -> None:
    """Fill the runs of the flattened lattice that each group of voxels stores."""
    for g in prange(group_cell.shape[0]):
        n = group_cell[g]
        u = cell[0] + (n % shape[1] + 0.5) * cell[2]
        v = cell[1] + (n // shape[1] + 0.5) * cell[2]
        run = run_pointer[g]
        for row in range(row_span.shape[0]):
            start, stop = _row_run(u, v, reach, row, row_span, width, first[0], first[1])
            if stop > start:
                run_start[run] = row * columns + start
                run_length[run] = stop - start
                run += 1


@kernel()
def _profile(
    cdf: Any, at: Any, per_mm: Any, first: int, width: Any, low: int, high: int, edge: Any, found: Any
) -> None:
    """Gaussian integrated over cells low … high (exclusive) of a lattice, seen from ``at``; ``per_mm`` = 1 / sigma.

    ``edge`` is room for the normal distribution at the cells' edges.
    """
    per_step = per_mm / np.float32(CDF_STEP)
    begin = (np.float32(first + low) * width - at) * per_step + np.float32(CDF_LIMIT / CDF_STEP)
    step = width * per_step
    last = np.float32(cdf.shape[0] - 1.001)
    count = np.uintp(high - low)
    one = np.uintp(1)
    for n in range(count + one):
        position = min(max(begin + np.float32(n) * step, np.float32(0.0)), last)
        below = np.int32(position)
        i = np.uintp(below)
        edge[n] = cdf[i] + (position - np.float32(below)) * (cdf[i + one] - cdf[i])
    shift = np.uintp(low)
    for n in range(count):
        found[shift + n] = edge[n + one] - edge[n]


@kernel()
def _touched(at: float, sigma: float, width: float, first: int, low: int, high: int) -> Any:
    """Narrow cells low … high (exclusive) to those that a Gaussian at ``at`` reaches."""
    span = CDF_LIMIT * sigma
    begin = max(low, int(np.floor((at - span) / width)) - first)
    end = min(high, int(np.floor((at + span) / width)) - first + 1)
    return begin, max(begin, end)


@kernel()
def _voxel_row(
    u: Any,
    v: Any,
    sigma: Any,
    amplitude: Any,
    runs: Any,
    first: Any,
    width: Any,
    cdf: Any,
    room: Any,
    row_fluence: Any,
    row_values: Any,
) -> None:
    """All entries of one voxel, run after run.

    ``runs`` (n, 3): row, first and last + 1 column of each run, rows ascending; ``room`` (3, …): for profiles.
    """
    row_values[:] = 0.0
    top, bottom = runs[0, 0], runs[runs.shape[0] - 1, 0] + 1
    left, right = runs[0, 1], runs[0, 2]
    for run in range(1, runs.shape[0]):
        left, right = min(left, runs[run, 1]), max(right, runs[run, 2])
    edge = room[0]
    for k in range(sigma.shape[0]):
        across_u, across_v = room[1], room[2]
        begin, end = _touched(u, sigma[k], width, first[0], left, right)
        lower, upper = _touched(v, sigma[k], width, first[1], top, bottom)
        if begin >= end or lower >= upper:
            continue
        per_mm = np.float32(1.0) / sigma[k]
        _profile(cdf, u, per_mm, first[0], width, begin, end, edge, across_u)
        _profile(cdf, v, per_mm, first[1], width, lower, upper, edge, across_v)
        entry = np.uintp(0)
        for run in range(np.uintp(runs.shape[0])):
            row, start, stop = runs[run, 0], runs[run, 1], runs[run, 2]
            if lower <= row < upper:
                line = amplitude[k] * across_v[np.uintp(row)]
                low, high = max(start, begin), min(stop, end)
                target, source = entry + np.uintp(low - start), np.uintp(low)
                for n in range(np.uintp(max(high - low, 0))):
                    row_values[target + n] += line * across_u[source + n]
            entry += np.uintp(stop - start)
    for n in range(np.uintp(row_values.shape[0])):
        row_values[n] *= row_fluence[n]


@kernel()
def _largest(row: Any) -> Any:
    """Largest of a padded row of numbers >= 0, four at a time: one comparison need not wait for the last."""
    a, b, c, d = row[0], row[1], row[2], row[3]
    one, two, three = np.uintp(1), np.uintp(2), np.uintp(3)
    for quarter in range(np.uintp(row.shape[0] // 4)):
        i = np.uintp(4) * quarter
        a, b, c, d = max(a, row[i]), max(b, row[i + one]), max(c, row[i + two]), max(d, row[i + three])
    return max(a, b, c, d)


@kernel(parallel=True)
def fill_groups(
    u: Any,
    v: Any,
    sigma: Any,
    amplitude: Any,
    order: Any,
    voxel_pointer: Any,
    run_pointer: Any,
    run_start: Any,
    run_length: Any,
    group_width: Any,
    entry_pointer: Any,
    share_pointer: Any,
    first: Any,
    width: float,
    fluence: Any,
    cdf: Any,
    quantise: bool,
    values: Any,
    scale: Any,
) -> None:
    """Fill the entries of all groups; ``sigma`` and ``amplitude`` (voxels, components) in the voxels' own order.

    With ``quantise`` the values are whole numbers of ``scale`` (voxels in order), a voxel's largest entry divided by
    65535; else ``scale`` is 1.
    """
    rows, columns = fluence.shape
    widest = 0
    for g in range(group_width.shape[0]):
        widest = max(widest, group_width[g])
    single = np.float32(width)
    for share in prange(share_pointer.shape[0] - 1):
        room = np.empty((3, max(rows, columns) + 1), dtype=np.float32)
        buffer, fluences = np.empty(widest, dtype=np.float32), np.empty(widest, dtype=np.float32)
        all_runs = np.empty((rows, 3), dtype=np.int64)
        for g in range(share_pointer[share], share_pointer[share + 1]):
            count = np.uintp(group_width[g])
            fluences[:] = 0.0
            runs = all_runs[: run_pointer[g + 1] - run_pointer[g]]
            entry = np.uintp(0)
            for n in range(runs.shape[0]):
                run = run_pointer[g] + n
                row = run_start[run] // columns
                start = run_start[run] - row * columns
                runs[n, 0], runs[n, 1], runs[n, 2] = row, start, start + run_length[run]
                for column in range(start, start + run_length[run]):
                    fluences[entry] = fluence[row, column]
                    entry += np.uintp(1)
            row_values = buffer[:count]
            entry = np.uintp(entry_pointer[g])
            for place in range(voxel_pointer[g], voxel_pointer[g + 1]):
                n = order[place]
                _voxel_row(u[n], v[n], sigma[n], amplitude[n], runs, first, single, cdf, room, fluences, row_values)
                factor = np.float32(1.0)
                scale[place] = factor
                if quantise:
                    largest = _largest(row_values)
                    scale[place] = largest / np.float32(FULL_SCALE)
                    factor = np.float32(FULL_SCALE) / largest if largest > 0 else np.float32(0.0)
                    for i in range(count):
                        values[entry + i] = np.int32(row_values[i] * factor + np.float32(0.5))
                else:
                    for i in range(count):
                        values[entry + i] = row_values[i]
                entry += count


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


@kernel(parallel=True)
def groups_times_weights(
    order: Any,
    voxel_pointer: Any,
    run_pointer: Any,
    run_start: Any,
    run_length: Any,
    group_width: Any,
    entry_pointer: Any,
    share_pointer: Any,
    values: Any,
    scale: Any,
    lattice: Any,
    dose: Any,
) -> None:
    """Add A·w (w on the flattened lattice) to the dose of every voxel."""
    widest = 0
    for g in range(group_width.shape[0]):
        widest = max(widest, group_width[g])
    for share in prange(share_pointer.shape[0] - 1):
        buffer = np.empty(widest, dtype=np.float32)
        for g in range(share_pointer[share], share_pointer[share + 1]):
            local = buffer[: group_width[g]]
            _gather((run_pointer[g], run_pointer[g + 1]), run_start, run_length, lattice, local)
            entry, count = np.uintp(entry_pointer[g]), np.uintp(group_width[g])
            for place in range(np.uintp(voxel_pointer[g]), np.uintp(voxel_pointer[g + 1])):
                total = np.float32(0.0)
                for i in range(count):
                    total += np.float32(values[entry + i]) * local[i]
                dose[order[place]] += total * scale[place]
                entry += count


@kernel(parallel=True)
def groups_transposed(
    order: Any,
    voxel_pointer: Any,
    run_pointer: Any,
    run_start: Any,
    run_length: Any,
    group_width: Any,
    entry_pointer: Any,
    share_pointer: Any,
    values: Any,
    scale: Any,
    voxel_values: Any,
    partial: Any,
) -> None:
    """Aᵀ·g on the flattened lattice, shape (shares, cells), double precision; within a group single precision."""
    widest = 0
    for g in range(group_width.shape[0]):
        widest = max(widest, group_width[g])
    for share in prange(share_pointer.shape[0] - 1):
        buffer = np.empty(widest, dtype=np.float32)
        for g in range(share_pointer[share], share_pointer[share + 1]):
            local = buffer[: group_width[g]]
            local[:] = 0.0
            entry, count = np.uintp(entry_pointer[g]), np.uintp(group_width[g])
            for place in range(np.uintp(voxel_pointer[g]), np.uintp(voxel_pointer[g + 1])):
                value = voxel_values[order[place]] * scale[place]
                for i in range(count):
                    local[i] += np.float32(values[entry + i]) * value
                entry += count
            at = np.uintp(0)
            for run in range(run_pointer[g], run_pointer[g + 1]):
                start = np.uintp(run_start[run])
                for i in range(np.uintp(run_length[run])):
                    partial[np.uintp(share), start + i] += local[at + i]
                at += np.uintp(run_length[run])
