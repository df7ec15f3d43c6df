"""What bixels beyond the cutoff of an explicit influence matrix give, on coarse maps that voxels interpolate.

Only scattered radiation reaches that far: wide Gaussians, of which the disc that is stored is cut out. The operator is
a dense array from blocks of bixels to nodes for each component and width level; a block belongs to the tail of a node
if its centre lies outside the stored radius. Maps are read as those of :mod:`imrt_core.dose.gaussian_maps`, linear in
BLD X, BLD Y and log s. A node sees each block entire or not at all, so near the edge of the disc single entries are
blurred over a block; sums over an open field keep their value (``docs/physics.md`` gives the measured error).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray
from scipy.special import ndtr

from imrt_core._numba import kernel
from imrt_core.machine import BeamModel

from .beam_state import BeamState
from .gaussian_maps import REACH_WIDTHS

#: Side of the blocks of bixels and distance of the nodes, mm: less than half the width of scattered photons' kernels.
BLOCK_MM = 10.0
NODE_MM = 10.0
#: Step in log s between levels.
LEVEL_STEP = 0.35
#: Blocks of voxels with a partial sum of their own in Aᵀ·g; fixed, so that sums do not depend on threads.
SHARES = 16


@dataclass(frozen=True, eq=False)
class TailMaps:
    """Operator from lattice weights to tail maps on one set of nodes, and its transpose.

    Parameters
    ----------
    components : tuple of int
        Of the beam model.
    operators : ndarray of float32, shape (levels, components, nodes, blocks)
        What a block of unit weight gives to each node.
    block_shape : tuple of int
        Rows and columns of blocks.
    fold : int
        Bixels along one side of a block.
    nodes : ndarray, shape (5,)
        BLD X and Y of node [0, 0] on the isocentre plane, nodes per mm, rows and columns.
    scale : ndarray, shape (2,)
        log s of level 0, and the step between levels.
    """

    components: tuple[int, ...]
    operators: NDArray[np.float32]
    block_shape: tuple[int, int]
    fold: int
    nodes: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Bytes of the operator."""
        return self.operators.nbytes

    def add_dose(
        self,
        lattice: NDArray[np.float32],
        u_mm: NDArray[np.float32],
        v_mm: NDArray[np.float32],
        log_scale: NDArray[np.float32],
        amplitude: NDArray[np.float32],
        dose: NDArray[np.float32],
    ) -> None:
        """Add what lattice weights (nv, nu) give to voxels."""
        rows, columns = self.block_shape
        padded = np.zeros((rows * self.fold, columns * self.fold), dtype=np.float32)
        padded[: lattice.shape[0], : lattice.shape[1]] = lattice
        blocks = padded.reshape(rows, self.fold, columns, self.fold).sum(axis=(1, 3)).ravel() / np.float32(self.fold**2)
        maps = np.ascontiguousarray((self.operators @ blocks).transpose(2, 0, 1))
        add_tail(maps, self.nodes, self.scale, u_mm, v_mm, log_scale, amplitude, dose)

    def backproject(
        self,
        voxel_values: NDArray[np.float32],
        u_mm: NDArray[np.float32],
        v_mm: NDArray[np.float32],
        log_scale: NDArray[np.float32],
        amplitude: NDArray[np.float32],
        shape: tuple[int, ...],
    ) -> NDArray[np.float64]:
        """Return the transpose of :meth:`add_dose`: values on a lattice of ``shape`` (nv, nu)."""
        levels, components, nodes, _ = self.operators.shape
        partial = np.zeros((SHARES, nodes, levels, components))
        gather_tail(voxel_values, self.nodes, self.scale, u_mm, v_mm, log_scale, amplitude, partial)
        maps = partial.sum(axis=0).transpose(1, 2, 0)[:, :, None, :]
        # One level at a time: matmul would widen the whole operator to double precision at once.
        blocks = sum((level @ operator).sum(axis=(0, 1)) for level, operator in zip(maps, self.operators, strict=True))
        spread = np.asarray(blocks).reshape(self.block_shape) / self.fold**2
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
    operators = (product * outside).reshape(count, len(components), len(nodes[1]) * len(nodes[0]), -1)
    return TailMaps(
        components,
        np.ascontiguousarray(operators),
        (blocks[1], blocks[0]),
        fold,
        np.array([nodes[0][0], nodes[1][0], 1 / NODE_MM, len(nodes[1]), len(nodes[0])]),
        np.array([low_scale, level_step]),
    )


