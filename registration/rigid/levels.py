"""The resolutions and regions that a rigid match goes through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imrt_core.patient import RegistrationError, Volume

from ..preprocess import Mask, PreparedImage, body_mask, bone_region, distance_to, patient_mask, pulled, reduced
from .refine import Fit
from .samples import FixedSamples, Level, draw_samples, make_level

#: Voxel and Gaussian sigma, in mm, of the body match, the bone match and the last refinement.
BODY_RESOLUTION, MID_RESOLUTION, FINE_RESOLUTION = (5.0, 4.0), (3.0, 2.5), (2.0, 1.0)
#: Body match: everything counts, metal is cut.
BODY_WINDOW_HU = (-500.0, 800.0)
#: Bone match: soft tissue is one value, so only the edges of bone pull.
BONE_WINDOW_HU = (50.0, 1200.0)
#: Match of a given region, or where there is no bone to go by.
OPEN_WINDOW_HU = (-300.0, 1000.0)
#: With less bone than this in the planning CT, the body is matched.
MIN_BONE_CC = 15.0
#: Fewer voxels than this cannot carry six degrees of freedom.
MIN_VOXELS = 500


@dataclass(frozen=True, eq=False)
class Region:
    """What is matched.

    Parameters
    ----------
    name : str
        ``"bone"``, ``"body"`` or ``"given"``.
    distance_mm : Volume
        Distance to the region (0 inside), planning frame.
    window_hu : tuple of float
        Both images are clipped to it.
    margin_mm : float
        Points up to this distance are matched, to hold the region's edges.
    """

    name: str
    distance_mm: Volume
    window_hu: tuple[float, float]
    margin_mm: float


def rigid_region(planning: PreparedImage) -> Region:
    """Return the bones of the planning CT, or the body where there is less than 15 cc of bone."""
    image = planning.at(*FINE_RESOLUTION)
    body = patient_mask(image.hu)
    bone = bone_region(image.hu, body)
    if bone.sum() * image.hu.grid.voxel_volume_cc >= MIN_BONE_CC:
        return Region("bone", _distance(image.hu, bone), BONE_WINDOW_HU, 5.0)
    return Region("body", _distance(image.hu, body), OPEN_WINDOW_HU, 5.0)


def _distance(hu: Volume, mask: Mask) -> Volume:
    """Return the distance to a mask on voxels of up to 3 mm: margins are wider."""
    share = reduced(hu.with_array(mask.astype(np.float32)), MID_RESOLUTION[0])
    return distance_to(share.array > 0.25, share.grid)


def given_region(planning: PreparedImage, roi: Volume) -> Region:
    """Return a mask as a region; soft tissue counts there.

    Raises
    ------
    RegistrationError
        If it holds fewer than 500 voxels of the planning CT.
    """
    mask = roi.resampled_to(planning.hu.grid, outside=0.0).array > 0.5
    if mask.sum() < MIN_VOXELS:
        raise RegistrationError(
            "the region of interest is too small, or outside the planning CT",
            found=f"{int(mask.sum())} voxels of the planning CT",
            expected=f">= {MIN_VOXELS}",
        )
    return Region("given", distance_to(mask, planning.hu.grid), OPEN_WINDOW_HU, 2.0)


def body_samples(planning: PreparedImage, *, seed: int) -> FixedSamples:
    """Sample the patient and the skin at 5 mm.

    Raises
    ------
    RegistrationError
        If there is no patient in the planning CT.
    """
    image = planning.at(*BODY_RESOLUTION)
    near = distance_to(body_mask(image.hu), image.hu.grid).array <= 8.0
    region = near & image.seen
    if region.sum() < MIN_VOXELS:
        raise RegistrationError("there is no patient in the fixed image", found=f"{int(region.sum())} voxels at 5 mm")
    return draw_samples(image.hu, region, window_hu=BODY_WINDOW_HU, points=20_000, seed=seed)


def region_samples(
    planning: PreparedImage, region: Region, resolution_mm: tuple[float, float], *, points: int, seed: int
) -> FixedSamples:
    """Sample a region at a resolution (voxel, sigma) in mm."""
    image = planning.at(*resolution_mm)
    # A blurred edge reaches further.
    margin = region.margin_mm + max(0.0, 2.0 * (resolution_mm[1] - 1.0))
    near = pulled(region.distance_mm, image.hu.grid, outside=np.inf) <= margin
    return draw_samples(image.hu, near & image.seen, window_hu=region.window_hu, points=points, seed=seed)


def level_of(samples: FixedSamples, day: PreparedImage, resolution_mm: tuple[float, float]) -> Level:
    """Pair samples of the planning CT with an image of the day at the same resolution."""
    moving = day.at(*resolution_mm)
    return make_level(samples, moving.hu, moving.seen)


def calibrated(day: PreparedImage, fit: Fit) -> PreparedImage:
    """Take the fitted shading (cupping, HU shift) and scale out of an image of the day.

    The polynomial is trusted within ±300 HU and the scale within a factor of 1.5: beyond, it was not fitted to that
    part of the image.
    """
    # A quadratic is known from a coarse grid: linear interpolation of it at 8 mm is off by less than a HU.
    coarse = day.hu.grid.resampled((8.0, 8.0, 8.0))
    shading = Volume(fit.shading_at(coarse.voxel_centres_lps()).astype(np.float32), coarse)
    offset = np.clip(pulled(shading, day.hu.grid, outside=0.0), -300.0, 300.0)
    corrected = (day.hu.array - offset) * np.float32(1.0 / np.clip(fit.scale, 1 / 1.5, 1.5))
    corrected[~day.seen] = -1000.0
    return PreparedImage(day.hu.with_array(corrected), day.seen)
