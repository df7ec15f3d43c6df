"""HU of the day: the planning CT's HU on today's anatomy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import GeometryError, Grid, RegistrationError, RigidTransform, Volume

from .calibration import calibrate
from .deformable import DeformableMatch
from .density_methods import DensityMethod, bulk_hu
from .preprocess import BODY_HU, Mask, body_mask, field_of_view, filled_planes, smoothed
from .warp import warp

#: HU of fat and muscle in a CT; contrast medium and bone lie above.
FAT_HU, MUSCLE_HU = (-150.0, -50.0), (10.0, 90.0)
AIR_HU = -1000.0
#: Below it a voxel of the day is air altogether.
_SURELY_AIR_HU = -700.0
#: Today's tissue that replaces planned air is no brighter: a CBCT cannot say what is bone.
_MOST_TISSUE_HU = 150.0
#: Smaller specks of disagreement are noise.
MIN_POCKET_CC = 0.1
#: A tissue's mean may be off by this much: about 2 % of electron density in soft tissue.
LIMIT_HU = 40.0
#: With fewer voxels a tissue's mean says nothing.
_MIN_VOXELS = 200
#: Tissue of today is looked for up to this distance from the planned body (weight gain, posture), not in the couch.
_NEAR_BODY_MM = 15.0


@dataclass(frozen=True, eq=False)
class HuOfDay:
    """HU to compute the dose of the day on.

    Parameters
    ----------
    hu : Volume
        On the day grid; the planning CT's HU scale. Air where neither image shows the patient.
    method : str
        What was done, for the report.
    fat_error_hu, muscle_error_hu : float
        Mean of calibrated day minus deformed planning CT, where the latter shows that tissue; NaN with too little.
    fov_coverage : float
        Part of the deformed body that the day's image shows; the rest is the planning CT alone.
    shading_min_hu, shading_max_hu, scale : float
        What was taken off the day's image, and its HU scale.
    gas_added_cc, gas_removed_cc, skin_added_cc, skin_removed_cc : float
        Volumes that were changed to what today's image shows.
    passed : bool
        Whether the tissue checks hold.
    reasons : tuple of str
        What does not hold.
    """

    hu: Volume
    method: str
    fat_error_hu: float
    muscle_error_hu: float
    fov_coverage: float
    shading_min_hu: float
    shading_max_hu: float
    scale: float
    gas_added_cc: float
    gas_removed_cc: float
    skin_added_cc: float
    skin_removed_cc: float
    passed: bool
    reasons: tuple[str, ...]


def hu_of_day(
    planning_hu: Volume,
    day_hu: Volume,
    *,
    match: DeformableMatch | RigidTransform,
    grid: Grid | None = None,
    method: DensityMethod = DensityMethod.DEFORMED_PLAN,
    limit_hu: float = LIMIT_HU,
) -> HuOfDay:
    """Deform the planning CT to today, and take air, gas and skin from today's image.

    The day's image is put on the planning CT's HU scale (shading and scale of
    :mod:`registration.calibration`). Where both see tissue, the deformed planning CT holds: its HU are trusted, a
    CBCT's are not. Where they disagree about air against tissue, today's image holds, inside its field of view;
    beyond it the deformed planning CT is all there is.

    Where a deformation is not to be trusted, ``method`` takes the image of the day instead: on the planning CT's HU
    scale as it is, or sorted into air, lung, fat, soft tissue and bone with the planning CT's mean HU of each.

    Parameters
    ----------
    planning_hu, day_hu : Volume
        Planning CT and image of the day, HU.
    match : DeformableMatch or RigidTransform
        Of the two images. With a rigid one the planning CT is moved rigidly.
    grid : Grid, optional
        Grid of the result, in the frame of the day. By default that of ``match.fixed_from_moving``; needed with a
        rigid match.
    method : DensityMethod
        See above.
    limit_hu : float
        Largest mean error of fat and of muscle.

    Raises
    ------
    RegistrationError
        With a rigid match and no grid, or where nothing of the patient is on the grid.
    GeometryError
        If the grid is oblique.
    """
    if isinstance(match, RigidTransform):
        if grid is None:
            raise RegistrationError("a rigid match needs the grid of the day", expected="grid=")
        day, how = grid, "rigidly moved"
        planned = warp(planning_hu, match.inverse(), like=day, outside=AIR_HU)
    else:
        day, how = grid or match.fixed_from_moving.grid, "deformed"
        planned = warp(planning_hu, match.fixed_from_moving, like=day, outside=AIR_HU)
    if not day.is_axis_aligned:
        raise GeometryError(
            "HU of the day need a grid along the axes of the frame of the day", found=str(day.direction)
        )
    seen_there = day_hu.with_array(field_of_view(day_hu).astype(np.float32))
    today = warp(day_hu.with_array(np.nan_to_num(day_hu.array, nan=AIR_HU)), RigidTransform.identity(), like=day)
    seen = warp(seen_there, RigidTransform.identity(), like=day).array > 0.99
    planned_body = body_mask(planned)
    if not planned_body.any():
        raise RegistrationError("nothing of the patient lies on the grid of the day", found=f"grid {day.shape}")
    calibration = calibrate(planned, today, seen)
    todays = today.with_array(np.where(seen, calibration.apply(today).array, planned.array))

    final, pockets = _with_air_of_day(planned, todays, seen, planned_body)
    how = f"planning CT {how} to the day; air, gas and skin from the image of the day"
    if method is not DensityMethod.DEFORMED_PLAN:
        final, how = _from_image(todays, planned, final, method)
    fat, muscle = (_tissue_error(planned, todays, seen & planned_body, band) for band in (FAT_HU, MUSCLE_HU))
    reasons = tuple(
        f"{name} of the day is off by {error:+.0f} HU after calibration, limit {limit_hu:g} HU"
        for name, error in (("fat", fat), ("muscle", muscle))
        if abs(error) > limit_hu
    )
    if np.isnan(fat) and np.isnan(muscle):
        reasons = ("neither fat nor muscle is seen in the image of the day: the HU of the day cannot be checked",)
    shading = calibration.shading_hu.array
    return HuOfDay(
        hu=planned.with_array(final),
        method=how,
        fat_error_hu=fat,
        muscle_error_hu=muscle,
        fov_coverage=float(seen[planned_body].mean()),
        shading_min_hu=float(shading.min()),
        shading_max_hu=float(shading.max()),
        scale=calibration.scale,
        passed=not reasons,
        reasons=reasons,
        **pockets,
    )


def _from_image(
    todays: Volume, planned: Volume, by_deformation: NDArray[np.float32], method: DensityMethod
) -> tuple[NDArray[np.float32], str]:
    """Return HU of the image of the day, filled up by the planning CT, within the body that both together show."""
    body = _filled(body_mask(planned.with_array(by_deformation)))
    if method is DensityMethod.CORRECTED_IMAGE:
        hu = np.where(_rim(body), todays.array, np.float32(AIR_HU))
        return hu, "image of the day on the planning CT's HU scale, the moved planning CT beyond its field of view"
    return bulk_hu(todays, planned, body), "air, lung, fat, soft tissue and bone of the day with one HU each"


def _with_air_of_day(
    planned: Volume, todays: Volume, seen: Mask, planned_body: Mask
) -> tuple[NDArray[np.float32], dict[str, float]]:
    """Let today's image decide between air and tissue; return the HU and the volumes changed, in cm³."""
    grid = planned.grid
    calm = smoothed(todays, 1.0)
    near = ndimage.distance_transform_edt(~planned_body, sampling=grid.spacing_mm[::-1]) <= _NEAR_BODY_MM
    todays_body = body_mask(calm) & near
    planned_air, todays_air = planned.array < BODY_HU, calm.array < BODY_HU
    air = _pockets(seen & planned_body & todays_air & ~planned_air, grid)
    tissue = _pockets(seen & todays_body & ~todays_air & planned_air, grid)
    # A pocket's outer voxels hold part air, part tissue: there today's HU say how much. A CBCT's gas is too bright.
    gas = np.where(calm.array < _SURELY_AIR_HU, np.float32(AIR_HU), np.clip(calm.array, AIR_HU, _MOST_TISSUE_HU))
    final = np.where(_rim(air) & seen, np.minimum(planned.array, gas), planned.array)
    fill = np.clip(calm.array, AIR_HU, _MOST_TISSUE_HU)
    final = np.where(_rim(tissue) & seen, np.maximum(final, fill), final)
    # What neither body holds is air; the voxel next to the skin keeps its partial volume.
    final[seen & ~_rim(todays_body | planned_body)] = AIR_HU
    inside = _filled(todays_body)
    # Volume by lost or gained density, so that partial voxels count in part.
    change = (final - planned.array) / 1000.0 * np.float32(grid.voxel_volume_cc)
    lost, gained = np.where(_rim(air), -np.minimum(change, 0), 0), np.where(_rim(tissue), np.maximum(change, 0), 0)
    return final, {
        "gas_added_cc": float(lost[inside].sum()),
        "skin_removed_cc": float(lost[~inside].sum()),
        "gas_removed_cc": float(gained[planned_body].sum()),
        "skin_added_cc": float(gained[~planned_body].sum()),
    }


