"""Voxel sets: which rows of a dose-influence matrix make up a structure, and how much volume each stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import StructureError


@dataclass(frozen=True, eq=False)
class VoxelSet:
    """Rows of the influence matrix with their share of a structure's volume.

    Parameters
    ----------
    rows : ndarray of int, shape (n,)
        Unique row indices, n ≥ 1.
    volume_weights : ndarray, shape (n,)
        Positive; normalised to sum 1 on construction. With sampling, a voxel's weight includes those it stands for.

    Raises
    ------
    StructureError
        If the set is empty, rows repeat, or a weight is not positive and finite.
    """

    rows: NDArray[np.int64]
    volume_weights: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = np.array(self.rows, dtype=np.int64)
        weights = np.array(self.volume_weights, dtype=np.float64)
        if rows.ndim != 1 or rows.size == 0:
            raise StructureError("a voxel set needs at least one voxel", found=f"rows of shape {rows.shape}")
        if weights.shape != rows.shape or not np.all(np.isfinite(weights)) or np.any(weights <= 0):
            raise StructureError("volume weights must be positive, one per voxel", found=f"shape {weights.shape}")
        if rows.min() < 0 or np.unique(rows).size != rows.size:
            raise StructureError("voxel rows must be unique and not negative", found=f"{rows.size} rows")
        weights = weights / weights.sum()
        for array in (rows, weights):
            array.setflags(write=False)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "volume_weights", weights)

    @classmethod
    def from_rows(cls, rows_or_mask: ArrayLike) -> VoxelSet:
        """Build from row indices, or a Boolean or fractional mask over all rows of the matrix."""
        array = np.asarray(rows_or_mask)
        if array.dtype == bool or np.issubdtype(array.dtype, np.floating):
            rows = np.flatnonzero(array > 0)
            return cls(rows, np.asarray(array, dtype=np.float64)[rows])
        return cls(array.astype(np.int64), np.ones(array.shape))


def as_voxel_sets(structures: Mapping[str, VoxelSet | ArrayLike], *, row_count: int) -> dict[str, VoxelSet]:
    """Convert every entry to a :class:`VoxelSet` and check it against the matrix.

    Parameters
    ----------
    structures : mapping of str to VoxelSet or array_like
        Row indices, or masks over all rows.
    row_count : int
        Rows of the matrix.

    Raises
    ------
    StructureError
        If a set names rows that the matrix does not have, or a mask has another length.
    """
    result = {}
    for name, entry in structures.items():
        if isinstance(entry, VoxelSet):
            voxels = entry
        else:
            array = np.asarray(entry)
            is_mask = array.dtype == bool or np.issubdtype(array.dtype, np.floating)
            if is_mask and array.shape != (row_count,):
                raise StructureError(
                    "a mask must have one entry per row of the matrix",
                    found=str(array.shape),
                    expected=str((row_count,)),
                    where=name,
                )
            voxels = VoxelSet.from_rows(array)
        if voxels.rows.max() >= row_count:
            raise StructureError(
                "voxel rows beyond the matrix", found=str(int(voxels.rows.max())), expected=f"< {row_count}", where=name
            )
        result[name] = voxels
    return result
