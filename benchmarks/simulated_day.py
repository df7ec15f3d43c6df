"""The patient of a simulated day: volumes of the planning frame, carried by the field that makes the day."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from imrt_core.patient import DisplacementField, GeometryError, Grid, RigidTransform, Volume
from imrt_core.phantom import planning_index_of_day
from imrt_core.phantom.simulate import SimulatedFraction


def local_field(day: SimulatedFraction) -> DisplacementField:
    """Return the deformation of a day without its rigid motion, on the planning grid."""
    points = day.field.grid.voxel_centres_lps()
    local = day.moving_from_fixed.inverse().apply(points + day.field.vectors_mm) - points
    return DisplacementField(local.astype(np.float32), day.field.grid)


def carried(
    volume: Volume,
    like: Grid,
    *,
    deformation: DisplacementField,
    moving_from_fixed: RigidTransform | None = None,
    order: int = 1,
    outside: float = 0.0,
) -> Volume:
    """Return a volume of the planning frame on a grid of the day.

    Parameters
    ----------
    volume : Volume
        On the grid of ``deformation``.
    like : Grid
        Of the day.
    deformation : DisplacementField
        On the planning grid, before the rigid motion.
    moving_from_fixed : RigidTransform, optional
        Rigid motion of the day; none by default.
    order : int
        Of the spline.
    outside : float
        Value beyond the planning grid.
    """
    if not volume.grid.matches(deformation.grid):
        raise GeometryError(
            "a volume is carried on the grid of the deformation",
            found=str(volume.grid.shape),
            expected=str(deformation.grid.shape),
        )
    pose = moving_from_fixed or RigidTransform.identity()
    index = planning_index_of_day(like, moving_from_fixed=pose, deformation=deformation)
    values = ndimage.map_coordinates(volume.array.astype(np.float32), index, order=order, mode="constant", cval=outside)
    return Volume(values.astype(np.float32), like)
