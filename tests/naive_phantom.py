"""Slow, obvious twins of the phantom's kernels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import DisplacementField, Grid, RigidTransform


def planning_index_of_day(
    day: Grid, *, moving_from_fixed: RigidTransform, deformation: DisplacementField
) -> NDArray[np.float64]:
    """Where each voxel of the day was: 60 plain fixed-point steps per point, in mm, by the domain types."""
    fixed_from_moving = moving_from_fixed.inverse()
    out = np.empty((3, *day.shape))
    for k, j, i in np.ndindex(*day.shape):
        start = fixed_from_moving.apply(day.to_lps([i, j, k]))
        point = start
        for _ in range(60):
            point = start - deformation.displacement_at(point)
        out[:, k, j, i] = deformation.grid.to_index(point)[::-1]
    return out
