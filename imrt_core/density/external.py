"""EXTERNAL where nobody drew it: the patient without the table, boards, masks and air around him.

Nothing here depends on how the patient lies. Three rules tell him from what he lies on:

1. *Thick.* Tissue is what is above :data:`BODY_HU`; a body that a ball of :data:`BALL_MM` radius fits into is kept
   (morphological opening), so table tops, base plates, mask frames and cables up to twice that thickness fall away even
   where they touch the skin. Parts as thin that belong to the patient come back: a nose, because it is one small piece
   that a ball of :data:`SMALL_BALL_MM` fits into; ears and edges, because they grow back through tissue by
   :data:`REGROWTH_MM`.
2. *One body.* The largest connected part, with parts of at least :data:`PART_SHARE` of it (two legs).
3. *Filled.* Air inside a slice's outline is inside (lungs, airways, bowel gas). Air that opens to the room is not: the
   gap between an arm and the trunk is closed off in some slices but becomes the room in the next, over most of its area
   and wider than :data:`PASSAGE_MM`; nostrils and lips are narrower.

A table top of tissue density that the patient lies on without any air between becomes part of him to its depth under
the ball: contours that were made here are marked as such, for a person to look at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import Grid, Structure, StructureError, Volume
from imrt_core.patient.contours import structure_from_mask

Mask = NDArray[np.bool_]

#: Half-way between air and soft tissue: noise and errors of a CBCT's scale of ±200 HU do not matter.
BODY_HU = -400.0
#: Radius of the ball that must fit: base plates of acrylic or carbon are 10 to 15 mm thick.
BALL_MM = 8.0
SMALL_BALL_MM = 3.0
APPENDAGE_CC = 150.0
REGROWTH_MM = 4.0
PART_SHARE = 0.2
#: A cavity whose way out is narrower than this is inside.
PASSAGE_MM = 16.0
#: Cavities smaller than this are inside, whatever they open to.
GAP_CM2 = 1.0
#: Gaps hold air; lung is denser.
GAP_HU = -900.0
#: In-plane voxels that the search for the body works on; the outline is taken from the image's own.
_WORK_MM = 2.0

NAME = "External"
DESCRIPTION = "Contoured by igrt by threshold, unreviewed"


@dataclass(frozen=True, eq=False)
class ContouredExternal:
    """EXTERNAL that was contoured here.

    Parameters
    ----------
    structure : Structure
        Type EXTERNAL; its description is :data:`DESCRIPTION`.
    mask : Volume
        1 inside, 0 outside, float32, on the image's grid.
    volume_cc : float
        Of the mask.
    """

    structure: Structure
    mask: Volume
    volume_cc: float


def contour_external(hu: Volume, *, name: str = NAME, threshold_hu: float = BODY_HU) -> ContouredExternal:
    """Contour the patient in a CT.

    Parameters
    ----------
    hu : Volume
        Hounsfield units on transverse slices; NaN counts as air.
    name : str
        Of the new structure.
    threshold_hu : float
        Tissue is above.

    Raises
    ------
    StructureError
        If there is no body in the image.
    GeometryError
        If the grid is oblique.
    """
    mask = external_mask(hu, threshold_hu=threshold_hu)
    if not mask.any():
        raise StructureError(
            "there is no body to contour as EXTERNAL",
            found=f"highest value {float(np.nanmax(hu.array)):g} HU",
            expected=f"a body above {threshold_hu:g} HU, thicker than {2 * BALL_MM:g} mm",
            where="HU volume",
        )
    volume = hu.with_array(mask.astype(np.float32))
    drawn = structure_from_mask(
        volume, name=name, interpreted_type="EXTERNAL", color_rgb=(0, 255, 0), description=DESCRIPTION
    )
    return ContouredExternal(drawn, volume, float(mask.sum()) * hu.grid.voxel_volume_cc)


def external_mask(hu: Volume, *, threshold_hu: float = BODY_HU) -> Mask:
    """Return which voxels are the patient, bool (nz, ny, nx); empty where there is none."""
    values = np.asarray(hu.array)
    tissue = values > threshold_hu  # NaN is not
    small, factors = _reduced(values, hu.grid)
    spacing_mm = tuple(s * f for s, f in zip(hu.grid.spacing_mm[::-1], factors, strict=True))
    solid = small > threshold_hu
    body = np.zeros_like(solid)
    if boxes := ndimage.find_objects(solid.astype(np.uint8)):
        _, rows, columns = boxes[0]  # air around it costs time; slices stay, the patient goes on beyond the last
        body[:, rows, columns] = _thick_body(solid[:, rows, columns], spacing_mm)
    if not body.any():
        return np.zeros(values.shape, dtype=bool)
    # Back on the image's own voxels: tissue within one working voxel of the body that was found.
    around = ndimage.binary_dilation(body, structure=np.ones((1, 3, 3)))
    fine = tissue & _enlarged(around, factors, values.shape)
    return np.stack([plane | cavity for plane, cavity in zip(fine, _cavities(fine, values, hu.grid), strict=True)])


def _thick_body(tissue: Mask, spacing_mm: tuple[float, ...]) -> Mask:
    """Apply rules 1 and 2 on working voxels."""
    reach = max(1, int(np.ceil((BALL_MM + REGROWTH_MM) / spacing_mm[0])))
    # Beyond the first and last slice the patient goes on.
    padded = np.pad(tissue, ((reach, reach), (1, 1), (1, 1)), mode="edge")
    padded[:, [0, -1], :] = padded[:, :, [0, -1]] = False
    depth_mm = ndimage.distance_transform_edt(padded, sampling=spacing_mm)
    labels, count = ndimage.label(depth_mm > BALL_MM)
    if count == 0:  # a body smaller than the ball: take what is there
        labels, count = ndimage.label(padded)
        if count == 0:
            return np.zeros_like(tissue)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = (sizes >= PART_SHARE * sizes.max())[labels]
    body = _within(kept, BALL_MM, spacing_mm) & padded
    body |= _appendages(body, _within(depth_mm > SMALL_BALL_MM, SMALL_BALL_MM, spacing_mm) & padded, spacing_mm)
    turns = max(1, round(REGROWTH_MM / min(spacing_mm[1:])))
    cross = ndimage.generate_binary_structure(3, 1)
    body = ndimage.binary_dilation(body, structure=cross, mask=padded, iterations=turns)
    return np.asarray(body[reach:-reach, 1:-1, 1:-1])


def _appendages(body: Mask, sturdy: Mask, spacing_mm: tuple[float, ...]) -> Mask:
    """Return the small parts on the body's surface that only the large ball does not fit into."""
    labels, count = ndimage.label(sturdy & ~body)
    if count == 0:
        return np.zeros_like(body)
    sizes_cc = np.bincount(labels.ravel()) * float(np.prod(spacing_mm)) / 1000.0
    touching = np.zeros(count + 1, dtype=bool)
    touching[np.unique(labels[ndimage.binary_dilation(body)])] = True
    touching[0] = False
    return np.asarray((touching & (sizes_cc <= APPENDAGE_CC))[labels])


