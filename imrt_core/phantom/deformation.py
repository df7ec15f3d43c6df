"""How anatomy changes between planning and today: a smooth, invertible displacement that leaves bone where it is.

Displacements are described by a few sources (an organ that scales and shifts, a hollow organ whose wall moves, skin
that falls in), summed on a grid of about 4 mm, refined by cubic B-splines and faded to exactly zero at bone. Sliding
at the pleura is not modelled: tissue between a moving organ and bone shears instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import DisplacementField, GeometryError, Grid, StructureSet
from imrt_core.patient.contours import mask_from_structure

#: The field is built on voxels of about this size in the plane.
_COARSE_MM = 4.0
#: Nothing moves closer to bone than this, everything that may move does beyond the sum of both.
_BONE_CLEAR_MM, _BONE_FADE_MM = 3.2, 10.0
#: Tissue may be squeezed to this share of its volume, not further.
_LEAST_JACOBIAN = 0.3
#: Displacements are reduced within about this distance of tissue that would be squeezed more.
_LIMIT_REACH_MM = 5.0


@dataclass(frozen=True)
class OrganChange:
    """An organ scales about an anchor and shifts; its surroundings follow, less and less.

    Parameters
    ----------
    structure : str
        Name of the organ; a source whose structure does not exist does nothing.
    scale : tuple of float
        Along x, y, z.
    shift_mm : tuple of float
        LPS.
    anchor : tuple of float
        Fixed point of the scaling as a share of the bounding box along x, y, z (0.5 is the middle).
    reach_mm : float
        Distance from the organ's surface at which the influence ends.
    """

    structure: str
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    anchor: tuple[float, float, float] = (0.5, 0.5, 0.5)
    reach_mm: float = 25.0


@dataclass(frozen=True)
class WallShift:
    """The wall of a tubular organ moves outward (filling) or inward (emptying).

    Parameters
    ----------
    structure : str
        Name of the organ; a source whose structure does not exist does nothing.
    outward_mm : float
        Movement of the wall along its normal.
    reach_mm : float
        Distance from the wall at which the influence ends.
    """

    structure: str
    outward_mm: float
    reach_mm: float = 28.0


@dataclass(frozen=True)
class SkinRetraction:
    """Skin falls in by weight loss, most where soft tissue is thick, not at all over bone.

    Parameters
    ----------
    inward_mm : float
        Movement of the skin over thick tissue.
    z_range_lps : tuple of float
        Lower and upper level of the region; the change fades over 30 mm beyond both.
    """

    inward_mm: float
    z_range_lps: tuple[float, float]


Source = OrganChange | WallShift | SkinRetraction


def deformation_of_day(
    sources: Sequence[Source], *, structures: StructureSet, bone: NDArray[np.bool_], grid: Grid
) -> DisplacementField:
    """Return the displacement of the anatomy against its bones, on the planning grid.

    Parameters
    ----------
    sources : sequence of Source
        What changes.
    structures : StructureSet
        Organs named by the sources, and the EXTERNAL.
    bone : ndarray of bool, shape of the grid
        What is rigid: the displacement there is exactly zero.
    grid : Grid
        Planning grid, axis-aligned.

    Returns
    -------
    DisplacementField
        Planning point to the point of the same tissue today, both in the bony frame of the planning CT. Where sources
        together would squeeze tissue to less than 30 % of its volume, all are reduced thereabouts until they do not.

    Raises
    ------
    GeometryError
        If the bone mask does not fit the grid, or the grid is oblique.
    """
    if bone.shape != grid.shape or not grid.is_axis_aligned:
        raise GeometryError(
            "the bone mask must fit an axis-aligned planning grid", found=str(bone.shape), expected=str(grid.shape)
        )
    factor = max(1, round(_COARSE_MM / min(grid.spacing_mm[:2])))
    coarse = _strided(grid, factor)
    total = np.zeros((3, *coarse.shape), dtype=np.float32)
    for source in sources:
        if isinstance(source, SkinRetraction):
            total += _skin(source, structures, coarse, _distance_mm(bone[:, ::factor, ::factor], coarse))
        elif source.structure in structures:
            total += _organ(source, structures, coarse)
    vectors = np.zeros((*grid.shape, 3), dtype=np.float32)
    moving = np.argwhere(np.abs(total).max(axis=0) > 1e-3)
    if len(moving):
        k, j, i = _region(moving, grid, factor)
        fade = _bone_fade(bone, grid, (k, j, i))
        fine = np.stack([_refined(component, factor, grid.shape)[k, j, i] * fade for component in total])
        vectors[k, j, i] = np.moveaxis(_limited(fine, grid), 0, -1)
    return DisplacementField(vectors, grid)


def _region(moving: NDArray[np.int64], grid: Grid, factor: int) -> tuple[slice, slice, slice]:
    """Fine slices around all coarse voxels that move, with room for the splines."""
    step = np.array([1, factor, factor])
    lower = np.maximum((moving.min(axis=0) - 2) * step, 0)
    upper = np.minimum((moving.max(axis=0) + 3) * step, grid.shape)
    k, j, i = (slice(int(a), int(b)) for a, b in zip(lower, upper, strict=True))
    return k, j, i


def _bone_fade(bone: NDArray[np.bool_], grid: Grid, region: tuple[slice, slice, slice]) -> NDArray[np.float32]:
    """0 at bone and up to :data:`_BONE_CLEAR_MM` from it, rising to 1: on the fine grid, in a region."""
    pad = np.ceil((_BONE_CLEAR_MM + _BONE_FADE_MM) / np.asarray(grid.spacing_mm[::-1])).astype(int)
    wide = tuple(
        slice(max(0, s.start - p), min(n, s.stop + p)) for s, p, n in zip(region, pad, grid.shape, strict=True)
    )
    distance = _distance_mm(bone[wide], grid)
    inner = tuple(slice(s.start - w.start, s.stop - w.start) for s, w in zip(region, wide, strict=True))
    return _smoothstep((distance[inner] - np.float32(_BONE_CLEAR_MM)) / np.float32(_BONE_FADE_MM))


def _strided(grid: Grid, factor: int) -> Grid:
    nz, ny, nx = grid.shape
    sx, sy, sz = grid.spacing_mm
    return Grid((nz, -(-ny // factor), -(-nx // factor)), (sx * factor, sy * factor, sz), grid.origin_lps)


def _smoothstep(t: NDArray[np.floating]) -> NDArray[np.float32]:
    x = np.clip(t, 0, 1)
    return np.asarray(x * x * (3 - 2 * x), dtype=np.float32)


def _distance_mm(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """Distance to the nearest voxel of a mask; far everywhere if it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.float32(1e3))
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm[::-1]), dtype=np.float32)


