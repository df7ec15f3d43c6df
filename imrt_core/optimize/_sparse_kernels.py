"""Kernels on compressed sparse storage: products, checks and the selection of rows.

"Lines" are rows of CSR and columns of CSC. Sums are in double precision, whatever the entries' own. Work is cut into a
fixed number of shares, each with partial sums of its own, so that results do not depend on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

#: Shares of the lines in a product.
SHARES = 16

#: What :func:`worst_entry` finds.
SOUND, BAD_VALUE, BAD_INDEX = 0, 1, 2


@kernel(parallel=True)
def gather(pointer: Any, index: Any, values: Any, vector: Any, shares: Any, found: Any) -> None:
    """Dot product of every line with ``vector``: A·w of CSR, Aᵀ·g of CSC."""
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
    """Sum of the lines, each times its entry of ``vector``: A·w of CSC, Aᵀ·g of CSR; ``partial`` starts at zero."""
    for share in prange(shares.shape[0] - 1):
        total = partial[share]
        for line in range(shares[share], shares[share + 1]):
            factor = vector[line]
            if factor != 0.0:
                for at in range(np.uintp(pointer[line]), np.uintp(pointer[line + 1])):
                    total[np.uintp(index[at])] += values[at] * factor


@kernel(parallel=True, fastmath=False)
def worst_entry(index: Any, values: Any, limit: Any, worst: Any) -> None:
    """Note for every share whether an entry is negative or not finite, or an index is outside 0 … limit − 1."""
    for share in prange(worst.shape[0]):
        first = share * values.shape[0] // worst.shape[0]
        last = (share + 1) * values.shape[0] // worst.shape[0]
        seen = SOUND
        for at in range(first, last):
            if not 0 <= index[at] < limit:
                seen = BAD_INDEX
            elif not 0.0 <= values[at] < np.inf:
                seen = max(seen, BAD_VALUE)
        worst[share] = seen


@kernel(parallel=True)
def count_selected(pointer: Any, index: Any, place: Any, shares: Any, counts: Any) -> None:
    """Count each share's entries (columns of CSC) in each selected row; ``place`` is −1 for the others."""
    for share in prange(shares.shape[0] - 1):
        own = counts[share]
        for at in range(np.uintp(pointer[shares[share]]), np.uintp(pointer[shares[share + 1]])):
            row = place[np.uintp(index[at])]
            if row >= 0:
                own[np.uintp(row)] += 1


@kernel(parallel=True)
def fill_selected(pointer: Any, index: Any, values: Any, place: Any, shares: Any, free: Any, into: Any) -> None:
    """Write the selected rows of CSC as CSR; ``free`` holds each share's first place in each row."""
    columns, entries = into
    for share in prange(shares.shape[0] - 1):
        own = free[share]
        for column in range(shares[share], shares[share + 1]):
            for at in range(np.uintp(pointer[column]), np.uintp(pointer[column + 1])):
                row = place[np.uintp(index[at])]
                if row >= 0:
                    to = np.uintp(own[np.uintp(row)])
                    columns[to] = column
                    entries[to] = values[at]
                    own[np.uintp(row)] += 1


@kernel(parallel=True)
def count_group_columns(pointer: Any, index: Any, rows_per_group: Any, columns: Any, counts: Any) -> None:
    """Count the columns that the rows of every group (consecutive ones of CSR) have among them."""
    rows = pointer.shape[0] - 1
    for group in prange(counts.shape[0]):
        seen = np.zeros(columns, dtype=np.bool_)
        first, last = group * rows_per_group, min((group + 1) * rows_per_group, rows)
        for at in range(pointer[first], pointer[last]):
            seen[index[at]] = True
        counts[group] = seen.sum()


@kernel(parallel=True)
def fill_groups_of_rows(
    pointer: Any, index: Any, values: Any, rows_per_group: Any, columns: Any, starts: Any, into: Any
) -> None:
    """Write every group's columns, padded by repeating the last one, and its rows' entries into a dense block."""
    group_columns, entries = into
    column_pointer, entry_pointer = starts
    rows = pointer.shape[0] - 1
    for group in prange(column_pointer.shape[0] - 1):
        place = np.full(columns, -1, dtype=np.int32)
        first, last = group * rows_per_group, min((group + 1) * rows_per_group, rows)
        for at in range(pointer[first], pointer[last]):
            place[index[at]] = 0
        begin, end = column_pointer[group], column_pointer[group + 1]
        count = begin
        for column in range(columns):
            if place[column] == 0:
                place[column] = count - begin
                group_columns[count] = column
                count += 1
        for padding in range(count, end):
            group_columns[padding] = group_columns[count - 1]
        for row in range(first, last):
            block = entry_pointer[group] + (row - first) * (end - begin)
            for at in range(pointer[row], pointer[row + 1]):
                entries[block + place[index[at]]] += values[at]
