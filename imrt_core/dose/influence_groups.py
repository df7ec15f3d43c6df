"""Stored entries of one beam by beam's-eye-view cell: every component, every bixel within the cutoff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from . import _group_kernels as kernels
from ._influence_kernels import CDF_LIMIT, CDF_STEP
from .beam_state import sort_by_key


@dataclass(frozen=True, eq=False)
class Lattice:
    """The bixel lattice of a beam, in bixels from where (u, v) = 0: columns ``first[0]`` …, rows ``first[1]`` ….

    Parameters
    ----------
    first : ndarray of int64, shape (2,)
        Column and row of bixel [0, 0].
    width_mm : float
        Side of a bixel.
    fluence : ndarray, shape (nv, nu)
        Primary fluence, zero where there is no bixel.
    """

    first: NDArray[np.int64]
    width_mm: float
    fluence: NDArray[np.float32]

    @property
    def row_span(self) -> NDArray[np.int64]:
        """First and last + 1 column with a bixel, shape (nv, 2)."""
        occupied = self.fluence > 0
        ends = self.fluence.shape[1] - occupied[:, ::-1].argmax(axis=1)
        span = np.stack([occupied.argmax(axis=1), ends], axis=1).astype(np.int64)
        span[~occupied.any(axis=1)] = 0
        return span


@dataclass(frozen=True, eq=False)
class StoredGroups:
    """Dense blocks of entries, one per cell of the beam's-eye view; all voxels of a cell store the same bixels.

    Parameters
    ----------
    order : ndarray of int32
        Rows of the matrix, group after group.
    voxel_pointer, run_pointer, entry_pointer : ndarray of int64, shape (groups + 1,)
        Where the voxels (in ``order``), runs and entries of each group begin.
    run_start, run_length : ndarray of int32
        Each run's first cell in the flattened lattice, and its number of cells.
    group_width : ndarray of int32, shape (groups,)
        Entries per voxel, padded.
    values : ndarray of float32 or uint16
        Entries in units of the voxel's scale: Gy per MU.
    scale : ndarray of float32
        One per voxel of ``order``. By row, not by column: a row's largest entry is its own cell's primary dose at its
        own depth, so a step (1/65535 of it) is the same small part of the dose everywhere, where a column's largest
        entry lies at the skin and would leave deep and scattered dose a few steps only.
    entries : int
        Entries without the padding.
    """

    order: NDArray[np.int32]
    voxel_pointer: NDArray[np.int64]
    run_pointer: NDArray[np.int64]
    entry_pointer: NDArray[np.int64]
    run_start: NDArray[np.int32]
    run_length: NDArray[np.int32]
    group_width: NDArray[np.int32]
    values: NDArray[np.float32] | NDArray[np.uint16]
    scale: NDArray[np.float32]
    entries: int

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        pointers = self.voxel_pointer.nbytes + self.run_pointer.nbytes + self.entry_pointer.nbytes
        runs = self.run_start.nbytes + self.run_length.nbytes + self.group_width.nbytes
        return pointers + runs + self.order.nbytes + self.values.nbytes + self.scale.nbytes

    def _with(self, *operands: Any) -> tuple[Any, ...]:
        """Arguments of a product's kernel."""
        runs = self.run_pointer, self.run_start, self.run_length
        layout = self.order, self.voxel_pointer, *runs, self.group_width, self.entry_pointer
        return *layout, _shares(self.entry_pointer), self.values, self.scale, *operands

    def add_dose(self, lattice: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add A·w for w on the flattened lattice."""
        kernels.groups_times_weights(*self._with(lattice, dose))

    def backproject(self, voxel_values: NDArray[np.float32], cells: int) -> NDArray[np.float64]:
        """Return Aᵀ·g on the flattened lattice."""
        partial = np.zeros((kernels.SHARES, cells))
        kernels.groups_transposed(*self._with(voxel_values, partial))
        return np.asarray(partial.sum(axis=0))

    def explicit(self, voxels: int, cells: int) -> NDArray[np.float32]:
        """Return the stored entries as a dense array (voxels, cells of the lattice)."""
        found = np.zeros((voxels, cells), dtype=np.float32)
        for g, width in enumerate(self.group_width):
            rows = slice(self.voxel_pointer[g], self.voxel_pointer[g + 1])
            runs = range(self.run_pointer[g], self.run_pointer[g + 1])
            at = np.concatenate([self.run_start[r] + np.arange(self.run_length[r]) for r in runs])
            block = self.values[self.entry_pointer[g] : self.entry_pointer[g + 1]].reshape(-1, width)
            found[np.ix_(self.order[rows], at)] = block[:, : len(at)] * self.scale[rows, None]
        return found


def _shares(entry_pointer: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where the groups of each share begin: shares of about equally many entries."""
    wanted = entry_pointer[-1] * np.arange(kernels.SHARES + 1) // kernels.SHARES
    return np.asarray(np.searchsorted(entry_pointer, wanted), dtype=np.int64)


def stored_radius_mm(cutoff_mm: float, bixel_mm: float) -> float:
    """Return how far from a cell's centre bixels are stored: what any of its points needs."""
    return cutoff_mm + cell_mm(bixel_mm) / float(np.sqrt(2))


def cell_mm(bixel_mm: float) -> float:
    """Side of a cell: half a bixel, so that storing what any of its points needs costs a few percent of entries."""
    return bixel_mm / 2


def stored_groups(
    u_mm: NDArray[np.float32],
    v_mm: NDArray[np.float32],
    sigma_mm: NDArray[np.float32],
    amplitude: NDArray[np.float32],
    lattice: Lattice,
    *,
    cutoff_mm: float,
    quantise: bool,
) -> StoredGroups:
    """Sort voxels into cells and fill their entries.

    Parameters
    ----------
    u_mm, v_mm : ndarray, shape (voxels,)
        Where they project, from the lattice's zero.
    sigma_mm, amplitude : ndarray, shape (voxels, components)
        Width on the isocentre plane and (SAD/r)²·A_k.
    lattice : Lattice
        Bixels.
    cutoff_mm : float
        Every bixel whose centre lies within it is stored, and those within half a cell's diagonal more.
    quantise : bool
        16-bit entries with a scale per voxel, else float32.
    """
    width, side = lattice.width_mm, cell_mm(lattice.width_mm)
    nv, nu = lattice.fluence.shape
    margin = int(np.ceil(cutoff_mm / side)) + 1
    shape = np.array([2 * nv + 2 * margin, 2 * nu + 2 * margin], dtype=np.int64)
    cell = np.array([lattice.first[0] * width - margin * side, lattice.first[1] * width - margin * side, side])
    reach = stored_radius_mm(cutoff_mm, width)
    span = lattice.row_span
    runs, size = (np.empty(int(shape.prod()), dtype=np.int32) for _ in range(2))
    kernels.cell_sizes(shape, cell, reach, span, width, lattice.first, runs, size)
    key = np.empty(len(u_mm), dtype=np.int32)
    kernels.cell_keys(u_mm, v_mm, shape, cell, size, key)
    start = np.zeros(len(size) + 1, dtype=np.int64)
    order = np.empty(int(np.count_nonzero(key >= 0)), dtype=np.int32)
    sort_by_key(key, start, order)
    group_cell = np.flatnonzero(np.diff(start))
    group_width = -(-size[group_cell] // kernels.PAD) * kernels.PAD
    voxel_pointer = np.append(start[group_cell], len(order))
    voxels = np.diff(voxel_pointer)
    entry_pointer = np.concatenate([[0], np.cumsum(voxels * group_width)])
    run_pointer = np.concatenate([[0], np.cumsum(runs[group_cell], dtype=np.int64)])
    run_start, run_length = (np.empty(int(run_pointer[-1]), dtype=np.int32) for _ in range(2))
    kernels.group_runs(
        group_cell, shape, cell, reach, span, nu, width, lattice.first, run_pointer, run_start, run_length
    )
    values: NDArray[Any] = np.empty(int(entry_pointer[-1]), dtype=np.uint16 if quantise else np.float32)
    scale = np.empty(len(order), dtype=np.float32)
    cdf = ndtr(np.arange(-CDF_LIMIT, CDF_LIMIT + 2 * CDF_STEP, CDF_STEP)).astype(np.float32)
    kernels.fill_groups(
        u_mm,
        v_mm,
        sigma_mm,
        amplitude,
        order,
        voxel_pointer,
        run_pointer,
        run_start,
        run_length,
        group_width,
        entry_pointer,
        _shares(entry_pointer),
        lattice.first,
        width,
        lattice.fluence,
        cdf,
        quantise,
        values,
        scale,
    )
    return StoredGroups(
        order,
        voxel_pointer,
        run_pointer,
        entry_pointer,
        run_start,
        run_length,
        group_width,
        values,
        scale,
        int(np.sum(voxels * size[group_cell])),
    )