def _signed_mm(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    half = np.float32(0.5 * min(grid.spacing_mm))
    outside, inside = _distance_mm(mask, grid), _distance_mm(~mask, grid)
    return np.asarray(np.where(mask, half - inside, outside - half), dtype=np.float32)


def _axes(grid: Grid) -> list[NDArray[np.float32]]:
    """LPS coordinates along x, y, z, shaped to broadcast over [z, y, x]."""
    shapes = ((1, 1, -1), (1, -1, 1), (-1, 1, 1))
    return [
        np.asarray(grid.origin_lps[a] + grid.spacing_mm[a] * np.arange(n), dtype=np.float32).reshape(shapes[a])
        for a, n in enumerate(grid.shape[::-1])
    ]


def _normal(signed_mm: NDArray[np.float32], grid: Grid, *, blur_mm: float) -> NDArray[np.float32]:
    """Outward unit normals (3, z, y, x) of a blurred signed distance."""
    smooth = ndimage.gaussian_filter(signed_mm, blur_mm / np.asarray(grid.spacing_mm[::-1]))
    gz, gy, gx = np.gradient(smooth, *grid.spacing_mm[::-1])
    normal = np.stack([gx, gy, gz])
    # At the medial axis the gradient vanishes, and with it the movement: no division by the length there.
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=0), 0.7), dtype=np.float32)