@kernel()
def _grid(nodes: Any, scale: Any) -> Any:
    """Numbers of the node grid in single precision, to be kept in registers."""
    origin = np.float32(nodes[0]), np.float32(nodes[1])
    size = np.int32(nodes[3]), np.int32(nodes[4])
    return origin[0], origin[1], np.float32(nodes[2]), size[0], size[1], np.float32(scale[0]), np.float32(1 / scale[1])


@kernel()
def _place(grid: Any, top: Any, u: Any, v: Any, log_scale: Any) -> Any:
    """Return whether a voxel is on the maps, its lower node and level, and the fractions along v, u and log s."""
    u0, v0, per_mm, rows, columns, lowest, per_level = grid
    x, y = (u - u0) * per_mm, (v - v0) * per_mm
    z = max((log_scale - lowest) * per_level, np.float32(0.0))
    j, i, k = np.int32(y), np.int32(x), min(np.int32(z), top)
    on_map = x >= 0 and y >= 0 and j < rows - 1 and i < columns - 1
    fz = min(z - np.float32(k), np.float32(1.0))
    return on_map, np.uintp(j * columns + i), np.uintp(k), y - np.float32(j), x - np.float32(i), fz


@kernel(parallel=True)
def add_tail(maps: Any, nodes: Any, scale: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, dose: Any) -> None:
    """Add Σ amplitude × interpolated map to every voxel; ``maps`` (nodes, levels, components)."""
    grid = _grid(nodes, scale)
    components, stride = np.uintp(maps.shape[2]), np.uintp(maps.shape[1] * maps.shape[2])
    row = np.uintp(grid[4]) * stride
    top = np.int32(maps.shape[1] - 2)
    flat = maps.reshape(maps.size)
    for n in prange(dose.shape[0]):
        on_map, node, level, fy, fx, fz = _place(grid, top, u[n], v[n], log_scale[n])
        if on_map:
            at = node * stride + level * components
            total = np.float32(0.0)
            for c in range(components):
                low, high = at + c, at + c + components
                near = flat[low] + fx * (flat[low + stride] - flat[low])
                far = flat[low + row] + fx * (flat[low + row + stride] - flat[low + row])
                below = near + fy * (far - near)
                near = flat[high] + fx * (flat[high + stride] - flat[high])
                far = flat[high + row] + fx * (flat[high + row + stride] - flat[high + row])
                above = near + fy * (far - near)
                total += amplitude[n, c] * (below + fz * (above - below))
            dose[n] += total


@kernel(parallel=True)
def gather_tail(
    values: Any, nodes: Any, scale: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, partial: Any
) -> None:
    """Transpose of :func:`add_tail`; ``partial`` (shares, nodes, levels, components), one share per block of voxels."""
    grid = _grid(nodes, scale)
    shares, count = partial.shape[0], values.shape[0]
    components, stride = np.uintp(partial.shape[3]), np.uintp(partial.shape[2] * partial.shape[3])
    row = np.uintp(grid[4]) * stride
    top = np.int32(partial.shape[2] - 2)
    one = np.float32(1.0)
    for share in prange(shares):
        flat = partial[share].reshape(partial[share].size)
        for n in range(share * count // shares, (share + 1) * count // shares):
            on_map, node, level, fy, fx, fz = _place(grid, top, u[n], v[n], log_scale[n])
            if on_map:
                at = node * stride + level * components
                for c in range(components):
                    value = values[n] * amplitude[n, c]
                    low, high = at + c, at + c + components
                    near, far = value * (one - fy), value * fy
                    a, b, d, e = near * (one - fx), near * fx, far * (one - fx), far * fx
                    flat[low] += a * (one - fz)
                    flat[low + stride] += b * (one - fz)
                    flat[low + row] += d * (one - fz)
                    flat[low + row + stride] += e * (one - fz)
                    flat[high] += a * fz
                    flat[high + stride] += b * fz
                    flat[high + row] += d * fz
                    flat[high + row + stride] += e * fz
