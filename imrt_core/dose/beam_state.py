"""What one beam knows of every voxel: where it projects, how far and how deep it is, how wide kernels are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from imrt_core._numba import kernel
from imrt_core.geometry import BeamGeometry
from imrt_core.geometry._ray_kernels import cast_ray
from imrt_core.geometry.raytrace import RayVolume, ray_fan
from imrt_core.machine import BeamModel
from imrt_core.machine.beam_model import TABLE_STEP_MM

#: Kernel components up to this width in water come from secondary electrons and scale with the density near by;
#: wider ones come from scattered photons and scale with the mean over their free path.
ELECTRON_WIDTH_MM = 10.0
#: Mean density is limited to this range before it scales kernel widths: beyond, the scaling has no support.
DENSITY_RANGE = (0.25, 1.6)
#: Rays along one side of a tile.
TILE_RAYS = 16
#: Shares of the tiles, each with a buffer of its own; results do not depend on how many threads take them.
WORKERS = 16
#: Shares of the voxels that are sorted side by side.
SORT_SHARES = 8


@dataclass(frozen=True, eq=False)
class BeamState:
    """Voxels as one beam sees them; all arrays of shape (n,), float32.

    Parameters
    ----------
    u_mm, v_mm : ndarray
        Projection onto the isocentre plane, BLD X and Y.
    inverse_square : ndarray
        (SAD / r)², r along the beam axis.
    depth_mm : ndarray
        Radiological depth.
    scale_near, scale_far : ndarray
        s = SAD / (r·ρ): how much wider kernels are on the isocentre plane than in water at the isocentre, ρ being the
        mean density upstream over the range of electrons and of scattered photons.
    """

    u_mm: NDArray[np.float32]
    v_mm: NDArray[np.float32]
    inverse_square: NDArray[np.float32]
    depth_mm: NDArray[np.float32]
    scale_near: NDArray[np.float32]
    scale_far: NDArray[np.float32]

    def amplitude(self, model: BeamModel, components: tuple[int, ...]) -> NDArray[np.float32]:
        """Return (SAD/r)²·A_k(depth) of every voxel, shape (n, components)."""
        deepest = float(self.depth_mm.max(initial=0.0))
        table = np.ascontiguousarray(model.amplitude_table(deepest)[:, list(components)])
        found = np.empty((len(self.depth_mm), len(components)), dtype=np.float32)
        _amplitude(table, self.depth_mm, self.inverse_square, found)
        return found

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Smallest and largest u, smallest and largest v."""
        return float(self.u_mm.min()), float(self.u_mm.max()), float(self.v_mm.min()), float(self.v_mm.max())

    def log_scale(self, model: BeamModel, component: int) -> NDArray[np.float32]:
        """Return the log s that a kernel component scales with."""
        narrow = model.kernel_width_mm[component] <= ELECTRON_WIDTH_MM
        return np.asarray(np.log(self.scale_near if narrow else self.scale_far))


