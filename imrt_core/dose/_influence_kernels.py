"""Kernels of the stored part of the influence matrix.

Voxel-major. The bixels near a voxel form one run of the lattice per row, so a run needs two numbers (where it starts
in the lattice, how long it is) and its entries follow one another: half the memory of column indices per entry, and
the same copy serves A·w and Aᵀ·g.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

#: Voxels whose contribution to Aᵀ·g is summed in single precision before it joins the double-precision sum.
CHUNK = 1024
#: The normal distribution is tabulated to ±this many widths, at this step.
CDF_LIMIT = 5.5
CDF_STEP = 1.0 / 128.0
#: Largest stored number of 16 bits.
FULL_SCALE = 65535.0


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
def kernel_widths(log_near: Any, log_far: Any, widths: Any, is_near: Any, source: Any, found: Any) -> None:
    """σ_k of every voxel, √(source² + (s·w_k)²), with s of the near or the far mean density."""
    for n in prange(found.shape[0]):
        near, far = np.exp(log_near[n]), np.exp(log_far[n])
        for k in range(widths.shape[0]):
            scaled = (near if is_near[k] else far) * widths[k]
            found[n, k] = np.sqrt(source * source + scaled * scaled)


@kernel()
def _row_run(u: float, v: float, reach: float, row: int, lattice: Any, width: float, first_u: int, first_v: int) -> Any:
    """Columns from … to (exclusive) of one lattice row whose centres lie within the reach of (u, v)."""
    away = (first_v + row + 0.5) * width - v
    half = reach * reach - away * away
    if half <= 0.0:
        return 0, 0
    half = np.sqrt(half)
    low = int(np.ceil((u - half) / width - 0.5)) - first_u
    high = int(np.floor((u + half) / width - 0.5)) - first_u + 1
    low, high = max(low, lattice[row, 0]), min(high, lattice[row, 1])
    return (low, high) if high > low else (0, 0)


@kernel()
def _row_range(v: float, reach: float, rows: int, width: float, first_v: int) -> Any:
    low = int(np.floor((v - reach) / width)) - first_v
    high = int(np.floor((v + reach) / width)) - first_v + 1
    return max(low, 0), min(high, rows)


@kernel(parallel=True)
def count_runs(
    u: Any, v: Any, reach: Any, row_span: Any, width: float, first_u: int, first_v: int, runs: Any, entries: Any
) -> None:
    """Count runs and entries of every voxel. ``row_span`` (rows, 2): first and last + 1 column with a bixel."""
    for n in prange(u.shape[0]):
        low, high = _row_range(v[n], reach[n], row_span.shape[0], width, first_v)
        run_count, entry_count = 0, 0
        for row in range(low, high):
            start, stop = _row_run(u[n], v[n], reach[n], row, row_span, width, first_u, first_v)
            if stop > start:
                run_count += 1
                entry_count += stop - start
        runs[n] = run_count
        entries[n] = entry_count


@kernel()
def _cdf(table: Any, t: Any) -> Any:
    """Look up the normal distribution, linearly between table points (error below 2e-6)."""
    position = (t + np.float32(CDF_LIMIT)) / np.float32(CDF_STEP)
    position = min(max(position, np.float32(0.0)), np.float32(table.shape[0] - 1.001))
    i = int(position)
    return table[i] + (position - np.float32(i)) * (table[i + 1] - table[i])


@kernel(parallel=True)
def fill_runs(
    u: Any,
    v: Any,
    reach: Any,
    row_span: Any,
    width: float,
    first_u: int,
    first_v: int,
    sigma: Any,
    amplitude: Any,
    fluence: Any,
    cdf: Any,
    run_pointer: Any,
    entry_pointer: Any,
    quantise: bool,
    run_start: Any,
    run_length: Any,
    values: Any,
    scale: Any,
) -> None:
    """Fill runs and entries: Σ_k amplitude_k · Gaussian_k integrated over the bixel · fluence of the bixel.

    ``sigma`` and ``amplitude`` (voxels, components), ``fluence`` (rows, columns) of the lattice, zero without a bixel.
    With ``quantise`` the values are whole numbers of ``scale``, a voxel's largest entry divided by 65535.
    """
    components = sigma.shape[1]
    rows, columns = fluence.shape
    count = u.shape[0]
    blocks = (count + CHUNK - 1) // CHUNK
    for block in prange(blocks):
        across_u = np.empty((components, columns), dtype=np.float32)
        line = np.empty(components, dtype=np.float32)
        buffer = np.empty(rows * columns, dtype=np.float32)
        for n in range(block * CHUNK, min((block + 1) * CHUNK, count)):
            run = run_pointer[n]
            if run_pointer[n + 1] == run:
                continue
            low, high = _row_range(v[n], reach[n], rows, width, first_v)
            left = max(int(np.floor((u[n] - reach[n]) / width)) - first_u, 0)
            right = min(int(np.floor((u[n] + reach[n]) / width)) - first_u + 1, columns)
            for k in range(components):
                per_mm = np.float32(1.0) / sigma[n, k]
                before = _cdf(cdf, (np.float32((first_u + left) * width) - u[n]) * per_mm)
                for column in range(left, right):
                    after = _cdf(cdf, (np.float32((first_u + column + 1) * width) - u[n]) * per_mm)
                    across_u[k, column] = after - before
                    before = after
            filled = 0
            largest = np.float32(0.0)
            for row in range(low, high):
                start, stop = _row_run(u[n], v[n], reach[n], row, row_span, width, first_u, first_v)
                if stop <= start:
                    continue
                for k in range(components):
                    per_mm = np.float32(1.0) / sigma[n, k]
                    edge = np.float32((first_v + row) * width)
                    line[k] = amplitude[n, k] * (
                        _cdf(cdf, (edge + np.float32(width) - v[n]) * per_mm) - _cdf(cdf, (edge - v[n]) * per_mm)
                    )
                run_start[run] = row * columns + start
                run_length[run] = stop - start
                run += 1
                for column in range(start, stop):
                    value = np.float32(0.0)
                    for k in range(components):
                        value += line[k] * across_u[k, column]
                    value *= fluence[row, column]
                    largest = max(largest, value)
                    buffer[filled] = value
                    filled += 1
            entry = np.uintp(entry_pointer[n])
            if quantise:
                scale[n] = largest / np.float32(FULL_SCALE)
                factor = np.float32(FULL_SCALE) / largest if largest > 0 else np.float32(0.0)
                for i in range(np.uintp(filled)):
                    values[entry + i] = np.int32(buffer[i] * factor + np.float32(0.5))
            else:
                for i in range(np.uintp(filled)):
                    values[entry + i] = buffer[i]


@kernel(parallel=True)
def runs_times_weights(
    run_pointer: Any,
    entry_pointer: Any,
    run_start: Any,
    run_length: Any,
    values: Any,
    scale: Any,
    lattice: Any,
    dose: Any,
) -> None:
    """Add A·w (w on the flattened lattice) to the dose of every voxel."""
    for n in prange(dose.shape[0]):
        # Unsigned indices: numba then leaves out Python's wrap-around of negative ones, which no vector loop survives.
        entry = np.uintp(entry_pointer[n])
        total = np.float32(0.0)
        for run in range(run_pointer[n], run_pointer[n + 1]):
            start = np.uintp(run_start[run])
            length = np.uintp(run_length[run])
            for i in range(length):
                total += np.float32(values[entry + i]) * lattice[start + i]
            entry += length
        dose[n] += total * scale[n]


@kernel(parallel=True)
def runs_transposed(
    run_pointer: Any,
    entry_pointer: Any,
    run_start: Any,
    run_length: Any,
    values: Any,
    scale: Any,
    voxel_values: Any,
    partial: Any,
) -> None:
    """Aᵀ·g on the flattened lattice, shape (blocks, cells), double precision.

    Each block of voxels sums by itself and the caller adds the blocks in order: the same result on any number of
    threads. Within a block, chunks of voxels are summed in single precision (the vector units' width) and then added.
    """
    blocks, cells = partial.shape
    count = voxel_values.shape[0]
    for block in prange(blocks):
        chunk_sum = np.empty(cells, dtype=np.float32)
        first, last = block * count // blocks, (block + 1) * count // blocks
        for chunk in range(first, last, CHUNK):
            chunk_sum[:] = 0.0
            for n in range(chunk, min(chunk + CHUNK, last)):
                value = voxel_values[n] * scale[n]
                entry = np.uintp(entry_pointer[n])
                for run in range(run_pointer[n], run_pointer[n + 1]):
                    start = np.uintp(run_start[run])
                    length = np.uintp(run_length[run])
                    for i in range(length):
                        chunk_sum[start + i] += np.float32(values[entry + i]) * value
                    entry += length
            for cell in range(cells):
                partial[block, cell] += chunk_sum[cell]
