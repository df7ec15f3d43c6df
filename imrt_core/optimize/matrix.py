"""What the optimiser needs of a dose-influence matrix: ours, or any scipy.sparse one."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imrt_core.patient import GeometryError


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


class SparseDoseMatrix:
    """A ``scipy.sparse`` matrix as a :class:`DoseMatrix`.

    Parameters
    ----------
    matrix : sparse matrix or array, shape (voxels, bixels)
        Finite and not negative. Kept as CSR in its own floating precision; the transpose is a view.

    Raises
    ------
    GeometryError
        If an entry is NaN, infinite or negative.
    """

    def __init__(self, matrix: Any) -> None:
        rows = sparse.csr_array(matrix)
        if not np.issubdtype(rows.dtype, np.floating):
            rows = rows.astype(np.float64)
        if not np.all(np.isfinite(rows.data)) or (rows.nnz and rows.data.min() < 0):
            raise GeometryError("dose influence must be finite and not negative", expected="entries >= 0")
        self._rows = rows
        self._columns = rows.T

    @property
    def shape(self) -> tuple[int, int]:
        """(voxels, bixels)."""
        return int(self._rows.shape[0]), int(self._rows.shape[1])

    def dose(self, weights: NDArray[Any]) -> NDArray[Any]:
        """Return A·w."""
        return np.asarray(self._rows @ weights.astype(self._rows.dtype, copy=False))

    def backproject(self, voxel_values: NDArray[Any]) -> NDArray[Any]:
        """Return Aᵀ·g."""
        return np.asarray(self._columns @ voxel_values.astype(self._rows.dtype, copy=False))


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
