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

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from imrt_core.machine import BeamModel

from .beam_state import BeamState

#: Node distance as a part of the width.
NODES_PER_WIDTH = 4.0
#: Step in log s between levels.
LEVEL_STEP = 0.25
#: Gaussians end after this many widths.
REACH_WIDTHS = 4.5


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
            found = (v @ weights) @ u.transpose(0, 2, 1)
            stop = start + v.shape[1] * u.shape[1]
            maps[start:stop] = found.reshape(len(self.components), -1).T
            start = stop
        return maps

    def gather(self, maps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transpose of :meth:`spread`: lattice values (nv, nu)."""
        total = np.zeros((self.across_v[0].shape[2], self.across_u[0].shape[2]))
        single = maps.T.astype(np.float32)
        start = 0
        for u, v in zip(self.across_u, self.across_v, strict=True):
            stop = start + v.shape[1] * u.shape[1]
            on_level = single[:, start:stop].reshape(len(self.components), v.shape[1], u.shape[1])
            total += (v.transpose(0, 2, 1) @ (on_level @ u)).sum(axis=0)
            start = stop
        return total

    @property
    def nbytes(self) -> int:
        """Bytes of the operator."""
        return sum(array.nbytes for array in (*self.across_u, *self.across_v))


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
