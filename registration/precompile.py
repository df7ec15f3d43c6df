"""Compile the kernels of the matches before they are needed."""

from __future__ import annotations

import numpy as np

from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import Grid, RigidTransform, Volume

from .deformable import register_deformable
from .hu_of_day import hu_of_day
from .projection import attenuation_per_mm, project, register_radiographs
from .rigid import register_rigid


def compile_kernels() -> None:
    """Match two small solids, and one with its own radiographs, so that compiled kernels are in numba's cache.

    On a machine that has never run them, compilation takes longer than the match of a patient.
    """
    grid = Grid((32, 40, 40), (5.0, 5.0, 5.0), (-97.5, -97.5, -77.5))
    x, y, _ = np.moveaxis(grid.voxel_centres_lps(), -1, 0)
    hu = np.where(np.hypot(x, y) <= 80, 20.0, -1000.0)
    hu[np.hypot(x, y - 40) <= 20] = 700.0
    hu += np.random.default_rng(0).normal(0, 10, grid.shape)
    planning = Volume(hu.astype(np.float32), grid)
    moved = RigidTransform.from_parameters(translation_mm=(3, -2, 4))
    day = planning.with_grid(grid.transformed(moved))
    views = [
        ProjectionView.from_iec(gantry_deg=angle, patient_position="HFS", shape=(64, 64), spacing_mm=(4.0, 4.0))
        for angle in (0.0, 90.0)
    ]
    attenuation = attenuation_per_mm(planning)
    shown = [Radiograph(view, project(attenuation, view, moved).attenuation.astype(np.float32)) for view in views]
    register_radiographs(planning, shown, isocentre_lps=(0.0, 0.0, 0.0))
    match = register_rigid(planning, day)
    deformation = register_deformable(planning, day, initial=match.moving_from_fixed)
    hu_of_day(planning, day, match=deformation, grid=deformation.fixed_from_moving.grid)
