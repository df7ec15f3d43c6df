"""Stored entries of one beam, voxels sorted into groups that store the same bixels.

A group's voxels lie in one cell of the beam's-eye view and have about the same reach, so that its entries are a dense
array (voxels, bixels): both products run along contiguous memory and indices cost next to nothing. Where the reach is a
voxel's own, bixels of the group beyond it hold 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from . import _cell_kernels as cells
from . import _product_kernels as products
from ._fill_kernels import CDF_LIMIT, CDF_STEP, fill_groups
from .beam_state import sort_by_key
from .lattice import Lattice

#: Voxels of one group differ in reach by at most this part of a bixel.
REACH_STEP = 0.5
#: Side of the cells in bixels where every voxel has its own reach.
CELL_OF_REACH = 1.0


@dataclass(frozen=True, eq=False)
class GroupLayout:
    """Which voxels form each group, and which bixels they store.

    Parameters
    ----------
    order : ndarray of int32
        Rows of the matrix, group after group.
    voxel_pointer, bixel_pointer, entry_pointer : ndarray of int64, shape (groups + 1,)
        Where the voxels (in ``order``), bixels and entries of each group begin.
    bixel : ndarray of uint16 or int32
        Cells of the flattened lattice, group after group, ascending. Padded: the last one of a group is repeated, with
        entries of 0.
    """

    order: NDArray[np.int32]
    voxel_pointer: NDArray[np.int64]
    bixel_pointer: NDArray[np.int64]
    bixel: NDArray[np.uint16] | NDArray[np.int32]
    entry_pointer: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays[:-1])

    @cached_property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Arguments of the kernels: the fields in their order, and where the groups of each share begin.

        Shares have about equally many entries.
        """
        wanted = self.entry_pointer[-1] * np.arange(products.SHARES + 1) // products.SHARES
        shares = np.searchsorted(self.entry_pointer, wanted).astype(np.int64)
        return self.order, self.voxel_pointer, self.bixel_pointer, self.bixel, self.entry_pointer, shares


