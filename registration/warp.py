"""Carrying images, masks and structures through a transform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import (
    DisplacementField,
    Grid,
    RegistrationError,
    RigidTransform,
    Structure,
    StructureSet,
    Volume,
)
from imrt_core.patient.contours import contours_from_mask, mask_from_structure, structure_volume_cc
from imrt_core.patient.slabs import contour_slabs

from ._pull_kernels import pull
from .preprocess import bounding_box

#: Pixels that structures are rasterised and contoured on.
PIXEL_MM = 1.0
#: Layers that a slice of the day is averaged from.
_LAYERS = 3
#: Larger structures (EXTERNAL, lungs) get pixels twice as wide and one layer per slice: an eighth of the work and more.
_LARGE_CC = 500.0
#: Levels of a fraction mask that may stand for its surface: within about a third of a pixel of 0.5.
_LEVELS = (0.3, 0.7)
_VOLUME_TOLERANCE = 0.003

Transform = RigidTransform | DisplacementField


def warp(volume: Volume, transform: Transform, *, like: Grid, order: int = 1, outside: float = 0.0) -> Volume:
    """Resample a volume through a transform.

    Parameters
    ----------
    volume : Volume
        What to carry.
    transform : RigidTransform or DisplacementField
        Maps points of ``like`` into the frame of ``volume``: to bring the day's image onto the planning grid, that
        is ``moving_from_fixed``.
    like : Grid
        Grid of the result.
    order : int
        0 nearest (keeps the dtype), 1 trilinear (float32).
    outside : float
        Value beyond the voxels of ``volume``.

    Raises
    ------
    RegistrationError
        If ``order`` is neither 0 nor 1.
    """
    if order not in (0, 1):
        raise RegistrationError("unknown interpolation", found=f"order {order}", expected="0 (nearest) or 1 (linear)")
    index_from_lps = volume.grid.index_from_lps
    vectors = None
    if isinstance(transform, RigidTransform):
        index_from_lps = index_from_lps @ transform.matrix
    else:
        vectors = vectors_on(transform, like)
    array = pull(
        volume.array,
        index_from_lps,
        like.lps_from_index,
        like.shape,
        vectors_mm=vectors,
        nearest=order == 0,
        outside=outside,
    )
    return Volume(array, like)


def vectors_on(field: DisplacementField, grid: Grid) -> NDArray[np.float32]:
    """Return a field's displacements (mm) at the voxels of another grid of the same frame; edges hold beyond."""
    if field.grid.matches(grid, tolerance_mm=1e-6):
        return field.vectors_mm
    affine = field.grid.index_from_lps @ grid.lps_from_index
    if not np.allclose(affine[:3, :3], np.diag(np.diag(affine[:3, :3])), atol=1e-9):
        return field.displacement_at(grid.voxel_centres_lps()).astype(np.float32)
    # Grids along the same axes: a diagonal matrix, which scipy interpolates with weights per axis, not per voxel.
    vectors = np.empty((*grid.shape, 3), dtype=np.float32)
    for axis in range(3):
        ndimage.affine_transform(
            field.vectors_mm[..., axis],
            np.diag(affine)[2::-1],
            offset=affine[2::-1, 3],
            output_shape=grid.shape,
            output=vectors[..., axis],
            order=1,
            mode="nearest",
        )
    return vectors


def warp_structures(
    structures: StructureSet,
    fixed_from_moving: Transform,
    *,
    like: Grid,
    frame_of_reference_uid: str = "",
    referenced_series_uid: str = "",
    slice_spacing_mm: float | None = None,
) -> StructureSet:
    """Carry structures to the image of the day and contour them on its slices.

    A structure is rasterised on its own slices with partial volume, its mask pulled onto ``like``, and contoured
    there: the contours are closed and planar on the new slices whatever the rotation.

    Parameters
    ----------
    structures : StructureSet
        In the planning frame.
    fixed_from_moving : RigidTransform or DisplacementField
        Maps points of the day to the planning CT.
    like : Grid
        Slices of the day to contour on, along the LPS axes.
    frame_of_reference_uid, referenced_series_uid : str
        Of the image of the day.
    slice_spacing_mm : float, optional
        Spacing of the planning slices, for structures on a single one.

    Returns
    -------
    StructureSet
        Same names, numbers, types and colours; unapproved. A structure that leaves ``like`` is empty.

    Raises
    ------
    StructureError
        If the contours of a structure cannot be taken for a volume.
    GeometryError
        If ``like`` is oblique.
    """
    warped = [
        warp_structure(structure, fixed_from_moving, like=like, slice_spacing_mm=slice_spacing_mm)
        for structure in structures
    ]
    return StructureSet(
        tuple(warped),
        frame_of_reference_uid=frame_of_reference_uid,
        referenced_series_uid=referenced_series_uid,
        label=structures.label,
        approval_status="UNAPPROVED",
    )


def warp_structure(
    structure: Structure, fixed_from_moving: Transform, *, like: Grid, slice_spacing_mm: float | None = None
) -> Structure:
    """Carry one structure; see :func:`warp_structures`."""
    mask = None
    if not structure.is_empty:
        mask = warp_mask(structure, fixed_from_moving, like=like, slice_spacing_mm=slice_spacing_mm)
    return contoured(mask, structure)


