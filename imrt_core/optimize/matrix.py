"""What the optimiser needs of a dose-influence matrix: ours, or any scipy.sparse one."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imrt_core.patient import GeometryError

from ._sparse_kernels import SHARES, count_rows, fill_rows, gather, scatter
from .row_groups import GroupedRows

#: Rows that are written at a time while a matrix is stored anew by row.
_ROWS_PER_BLOCK = 8192
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
    """A matrix that can give a part of itself: the optimiser then works with what matters."""

    def select(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> DoseMatrix:
        """Return the matrix of these rows and columns, unique and ascending, in a form for many products."""
        ...


class SparseDoseMatrix:
    """A ``scipy.sparse`` matrix as a :class:`DoseMatrix`, with parallel products in double precision.

    Parameters
    ----------
    matrix : sparse matrix or array, or ndarray, shape (voxels, bixels)
        Finite, real and not negative. CSR of 32 bit indices is used as it is, without a copy; every other format
        becomes that: rows are what the optimiser chooses. Numbers that are not of 32 bit become 64 bit.

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
        by_column = sparse.issparse(matrix) and matrix.format == "csc"
        stored = matrix if by_column else sparse.csr_array(matrix)
        if by_column and not stored.has_sorted_indices:
            stored = stored.sorted_indices()
        values = np.ascontiguousarray(stored.data, dtype=np.float32 if dtype == np.float32 else np.float64)
        pointer = np.ascontiguousarray(stored.indptr, dtype=np.int64)
        lines, across = shape[::-1] if by_column else shape
        _check(pointer, stored.indices, values, lines, across)
        self._shape = (shape[0], shape[1])
        if by_column:
            self._rows = _by_row(pointer, np.ascontiguousarray(stored.indices), values, shape[0])
        else:
            self._rows = pointer, np.ascontiguousarray(stored.indices, dtype=np.int32), values
        # rows are shared out by entries
        self._shares = _shares(self._rows[0])

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
        found = np.empty(self._shape[0])
        pointer, index, values = self._rows
        gather(pointer, index, values, _vector(weights, self._shape[1], "weights"), self._shares, found)
        return found

    def backproject(self, voxel_values: NDArray[Any]) -> NDArray[np.float64]:
        """Return Aᵀ·g, shape (bixels,).

        Raises
        ------
        GeometryError
            If there is not one value per row.
        """
        vector = _vector(voxel_values, self._shape[0], "voxel values")
        # partial sums that are as long as the matrix has entries would cost more than they save
        columns = self._shape[1]
        pointer, index, values = self._rows
        count = int(np.clip(values.size // (_ENTRIES_PER_PARTIAL_SUM * columns), 2, SHARES))
        shares = self._shares[np.linspace(0, SHARES, count + 1).astype(np.int64)]
        partial = np.zeros((count, columns))
        scatter(pointer, index, values, vector, shares, partial)
        return np.asarray(partial.sum(axis=0))

    def select(self, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> DoseMatrix:
        """Return the matrix of these rows and columns, unique and ascending, in a form for many products.

        Products are in the precision of the entries: single where those are (relative error about 1e-6).
        """
        chosen = self._csr[rows]
        return GroupedRows(chosen, columns) if chosen.dtype == np.float32 else SparseDoseMatrix(chosen[:, columns])

    @cached_property
    def _csr(self) -> sparse.csr_array:
        pointer, index, values = self._rows
        # scipy wants pointers and indices of one type, and would copy the indices
        short = pointer.astype(np.int32) if pointer[-1] < 2**31 else pointer
        return sparse.csr_array((values, index, short), shape=self._shape)


def _check(pointer: NDArray[np.int64], index: NDArray[Any], values: NDArray[Any], lines: int, across: int) -> None:
    fits = pointer.size == lines + 1 and index.size >= pointer[-1] and values.size >= pointer[-1]
    if not fits or pointer[0] != 0 or np.any(np.diff(pointer) < 0):
        raise GeometryError("dose influence: the sparse matrix's pointers do not fit its entries")
    index, values = index[: pointer[-1]], values[: pointer[-1]]
    if index.min(initial=0) < 0 or index.max(initial=0) >= across:
        raise GeometryError("dose influence: an index lies outside the matrix", expected=f"0 … {across - 1}")
    # NaN is the least and the largest of any entries that it is among
    if not (values.min(initial=0) >= 0 and values.max(initial=0) < np.inf):
        bad = values[~np.isfinite(values) | (values < 0)]
        raise GeometryError(
            "dose influence must be finite and not negative",
            found=f"{bad.size} entries such as {bad[0]}",
            expected="entries >= 0",
        )


def _by_row(
    pointer: NDArray[np.int64], index: NDArray[Any], values: NDArray[Any], rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]]:
    """Return CSC with ascending indices as CSR.

    scipy's ``tocsr`` takes 0.94 s for 38 million entries, a fifth of the optimisation that they are for; this 0.40 s.
    """
    counts = np.zeros(rows, dtype=np.int64)
    count_rows(pointer, index, _ROWS_PER_BLOCK, counts)
    row_pointer = np.concatenate([[0], np.cumsum(counts)])
    columns, entries = np.empty(row_pointer[-1], dtype=np.int32), np.empty(row_pointer[-1], dtype=values.dtype)
    fill_rows(pointer, index, values, _ROWS_PER_BLOCK, row_pointer[:-1].copy(), (columns, entries))
    return row_pointer, columns, entries


def _shares(pointer: NDArray[np.int64]) -> NDArray[np.int64]:
    """Share out lines by their entries."""
    ends = np.searchsorted(pointer, np.linspace(0, pointer[-1], SHARES + 1)[1:-1])
    return np.concatenate([[0], ends, [pointer.size - 1]]).astype(np.int64)


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
