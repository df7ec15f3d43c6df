"""Kernels on compressed sparse storage: products, from CSC to CSR, and rows in groups.

Sums are in double precision, whatever the entries' own. Work is cut into a
fixed number of shares, each with partial sums of its own, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

#: Shares of the lines in a product.
SHARES = 16


@kernel(parallel=True)
def gather(pointer: Any, index: Any, values: Any, vector: Any, shares: Any, found: Any) -> None:
    """A·w of CSR: the dot product of every row with ``vector``."""
    one, two, three, four = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(4)
    for share in prange(shares.shape[0] - 1):
        for line in range(shares[share], shares[share + 1]):
            at, last = np.uintp(pointer[line]), np.uintp(pointer[line + 1])
            by_four = at + (last - at) // four * four
            # four chains of sums: one alone would wait for every addition
            a, b, c, d = 0.0, 0.0, 0.0, 0.0
            while at < by_four:
                a += values[at] * vector[np.uintp(index[at])]
                b += values[at + one] * vector[np.uintp(index[at + one])]
                c += values[at + two] * vector[np.uintp(index[at + two])]
                d += values[at + three] * vector[np.uintp(index[at + three])]
                at += four
            while at < last:
                a += values[at] * vector[np.uintp(index[at])]
                at += one
            found[line] = (a + b) + (c + d)


@kernel(parallel=True)
def scatter(pointer: Any, index: Any, values: Any, vector: Any, shares: Any, partial: Any) -> None:
    """Aᵀ·g of CSR: the sum of the rows, each times its entry of ``vector``; ``partial`` starts at zero."""
    for share in prange(shares.shape[0] - 1):
        total = partial[share]
        for line in range(shares[share], shares[share + 1]):
            factor = vector[line]
            if factor != 0.0:
                for at in range(np.uintp(pointer[line]), np.uintp(pointer[line + 1])):
                    total[np.uintp(index[at])] += values[at] * factor


@kernel()
def _first_from(index: Any, at: int, last: int, row: int) -> Any:
    """Place of the first of ``index[at:last]``, ascending, that is not before ``row``."""
    while at < last:
        middle = (at + last) // 2
        if index[middle] < row:
            at = middle + 1
        else:
            last = middle
    return at


@kernel(parallel=True)
def count_rows(pointer: Any, index: Any, rows_per_block: int, counts: Any) -> None:
    """Count the entries of every row of CSC with ascending indices, block of rows by block of rows."""
    for block in prange(-(-counts.shape[0] // rows_per_block)):
        begin, end = block * rows_per_block, min((block + 1) * rows_per_block, counts.shape[0])
        for column in range(pointer.shape[0] - 1):
            last = pointer[column + 1]
            at = _first_from(index, pointer[column], last, begin)
            while at < last and index[at] < end:
                counts[np.uintp(index[at])] += 1
                at += 1


@kernel(parallel=True)
def fill_rows(pointer: Any, index: Any, values: Any, rows_per_block: int, free: Any, into: Any) -> None:
    """Write CSC with ascending indices as CSR; ``free`` holds the first place of each row.

    A block of rows lies in few pages of memory: written column by column, every entry would touch another one.
    """
    columns, entries = into
    for block in prange(-(-free.shape[0] // rows_per_block)):
        begin, end = block * rows_per_block, min((block + 1) * rows_per_block, free.shape[0])
        for column in range(pointer.shape[0] - 1):
            last = pointer[column + 1]
            at = _first_from(index, pointer[column], last, begin)
            while at < last and index[at] < end:
                row = np.uintp(index[at])
                to = np.uintp(free[row])
                columns[to] = column
                entries[to] = values[at]
                free[row] += 1
                at += 1


@kernel(parallel=True)
def count_group_columns(pointer: Any, index: Any, rows_per_group: Any, place_of: Any, counts: Any) -> None:
    """Count the columns that the rows of every group (consecutive ones of CSR) have among them.

    ``place_of`` is a column's new number, −1 where it is left out.
    """
    rows = pointer.shape[0] - 1
    for group in prange(counts.shape[0]):
        seen = np.zeros(place_of.shape[0], dtype=np.bool_)
        first, last = group * rows_per_group, min((group + 1) * rows_per_group, rows)
        for at in range(pointer[first], pointer[last]):
            seen[index[at]] = True
        count = 0
        for column in range(place_of.shape[0]):
            if seen[column] and place_of[column] >= 0:
                count += 1
        counts[group] = count


@kernel(parallel=True)
def fill_groups_of_rows(
    pointer: Any, index: Any, values: Any, rows_per_group: Any, place_of: Any, starts: Any, into: Any
) -> None:
    """Write every group's columns, padded by repeating the last one, and its rows' entries into a dense block."""
    group_columns, entries = into
    column_pointer, entry_pointer = starts
    rows = pointer.shape[0] - 1
    for group in prange(column_pointer.shape[0] - 1):
        begin, end = column_pointer[group], column_pointer[group + 1]
        if begin == end:
            continue
        inside = np.full(place_of.shape[0], -1, dtype=np.int32)
        first, last = group * rows_per_group, min((group + 1) * rows_per_group, rows)
        for at in range(pointer[first], pointer[last]):
            inside[index[at]] = 0
        count = begin
        for column in range(place_of.shape[0]):
            if inside[column] == 0:
                inside[column] = -1
                if place_of[column] >= 0:
                    inside[column] = count - begin
                    group_columns[count] = place_of[column]
                    count += 1
        for padding in range(count, end):
            group_columns[padding] = group_columns[count - 1]
        for row in range(first, last):
            block = entry_pointer[group] + (row - first) * (end - begin)
            for at in range(pointer[row], pointer[row + 1]):
                to = inside[index[at]]
                if to >= 0:
                    entries[block + to] += values[at]
