"""Voxels as maps of convolved fluence are read at them, sorted by the nodes that they read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imrt_core.machine import BeamModel

from . import _map_kernels as kernels
from .beam_state import BeamState, sort_by_key
from .gaussian_maps import GaussianMaps
from .tail_maps import TailMaps


@dataclass(frozen=True, eq=False)
class SeenVoxels:
    """Where voxels read the maps of a few components, and how strongly.

    Parameters
    ----------
    u_mm, v_mm : ndarray of float32, shape (voxels,)
        Projection onto the isocentre plane, BLD X and Y.
    log_scale : ndarray of float32, shape (voxels,)
        log s that the components scale with.
    amplitude : ndarray of float32, shape (voxels, components)
        (SAD/r)²·A_k(depth).
    """

    u_mm: NDArray[np.float32]
    v_mm: NDArray[np.float32]
    log_scale: NDArray[np.float32]
    amplitude: NDArray[np.float32]


def seen_voxels(state: BeamState, model: BeamModel, components: tuple[int, ...]) -> SeenVoxels:
    """Return what components that scale with the same density need of every voxel."""
    scale = state.log_scale(model, components[0])
    return SeenVoxels(state.u_mm, state.v_mm, scale, state.amplitude(model, components))


@dataclass(frozen=True, eq=False)
class MapGroups:
    """Voxels in groups that read the same nodes.

    Parameters
    ----------
    order : ndarray of int32
        Rows of the matrix, group after group; those on no map are left out.
    first, pointer : ndarray of int64, shape (groups + 1,)
        Where the voxels (in ``order``) and the slots of each group begin; slots are padded.
    node : ndarray of int32, shape (groups, 4)
        Lower node, and the one a row further, on the lower and on the upper level; −1 off a level's map.
    change : ndarray of float32, shape (groups, 4)
        How fractions on the upper level follow from those on the lower: factor and addend along u, along v.
    slots : ndarray of float32, shape (3 + components, slots)
        Fractions of the way to the next node along u and v and to the next level, and amplitudes.
    """

    order: NDArray[np.int32]
    first: NDArray[np.int64]
    pointer: NDArray[np.int64]
    node: NDArray[np.int32]
    change: NDArray[np.float32]
    slots: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        table = self.first.nbytes + self.pointer.nbytes + self.node.nbytes + self.change.nbytes
        return self.order.nbytes + table + self.slots.nbytes

    @cached_property
    def _shares(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Where the groups of each share begin, the first node that each reaches, and how many it reaches at most."""
        wanted = self.pointer[-1] * np.arange(kernels.SHARES + 1) // kernels.SHARES
        pointer = np.searchsorted(self.pointer, wanted).astype(np.int64)
        start, window = np.zeros(kernels.SHARES, dtype=np.int64), 0
        for share in range(kernels.SHARES):
            nodes = self.node[pointer[share] : pointer[share + 1]]
            nodes = nodes[nodes >= 0]
            if len(nodes):
                start[share] = nodes.min()
                window = max(window, int(nodes.max() - nodes.min()) + 2)
        return pointer, start, window

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Arguments of the kernels."""
        return self.order, self.first, self.pointer, self.node, self.change, *self._shares[:2]

    def add_dose(self, maps: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add what maps (nodes, components) give to voxels."""
        kernels.add_map_groups(maps, self.arrays, self.slots, dose)

    def gather(self, voxel_values: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float64]:
        """Return the transpose of :meth:`add_dose`: maps of ``shape`` (nodes, components)."""
        _, start, window = self._shares
        partial = np.zeros((kernels.SHARES, window, shape[1]), dtype=np.float32)
        kernels.gather_map_groups(voxel_values, self.arrays, self.slots, partial)
        maps = np.zeros(shape)
        for begin, part in zip(start, partial, strict=True):
            maps[begin : begin + window] += part[: shape[0] - begin]
        return maps


def map_groups(maps: GaussianMaps | TailMaps, seen: SeenVoxels) -> MapGroups:
    """Sort voxels by the nodes that they read."""
    nodes = maps.shape[0]
    place = maps.levels, maps.scale, seen.u_mm, seen.v_mm, seen.log_scale
    key = np.empty(len(seen.u_mm), dtype=np.int32)
    kernels.map_keys(*place, nodes, key)
    start = np.zeros(kernels.KEYS * nodes + 1, dtype=np.int64)
    order = np.empty(int(np.count_nonzero(key >= 0)), dtype=np.int32)
    sort_by_key(key, start, order)
    occupied = np.flatnonzero(np.diff(start))
    first = np.append(start[occupied], len(order))
    padded = -(-np.diff(first) // kernels.LANES) * kernels.LANES
    pointer = np.concatenate([[0], np.cumsum(padded)])
    groups, components = len(occupied), seen.amplitude.shape[1]
    node, change = np.empty((groups, 4), dtype=np.int32), np.empty((groups, 4), dtype=np.float32)
    slots = np.empty((3 + components, int(pointer[-1])), dtype=np.float32)
    kernels.fill_map_groups(*place, seen.amplitude, order, first, pointer, node, change, slots)
    return MapGroups(order, first, pointer, node, change, slots)
