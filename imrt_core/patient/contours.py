"""Contours ↔ masks with partial volume.

A mask is a :class:`Volume` of float32 fractions 0 … 1: the share of each voxel that lies inside the structure.
Contours on one plane follow the even-odd rule, so a contour inside another is a hole, whether it is drawn as a contour
of its own or through a keyhole channel. Each contour stands for a slab of the patient, half a slice to both sides; see
:func:`imrt_core.patient.slabs.contour_slabs` for how spacing and gaps are found and what is refused.
"""

from __future__ import annotations

import contourpy
import numpy as np
from numpy.typing import NDArray

from ._rasterize import cover_planes
from .errors import GeometryError, StructureError
from .grid import Grid
from .slabs import ContourSlabs, contour_slabs
from .structures import Contour, Structure
from .volume import Volume

#: Distance of scanlines: at least 8 in a pixel, and no further apart than this.
_SCANLINE_MM = 0.25
_MIN_SCANLINES = 8
#: Slabs that touch a slice by less than this share of its thickness do so by rounding.
_NO_SHARE = 1e-9
#: Smoothing never moves a vertex further than this share of a pixel.
_SMOOTH_PIXELS = 0.1
#: Polygons of less than this many pixels are interpolation dust around the level.
_MIN_PIXELS = 0.05


def structure_volume_cc(structure: Structure, *, slice_spacing_mm: float | None = None) -> float:
    """Return the volume of a structure's contours in cm³: exact even-odd area times slab thickness.

    Parameters
    ----------
    structure : Structure
        Transverse contours.
    slice_spacing_mm : float, optional
        As in :func:`imrt_core.patient.slabs.contour_slabs`.

    Raises
    ------
    StructureError
        If the contours cannot be taken for a volume.
    """
    return contour_slabs(structure, slice_spacing_mm=slice_spacing_mm).volume_cc


def mask_from_structure(structure: Structure, grid: Grid, *, slice_spacing_mm: float | None = None) -> Volume:
    """Return the fraction of every voxel that lies inside a structure.

    In the plane, coverage is exact along scanlines, at least eight to a pixel; along z it is the exact share of the
    voxel that the contours' slabs fill, so planes of the grid need not be planes of the contours.

    Parameters
    ----------
    structure : Structure
        Transverse contours.
    grid : Grid
        Any spacing; its axes must be those of LPS, in either sense (all four patient positions).
    slice_spacing_mm : float, optional
        As in :func:`imrt_core.patient.slabs.contour_slabs`.

    Returns
    -------
    Volume
        float32, 0 … 1. What lies outside the grid is cut off.

    Raises
    ------
    StructureError
        If the contours cannot be taken for a volume, or nothing of it lies inside the grid.
    GeometryError
        If the grid is oblique: rasterise on an axis-aligned grid and resample, or carry the mask along with its grid.
    """
    slabs = contour_slabs(structure, slice_spacing_mm=slice_spacing_mm)
    upright, flips = _upright(grid)
    array = np.zeros(grid.shape, np.float32)
    _fill(slabs, upright, array)
    if not array.any():
        low, high = upright.to_lps(-0.5 * np.ones(3)), upright.to_lps(np.array(grid.shape[::-1]) - 0.5)
        x0, y0, x1, y1 = slabs.extent_mm
        raise StructureError(
            "no part of the structure lies inside the grid",
            found=f"x {x0:.0f}…{x1:.0f}, y {y0:.0f}…{y1:.0f}, z {slabs.lower_mm[0]:.0f}…{slabs.upper_mm[-1]:.0f} mm",
            expected="x {:.0f}…{:.0f}, y {:.0f}…{:.0f}, z {:.0f}…{:.0f} mm".format(
                *(v for pair in zip(low, high, strict=True) for v in pair)
            ),
            where=f"structure {structure.name}",
        )
    return Volume(array[flips], grid)


def contours_from_mask(mask: Volume, *, level: float = 0.5) -> tuple[Contour, ...]:
    """Return the closed contours of a mask on its slices, none where it encloses next to nothing at the level.

    Parameters and errors are those of :func:`structure_from_mask`, but for the empty mask.
    """
    _upright(mask.grid)
    values = np.asarray(mask.array, dtype=np.float32)
    contours: list[Contour] = []
    for k in np.flatnonzero((values >= level).any(axis=(1, 2))):
        z = float(mask.grid.to_lps([0.0, 0.0, float(k)])[2])
        padded = np.pad(values[k], 1)
        for line in contourpy.contour_generator(z=padded, line_type=contourpy.LineType.Separate).lines(level):
            index = _clean(np.asarray(line, dtype=np.float64)[:-1] - 1.0)
            if index is None:
                continue
            points = mask.grid.to_lps(np.column_stack([_smooth(index), np.full(len(index), float(k))]))
            points[:, 2] = z
            contours.append(Contour(points))
    return tuple(contours)


