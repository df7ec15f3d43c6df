"""Rows of a sparse matrix in groups that share their columns: products run along memory, without an index per entry.

Neighbouring voxels see nearly the same bixels. A group of consecutive rows becomes a dense block over the columns that
any of them has; the zeros cost less than the indices and the scattered access that they save.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imrt_core.dose._product_kernels import PAD
from imrt_core.dose.influence_groups import GroupLayout, StoredGroups

from ._sparse_kernels import count_group_columns, fill_groups_of_rows

#: Consecutive rows in one group.
ROWS_PER_GROUP = 32


class GroupedRows:
    """Rows of a matrix as dense blocks, in single precision.

    Parameters
    ----------
    matrix : csr_array
        Sound (see :class:`~imrt_core.optimize.matrix.SparseDoseMatrix`).
    columns : ndarray of int
        Columns to keep, ascending.
    """

    def __init__(self, matrix: sparse.csr_array, columns: NDArray[np.int64]) -> None:
        self.shape = (int(matrix.shape[0]), columns.size)
        pointer, index = matrix.indptr.astype(np.int64), matrix.indices
        place_of = np.full(matrix.shape[1], -1, dtype=np.int32)
        place_of[columns] = np.arange(columns.size, dtype=np.int32)
        rows = self.shape[0]
        groups = -(-rows // ROWS_PER_GROUP)
        counts = np.empty(groups, dtype=np.int64)
        count_group_columns(pointer, index, ROWS_PER_GROUP, place_of, counts)
        padded = -(-counts // PAD) * PAD
        voxel_pointer = np.minimum(np.arange(groups + 1, dtype=np.int64) * ROWS_PER_GROUP, rows)
        column_pointer = np.concatenate([[0], np.cumsum(padded)])
        entry_pointer = np.concatenate([[0], np.cumsum(padded * np.diff(voxel_pointer))])
        group_columns = np.empty(column_pointer[-1], dtype=np.int32)
        entries = np.zeros(entry_pointer[-1], dtype=np.float32)
        starts, into = (column_pointer, entry_pointer), (group_columns, entries)
        fill_groups_of_rows(pointer, index, matrix.data, ROWS_PER_GROUP, place_of, starts, into)
        order = np.arange(rows, dtype=np.int32)
        layout = GroupLayout(order, voxel_pointer, column_pointer, group_columns, entry_pointer)
        self._groups = StoredGroups(layout, entries, np.ones(rows, dtype=np.float32), int(pointer[-1]))

    def dose(self, weights: NDArray[Any]) -> NDArray[np.float32]:
        """Return A·w, shape (rows,)."""
        found = np.zeros(self.shape[0], dtype=np.float32)
        self._groups.add_dose(np.ascontiguousarray(weights, dtype=np.float32), found)
        return found

    def backproject(self, voxel_values: NDArray[Any]) -> NDArray[np.float64]:
        """Return Aᵀ·g, shape (columns,)."""
        return self._groups.backproject(np.ascontiguousarray(voxel_values, dtype=np.float32), self.shape[1])
