"""What bixels beyond the cutoff of an explicit influence matrix give, on coarse maps that voxels interpolate.

Only scattered radiation reaches that far: wide Gaussians, of which the disc that is stored is cut out. The operator is
a dense array from blocks of bixels to nodes for each component and width level; a block belongs to the tail of a node
if its centre lies outside the stored radius. Maps are read as those of :mod:`imrt_core.dose.gaussian_maps`, linear in
BLD X, BLD Y and log s. A node sees each block entire or not at all, so near the edge of the disc single entries are
blurred over a block; sums over an open field keep their value (``docs/physics.md`` gives the measured error).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from imrt_core.machine import BeamModel

from . import _product_kernels as products
from .beam_state import BeamState
from .gaussian_maps import REACH_WIDTHS

#: Side of the blocks of bixels and distance of the nodes, mm: less than half the width of scattered photons' kernels.
BLOCK_MM = 10.0
NODE_MM = 10.0
#: Step in log s between levels.
LEVEL_STEP = 0.35


@dataclass(frozen=True, eq=False)
class TailMaps:
    """Operator from lattice weights to tail maps on one set of nodes, and its transpose.

    Parameters
    ----------
    components : tuple of int
        Of the beam model.
    operators : ndarray of float32, shape (levels, components, nodes, blocks)
        What a block of unit weight gives to each node; padded with zeros to whole vectors.
    block_shape : tuple of int
        Rows and columns of blocks.
    fold : int
        Bixels along one side of a block.
    lattice_shape : tuple of int
        Rows and columns of bixels.
    levels : ndarray, shape (n, 6)
        As in :class:`imrt_core.dose.gaussian_maps.GaussianMaps`, with the same nodes on all levels.
    scale : ndarray, shape (2,)
        log s of level 0, and the step between levels.
    """

    components: tuple[int, ...]
    operators: NDArray[np.float32]
    block_shape: tuple[int, int]
    fold: int
    lattice_shape: tuple[int, int]
    levels: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Bytes of the operator."""
        return self.operators.nbytes

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the array of all maps: (nodes, components); the nodes of all levels."""
        levels, components, nodes, _ = self.operators.shape
        return levels * nodes, components

    def spread(self, lattice: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the maps of lattice weights (nv, nu): shape (nodes, components)."""
        levels, components, nodes, padded = self.operators.shape
        rows, columns = self.block_shape
        bixels = np.zeros((rows * self.fold, columns * self.fold), dtype=np.float32)
        bixels[: lattice.shape[0], : lattice.shape[1]] = lattice
        blocks = np.zeros(padded, dtype=np.float32)
        folded = bixels.reshape(rows, self.fold, columns, self.fold).sum(axis=(1, 3))
        blocks[: rows * columns] = folded.ravel() / np.float32(self.fold**2)
        maps = np.empty(levels * components * nodes, dtype=np.float32)
        products.dense_times(self.operators.reshape(-1, padded), blocks, maps)
        return np.ascontiguousarray(maps.reshape(levels, components, nodes).transpose(0, 2, 1)).reshape(self.shape)

    def gather(self, maps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transpose of :meth:`spread`: lattice values (nv, nu)."""
        levels, components, nodes, padded = self.operators.shape
        rows, columns = self.block_shape
        values = maps.reshape(levels, nodes, components).transpose(0, 2, 1).astype(np.float32)
        partial = np.zeros((products.SHARES, padded), dtype=np.float32)
        products.dense_transposed(self.operators.reshape(-1, padded), np.ascontiguousarray(values).ravel(), partial)
        blocks = partial.sum(axis=0, dtype=np.float64)[: rows * columns].reshape(self.block_shape)
        spread = blocks / self.fold**2
        shape = self.lattice_shape
        return np.repeat(np.repeat(spread, self.fold, axis=0), self.fold, axis=1)[: shape[0], : shape[1]]


def tail_maps(
    model: BeamModel,
    components: tuple[int, ...],
    *,
    edges_u_mm: NDArray[np.floating],
    edges_v_mm: NDArray[np.floating],
    state: BeamState,
    stored_mm: float,
) -> TailMaps:
    """Prepare the tail of components that scale with the same density.

    Parameters
    ----------
    model : BeamModel
        Widths.
    components : tuple of int
        Which kernel components.
    edges_u_mm, edges_v_mm : ndarray
        Cell edges of the lattice, ascending, n + 1 each, equally far apart.
    state : BeamState
        Voxels: maps cover what the Gaussians reach of them, and their width scales.
    stored_mm : float
        Radius of what is stored around a voxel.
    """
    scales = state.log_scale(model, components[0])
    low_scale, high_scale = float(scales.min()), float(scales.max())
    count = max(int(np.ceil((high_scale - low_scale) / LEVEL_STEP)) + 1, 2)
    level_step = max((high_scale - low_scale) / (count - 1), 1e-6)
    widths = model.widths_mm(np.exp(low_scale + level_step * np.arange(count)))[:, list(components)]
    reach = max(REACH_WIDTHS * float(widths.max()), stored_mm)
    width = float(edges_u_mm[1] - edges_u_mm[0])
    fold = max(round(BLOCK_MM / width), 1)
    nodes, centres, cumulative, blocks = [], [], [], []
    extent = state.extent_mm
    for edges, low, high in ((edges_u_mm, *extent[:2]), (edges_v_mm, *extent[2:])):
        start, stop = max(low, float(edges[0]) - reach) - 1.0, min(high, float(edges[-1]) + reach)
        axis = start + NODE_MM * np.arange(max(int(np.ceil((stop - start) / NODE_MM)) + 2, 2))
        number = -(-(len(edges) - 1) // fold)
        block_edges = float(edges[0]) + fold * width * np.arange(number + 1)
        nodes.append(axis)
        blocks.append(number)
        centres.append((block_edges[1:] + block_edges[:-1]) / 2)
        within = (block_edges - axis[:, None]) / widths[:, :, None, None]
        cumulative.append(np.diff(ndtr(within), axis=3).astype(np.float32))
    away = np.hypot(
        (centres[0] - nodes[0][:, None])[None, :, None, :], (centres[1] - nodes[1][:, None])[:, None, :, None]
    )
    outside = (away > stored_mm).astype(np.float32)
    product = cumulative[1][:, :, :, None, :, None] * cumulative[0][:, :, None, :, None, :]
    on_level, number = len(nodes[1]) * len(nodes[0]), blocks[1] * blocks[0]
    operators = np.zeros(
        (count, len(components), on_level, -(-number // products.PAD) * products.PAD), dtype=np.float32
    )
    operators[..., :number] = (product * outside).reshape(count, len(components), on_level, number)
    levels = np.empty((count, 6))
    levels[:, :5] = nodes[0][0], nodes[1][0], 1 / NODE_MM, len(nodes[1]), len(nodes[0])
    levels[:, 5] = on_level * np.arange(count)
    return TailMaps(
        components,
        operators,
        (blocks[1], blocks[0]),
        fold,
        (len(edges_v_mm) - 1, len(edges_u_mm) - 1),
        levels,
        np.array([low_scale, level_step]),
    )
