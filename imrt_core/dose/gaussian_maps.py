"""Fluence convolved with Gaussians, on maps that voxels interpolate: one way to dose for wide kernels and open fields.

Maps belong to one kernel component. They hold the fluence of lattice cells, each integrated exactly over a Gaussian
(differences of the normal distribution), at nodes on the isocentre plane, one map ("level") for each of a few values
of the width scale s = SAD / (r·ρ). Voxels interpolate linearly in BLD X, BLD Y and log s. The distance of nodes is a
fixed part of the width on each level, which bounds the error of interpolation to about 0.5 % of the component, at a
field edge (a node distance of h gives h²/8 of the edge's curvature, 0.24/σ², per axis; a level step of δ gives
0.13·δ²/8).
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


@dataclass(frozen=True, eq=False)
class GaussianMaps:
    """Operator from lattice weights to the maps of one kernel component, and its transpose.

    Parameters
    ----------
    component : int
        Of the beam model.
    across_u, across_v : tuple of ndarray, shape (nodes, cells)
        For each level, what a cell of unit weight gives to each node along one axis.
    levels : ndarray, shape (n, 6)
        For each level: BLD X and Y of node [0, 0] on the isocentre plane, nodes per mm, rows, columns, and where its
        map begins in the flat array of all maps.
    scale : ndarray, shape (2,)
        log s of level 0, and the step between levels.
    """

    component: int
    across_u: tuple[NDArray[np.float32], ...]
    across_v: tuple[NDArray[np.float32], ...]
    levels: NDArray[np.float64]
    scale: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Length of the flat array of all maps."""
        return sum(len(v) * len(u) for u, v in zip(self.across_u, self.across_v, strict=True))

    def spread(self, lattice: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the flat array of maps for lattice weights (nv, nu)."""
        weights = np.ascontiguousarray(lattice, dtype=np.float32)
        return np.concatenate([(v @ weights @ u.T).ravel() for u, v in zip(self.across_u, self.across_v, strict=True)])

    def gather(self, maps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the transpose of :meth:`spread`: lattice values (nv, nu)."""
        total = np.zeros((self.across_v[0].shape[1], self.across_u[0].shape[1]))
        start = 0
        for u, v in zip(self.across_u, self.across_v, strict=True):
            stop = start + len(v) * len(u)
            total += v.T @ maps[start:stop].reshape(len(v), len(u)) @ u
            start = stop
        return total


def gaussian_maps(
    model: BeamModel,
    component: int,
    *,
    edges_u_mm: NDArray[np.floating],
    edges_v_mm: NDArray[np.floating],
    state: BeamState,
) -> GaussianMaps:
    """Prepare the maps of one component.

    Parameters
    ----------
    model : BeamModel
        Widths.
    component : int
        Which kernel component.
    edges_u_mm, edges_v_mm : ndarray
        Cell edges of the lattice, ascending, n + 1 each.
    state : BeamState
        Voxels: maps cover what the Gaussian reaches of them, and their width scales.
    """
    scales = state.log_scale(model, component)
    log_scale = float(scales.min()), float(scales.max())
    extent_mm = state.extent_mm
    count = max(int(np.ceil((log_scale[1] - log_scale[0]) / LEVEL_STEP)) + 1, 2)
    level_step = max((log_scale[1] - log_scale[0]) / (count - 1), 1e-6)
    widths = model.widths_mm(np.exp(log_scale[0] + level_step * np.arange(count)))[:, component]
    # Every level covers what the widest reaches: voxels interpolate between two levels at one place.
    reach = REACH_WIDTHS * float(widths[-1])
    across: list[list[NDArray[np.float32]]] = [[], []]
    levels = np.empty((count, 6))
    begin = 0
    for level, width in enumerate(widths):
        step = float(width) / NODES_PER_WIDTH
        for axis, (edges, low, high) in enumerate(((edges_u_mm, *extent_mm[:2]), (edges_v_mm, *extent_mm[2:]))):
            start = max(low, float(edges[0]) - reach) - 0.5 * step
            stop = min(high, float(edges[-1]) + reach)
            nodes = start + step * np.arange(max(int(np.ceil((stop - start) / step)) + 2, 2))
            cumulative = ndtr((edges[None, :] - nodes[:, None]) / width)
            across[axis].append(np.diff(cumulative, axis=1).astype(np.float32))
            levels[level, axis] = start
        rows, columns = len(across[1][-1]), len(across[0][-1])
        levels[level, 2:] = 1 / step, rows, columns, begin
        begin += rows * columns
    return GaussianMaps(component, tuple(across[0]), tuple(across[1]), levels, np.array([log_scale[0], level_step]))


@kernel()
def _level_of(scale: Any, levels: Any, log_scale: float) -> Any:
    """Return the lower level and the fraction of the way to the next."""
    z = (log_scale - scale[0]) / scale[1]
    z = min(max(z, 0.0), levels.shape[0] - 1.0)
    k = min(int(z), levels.shape[0] - 2)
    return k, np.float32(z - k)


@kernel()
def _place(levels: Any, k: int, u: float, v: float) -> Any:
    """Return the flat index of the lower node on a level (−1 beyond the map), the row length and the fractions."""
    x = (u - levels[k, 0]) * levels[k, 2]
    y = (v - levels[k, 1]) * levels[k, 2]
    rows, columns = int(levels[k, 3]), int(levels[k, 4])
    if not (0.0 <= x < columns - 1 and 0.0 <= y < rows - 1):
        return -1, columns, np.float32(0.0), np.float32(0.0)
    j, i = int(y), int(x)
    return int(levels[k, 5]) + j * columns + i, columns, np.float32(y - j), np.float32(x - i)


@kernel()
def _interpolate(maps: Any, levels: Any, k: int, u: float, v: float) -> Any:
    at, columns, fy, fx = _place(levels, k, u, v)
    if at < 0:
        return np.float32(0.0)
    near = maps[at] + fx * (maps[at + 1] - maps[at])
    far = maps[at + columns] + fx * (maps[at + columns + 1] - maps[at + columns])
    return near + fy * (far - near)


@kernel(parallel=True)
def add_map(maps: Any, levels: Any, scale: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, dose: Any) -> None:
    """Add amplitude × interpolated map to the dose of every voxel."""
    for n in prange(dose.shape[0]):
        k, fraction = _level_of(scale, levels, log_scale[n])
        near = _interpolate(maps, levels, k, u[n], v[n])
        far = _interpolate(maps, levels, k + 1, u[n], v[n])
        dose[n] += amplitude[n] * (near + fraction * (far - near))


@kernel()
def _spread_back(maps: Any, levels: Any, k: int, u: float, v: float, value: Any) -> None:
    at, columns, fy, fx = _place(levels, k, u, v)
    if at >= 0:
        near, far = value * (1 - fy), value * fy
        maps[at] += near * (1 - fx)
        maps[at + 1] += near * fx
        maps[at + columns] += far * (1 - fx)
        maps[at + columns + 1] += far * fx


@kernel(parallel=True)
def gather_map(
    values: Any, levels: Any, scale: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, partial: Any
) -> None:
    """Transpose of :func:`add_map`: voxel values to maps, shape (blocks, size), double precision.

    Each block of voxels has maps of its own, summed afterwards in order: the same result on any number of threads.
    """
    blocks = partial.shape[0]
    count = values.shape[0]
    for block in prange(blocks):
        maps = partial[block]
        for n in range(block * count // blocks, (block + 1) * count // blocks):
            k, fraction = _level_of(scale, levels, log_scale[n])
            value = amplitude[n] * values[n]
            _spread_back(maps, levels, k, u[n], v[n], value * (1 - fraction))
            _spread_back(maps, levels, k + 1, u[n], v[n], value * fraction)