def warp_mask(
    structure: Structure, fixed_from_moving: Transform, *, like: Grid, slice_spacing_mm: float | None = None
) -> Volume | None:
    """Return the fraction mask of a structure in the frame of the day; see :func:`swept_mask`."""
    return swept_mask(structure, (fixed_from_moving,), like=like, slice_spacing_mm=slice_spacing_mm)


def swept_mask(
    structure: Structure, transforms: Sequence[Transform], *, like: Grid, slice_spacing_mm: float | None = None
) -> Volume | None:
    """Return the fraction mask of all places of a structure together.

    Parameters
    ----------
    structure : Structure
        In the planning frame.
    transforms : sequence of RigidTransform or DisplacementField
        Each maps points of ``like`` to the planning frame.
    like : Grid
        Slices to sample on.
    slice_spacing_mm : float, optional
        Spacing of the planning slices, for a structure on a single one.

    Returns
    -------
    Volume or None
        On the slices of ``like`` that the structure reaches, pixels of at most 1 mm (2 mm for structures of more than
        500 cc, whose relative accuracy is the same); None if it reaches none.
    """
    large = structure_volume_cc(structure, slice_spacing_mm=slice_spacing_mm) > _LARGE_CC
    pixel_mm, layers_per_slice = (2 * PIXEL_MM, 1) if large else (PIXEL_MM, _LAYERS)
    own = _own_grid(structure, slice_spacing_mm, pixel_mm=pixel_mm)
    source = mask_from_structure(structure, own, slice_spacing_mm=slice_spacing_mm)
    # Where on the day's grid? A coarse look keeps the fine one small.
    touched = source.with_array((source.array > 0).astype(np.float32))
    reached = np.logical_or.reduce([warp(touched, transform, like=like).array > 0 for transform in transforms])
    if not reached.any():
        return None
    margin = 2.0 * max(like.spacing_mm)
    lower, upper = bounding_box(reached, like, margin)
    part = like.cropped(lower, upper)
    sx, sy, sz = part.spacing_mm
    fine = part.resampled((sx / np.ceil(sx / pixel_mm), sy / np.ceil(sy / pixel_mm), sz / layers_per_slice))
    # A slice stands for its thickness: the mean of thin layers, so that the ends of a tilted structure fade out.
    layers = np.maximum.reduce([warp(source, transform, like=fine).array for transform in transforms])
    nz, ny, nx = fine.shape
    mean = layers.reshape(nz // layers_per_slice, layers_per_slice, ny, nx).mean(axis=1, dtype=np.float32)
    x, y, _ = fine.spacing_mm
    middle = fine.to_lps([0.0, 0.0, (layers_per_slice - 1) / 2])
    mask = Volume(mean, Grid((nz // layers_per_slice, ny, nx), (x, y, sz), tuple(middle), part.direction))
    return mask if (mean >= 0.5).any() else None


def contoured(mask: Volume | None, like: Structure) -> Structure:
    """Return the contours of a mask with all else (name, type, densities, …) of another structure; empty for None.

    The level is 0.5, or as near to it as gives the contours the volume of the mask: a small structure cut into few
    slices would otherwise gain or lose some percent, and the volume rule of targets must not see that as a change.
    """
    empty = replace(like, contours=())
    if mask is None:
        return empty
    wanted = float(mask.array.sum(dtype=np.float64)) * mask.grid.voxel_volume_cc
    low, high, level = _LEVELS[0], _LEVELS[1], 0.5
    best, best_error = empty, np.inf
    for _ in range(5):
        found = replace(like, contours=contours_from_mask(mask, level=level))
        if found.is_empty:  # nothing but dust at this level
            high, level = level, (low + level) / 2
            continue
        volume = structure_volume_cc(found, slice_spacing_mm=mask.grid.spacing_mm[2])
        if abs(volume / wanted - 1) < best_error:
            best, best_error = found, abs(volume / wanted - 1)
        if best_error < _VOLUME_TOLERANCE:
            break
        low, high = (low, level) if volume < wanted else (level, high)
        level = (low + high) / 2
    return best


def _own_grid(structure: Structure, slice_spacing_mm: float | None, *, pixel_mm: float) -> Grid:
    """Return a grid on the structure's own slices, one slice more at each end."""
    slabs = contour_slabs(structure, slice_spacing_mm=slice_spacing_mm)
    x0, y0, x1, y1 = slabs.extent_mm
    z0, z1, step = float(slabs.z_mm[0]), float(slabs.z_mm[-1]), slabs.spacing_mm
    return Grid(
        shape=(round((z1 - z0) / step) + 3, int((y1 - y0) / pixel_mm) + 5, int((x1 - x0) / pixel_mm) + 5),
        spacing_mm=(pixel_mm, pixel_mm, step),
        origin_lps=(x0 - 2 * pixel_mm, y0 - 2 * pixel_mm, z0 - step),
    )