def _organ(source: OrganChange | WallShift, structures: StructureSet, grid: Grid) -> NDArray[np.float32]:
    mask = mask_from_structure(structures[source.structure], grid).array >= 0.5
    result = np.zeros((3, *grid.shape), dtype=np.float32)
    where = np.argwhere(mask)
    if not len(where):
        return result
    pad = np.ceil((source.reach_mm + 8) / np.asarray(grid.spacing_mm[::-1])).astype(int)
    lower = np.maximum(where.min(axis=0) - pad, 0)
    upper = np.minimum(where.max(axis=0) + pad + 1, grid.shape)
    slices = tuple(slice(int(a), int(b)) for a, b in zip(lower, upper, strict=True))
    part = grid.cropped(lower[::-1], upper[::-1])
    signed = _signed_mm(mask[slices], part)
    fade = 1 - _smoothstep(np.maximum(signed, 0) / np.float32(source.reach_mm))
    if isinstance(source, WallShift):
        radius = max(float(-signed.min()), 1.0)
        profile = fade * np.clip(1 + np.minimum(signed, 0) / np.float32(radius), 0, 1)
        move = _normal(signed, part, blur_mm=4.0) * np.float32(source.outward_mm) * profile
    else:
        ends = grid.to_lps(np.stack([where.min(axis=0), where.max(axis=0)])[:, ::-1])
        anchor = ends[0] + np.asarray(source.anchor) * (ends[1] - ends[0])
        move = np.stack(
            [
                fade * (np.float32(source.shift_mm[a]) + np.float32(source.scale[a] - 1) * (x - np.float32(anchor[a])))
                for a, x in enumerate(_axes(part))
            ]
        )
    result[(slice(None), *slices)] = move
    return result


def _skin(
    source: SkinRetraction, structures: StructureSet, grid: Grid, bone_mm: NDArray[np.float32]
) -> NDArray[np.float32]:
    external = structures.external()
    if external is None:
        return np.zeros((3, *grid.shape), dtype=np.float32)
    signed = _signed_mm(mask_from_structure(external, grid).array >= 0.5, grid)
    depth = np.maximum(-signed, 0)
    thickness = bone_mm + depth
    # Rises from bone to skin; thin tissue over bone moves less, so that it is never squeezed by more than about half.
    amount = np.float32(source.inward_mm) * bone_mm / (thickness + np.float32(15))
    z = _axes(grid)[2]
    low, high = source.z_range_lps
    beyond = np.maximum(np.maximum(np.float32(low) - z, z - np.float32(high)), 0)
    amount = amount * (1 - _smoothstep(beyond / np.float32(30)))
    # Far outside the body the field fades, so that the image border stays in place.
    amount = amount * (1 - _smoothstep(np.maximum(signed - 10, 0) / np.float32(40)))
    move = -_normal(signed, grid, blur_mm=8.0) * amount
    blur = 6.0 / np.asarray(grid.spacing_mm[::-1])
    return np.stack([ndimage.gaussian_filter(component, blur) for component in move])


def _limited(vectors_mm: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Reduce a displacement around voxels that it would squeeze too much, until none is left."""
    steps = grid.spacing_mm[::-1]
    blur = _LIMIT_REACH_MM / np.asarray(steps)
    limited = vectors_mm
    while (squeezed := _jacobian(limited, steps) < _LEAST_JACOBIAN).any():
        near = ndimage.gaussian_filter(squeezed.astype(np.float32), blur)
        limited = limited * (1 - np.float32(0.1) * np.minimum(near / near[squeezed].min(), 1))
    return limited


def _jacobian(vectors_mm: NDArray[np.float32], steps_zyx_mm: tuple[float, ...]) -> NDArray[np.float32]:
    """Return det(I + G) from the gradients G of the components x, y, z."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (np.gradient(component, *steps_zyx_mm)[::-1] for component in vectors_mm)
    xx, yy, zz = xx + 1, yy + 1, zz + 1
    determinant = xx * (yy * zz - yz * zy) - xy * (yx * zz - yz * zx) + xz * (yx * zy - yy * zx)
    return np.asarray(determinant, dtype=np.float32)


def _refined(values: NDArray[np.float32], factor: int, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Refine in the plane by cubic B-splines with the samples as coefficients: smooth, no overshoot."""
    if factor == 1:
        return values
    for axis, size in ((1, shape[1]), (2, shape[2])):
        knots = values.shape[axis]
        distance = np.abs(np.arange(size)[:, None] / factor - np.arange(knots)[None, :])
        inner = 2 / 3 - distance**2 + distance**3 / 2
        basis = np.where(distance < 1, inner, np.maximum(2 - distance, 0) ** 3 / 6)
        basis /= basis.sum(axis=1, keepdims=True)
        values = np.moveaxis(np.tensordot(values, basis.astype(np.float32), axes=([axis], [1])), -1, axis)
    return np.ascontiguousarray(values)
