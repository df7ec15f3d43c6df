"""Taking the HU shift, cupping and HU scale of a cone-beam CT off, with the planning CT as the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from imrt_core.patient import Grid, RigidTransform, Volume

from ._pull_kernels import pull
from .preprocess import Mask, PreparedImage, pulled, reduced, smoothed

#: Shading is smooth on this scale; organs that moved are smaller or are left out as outliers.
SHADING_SIGMA_MM = 25.0
#: Resolution at which the two images are compared.
COMPARE_MM = 5.0
#: Soft tissue of the reference; the day's image gets room for its HU error.
SOFT_HU = (-250.0, 250.0)
_DAY_HU = 600.0
#: A larger difference is another tissue, not shading.
_OUTLIER_HU = 200.0


@dataclass(frozen=True, eq=False)
class HuCalibration:
    """``reference HU = (day HU − shading) / scale``.

    Parameters
    ----------
    shading_hu : Volume
        Smooth additive error, on a coarse grid in the frame of the day.
    scale : float
        HU per reference HU about soft tissue.
    """

    shading_hu: Volume
    scale: float

    def apply(self, day_hu: Volume) -> Volume:
        """Return an image of the day on the reference's HU scale; the shading holds its edge value beyond its grid."""
        shading = pulled(self.shading_hu, day_hu.grid, outside=None)
        return day_hu.with_array(((day_hu.array - shading) / self.scale).astype(np.float32))


def calibrate(reference: Volume, day: Volume, seen: Mask) -> HuCalibration:
    """Compare two aligned images on one grid.

    The shading is the local mean difference in soft tissue, by normalised convolution; the scale is a robust
    regression of what is left, bone included.

    Parameters
    ----------
    reference, day : Volume
        HU on the same grid: the planning CT (moved or deformed to the day) and the image of the day.
    seen : ndarray of bool
        Where the day's image shows anything.
    """
    # Block means and a Gaussian: noise and small misalignment must not decide which voxels are soft tissue.
    planned = smoothed(reduced(reference, COMPARE_MM), 2.0)
    found = smoothed(reduced(day, COMPARE_MM), 2.0)
    visible = reduced(day.with_array(seen.astype(np.float32)), COMPARE_MM).array > 0.99
    f, m = planned.array, found.array
    sigma = [SHADING_SIGMA_MM / s for s in planned.grid.spacing_mm[::-1]]
    candidates = visible & (f > SOFT_HU[0]) & (f < SOFT_HU[1]) & (np.abs(m) < _DAY_HU)
    if candidates.sum() < 50:
        return HuCalibration(planned.with_array(np.zeros_like(f)), 1.0)
    typical = np.float32(np.median((m - f)[candidates]))
    offset = np.full_like(f, typical)
    for _ in range(2):
        soft = candidates & (np.abs(m - f - offset) < _OUTLIER_HU)
        weight = ndimage.gaussian_filter(soft.astype(np.float32), sigma)
        mean = ndimage.gaussian_filter(np.where(soft, m - f - typical, np.float32(0.0)), sigma)
        # Far from any soft tissue the typical difference holds.
        offset = typical + mean / np.maximum(weight, np.float32(1e-3))
    solid = visible & (f > -200.0) & (f < 1200.0) & (np.abs(m - offset - f) < 2.0 * _OUTLIER_HU)
    x, y = f[solid] - np.median(f[solid]), (m - offset)[solid]
    y = y - np.median(y)
    scale = float(np.sum(x * y) / max(float(np.sum(x * x)), 1e-6))
    return HuCalibration(planned.with_array(offset.astype(np.float32)), float(np.clip(scale, 0.7, 1.4)))


def without_shading(planning: PreparedImage, today: PreparedImage, moving_from_fixed: RigidTransform) -> PreparedImage:
    """Return the image of the day on the planning CT's HU scale, the two compared after a rigid match."""
    fixed_from_moving = moving_from_fixed.inverse()
    moved = _rigidly(planning.hu, fixed_from_moving, today.hu.grid, outside=-1000.0)
    known = _rigidly(planning.hu.with_array(planning.seen.astype(np.float32)), fixed_from_moving, today.hu.grid, 0.0)
    calibration = calibrate(moved, today.hu, today.seen & (known.array > 0.99))
    calibrated = calibration.apply(today.hu).array
    return PreparedImage(today.hu.with_array(np.where(today.seen, calibrated, np.float32(-1000.0))), today.seen)


def _rigidly(volume: Volume, volume_from_like: RigidTransform, like: Grid, outside: float) -> Volume:
    array = pull(
        volume.array,
        volume.grid.index_from_lps @ volume_from_like.matrix,
        like.lps_from_index,
        like.shape,
        vectors_mm=None,
        nearest=False,
        outside=outside,
    )
    return Volume(array, like)
