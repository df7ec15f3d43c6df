"""Compile the kernels of the collapsed cone before they are needed."""

from __future__ import annotations

import numpy as np

from imrt_core.geometry import BeamGeometry
from imrt_core.machine import BeamModel
from imrt_core.patient import Grid, Volume

from .collapsed_cone import collapsed_cone_dose
from .fluence import FluenceMap


def compile_kernels(model: BeamModel) -> None:
    """Compute one small field, so that compiled kernels are in numba's cache.

    On a machine that has never run them, compilation takes longer than the dose of a plan.
    """
    grid = Grid((12, 12, 12), (10.0, 10.0, 10.0), (-55.0, -55.0, -55.0))
    edges = np.arange(-30.0, 30.1, 5.0)
    opening = FluenceMap(BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS"), np.ones((12, 12)), edges, edges, 1.0)
    collapsed_cone_dose(Volume(np.ones(grid.shape, dtype=np.float32), grid), [opening], model, dose_grid=grid)
