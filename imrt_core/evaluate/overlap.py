"""Agreement of two contours of the same structure: Dice, 95th-percentile Hausdorff and mean surface distance.

Masks are taken as inside where the fraction is at least one half. Surfaces are the inside voxels with an outside
neighbour across a face, so distances are right to about half a voxel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..patient.errors import GeometryError, StructureError
from ..patient.volume import Volume

_INSIDE = 0.5


def dice(one: Volume, other: Volume) -> float:
    """Return the Dice coefficient ``2 |A ∩ B| / (|A| + |B|)``, 0 … 1 (Dice 1945; TG-132).

    Parameters
    ----------
    one, other : Volume
        Masks on the same grid.

    Raises
    ------
    GeometryError
        If the grids differ.
    StructureError
        If a mask is empty.
    """
    a, b, _ = _inside(one, other)
    return 2.0 * int(np.count_nonzero(a & b)) / (int(np.count_nonzero(a)) + int(np.count_nonzero(b)))


def hausdorff95_mm(one: Volume, other: Volume) -> float:
    """Return the larger of the two directed 95th-percentile surface distances, in mm.

    Parameters, errors as for :func:`dice`.
    """
    forth, back = _surface_distances_mm(one, other)
    return float(max(np.percentile(forth, 95), np.percentile(back, 95)))


def mean_surface_distance_mm(one: Volume, other: Volume) -> float:
    """Return the mean distance to the other surface over the voxels of both surfaces, in mm (TG-132 "mean distance").

    Parameters, errors as for :func:`dice`.
    """
    return float(np.mean(np.concatenate(_surface_distances_mm(one, other))))


def _inside(one: Volume, other: Volume) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[float, ...]]:
    if not one.grid.matches(other.grid):
        raise GeometryError(
            "masks must be on the same grid",
            found=f"{other.grid.shape} at {other.grid.origin_lps}",
            expected=f"{one.grid.shape} at {one.grid.origin_lps}",
        )
    a, b = one.array >= _INSIDE, other.array >= _INSIDE
    for which, mask in (("first", a), ("second", b)):
        if not mask.any():
            raise StructureError("a mask is empty", found=f"{which} mask has no voxel of at least {_INSIDE:g}")
    either = a | b
    filled = [np.flatnonzero(either.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    box = tuple(slice(int(f[0]), int(f[-1]) + 1) for f in filled)
    return a[box], b[box], one.grid.spacing_mm[::-1]


def _surface_distances_mm(one: Volume, other: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b, spacing = _inside(one, other)
    surface_a, surface_b = (mask & ~ndimage.binary_erosion(mask) for mask in (a, b))
    to_a, to_b = (ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in (surface_a, surface_b))
    return np.asarray(to_b[surface_a]), np.asarray(to_a[surface_b])
