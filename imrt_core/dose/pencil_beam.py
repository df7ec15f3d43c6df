"""Pencil-beam dose of one direction: the physics of the influence matrix for one known fluence.

Every kernel component is convolved with the fluence once (exactly, on maps of :mod:`imrt_core.dose.gaussian_maps`) and
voxels interpolate. Collimator scatter follows the opening as phantom scatter does; transmission further than 25 mm
beside the jaws is dropped.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.raytrace import RayVolume
from imrt_core.machine import BeamModel

from ._map_kernels import add_map
from .beam_state import ELECTRON_WIDTH_MM, BeamState, beam_state
from .fluence import FluenceMap
from .gaussian_maps import gaussian_maps
from .map_groups import seen_voxels


def add_pencil_dose(
    model: BeamModel, rays: RayVolume, fluence: FluenceMap, points: NDArray[np.float64], dose: NDArray[np.float32]
) -> float:
    """Add one direction by pencil kernels; return the largest depth in the open field, 0 where it misses."""
    state = beam_state(rays, fluence.beam, points)
    centres_u = (fluence.edges_u_mm[:-1] + fluence.edges_u_mm[1:]) / 2
    centres_v = (fluence.edges_v_mm[:-1] + fluence.edges_v_mm[1:]) / 2
    primary = model.off_axis_fluence(np.hypot(centres_v[:, None], centres_u[None, :]))
    lattice = (fluence.mu * primary).astype(np.float32)
    for components in _groups(model):
        maps = gaussian_maps(
            model,
            components,
            edges_u_mm=fluence.edges_u_mm,
            edges_v_mm=fluence.edges_v_mm,
            state=state,
        )
        seen = seen_voxels(state, model, components)
        place = maps.levels, maps.scale, seen.u_mm, seen.v_mm, seen.log_scale
        add_map(maps.spread(lattice), *place, seen.amplitude, dose)
    return float(state.depth_mm[_in_open_field(fluence, state)].max(initial=0.0))


def _groups(model: BeamModel) -> list[tuple[int, ...]]:
    """Narrow components one by one, each on nodes of its own; the wide ones together."""
    narrow = [n for n, width in enumerate(model.kernel_width_mm) if width <= ELECTRON_WIDTH_MM]
    wide = tuple(n for n in range(model.components) if n not in narrow)
    return [*((n,) for n in narrow), *([wide] if wide else [])]


def _in_open_field(fluence: FluenceMap, state: BeamState) -> NDArray[np.bool_]:
    """Voxels whose projection lies in an open cell."""
    column = np.floor((state.u_mm - fluence.edges_u_mm[0]) / np.diff(fluence.edges_u_mm[:2])).astype(int)
    row = np.floor((state.v_mm - fluence.edges_v_mm[0]) / np.diff(fluence.edges_v_mm[:2])).astype(int)
    nv, nu = fluence.mu.shape
    on_map = (column >= 0) & (column < nu) & (row >= 0) & (row < nv)
    hit = np.zeros(len(column), dtype=bool)
    hit[on_map] = fluence.open_cells[row[on_map], column[on_map]]
    return hit