@dataclass(frozen=True, eq=False)
class StoredGroups:
    """Dense blocks of entries, one per group.

    Parameters
    ----------
    layout : GroupLayout
        Voxels and bixels.
    values : ndarray of float32 or uint16
        Entries in units of the voxel's scale: Gy per MU.
    scale : ndarray of float32
        One per voxel of the layout's order; 1 for float32. By row, not by column: a row's largest entry is its own
        cell's primary dose at its own depth, so a step (1/65535 of it) is the same small part of the dose everywhere,
        where a column's largest entry lies at the skin and would leave deep and scattered dose a few steps only.
    entries : int
        Entries without padding, and without those beyond the voxels' own reach.
    """

    layout: GroupLayout
    values: NDArray[np.float32] | NDArray[np.uint16]
    scale: NDArray[np.float32]
    entries: int

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self.layout.nbytes + self.values.nbytes + self.scale.nbytes

    def add_dose(self, lattice: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add A·w for w on the flattened lattice."""
        products.groups_times_weights(self.layout.arrays, self.values, self.scale, lattice, dose)

    def backproject(self, voxel_values: NDArray[np.float32], cells: int) -> NDArray[np.float64]:
        """Return Aᵀ·g on the flattened lattice."""
        partial = np.zeros((products.SHARES, cells))
        products.groups_transposed(self.layout.arrays, self.values, self.scale, voxel_values, partial)
        return np.asarray(partial.sum(axis=0))

    def explicit(self, voxels: int, cells: int) -> NDArray[np.float32]:
        """Return the stored entries as a dense array (voxels, cells of the lattice)."""
        found = np.zeros((voxels, cells), dtype=np.float32)
        layout = self.layout
        for g in range(len(layout.voxel_pointer) - 1):
            rows = slice(layout.voxel_pointer[g], layout.voxel_pointer[g + 1])
            at = layout.bixel[layout.bixel_pointer[g] : layout.bixel_pointer[g + 1]]
            block = self.values[layout.entry_pointer[g] : layout.entry_pointer[g + 1]].reshape(-1, len(at))
            # Added, not assigned: padding repeats a bixel.
            np.add.at(found, np.ix_(layout.order[rows], at), block * self.scale[rows, None])
        return found


@dataclass(frozen=True, eq=False)
class Reach:
    """How far from a voxel bixels are stored.

    Parameters
    ----------
    per_voxel_mm : ndarray of float32, shape (voxels,)
        Bixels beyond it hold 0; infinite where all bixels of the group count.
    number : ndarray of int32, shape (voxels,)
        Class of each voxel; negative where nothing is stored.
    class_mm : ndarray of float64, shape (classes,)
        What the groups of a class store, from the centre of the cell.
    cell_mm : float
        Side of the cells.
    """

    per_voxel_mm: NDArray[np.float32]
    number: NDArray[np.int32]
    class_mm: NDArray[np.float64]
    cell_mm: float


def stored_radius_mm(cutoff_mm: float, bixel_mm: float) -> float:
    """Return how far from a cell's centre bixels are stored: what any of its points needs."""
    return cutoff_mm + cell_mm(bixel_mm) / float(np.sqrt(2))


def cell_mm(bixel_mm: float) -> float:
    """Side of a cell: half a bixel, so that storing what any of its points needs costs a few percent of entries."""
    return bixel_mm / 2


def reach_of_cutoff(cutoff_mm: float, voxels: int, lattice: Lattice) -> Reach:
    """One reach for all voxels: bixels whose centre lies within the cutoff, and half a cell's diagonal more."""
    everywhere = np.full(voxels, np.inf, dtype=np.float32)
    radius = stored_radius_mm(cutoff_mm, lattice.width_mm)
    return Reach(everywhere, np.zeros(voxels, dtype=np.int32), np.array([radius]), cell_mm(lattice.width_mm))


def reach_of_voxels(
    reach_mm: NDArray[np.float32], u_mm: NDArray[np.float32], v_mm: NDArray[np.float32], lattice: Lattice
) -> tuple[Reach, int]:
    """Return a reach for every voxel (bixels whose centre lies within it) and how many entries that makes."""
    step = REACH_STEP * lattice.width_mm
    lowest = float(reach_mm.min(initial=0.0 if not len(reach_mm) else np.inf))
    number = np.ceil((reach_mm - lowest) / step).astype(np.int32)
    within = np.empty(len(reach_mm), dtype=np.int64)
    cells.bixels_within(u_mm, v_mm, reach_mm, lattice.row_span, lattice.width_mm, lattice.first, within)
    # A hair more than exact arithmetic needs, so that no bixel on a circle is lost to rounding.
    class_mm = lowest + step * np.arange(int(number.max(initial=0)) + 1) + 1e-3
    number[within == 0] = -1
    side = CELL_OF_REACH * lattice.width_mm
    return Reach(reach_mm, number, class_mm + side / np.sqrt(2), side), int(within.sum())


def stored_groups(
    u_mm: NDArray[np.float32],
    v_mm: NDArray[np.float32],
    sigma_mm: NDArray[np.float32],
    amplitude: NDArray[np.float32],
    lattice: Lattice,
    *,
    reach: Reach,
    quantise: bool,
    entries: int | None = None,
) -> StoredGroups:
    """Sort voxels into groups and fill their entries.

    Parameters
    ----------
    u_mm, v_mm : ndarray, shape (voxels,)
        Where they project, from the lattice's zero.
    sigma_mm, amplitude : ndarray, shape (voxels, components)
        Width on the isocentre plane and (SAD/r)²·A_k.
    lattice : Lattice
        Bixels.
    reach : Reach
        Which of them are stored.
    quantise : bool
        16-bit entries with a scale per voxel, else float32.
    entries : int or None
        Number of entries to report; None for all bixels of the groups.
    """
    layout, size = _layout(u_mm, v_mm, lattice, reach)
    values: NDArray[Any] = np.empty(int(layout.entry_pointer[-1]), dtype=np.uint16 if quantise else np.float32)
    scale = np.empty(len(layout.order), dtype=np.float32)
    cdf = ndtr(np.arange(-CDF_LIMIT, CDF_LIMIT + 2 * CDF_STEP, CDF_STEP)).astype(np.float32)
    fill_groups(
        u_mm,
        v_mm,
        reach.per_voxel_mm,
        sigma_mm,
        amplitude,
        layout.arrays,
        lattice.row_span,
        lattice.first,
        lattice.width_mm,
        lattice.fluence,
        cdf,
        quantise,
        values,
        scale,
    )
    return StoredGroups(layout, values, scale, size if entries is None else entries)


def _layout(
    u_mm: NDArray[np.float32], v_mm: NDArray[np.float32], lattice: Lattice, reach: Reach
) -> tuple[GroupLayout, int]:
    """Sort voxels into groups; also returns the number of bixels, summed over voxels."""
    width, side = lattice.width_mm, reach.cell_mm
    nv, nu = lattice.fluence.shape
    classes = len(reach.class_mm)
    margin = int(np.ceil(float(reach.class_mm[-1]) / side)) + 1
    per_bixel = round(width / side)
    shape = np.array([per_bixel * nv + 2 * margin, per_bixel * nu + 2 * margin], dtype=np.int64)
    cell = np.array([lattice.first[0] * width - margin * side, lattice.first[1] * width - margin * side, side])
    number = np.empty(len(u_mm), dtype=np.int32)
    cells.group_keys(u_mm, v_mm, reach.number, classes, shape, cell, number)
    start = np.zeros(int(shape.prod()) * classes + 1, dtype=np.int64)
    order = np.empty(int(np.count_nonzero(number >= 0)), dtype=np.int32)
    sort_by_key(number, start, order)
    key = np.flatnonzero(np.diff(start))
    voxels = start[key + 1] - start[key]
    size = np.empty(len(key), dtype=np.int32)
    place = lattice.row_span, width, lattice.first
    cells.group_sizes(key, shape, cell, reach.class_mm, *place, size)
    kept = size > 0
    order = order[np.repeat(kept, voxels)]
    key, voxels, size = key[kept], voxels[kept], size[kept]
    padded = -(-size // products.PAD) * products.PAD
    voxel_pointer = np.concatenate([[0], np.cumsum(voxels)])
    entry_pointer = np.concatenate([[0], np.cumsum(voxels * padded)])
    bixel_pointer = np.concatenate([[0], np.cumsum(padded, dtype=np.int64)])
    kind = np.uint16 if lattice.fluence.size <= 2**16 else np.int32
    bixel: NDArray[Any] = np.empty(int(bixel_pointer[-1]), dtype=kind)
    cells.group_bixels(key, shape, cell, reach.class_mm, place[0], nu, width, lattice.first, bixel_pointer, bixel)
    return GroupLayout(order, voxel_pointer, bixel_pointer, bixel, entry_pointer), int(np.sum(voxels * size))