def _within(mask: Mask, distance_mm: float, spacing_mm: tuple[float, ...]) -> Mask:
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=spacing_mm) <= distance_mm)


def _cavities(body: Mask, hu: NDArray[np.generic], grid: Grid) -> Mask:
    """Return the air inside each slice's outline, without gaps that open to the room (rule 3)."""
    holes = [_holes(plane) for plane in body]
    room = [~(plane | hole) for plane, hole in zip(body, holes, strict=True)]
    gaps = [np.zeros_like(plane) for plane in body]
    pixel_cm2 = grid.spacing_mm[0] * grid.spacing_mm[1] / 100.0
    # Down and up again: a gap that is closed off for several slices is reached from its open end.
    for order in (range(1, len(body)), range(len(body) - 2, -1, -1)):
        for k in order:
            before = room[k - order.step]
            if np.count_nonzero(before & holes[k]) * pixel_cm2 < 0.5 * GAP_CM2:
                continue
            labels, count = ndimage.label(holes[k])
            wide = gaps[k - order.step] | (before & ~_closed(~before, grid))
            for number in range(1, count + 1):
                hole = labels == number
                size = np.count_nonzero(hole)
                if size * pixel_cm2 < GAP_CM2 or np.count_nonzero(wide & hole) < 0.5 * size:
                    continue
                if np.nanmedian(hu[k][hole]) < GAP_HU:
                    holes[k] = holes[k] & ~hole
                    room[k] = room[k] | hole
                    gaps[k] = gaps[k] | hole
    return np.stack(holes)


def _holes(plane: Mask) -> Mask:
    """Return the background of a slice that does not reach its border."""
    labels, _ = ndimage.label(np.pad(~plane, 1, constant_values=True))
    return np.asarray((labels != labels[0, 0])[1:-1, 1:-1] & ~plane)


def _closed(plane: Mask, grid: Grid) -> Mask:
    """Return a slice's outline with passages up to :data:`PASSAGE_MM` closed and everything inside filled."""
    if not plane.any():
        return plane
    sampling = grid.spacing_mm[1::-1]
    margin = [int(np.ceil(PASSAGE_MM / s)) for s in sampling]
    padded = np.pad(plane, [(m, m) for m in margin])
    near = ndimage.distance_transform_edt(~padded, sampling=sampling) <= PASSAGE_MM / 2
    closed = ndimage.distance_transform_edt(near, sampling=sampling) > PASSAGE_MM / 2
    closed |= padded
    return np.asarray((closed | _holes(closed))[margin[0] : -margin[0], margin[1] : -margin[1]])


def _reduced(values: NDArray[np.generic], grid: Grid) -> tuple[NDArray[np.float32], tuple[int, int, int]]:
    """Return in-plane block means on voxels of about :data:`_WORK_MM`, and the block's size (z, y, x)."""
    clean = np.nan_to_num(np.asarray(values, dtype=np.float32), nan=-1000.0)
    fx, fy = (max(1, int(_WORK_MM / s + 0.01)) for s in grid.spacing_mm[:2])
    if fx == fy == 1:
        return clean, (1, 1, 1)
    nz, ny, nx = clean.shape
    padded = np.pad(clean, ((0, 0), (0, -ny % fy), (0, -nx % fx)), mode="edge")
    blocks = padded.reshape(nz, padded.shape[1] // fy, fy, padded.shape[2] // fx, fx)
    return np.asarray(blocks.mean(axis=(2, 4), dtype=np.float32)), (1, fy, fx)


def _enlarged(mask: Mask, factors: tuple[int, int, int], shape: tuple[int, ...]) -> Mask:
    _, fy, fx = factors
    return np.asarray(mask.repeat(fy, axis=1).repeat(fx, axis=2)[:, : shape[1], : shape[2]])
