"""Fluence convolved with Gaussians, on maps that voxels interpolate: one way to dose for wide kernels and open fields.

A map belongs to one kernel component. It holds the fluence of lattice cells, each integrated exactly over a Gaussian
(differences of the normal distribution), at nodes on the isocentre plane and for a few values of the width scale
s = SAD / (r·ρ). Voxels interpolate linearly in BLD X, BLD Y and log s. The step of nodes is a fixed part of the
narrowest width on the map, which bounds the error of the interpolation: see ``docs/physics.md``.
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

#: Node distance as a part of the narrowest width.
NODES_PER_WIDTH = 4.0
#: Step in log s between levels.
LEVEL_STEP = 0.15
#: Gaussians end after this many widths.
REACH_WIDTHS = 4.5


@dataclass(frozen=True, eq=False)
class GaussianMaps:
    """Operator from lattice weights to the map of one kernel component, and its transpose.

    Parameters
    ----------
    component : int
        Of the beam model.
    across_u, across_v : ndarray, shape (levels, nodes, cells)
        What a cell of unit weight gives to each node along one axis.
    origin_mm : tuple of float
        BLD X and Y of node [0, 0] on the isocentre plane.
    step_mm : float
        Node distance.
    first_log_scale, level_step : float
        log s of level 0, and the step between levels.
    """

    component: int
    across_u: NDArray[np.float32]
    across_v: NDArray[np.float32]
    origin_mm: tuple[float, float]
    step_mm: float
    first_log_scale: float
    level_step: float

    def spread(self, lattice: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the map of lattice weights (nv, nu): shape (levels, nodes v, nodes u)."""
        return np.ascontiguousarray(self.across_v @ (lattice.astype(np.float32) @ self.across_u.transpose(0, 2, 1)))

    def gather(self, maps: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the transpose of :meth:`spread`: lattice values (nv, nu)."""
        per_level = self.across_v.transpose(0, 2, 1) @ (maps @ self.across_u)
        return np.asarray(per_level.sum(axis=0, dtype=np.float64))

    @property
    def geometry(self) -> NDArray[np.float64]:
        """What kernels read: origin u, origin v, step, first log s, level step."""
        return np.array([*self.origin_mm, self.step_mm, self.first_log_scale, self.level_step])


def gaussian_maps(
    model: BeamModel,
    component: int,
    *,
    edges_u_mm: NDArray[np.floating],
    edges_v_mm: NDArray[np.floating],
    log_scale: tuple[float, float],
    extent_mm: tuple[float, float, float, float],
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
    log_scale : tuple of float
        Smallest and largest log s of the voxels.
    extent_mm : tuple of float
        Smallest and largest u, smallest and largest v of the voxels. The map covers what of it the Gaussian reaches.
    """
    levels = max(int(np.ceil((log_scale[1] - log_scale[0]) / LEVEL_STEP)) + 1, 2)
    level_step = max((log_scale[1] - log_scale[0]) / (levels - 1), 1e-6)
    width = model.widths_mm(np.exp(log_scale[0] + level_step * np.arange(levels)))[:, component]
    step = float(width[0]) / NODES_PER_WIDTH
    reach = REACH_WIDTHS * float(width[-1])
    nodes = []
    for edges, low, high in ((edges_u_mm, *extent_mm[:2]), (edges_v_mm, *extent_mm[2:])):
        start = max(low, float(edges[0]) - reach) - step
        stop = min(high, float(edges[-1]) + reach) + step
        nodes.append(start + step * np.arange(max(int(np.ceil((stop - start) / step)) + 1, 2)))

    def across(edges: NDArray[np.floating], at: NDArray[np.floating]) -> NDArray[np.float32]:
        cumulative = ndtr((edges[None, None, :] - at[None, :, None]) / width[:, None, None])
        return np.ascontiguousarray(np.diff(cumulative, axis=2), dtype=np.float32)

    return GaussianMaps(
        component=component,
        across_u=across(edges_u_mm, nodes[0]),
        across_v=across(edges_v_mm, nodes[1]),
        origin_mm=(float(nodes[0][0]), float(nodes[1][0])),
        step_mm=step,
        first_log_scale=log_scale[0],
        level_step=level_step,
    )


@kernel()
def _place(geometry: Any, shape: Any, u: float, v: float, log_scale: float) -> Any:
    """Return whether a point is on the map, its lower node (level, row, column) and the fractions beyond it."""
    x = (u - geometry[0]) / geometry[2]
    y = (v - geometry[1]) / geometry[2]
    z = (log_scale - geometry[3]) / geometry[4]
    levels, rows, columns = shape
    inside = 0.0 <= x <= columns - 1 and 0.0 <= y <= rows - 1
    x = min(max(x, 0.0), columns - 1.0)
    y = min(max(y, 0.0), rows - 1.0)
    z = min(max(z, 0.0), levels - 1.0)
    k, j, i = min(int(z), levels - 2), min(int(y), rows - 2), min(int(x), columns - 2)
    return inside, k, j, i, np.float32(z - k), np.float32(y - j), np.float32(x - i)


@kernel(parallel=True)
def add_map(maps: Any, geometry: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, dose: Any) -> None:
    """Add amplitude × interpolated map to the dose of every voxel."""
    for n in prange(dose.shape[0]):
        inside, k, j, i, fz, fy, fx = _place(geometry, maps.shape, u[n], v[n], log_scale[n])
        if inside:
            near = (1 - fy) * ((1 - fx) * maps[k, j, i] + fx * maps[k, j, i + 1]) + fy * (
                (1 - fx) * maps[k, j + 1, i] + fx * maps[k, j + 1, i + 1]
            )
            far = (1 - fy) * ((1 - fx) * maps[k + 1, j, i] + fx * maps[k + 1, j, i + 1]) + fy * (
                (1 - fx) * maps[k + 1, j + 1, i] + fx * maps[k + 1, j + 1, i + 1]
            )
            dose[n] += amplitude[n] * ((1 - fz) * near + fz * far)


@kernel(parallel=True)
def gather_map(values: Any, geometry: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, partial: Any) -> None:
    """Transpose of :func:`add_map`: voxel values to maps, shape (blocks, levels, rows, columns).

    Each block of voxels has a map of its own, summed afterwards in order: the same result on any number of threads.
    """
    blocks = partial.shape[0]
    count = values.shape[0]
    for block in prange(blocks):
        maps = partial[block]
        for n in range(block * count // blocks, (block + 1) * count // blocks):
            inside, k, j, i, fz, fy, fx = _place(geometry, maps.shape, u[n], v[n], log_scale[n])
            if inside:
                value = np.float32(amplitude[n] * values[n])
                near, far = value * (1 - fz), value * fz
                maps[k, j, i] += near * (1 - fy) * (1 - fx)
                maps[k, j, i + 1] += near * (1 - fy) * fx
                maps[k, j + 1, i] += near * fy * (1 - fx)
                maps[k, j + 1, i + 1] += near * fy * fx
                maps[k + 1, j, i] += far * (1 - fy) * (1 - fx)
                maps[k + 1, j, i + 1] += far * (1 - fy) * fx
                maps[k + 1, j + 1, i] += far * fy * (1 - fx)
                maps[k + 1, j + 1, i + 1] += far * fy * fx