def _rim(mask: Mask) -> Mask:
    """Return the mask with the voxels that touch it."""
    return np.asarray(ndimage.binary_dilation(mask, structure=np.ones((3, 3, 3))))


def _filled(body: Mask) -> Mask:
    return filled_planes(body)


def _pockets(mask: Mask, grid: Grid) -> Mask:
    """Drop layers one voxel thin, then connected parts under 0.1 cm³.

    Half a voxel of misregistration changes the class along every surface; that is no gas.
    """
    core = ndimage.binary_erosion(mask)
    thick = ndimage.binary_dilation(core, structure=np.ones((3, 3, 3))) & mask
    labels, count = ndimage.label(thick)
    if count == 0:
        return thick
    keep = np.bincount(labels.ravel()) * grid.voxel_volume_cc >= MIN_POCKET_CC
    keep[0] = False
    return np.asarray(keep[labels])


def _tissue_error(planned: Volume, todays: Volume, where: Mask, band: tuple[float, float]) -> float:
    """Return the mean difference where the planning CT shows a tissue and its neighbours do too."""
    tissue = where & (planned.array > band[0]) & (planned.array < band[1])
    core = ndimage.binary_erosion(tissue)
    core = core if core.sum() >= _MIN_VOXELS else tissue
    if core.sum() < _MIN_VOXELS:
        return float("nan")
    return float(np.mean((todays.array - planned.array)[core]))
