"""Change of the body's outer contour between two masks: weight loss, swelling, a shoulder that lies elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..patient.errors import GeometryError, StructureError
from ..patient.volume import Volume

#: The largest change is this percentile of the surface distances: single voxels are noise of the mask.
_LARGEST_PERCENTILE = 99.0
#: Openings up to about twice this width are closed: whether an image shows the air passage behind lips or nostrils as
#: open is chance, and no change of the contour.
_CLOSING_MM = 8.0
#: Slices at either end are left out: there the mask ends because the image does.
_END_SLICES = 2


@dataclass(frozen=True)
class ContourChange:
    """How far the outer contour moved.

    Parameters
    ----------
    largest_mm : float
        99th percentile of the distances from either surface to the other.
    mean_mm : float
        Mean of the same distances.
    where_lps : tuple of float
        Surface voxel with the largest distance.
    outward : bool
        Whether there is more body there today than planned.
    """

    largest_mm: float
    mean_mm: float
    where_lps: tuple[float, float, float]
    outward: bool


def contour_change(planned: Volume, today: Volume, *, seen: Volume | None = None) -> ContourChange:
    """Compare the outlines of two body masks, by the distance in space to the other's surface.

    Parameters
    ----------
    planned, today : Volume
        Masks of fractions 0 … 1 on the same grid, in the same frame: the planned body carried along by the match, and
        the body of the day.
    seen : Volume, optional
        Where the image of the day shows anything; surfaces elsewhere are not compared.

    Raises
    ------
    GeometryError
        If the grids differ.
    StructureError
        If a mask is empty where it is compared.
    """
    for other in (today, seen):
        if other is not None and not planned.grid.matches(other.grid):
            raise GeometryError("masks must be on the same grid", found=str(other.grid), expected=str(planned.grid))
    one, two = planned.array >= 0.5, today.array >= 0.5
    visible = np.ones_like(one) if seen is None else seen.array >= 0.5
    filled = np.flatnonzero(one.any(axis=(1, 2)) & two.any(axis=(1, 2)) & visible.any(axis=(1, 2)))
    filled = filled[_END_SLICES : len(filled) - _END_SLICES]
    dz, dy, dx = planned.grid.spacing_mm[::-1]
    distances: list[NDArray[np.float64]] = []
    places: list[NDArray[np.int64]] = []
    outward: list[NDArray[np.bool_]] = []
    if len(filled):
        # In space, not slice by slice: where the outline jumps between slices (shoulders, the end of a scan), a match
        # that is off by half a slice must not look like centimetres.
        slices = slice(int(filled[0]), int(filled[-1]) + 1)
        _, rows, columns = ndimage.find_objects((one | two).astype(np.uint8))[0]
        part = (slices, _widened(rows, one.shape[1]), _widened(columns, one.shape[2]))
        spacing = (dz, dy, dx)
        solid = [_without_openings(mask[part], spacing) for mask in (one, two)]
        step = 0.5 * min(dx, dy)
        outlines = [_outline(mask) & visible[part] for mask in solid]
        for surface, against, grown in ((outlines[1], solid[0], True), (outlines[0], solid[1], False)):
            # Distance to the other surface: outside it, or inside it, whichever side the voxel lies on.
            outside = ndimage.distance_transform_edt(~against, sampling=spacing)
            inside = ndimage.distance_transform_edt(against, sampling=spacing)
            k, j, i = np.nonzero(surface)
            beyond = outside[k, j, i] > 0
            distance = np.where(beyond, outside[k, j, i] - step, inside[k, j, i] - step)
            distances.append(np.maximum(distance, 0.0))
            places.append(np.stack([i, j, k], axis=-1) + [axis.start for axis in part[::-1]])
            outward.append(beyond if grown else ~beyond)
    if not distances or not sum(len(d) for d in distances):
        raise StructureError("there is no body surface to compare", found=f"{len(filled)} slices in common")
    all_mm = np.concatenate(distances)
    worst = int(np.argmax(all_mm))
    x, y, z = planned.grid.to_lps(np.concatenate(places)[worst])
    return ContourChange(
        largest_mm=float(np.percentile(all_mm, _LARGEST_PERCENTILE)),
        mean_mm=float(all_mm.mean()),
        where_lps=(float(x), float(y), float(z)),
        outward=bool(np.concatenate(outward)[worst]),
    )


def _widened(part: slice, size: int) -> slice:
    """Return a range with one more voxel at either end: the air beside the skin belongs to the comparison."""
    return slice(max(part.start - 1, 0), min(part.stop + 1, size))


def _without_openings(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Close what opens into the body (mouth, nostrils, ear canals, a stoma), then fill what lies behind it."""
    # Air all around, so that nothing is closed towards the border of the image and there always is an outside.
    margin = [(0, 0), *((n, n) for n in (int(_CLOSING_MM / size) + 2 for size in spacing_mm[1:]))]
    padded = np.pad(mask, margin)
    dilated = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= _CLOSING_MM
    closed = ndimage.distance_transform_edt(dilated, sampling=spacing_mm) > _CLOSING_MM
    rows, columns = (slice(before, -after) for before, after in margin[1:])
    return np.stack([ndimage.binary_fill_holes(plane) for plane in mask | closed[:, rows, columns]])


def _outline(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the outermost pixels of each slice; the caps at either end are no skin."""
    in_plane = ndimage.generate_binary_structure(2, 1)[None]
    return np.asarray(solid & ~ndimage.binary_erosion(solid, structure=in_plane, border_value=1))
