"""Compile the kernels of planning and of the collapsed cone before they are needed."""

from __future__ import annotations

import numpy as np

from imrt_core.geometry import BeamGeometry
from imrt_core.machine import BeamModel
from imrt_core.patient import Grid, Volume

from ._map_kernels import LANES
from .collapsed_cone import collapsed_cone_dose
from .fluence import FluenceMap
from .influence_groups import GroupLayout, StoredGroups
from .map_groups import MapGroups


def compile_kernels(model: BeamModel) -> None:
    """Run the products of an influence matrix and one small field, so that compiled kernels are in numba's cache.

    On a machine that has never run them, compilation takes longer than the dose of a plan.
    """
    _multiply_one_group()
    grid = Grid((12, 12, 12), (10.0, 10.0, 10.0), (-55.0, -55.0, -55.0))
    edges = np.arange(-30.0, 30.1, 5.0)
    opening = FluenceMap(BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS"), np.ones((12, 12)), edges, edges, 1.0)
    collapsed_cone_dose(Volume(np.ones(grid.shape, dtype=np.float32), grid), [opening], model, dose_grid=grid)


def _multiply_one_group() -> None:
    """Run both products of one group of stored entries and of one group on maps, all zero."""
    voxels, cells = 4, 8
    dose, lattice = np.zeros(voxels, dtype=np.float32), np.zeros(cells, dtype=np.float32)
    rows = np.arange(voxels, dtype=np.int32)
    ends = [np.array([0, n], dtype=np.int64) for n in (voxels, cells, voxels * cells)]
    layout = GroupLayout(rows, ends[0], ends[1], np.arange(cells, dtype=np.uint16), ends[2])
    stored = StoredGroups(layout, np.zeros(voxels * cells, dtype=np.float32), np.ones(voxels, dtype=np.float32), 0)
    stored.add_dose(lattice, dose)
    stored.backproject(dose, cells)
    components, nodes = 2, 8
    on_maps = MapGroups(
        rows,
        ends[0],
        np.array([0, LANES], dtype=np.int64),
        np.zeros((1, 4), dtype=np.int32),
        np.zeros((1, 4), dtype=np.float32),
        np.zeros((3 + components, LANES), dtype=np.float32),
    )
    on_maps.add_dose(np.zeros((nodes, components), dtype=np.float32), dose)
    on_maps.gather(dose, (nodes, components))
