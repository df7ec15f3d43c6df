"""What the optimiser needs of a dose-influence matrix: ours, or any scipy.sparse one."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imrt_core.patient import GeometryError

from ._sparse_kernels import BAD_INDEX, SHARES, count_selected, fill_selected, gather, scatter, worst_entry
from .row_groups import GroupedRows

#: A share of a transposed product has at least so many entries for every partial sum that it keeps.
_ENTRIES_PER_PARTIAL_SUM = 8


@runtime_checkable
class DoseMatrix(Protocol):
    """Rows are voxels, columns bixels, entries dose per fraction and fluence unit (Gy per MU)."""

    @property
    def shape(self) -> tuple[int, int]:
        """(voxels, bixels)."""
        ...

    def dose(self, weights: NDArray[Any]) -> NDArray[Any]:
        """Return A·w, shape (voxels,)."""
        ...

    def backproject(self, voxel_values: NDArray[Any]) -> NDArray[Any]:
        """Return Aᵀ·g, shape (bixels,)."""
        ...


@runtime_checkable
class SelectableMatrix(DoseMatrix, Protocol):
    """A matrix that can give some of its rows: the optimiser then works with those that matter."""

    def select(self, rows: NDArray[np.int64]) -> DoseMatrix:
        """Return the matrix of these rows, unique and in this order, in a form for many products."""
        ...


class SparseDoseMatrix:
    """A ``scipy.sparse`` matrix as a :class:`DoseMatrix`, with parallel products in double precision.

    Parameters
    ----------
    matrix : sparse matrix or array, or ndarray, shape (voxels, bixels)
        Finite, real and not negative. CSR and CSC of 32 or 64 bit are used as they are, without a copy; every other
        format becomes CSR, every other number 64 bit.

    Raises
    ------
    GeometryError
        If the shape is not two-dimensional or has no voxel or bixel, an entry is complex, NaN, infinite or negative,
        or an index lies outside the shape.
    """

    def __init__(self, matrix: Any) -> None:
        shape = tuple(int(n) for n in matrix.shape)
        if len(shape) != 2 or 0 in shape:
            raise GeometryError(
                "dose influence must have rows (voxels) and columns (bixels)",
                found=f"shape {shape}",
                expected="two dimensions, none of them 0",
            )
        dtype = np.dtype(matrix.dtype)
        if dtype.kind not in "fiub":
            raise GeometryError("dose influence must be real numbers", found=str(dtype), expected="float32 or float64")
        stored = matrix if sparse.issparse(matrix) and matrix.format == "csc" else sparse.csr_array(matrix)
        working = np.float32 if dtype == np.float32 else np.float64
        self._shape = (shape[0], shape[1])
        self._by_column = stored.format == "csc"
        self._values = np.ascontiguousarray(stored.data, dtype=working)
        self._pointer = np.ascontiguousarray(stored.indptr, dtype=np.int64)
        self._index = np.ascontiguousarray(stored.indices)
        self._check()
        # lines are shared out by entries
        ends = np.searchsorted(self._pointer, np.linspace(0, self._pointer[-1], SHARES + 1)[1:-1])
        self._shares = np.concatenate([[0], ends, [self._pointer.size - 1]]).astype(np.int64)

    def _check(self) -> None:
        pointer = self._pointer
        lines, across = self._shape[::-1] if self._by_column else self._shape
        fits = pointer.size == lines + 1 and self._index.size >= pointer[-1] and self._values.size >= pointer[-1]
        if not fits or pointer[0] != 0 or np.any(np.diff(pointer) < 0):
            raise GeometryError("dose influence: the sparse matrix's pointers do not fit its entries")
        worst = np.empty(SHARES, dtype=np.int64)
        worst_entry(self._index[: pointer[-1]], self._values[: pointer[-1]], across, worst)
        if worst.max() == BAD_INDEX:
            raise GeometryError("dose influence: an index lies outside the matrix", expected=f"0 … {across - 1}")
        if worst.max():
            entries = self._values[: pointer[-1]]
            bad = entries[~np.isfinite(entries) | np.signbit(entries)]
            raise GeometryError(
                "dose influence must be finite and not negative",
                found=f"{bad.size} entries such as {bad[0]}",
                expected="entries >= 0",
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(voxels, bixels)."""
        return self._shape

    def dose(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Return A·w, shape (voxels,).

        Raises
        ------
        GeometryError
            If there is not one weight per column.
        """
        vector = _vector(weights, self._shape[1], "weights")
        return self._scatter(vector, self._shape[0]) if self._by_column else self._gather(vector, self._shape[0])

    def backproject(self, voxel_values: NDArray[Any]) -> NDArray[np.float64]:
        """Return Aᵀ·g, shape (bixels,).

        Raises
        ------
        GeometryError
            If there is not one value per row.
        """
        vector = _vector(voxel_values, self._shape[0], "voxel values")
        return self._gather(vector, self._shape[1]) if self._by_column else self._scatter(vector, self._shape[1])

    def select(self, rows: NDArray[np.int64]) -> DoseMatrix:
        """Return the matrix of these rows, unique and in this order, in a form for many products.

        Products are in the precision of the entries: single where those are (relative error about 1e-6).
        """
        if self._by_column:
            pointer, index, values = self._rows_of_columns(rows)
        else:
            chosen = sparse.csr_array((self._values, self._index, self._pointer), shape=self._shape)[rows]
            pointer, index, values = chosen.indptr.astype(np.int64), chosen.indices, chosen.data
        shape = (rows.size, self._shape[1])
        if values.dtype == np.float32:
            return GroupedRows(pointer, index, values, shape)
        return SparseDoseMatrix(sparse.csr_array((values, index, pointer), shape=shape))

    def _rows_of_columns(self, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Return some rows of CSC as CSR: pointer, columns, entries."""
        place = np.full(self._shape[0], -1, dtype=np.int32)
        place[rows] = np.arange(rows.size, dtype=np.int32)
        counts = np.zeros((SHARES, rows.size), dtype=np.int64)
        count_selected(self._pointer, self._index, place, self._shares, counts)
        pointer = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
        free = pointer[:-1] + np.cumsum(counts, axis=0) - counts
        columns = np.empty(pointer[-1], dtype=np.int32)
        entries = np.empty(pointer[-1], dtype=self._values.dtype)
        fill_selected(self._pointer, self._index, self._values, place, self._shares, free, (columns, entries))
        return pointer, columns, entries

    def _gather(self, vector: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        found = np.empty(size)
        gather(self._pointer, self._index, self._values, vector, self._shares, found)
        return found

    def _scatter(self, vector: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        # partial sums that are as long as the matrix has entries would cost more than they save
        count = int(np.clip(self._values.size // (_ENTRIES_PER_PARTIAL_SUM * size), 2, SHARES))
        shares = self._shares[np.linspace(0, SHARES, count + 1).astype(np.int64)]
        partial = np.zeros((count, size))
        scatter(self._pointer, self._index, self._values, vector, shares, partial)
        return np.asarray(partial.sum(axis=0))


def _vector(values: NDArray[Any], size: int, name: str) -> NDArray[np.float64]:
    vector = np.ascontiguousarray(values, dtype=np.float64)
    if vector.shape != (size,):
        raise GeometryError(
            f"{name} do not fit the influence matrix", found=f"shape {vector.shape}", expected=f"({size},)"
        )
    return vector


def as_dose_matrix(matrix: Any) -> DoseMatrix:
    """Return the matrix itself if it can ``dose`` and ``backproject``, else wrap a sparse or dense one.

    Raises
    ------
    GeometryError
        If it is neither, or has invalid entries.
    """
    if isinstance(matrix, DoseMatrix):
        return matrix
    if sparse.issparse(matrix) or isinstance(matrix, np.ndarray):
        return SparseDoseMatrix(matrix)
    raise GeometryError(
        "not a dose-influence matrix", found=type(matrix).__name__, expected="InfluenceMatrix or scipy.sparse"
    )