def structure_from_mask(
    mask: Volume,
    *,
    name: str,
    number: int = 0,
    interpreted_type: str = "ORGAN",
    color_rgb: tuple[int, int, int] = (255, 255, 0),
    level: float = 0.5,
    description: str = "",
) -> Structure:
    """Return closed contours of a mask on its slices, at the sub-voxel position of ``level``.

    Marching squares on every slice, holes kept as contours of their own; a mask that touches the image border is
    closed there, half a pixel past the outer voxel centres. Vertices are then smoothed (one step of Taubin's
    non-shrinking filter [1]_), by at most a tenth of a pixel.

    Parameters
    ----------
    mask : Volume
        0 … 1, bool or fractions. Its slices must be transverse (index axes along those of LPS, in either sense).
    name, number, interpreted_type, color_rgb, description
        Of the new structure.
    level : float
        Fraction that counts as the surface.

    Raises
    ------
    StructureError
        If no voxel reaches the level: a structure without contours is never returned.
    GeometryError
        If the mask's grid is oblique.

    References
    ----------
    .. [1] G. Taubin, "Curve and surface smoothing without shrinkage", ICCV 1995, 852-857.
    """
    contours = contours_from_mask(mask, level=level)
    if not contours:
        dx, dy, _ = mask.grid.spacing_mm
        raise StructureError(
            "the mask is empty",
            found=f"highest fraction {float(np.max(mask.array)):.3g}",
            expected=f">= {level:g} in more than a point (pixels of {dx:g} × {dy:g} mm)",
            where=f"structure {name}",
        )
    return Structure(
        name=name,
        contours=tuple(contours),
        number=number,
        interpreted_type=interpreted_type,
        color_rgb=color_rgb,
        description=description,
    )


def _upright(grid: Grid) -> tuple[Grid, tuple[slice, slice, slice]]:
    """Return the grid with ascending LPS axes and the slices that flip an array between the two."""
    signs = np.diag(np.asarray(grid.direction))
    if not np.allclose(np.abs(signs), 1.0, atol=1e-4):
        raise GeometryError(
            "contours need a grid whose axes are those of the patient",
            found=f"direction {np.round(np.asarray(grid.direction), 4).tolist()}",
            expected="index axes along ±x, ±y, ±z",
        )
    last = np.array(grid.shape[::-1]) - 1
    x, y, z = grid.to_lps(np.where(signs < 0, last, 0))
    upright = Grid(grid.shape, grid.spacing_mm, (float(x), float(y), float(z)))
    flips = tuple(slice(None, None, -1) if sign < 0 else slice(None) for sign in signs[::-1])
    return upright, (flips[0], flips[1], flips[2])


def _fill(slabs: ContourSlabs, grid: Grid, array: NDArray[np.float32]) -> None:
    """Cast to the kernels: work only on the pixels, planes and slices that the structure touches."""
    nz, ny, nx = grid.shape
    dx, dy, dz = grid.spacing_mm
    corner = np.asarray(grid.origin_lps) - 0.5 * np.asarray(grid.spacing_mm)
    x0, y0, x1, y1 = slabs.extent_mm
    i0, i1 = (int(np.clip(f((x - corner[0]) / dx), 0, nx)) for f, x in ((np.floor, x0), (np.ceil, x1)))
    j0, j1 = (int(np.clip(f((y - corner[1]) / dy), 0, ny)) for f, y in ((np.floor, y0), (np.ceil, y1)))
    planes = np.flatnonzero((slabs.upper_mm > corner[2]) & (slabs.lower_mm < corner[2] + nz * dz))
    if i0 >= i1 or j0 >= j1 or len(planes) == 0:
        return
    first, last = int(planes[0]), int(planes[-1]) + 1
    k0 = int(np.clip(np.floor((slabs.lower_mm[first] - corner[2]) / dz), 0, nz))
    k1 = int(np.clip(np.ceil((slabs.upper_mm[last - 1] - corner[2]) / dz), 0, nz))
    cover = np.empty((last - first, j1 - j0, i1 - i0), np.float32)
    cover_planes(
        slabs.edges_mm,
        np.ascontiguousarray(slabs.start[first : last + 1]),
        np.array([corner[0] + i0 * dx, corner[1] + j0 * dy]),
        np.array([dx, dy]),
        max(_MIN_SCANLINES, int(np.ceil(dy / _SCANLINE_MM))),
        cover,
    )
    for k in range(k0, k1):
        low = corner[2] + k * dz
        shares = (np.minimum(slabs.upper_mm, low + dz) - np.maximum(slabs.lower_mm, low))[first:last] / dz
        for p in np.flatnonzero(shares > _NO_SHARE):
            array[k, j0:j1, i0:i1] += np.float32(shares[p]) * cover[p]
    # The shares of one voxel add up to 1 but for rounding.
    np.minimum(array, 1.0, out=array)


def _clean(points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Drop coincident vertices; None if what remains encloses next to nothing."""
    step = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1)
    points = points[step > 1e-3]
    if len(points) < 3:
        return None
    x, y = points.T
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    return points if area >= _MIN_PIXELS else None


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """One shrinking and one inflating step; the move is limited to a tenth of a pixel."""
    if len(points) < 8:
        return points
    moved = points
    for weight in (0.5, -0.53):
        centre = 0.5 * (np.roll(moved, 1, axis=0) + np.roll(moved, -1, axis=0))
        moved = moved + weight * (centre - moved)
    move = moved - points
    length = np.linalg.norm(move, axis=1, keepdims=True)
    limit = np.minimum(1.0, _SMOOTH_PIXELS / np.maximum(length, 1e-12))
    return np.asarray(points + move * limit)
