"""Kernels that sort voxels into cells of the beam's-eye view and find the bixels that each group of voxels stores.

A group is one cell and one class of reach; the key of a group is ``cell · classes + class``. The bixels within a reach
form one run of the lattice per row, so a run needs two numbers: where it starts in the lattice and how long it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel


@kernel()
def row_run(u: float, v: float, reach: float, row: int, row_span: Any, width: float, first: Any) -> Any:
    """Columns from … to (exclusive) of one lattice row whose centres lie within the reach of (u, v).

    ``row_span`` (rows, 2): first and last + 1 column with a bixel. ``first``: lattice column and row (in bixels from
    the axis) of bixel [0, 0].
    """
    away = (first[1] + row + 0.5) * width - v
    half = reach * reach - away * away
    if half <= 0.0:
        return 0, 0
    half = np.sqrt(half)
    low = int(np.ceil((u - half) / width - 0.5)) - first[0]
    high = int(np.floor((u + half) / width - 0.5)) - first[0] + 1
    low, high = max(low, row_span[row, 0]), min(high, row_span[row, 1])
    return (low, high) if high > low else (0, 0)


@kernel(parallel=True)
def bixels_within(u: Any, v: Any, reach: Any, row_span: Any, width: float, first: Any, found: Any) -> None:
    """Count the bixels within the reach of every voxel."""
    for n in prange(u.shape[0]):
        low = int(np.floor((v[n] - reach[n]) / width)) - first[1]
        high = int(np.floor((v[n] + reach[n]) / width)) - first[1] + 1
        count = 0
        for row in range(max(low, 0), min(high, row_span.shape[0])):
            start, stop = row_run(u[n], v[n], reach[n], row, row_span, width, first)
            count += stop - start
        found[n] = count


@kernel(parallel=True)
def group_keys(u: Any, v: Any, reach_class: Any, classes: int, shape: Any, cell: Any, key: Any) -> None:
    """Group of every voxel; −1 outside the cells and where ``reach_class`` is negative.

    ``shape``: rows and columns of cells. ``cell``: BLD X and Y of the lower edge of cell [0, 0], and the cells' side.
    """
    for n in prange(u.shape[0]):
        column, row = int(np.floor((u[n] - cell[0]) / cell[2])), int(np.floor((v[n] - cell[1]) / cell[2]))
        key[n] = -1
        if 0 <= row < shape[0] and 0 <= column < shape[1] and reach_class[n] >= 0:
            key[n] = (row * shape[1] + column) * classes + reach_class[n]


@kernel()
def _centre(key: int, classes: int, shape: Any, cell: Any) -> Any:
    """Centre of a group's cell, and its class of reach."""
    n = key // classes
    return cell[0] + (n % shape[1] + 0.5) * cell[2], cell[1] + (n // shape[1] + 0.5) * cell[2], key % classes


@kernel(parallel=True)
def group_sizes(
    key: Any, shape: Any, cell: Any, reach: Any, row_span: Any, width: float, first: Any, size: Any
) -> None:
    """Count the bixels of every group; ``reach`` (classes,) is from a cell's centre."""
    for g in prange(key.shape[0]):
        u, v, c = _centre(key[g], reach.shape[0], shape, cell)
        count = 0
        for row in range(row_span.shape[0]):
            start, stop = row_run(u, v, reach[c], row, row_span, width, first)
            count += stop - start
        size[g] = count


@kernel(parallel=True)
def group_bixels(
    key: Any,
    shape: Any,
    cell: Any,
    reach: Any,
    row_span: Any,
    columns: int,
    width: float,
    first: Any,
    bixel_pointer: Any,
    bixel: Any,
) -> None:
    """Fill the cells of the flattened lattice that each group stores; the last is repeated where rows are padded."""
    for g in prange(key.shape[0]):
        u, v, c = _centre(key[g], reach.shape[0], shape, cell)
        place = bixel_pointer[g]
        for row in range(row_span.shape[0]):
            start, stop = row_run(u, v, reach[c], row, row_span, width, first)
            for column in range(start, stop):
                bixel[place] = row * columns + column
                place += 1
        for rest in range(place, bixel_pointer[g + 1]):
            bixel[rest] = bixel[place - 1]
