"""Kernels that fill the stored entries: one dense block (voxels, bixels) per group of voxels.

An entry is Σ_k amplitude_k · Gaussian_k integrated over the bixel · fluence of the bixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

from ._cell_kernels import row_run
from ._product_kernels import PAD

#: The normal distribution is tabulated to ±this many widths, at this step.
CDF_LIMIT = 5.5
CDF_STEP = 1.0 / 128.0
#: Voxels that are fetched together: they lie apart in memory, and the processor can wait for many at once.
TOGETHER = 64
#: Largest stored number of 16 bits.
FULL_SCALE = 65535.0


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
    reach: Any,
    sigma: Any,
    amplitude: Any,
    runs: Any,
    row_span: Any,
    first: Any,
    width: Any,
    cdf: Any,
    room: Any,
    row_fluence: Any,
    row_values: Any,
) -> None:
    """All entries of one voxel, run after run.

    ``reach``: bixels beyond it get 0; infinite for none. ``runs`` (n, 3): row, first and last + 1 column of each run,
    rows ascending. ``room`` (3, …): for profiles.
    """
    row_values[:] = 0.0
    top, bottom = runs[0, 0], runs[runs.shape[0] - 1, 0] + 1
    left, right = runs[0, 1], runs[0, 2]
    for run in range(1, runs.shape[0]):
        left, right = min(left, runs[run, 1]), max(right, runs[run, 2])
    limited = reach < np.inf
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
                if limited:
                    within = row_run(u, v, reach, row, row_span, width, first)
                    low, high = max(low, within[0]), min(high, within[1])
                target, source = entry + np.uintp(low - start), np.uintp(low)
                for n in range(np.uintp(max(high - low, 0))):
                    row_values[target + n] += line * across_u[source + n]
            entry += np.uintp(stop - start)
    for n in range(np.uintp(row_values.shape[0])):
        row_values[n] *= row_fluence[n]


@kernel()
def _fetch(order: Any, voxels: Any, seen: Any, widths: Any, amplitudes: Any) -> None:
    """Copy what the voxels of ``order`` need: u, v and reach, widths, and amplitudes."""
    u, v, reach, sigma, amplitude = voxels
    for m in range(order.shape[0]):
        n = order[m]
        seen[m, 0], seen[m, 1], seen[m, 2] = u[n], v[n], reach[n]
        for k in range(sigma.shape[1]):
            widths[m, k], amplitudes[m, k] = sigma[n, k], amplitude[n, k]


@kernel()
def _largest(row: Any) -> Any:
    """Largest of a padded row of numbers >= 0, four at a time: one comparison need not wait for the last."""
    a, b, c, d = row[0], row[1], row[2], row[3]
    one, two, three = np.uintp(1), np.uintp(2), np.uintp(3)
    for quarter in range(np.uintp(row.shape[0] // 4)):
        i = np.uintp(4) * quarter
        a, b, c, d = max(a, row[i]), max(b, row[i + one]), max(c, row[i + two]), max(d, row[i + three])
    return max(a, b, c, d)


@kernel()
def _runs(bixels: Any, columns: int, runs: Any) -> int:
    """Row, first and last + 1 column of the runs of a group's bixels; returns how many they are."""
    count, before = 0, np.int64(-2)
    for n in range(bixels.shape[0]):
        bixel = np.int64(bixels[n])
        if bixel == before:
            break  # padding
        row = bixel // columns
        if bixel != before + 1 or row != runs[count - 1, 0]:
            runs[count, 0], runs[count, 1] = row, bixel - row * columns
            count += 1
        runs[count - 1, 2] = bixel - row * columns + 1
        before = bixel
    return count


@kernel(parallel=True)
def fill_groups(
    u: Any,
    v: Any,
    reach: Any,
    sigma: Any,
    amplitude: Any,
    layout: Any,
    row_span: Any,
    first: Any,
    width: float,
    fluence: Any,
    cdf: Any,
    quantise: bool,
    values: Any,
    scale: Any,
) -> None:
    """Fill the entries of all groups; ``sigma`` and ``amplitude`` (voxels, components) in the voxels' own order.

    ``layout``: :attr:`GroupLayout.arrays`. ``reach``: bixels of the group that lie beyond a voxel's own get 0; infinite
    for none. With ``quantise`` the values are whole numbers of ``scale`` (voxels in order), a voxel's largest entry
    divided by 65535; else ``scale`` is 1.
    """
    order, voxel_pointer, bixel_pointer, bixel, entry_pointer, share_pointer = layout
    rows, columns = fluence.shape
    flat = fluence.reshape(fluence.size)
    single = np.float32(width)
    for share in prange(share_pointer.shape[0] - 1):
        room = np.empty((3, max(rows, columns) + 1), dtype=np.float32)
        buffer, fluences = (
            np.empty(fluence.size + PAD, dtype=np.float32),
            np.empty(fluence.size + PAD, dtype=np.float32),
        )
        all_runs = np.empty((rows, 3), dtype=np.int64)
        seen = np.empty((TOGETHER, 3), dtype=np.float32)
        widths = np.empty((TOGETHER, sigma.shape[1]), dtype=np.float32)
        amplitudes = np.empty_like(widths)
        for g in range(share_pointer[share], share_pointer[share + 1]):
            count = np.uintp(bixel_pointer[g + 1] - bixel_pointer[g])
            bixels = bixel[bixel_pointer[g] : bixel_pointer[g + 1]]
            for i in range(count):
                fluences[i] = flat[bixels[i]]
            runs = all_runs[: _runs(bixels, columns, all_runs)]
            row_values = buffer[:count]
            entry = np.uintp(entry_pointer[g])
            for start in range(voxel_pointer[g], voxel_pointer[g + 1], TOGETHER):
                stop = min(start + TOGETHER, voxel_pointer[g + 1])
                _fetch(order[start:stop], (u, v, reach, sigma, amplitude), seen, widths, amplitudes)
                for m in range(stop - start):
                    place = start + m
                    _voxel_row(
                        seen[m, 0],
                        seen[m, 1],
                        seen[m, 2],
                        widths[m],
                        amplitudes[m],
                        runs,
                        row_span,
                        first,
                        single,
                        cdf,
                        room,
                        fluences,
                        row_values,
                    )
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
