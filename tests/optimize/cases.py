"""A small patient for planning tests: a water cylinder with a C-shaped target around a core, as in TG-119."""

from __future__ import annotations

import numpy as np

from imrt_core.patient import Grid, StructureSet, Volume
from imrt_core.patient.contours import structure_from_mask

GRID = Grid(shape=(21, 51, 51), spacing_mm=(4.0, 4.0, 4.0), origin_lps=(-100.0, -100.0, -40.0))


def _mask(inside: np.ndarray) -> Volume:
    return Volume(inside.astype(np.float32), GRID)


def c_shape_patient() -> tuple[Volume, StructureSet]:
    """Relative electron density (water, radius 90 mm) and structures External, Target, Core, both 40 mm long."""
    points = GRID.voxel_centres_lps()
    radius = np.hypot(points[..., 0], points[..., 1])
    angle = np.degrees(np.arctan2(points[..., 0], points[..., 1]))
    middle = np.abs(points[..., 2]) <= 20.0
    body = radius < 90.0
    target = (radius > 16.0) & (radius < 38.0) & (np.abs(angle) > 40.0) & middle
    core = (radius < 10.0) & middle
    structures = StructureSet(
        (
            structure_from_mask(_mask(body), name="External", number=1, interpreted_type="EXTERNAL"),
            structure_from_mask(_mask(target), name="PTV50", number=2, interpreted_type="PTV"),
            structure_from_mask(_mask(core), name="Core", number=3),
        ),
        frame_of_reference_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
    )
    return _mask(body), structures
