from __future__ import annotations

import numpy as np

from imrt_core.patient import Grid, RigidTransform, Volume
from registration import _field_kernels, hu_of_day, register_deformable, register_rigid
from registration.deformable import _kernels as deformable_kernels
from registration.precompile import compile_kernels
from registration.projection import _kernels as projection_kernels
from registration.rigid import _kernels as rigid_kernels


def compiled() -> dict[str, int]:
    """Number of compiled signatures of every kernel of the matches."""
    return {
        f"{module.__name__}.{name}": len(value.signatures)
        for module in (deformable_kernels, _field_kernels, projection_kernels, rigid_kernels)
        for name, value in vars(module).items()
        if hasattr(value, "signatures")
    }


def test_a_match_after_it_compiles_nothing() -> None:
    compile_kernels()
    before = compiled()
    assert sum(before.values()) > 5
    grid = Grid((30, 44, 44), (4.0, 4.0, 5.0), (-86.0, -86.0, -72.5))
    x, y, z = np.moveaxis(grid.voxel_centres_lps(), -1, 0)
    hu = np.where(np.hypot(x, y) <= 75, 30.0, -1000.0)
    hu[np.hypot(x, y - 35) + 4 * np.cos(z / 9) <= 18] = 800.0
    planning = Volume(hu.astype(np.float32), grid)
    day = planning.with_grid(grid.transformed(RigidTransform.from_parameters(translation_mm=(2, 1, -3))))
    match = register_rigid(planning, day)
    deformation = register_deformable(planning, day, initial=match.moving_from_fixed)
    hu_of_day(planning, day, match=deformation, grid=deformation.fixed_from_moving.grid)
    assert compiled() == before