def beam_state(
    rays: RayVolume,
    beam: BeamGeometry,
    points_lps: NDArray[np.float64],
    *,
    box_lps: NDArray[np.float64] | None = None,
) -> BeamState:
    """Trace one beam to (n, 3) points in LPS mm; ``box_lps`` (8, 3): corners of their box where they are known.

    Rays are cast tile by tile of the fan, each just deep enough for the points that it holds: a tile's depths stay in
    the processor's cache until its points have read them.
    """
    points = np.ascontiguousarray(points_lps, dtype=np.float64)
    fan = ray_fan(rays, beam, points if box_lps is None else box_lps)
    count = len(points)
    arrays = [np.empty(count, dtype=np.float32) for _ in range(6)]
    tiles = -(-fan.shape[0] // TILE_RAYS), -(-fan.shape[1] // TILE_RAYS)
    # In double precision, as the tiles are found: a rounded index could lie beyond the rays of its tile.
    index = np.empty((count, 3), dtype=np.float64)
    tile = np.empty(count, dtype=np.int32)
    isocentre, rotation = np.array(beam.isocentre_lps, dtype=float), np.array(beam.bld_from_lps)
    _project(points, isocentre, rotation, fan.geometry, tiles[1], index, tile, *arrays[:3])
    start = np.zeros(tiles[0] * tiles[1] + 1, dtype=np.int64)
    order = np.empty(count, dtype=np.int32)
    sort_by_key(tile, start, order)
    ends = np.array(fan.shape, dtype=np.int64)
    limits = np.array(DENSITY_RANGE, dtype=np.float32)
    _trace_tiles(
        rays.array,
        fan.index_from_bld,
        fan.geometry,
        fan.keep,
        fan.skin_planes,
        ends,
        tiles[1],
        start,
        order,
        index,
        limits,
        arrays[2],
        *arrays[3:],
    )
    return BeamState(*arrays)


@kernel(parallel=True)
def sort_by_key(key: Any, start: Any, order: Any) -> None:
    """Sort by counting: ``order[start[k]:start[k + 1]]`` are the positions of key k, ascending; negative keys left out.

    ``start`` (keys + 1,) gets where each key begins; ``order`` must hold all that is kept. Every share of the positions
    counts and places its own, so that the order is the same for any number of threads.
    """
    keys = start.shape[0] - 1
    count = key.shape[0]
    place = np.zeros((SORT_SHARES, keys), dtype=np.int32)
    for share in prange(SORT_SHARES):
        own = place[share]
        for n in range(share * count // SORT_SHARES, (share + 1) * count // SORT_SHARES):
            if key[n] >= 0:
                own[np.uintp(key[n])] += 1
    total = 0
    for k in range(keys):
        start[k] = total
        for share in range(SORT_SHARES):
            own_count = place[share, k]
            place[share, k] = total
            total += own_count
    start[keys] = total
    for share in prange(SORT_SHARES):
        own = place[share]
        for n in range(share * count // SORT_SHARES, (share + 1) * count // SORT_SHARES):
            if key[n] >= 0:
                group = np.uintp(key[n])
                order[own[group]] = n
                own[group] += 1


@kernel(parallel=True)
def _project(
    points: Any,
    isocentre: Any,
    rotation: Any,
    geometry: Any,
    tile_columns: int,
    index: Any,
    tile: Any,
    u: Any,
    v: Any,
    inverse_square: Any,
) -> None:
    """Project points; ``index``: row, column and plane of each in the fan; ``tile``: the tile of rays it lies in."""
    u0, v0, pitch, top, step, sad = geometry
    for n in prange(points.shape[0]):
        dx, dy, dz = points[n, 0] - isocentre[0], points[n, 1] - isocentre[1], points[n, 2] - isocentre[2]
        x = rotation[0, 0] * dx + rotation[0, 1] * dy + rotation[0, 2] * dz
        y = rotation[1, 0] * dx + rotation[1, 1] * dy + rotation[1, 2] * dz
        z = rotation[2, 0] * dx + rotation[2, 1] * dy + rotation[2, 2] * dz
        enlarge = sad / (sad - z)
        x *= enlarge
        y *= enlarge
        row, column = (y - v0) / pitch, (x - u0) / pitch
        # Above the first plane there is only air: depth 0, density 1.
        index[n, 0], index[n, 1], index[n, 2] = row, column, max((top - z) / step, 0.0)
        tile[n] = (int(row) // TILE_RAYS) * tile_columns + int(column) // TILE_RAYS
        u[n], v[n] = x, y
        inverse_square[n] = enlarge * enlarge


@kernel()
def _interpolate(table: Any, columns: Any, planes: Any, row: float, column: float, plane: float) -> Any:
    """Trilinear depth, near and far mean; ``table``: (rows, columns, planes, 4), flat, the fourth is empty."""
    k, j, i = np.int64(row), np.int64(column), np.int64(plane)
    fz, fy, fx = np.float32(row - k), np.float32(column - j), np.float32(plane - i)
    one, four = np.float32(1.0), np.uintp(4)
    depth, near, far = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for r in range(2):
        for c in range(2):
            part = (fz if r else one - fz) * (fy if c else one - fy)
            before, after = part * (one - fx), part * fx
            at = four * ((np.uintp(k + r) * columns + np.uintp(j + c)) * planes + np.uintp(i))
            depth += before * table[at] + after * table[at + four]
            near += before * table[at + np.uintp(1)] + after * table[at + np.uintp(5)]
            far += before * table[at + np.uintp(2)] + after * table[at + np.uintp(6)]
    return depth, near, far


@kernel(parallel=True)
def _trace_tiles(
    array: Any,
    index_from_bld: Any,
    geometry: Any,
    keep: Any,
    skin_planes: int,
    ends: Any,
    tile_columns: int,
    start: Any,
    order: Any,
    index: Any,
    limits: Any,
    inverse_square: Any,
    depth: Any,
    scale_near: Any,
    scale_far: Any,
) -> None:
    u0, v0, pitch = geometry[0], geometry[1], geometry[2]
    low, high = limits[0], limits[1]
    flat = array.reshape(array.size)
    for worker in prange(WORKERS):
        table = np.empty((TILE_RAYS + 1, TILE_RAYS + 1, ends[2], 4), dtype=np.float32)
        flat_table = table.reshape(table.size)
        for number in range(worker, start.shape[0] - 1, WORKERS):
            first, last = start[number], start[number + 1]
            if first == last:
                continue
            row, column = number // tile_columns * TILE_RAYS, number % tile_columns * TILE_RAYS
            deepest = 0.0
            for place in range(first, last):
                deepest = max(deepest, index[order[place], 2])
            planes = min(int(deepest) + 2, ends[2])
            for r in range(min(TILE_RAYS + 1, ends[0] - row)):
                for c in range(min(TILE_RAYS + 1, ends[1] - column)):
                    u, v = u0 + (column + c) * pitch, v0 + (row + r) * pitch
                    out = table[r, c, :planes, 0], table[r, c, :planes, 1], table[r, c, :planes, 2]
                    cast_ray(
                        flat,
                        array.shape,
                        index_from_bld,
                        geometry,
                        keep,
                        skin_planes,
                        u,
                        v,
                        out[0],
                        out[1],
                        out[2],
                    )
            for place in range(first, last):
                n = order[place]
                at = index[n, 0] - row, index[n, 1] - column, index[n, 2]
                found = _interpolate(flat_table, np.uintp(TILE_RAYS + 1), np.uintp(ends[2]), at[0], at[1], at[2])
                depth[n] = found[0]
                enlarge = np.sqrt(inverse_square[n])
                scale_near[n] = enlarge / min(max(found[1], low), high)
                scale_far[n] = enlarge / min(max(found[2], low), high)


@kernel(parallel=True)
def _amplitude(table: Any, depth: Any, inverse_square: Any, found: Any) -> None:
    for n in prange(depth.shape[0]):
        position = depth[n] / np.float32(TABLE_STEP_MM)
        i = min(int(position), table.shape[0] - 2)
        for c in range(table.shape[1]):
            value = table[i, c] + (position - np.float32(i)) * (table[i + 1, c] - table[i, c])
            found[n, c] = inverse_square[n] * value
