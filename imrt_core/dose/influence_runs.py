"""Stored entries of one beam voxel by voxel: narrow components within a reach of their own at every voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from . import _influence_kernels as kernels
from .influence_groups import Lattice

#: Blocks of voxels with a partial sum of their own in Aᵀ·g; fixed, so that sums do not depend on threads.
_BLOCKS = 16


@dataclass(frozen=True, eq=False)
class StoredRuns:
    """Runs of the bixel lattice, a few for every voxel.

    Parameters
    ----------
    run_pointer, entry_pointer : ndarray of int64, shape (voxels + 1,)
        Where the runs and the entries of each voxel begin.
    run_start, run_length : ndarray of int32
        Each run's first cell in the flattened lattice, and its number of cells.
    values : ndarray of float32 or uint16
        Entries in units of the voxel's scale: Gy per MU.
    scale : ndarray of float32, shape (voxels,)
        1 for float32; else the largest entry of the voxel divided by 65535.
    """

    run_pointer: NDArray[np.int64]
    entry_pointer: NDArray[np.int64]
    run_start: NDArray[np.int32]
    run_length: NDArray[np.int32]
    values: NDArray[np.float32] | NDArray[np.uint16]
    scale: NDArray[np.float32]

    @property
    def entries(self) -> int:
        """Number of entries."""
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        pointers = self.run_pointer.nbytes + self.entry_pointer.nbytes
        return pointers + self.run_start.nbytes + self.run_length.nbytes + self.values.nbytes + self.scale.nbytes

    def _with(self, *operands: Any) -> tuple[Any, ...]:
        """Arguments of a product's kernel."""
        layout = self.run_pointer, self.entry_pointer, self.run_start, self.run_length
        return *layout, self.values, self.scale, *operands

    def add_dose(self, lattice: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add A·w for w on the flattened lattice."""
        kernels.runs_times_weights(*self._with(lattice, dose))

    def backproject(self, voxel_values: NDArray[np.float32], cells: int) -> NDArray[np.float64]:
        """Return Aᵀ·g on the flattened lattice."""
        partial = np.zeros((_BLOCKS, cells))
        kernels.runs_transposed(*self._with(voxel_values, partial))
        return np.asarray(partial.sum(axis=0))

    def explicit(self, voxels: int, cells: int) -> NDArray[np.float32]:
        """Return the stored entries as a dense array (voxels, cells of the lattice)."""
        found = np.zeros((voxels, cells), dtype=np.float32)
        for n in range(voxels):
            entry = self.entry_pointer[n]
            for run in range(self.run_pointer[n], self.run_pointer[n + 1]):
                start, length = self.run_start[run], self.run_length[run]
                found[n, start : start + length] = self.values[entry : entry + length] * self.scale[n]
                entry += length
        return found


def stored_runs(
    u_mm: NDArray[np.float32],
    v_mm: NDArray[np.float32],
    sigma_mm: NDArray[np.float32],
    amplitude: NDArray[np.float32],
    lattice: Lattice,
    *,
    reach_mm: NDArray[np.float32],
    quantise: bool,
) -> StoredRuns:
    """Fill the entries of every voxel.

    Parameters
    ----------
    u_mm, v_mm : ndarray, shape (voxels,)
        Where they project, from the lattice's zero.
    sigma_mm, amplitude : ndarray, shape (voxels, components)
        Width on the isocentre plane and (SAD/r)²·A_k.
    lattice : Lattice
        Bixels.
    reach_mm : ndarray, shape (voxels,)
        Bixels whose centre lies within it are stored.
    quantise : bool
        16-bit entries with a scale per voxel, else float32.
    """
    runs, entries = np.empty(len(u_mm), dtype=np.int64), np.empty(len(u_mm), dtype=np.int64)
    place = (lattice.row_span, lattice.width_mm, int(lattice.first[0]), int(lattice.first[1]))
    kernels.count_runs(u_mm, v_mm, reach_mm, *place, runs, entries)
    run_pointer = np.concatenate([[0], np.cumsum(runs)])
    entry_pointer = np.concatenate([[0], np.cumsum(entries)])
    run_start = np.empty(int(run_pointer[-1]), dtype=np.int32)
    run_length = np.empty_like(run_start)
    values: NDArray[Any] = np.empty(int(entry_pointer[-1]), dtype=np.uint16 if quantise else np.float32)
    scale = np.ones(len(u_mm), dtype=np.float32)
    cdf = ndtr(np.arange(-kernels.CDF_LIMIT, kernels.CDF_LIMIT + 2 * kernels.CDF_STEP, kernels.CDF_STEP))
    kernels.fill_runs(
        u_mm,
        v_mm,
        reach_mm,
        *place,
        sigma_mm,
        amplitude,
        lattice.fluence,
        cdf.astype(np.float32),
        run_pointer,
        entry_pointer,
        quantise,
        run_start,
        run_length,
        values,
        scale,
    )
    return StoredRuns(run_pointer, entry_pointer, run_start, run_length, values, scale)
