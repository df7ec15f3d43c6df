"""Fluence convolved with Gaussians, on maps that voxels interpolate: one way to dose for wide kernels and open fields.

Maps belong to one kernel component, or to a few. They hold the fluence of lattice cells, each integrated exactly over
a Gaussian (differences of the normal distribution), at nodes on the isocentre plane, one map ("level") for each of a
few values of the width scale s = SAD / (r·ρ). Voxels interpolate linearly in BLD X, BLD Y and log s. The distance of
nodes is a fixed part of the width on each level, which bounds the error of interpolation to about 0.5 % of the
component, at a field edge (a node distance of h gives h²/8 of the edge's curvature, 0.24/σ², per axis; a level step of
δ gives 0.13·δ²/8).
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

#: Node distance as a part of the width.
NODES_PER_WIDTH = 4.0
#: Step in log s between levels.
LEVEL_STEP = 0.25
#: Gaussians end after this many widths.
REACH_WIDTHS = 4.5
#: Blocks of voxels with a partial sum of their own in Aᵀ·g; fixed, so that sums do not depend on threads.
_BLOCKS = 16


@dataclass(frozen=True, eq=False)
class GaussianMaps:
    """Operator from lattice weights to the maps of a few kernel components on the same nodes, and its transpose.

    Parameters
    ----------
    components : tuple of int
        Of the beam model.
    across_u, across_v : tuple of ndarray, shape (components, nodes, cells)
        For each level, what a cell of unit weight gives to each node along one axis.
    levels : ndarray, shape (n, 6)
        For each level: BLD X and Y of node [0, 0] on the isocentre plane, nodes per mm, rows, columns, and where its
        map begins in the array of all nodes.
    scale : ndarray, shape (2,)
        log s of level 0, and the step between levels.
    """

    components: tuple[int, ...]
    across_u: tuple[NDArray[np.float32], ...]
    across_v: tuple[NDArray[np.float32], ...]
    levels: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the array of all maps: (nodes, components)."""
        nodes = sum(v.shape[1] * u.shape[1] for u, v in zip(self.across_u, self.across_v, strict=True))
        return nodes, len(self.components)

    def spread(self, lattice: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the maps of lattice weights (nv, nu): shape (nodes, components)."""
        weights = np.ascontiguousarray(lattice, dtype=np.float32)
        maps = np.empty(self.shape, dtype=np.float32)
        start = 0
        for u, v in zip(self.across_u, self.across_v, strict=True):
            stop = start + v.shape[1] * u.shape[1]
            for n in range(len(self.components)):
                maps[start:stop, n] = (v[n] @ weights @ u[n].T).ravel()
            start = stop
        return maps

    def gather(self, maps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transpose of :meth:`spread`: lattice values (nv, nu)."""
        total = np.zeros((self.across_v[0].shape[2], self.across_u[0].shape[2]))
        start = 0
        for u, v in zip(self.across_u, self.across_v, strict=True):
            stop = start + v.shape[1] * u.shape[1]
            for n in range(len(self.components)):
                total += v[n].T @ maps[start:stop, n].reshape(v.shape[1], u.shape[1]) @ u[n]
            start = stop
        return total

    @property
    def nbytes(self) -> int:
        """Bytes of the operator."""
        return sum(array.nbytes for array in (*self.across_u, *self.across_v))

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
        add_map(self.spread(lattice), self.levels, self.scale, u_mm, v_mm, log_scale, amplitude, dose)

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
        partial = np.zeros((_BLOCKS, *self.shape))
        gather_map(voxel_values, self.levels, self.scale, u_mm, v_mm, log_scale, amplitude, partial)
        return self.gather(partial.sum(axis=0)).reshape(shape)


def gaussian_maps(
    model: BeamModel,
    components: tuple[int, ...],
    *,
    edges_u_mm: NDArray[np.floating],
    edges_v_mm: NDArray[np.floating],
    state: BeamState,
) -> GaussianMaps:
    """Prepare the maps of components that scale with the same density, the narrowest first.

    Parameters
    ----------
    model : BeamModel
        Widths.
    components : tuple of int
        Which kernel components.
    edges_u_mm, edges_v_mm : ndarray
        Cell edges of the lattice, ascending, n + 1 each.
    state : BeamState
        Voxels: maps cover what the Gaussian reaches of them, and their width scales.
    """
    scales = state.log_scale(model, components[0])
    low_scale, high_scale = float(scales.min()), float(scales.max())
    extent = state.extent_mm
    count = max(int(np.ceil((high_scale - low_scale) / LEVEL_STEP)) + 1, 2)
    level_step = max((high_scale - low_scale) / (count - 1), 1e-6)
    widths = model.widths_mm(np.exp(low_scale + level_step * np.arange(count)))[:, list(components)]
    # Every level covers what the widest reaches: voxels interpolate between two levels at one place.
    reach = REACH_WIDTHS * float(widths.max())
    across: list[list[NDArray[np.float32]]] = [[], []]
    levels = np.empty((count, 6))
    begin = 0
    for level, width in enumerate(widths):
        step = float(width.min()) / NODES_PER_WIDTH
        for axis, (edges, low, high) in enumerate(((edges_u_mm, *extent[:2]), (edges_v_mm, *extent[2:]))):
            start = max(low, float(edges[0]) - reach) - 0.5 * step
            stop = min(high, float(edges[-1]) + reach)
            nodes = start + step * np.arange(max(int(np.ceil((stop - start) / step)) + 2, 2))
            cumulative = ndtr((edges[None, None, :] - nodes[None, :, None]) / width[:, None, None])
            across[axis].append(np.diff(cumulative, axis=2).astype(np.float32))
            levels[level, axis] = start
        rows, columns = across[1][-1].shape[1], across[0][-1].shape[1]
        levels[level, 2:] = 1 / step, rows, columns, begin
        begin += rows * columns
    return GaussianMaps(components, tuple(across[0]), tuple(across[1]), levels, np.array([low_scale, level_step]))


@kernel()
def _level_of(scale: Any, levels: Any, log_scale: float) -> Any:
    """Return the lower level and the fraction of the way to the next."""
    z = (log_scale - scale[0]) / scale[1]
    z = min(max(z, 0.0), levels.shape[0] - 1.0)
    k = min(int(z), levels.shape[0] - 2)
    # Unsigned: numba then leaves out Python's wrap-around of negative indices, here and below.
    return np.uintp(k), np.float32(z - k)


@kernel()
def _place(levels: Any, k: Any, u: float, v: float) -> Any:
    """Return whether a point is on a level's map, the flat index of its lower node, of the next row, the fractions."""
    x = (u - levels[k, np.uintp(0)]) * levels[k, np.uintp(2)]
    y = (v - levels[k, np.uintp(1)]) * levels[k, np.uintp(2)]
    columns = levels[k, np.uintp(4)]
    if not (0.0 <= x < columns - 1 and 0.0 <= y < levels[k, np.uintp(3)] - 1):
        return False, np.uintp(0), np.uintp(0), np.float32(0.0), np.float32(0.0)
    j, i = np.floor(y), np.floor(x)
    at = levels[k, np.uintp(5)] + j * columns + i
    return True, np.uintp(at), np.uintp(at + columns), np.float32(y - j), np.float32(x - i)


@kernel(parallel=True)
def add_map(maps: Any, levels: Any, scale: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, dose: Any) -> None:
    """Add Σ amplitude × interpolated map to the dose of every voxel; ``amplitude`` (voxels, components)."""
    one = np.uintp(1)
    for n in prange(dose.shape[0]):
        k, upper = _level_of(scale, levels, log_scale[n])
        total = np.float32(0.0)
        for level in range(2):
            on_map, at, below, fy, fx = _place(levels, k + np.uintp(level), u[n], v[n])
            if on_map:
                part = np.float32(0.0)
                for c in range(maps.shape[1]):
                    near = maps[at, c] + fx * (maps[at + one, c] - maps[at, c])
                    far = maps[below, c] + fx * (maps[below + one, c] - maps[below, c])
                    part += amplitude[n, c] * (near + fy * (far - near))
                total += part * (upper if level else np.float32(1.0) - upper)
        dose[n] += total


@kernel(parallel=True)
def gather_map(
    values: Any, levels: Any, scale: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, partial: Any
) -> None:
    """Transpose of :func:`add_map`: voxel values to maps, shape (blocks, nodes, components), double precision.

    Each block of voxels has maps of its own, summed afterwards in order: the same result on any number of threads.
    """
    blocks = partial.shape[0]
    count = values.shape[0]
    one = np.uintp(1)
    for block in prange(blocks):
        maps = partial[block]
        for n in range(block * count // blocks, (block + 1) * count // blocks):
            k, upper = _level_of(scale, levels, log_scale[n])
            for level in range(2):
                on_map, at, below, fy, fx = _place(levels, k + np.uintp(level), u[n], v[n])
                if on_map:
                    part = values[n] * (upper if level else np.float32(1.0) - upper)
                    for c in range(maps.shape[1]):
                        value = part * amplitude[n, c]
                        near, far = value * (1 - fy), value * fy
                        maps[at, c] += near * (1 - fx)
                        maps[at + one, c] += near * fx
                        maps[below, c] += far * (1 - fx)
                        maps[below + one, c] += far * fx
