"""What a match looks at: slopes of radiographs at several resolutions, and the patient alone of the planning CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import RegistrationError, Volume

from ..preprocess import body_mask, bounding_box, check_image, cropped, reduced
from .attenuation import attenuation_per_mm

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Slopes are taken after a Gaussian of this many pixels.
SIGMA_PIXELS = 1.0
#: Edges of the receptor and of shutters are left out by so many pixels.
_BORDER_PIXELS = 3
#: Local contrast is measured over a Gaussian of this standard deviation at the isocentre, mm.
_CONTRAST_MM = 15.0
#: Share of the image's mean contrast below which a place counts as flat and is not amplified.
_FLAT = 0.5


@dataclass(frozen=True, eq=False)
class LevelImage:
    """A radiograph at one resolution.

    Parameters
    ----------
    view : ProjectionView
        Binned.
    slopes : ndarray, shape (2, rows, columns)
        Derivatives of the smoothed attenuation along the rows and columns, per pixel.
    weight : ndarray, shape (rows, columns)
        One over the local contrast, so that a rib behind the abdomen counts as much as the skull against air; 0 where
        the receptor saw nothing.
    """

    view: ProjectionView
    slopes: Array
    weight: Array


def level_image(radiograph: Radiograph, pixel_mm: float) -> LevelImage:
    """Bring a radiograph to pixels of about ``pixel_mm`` at the isocentre.

    Raises
    ------
    RegistrationError
        If it is too small or shows nothing.
    """
    view = radiograph.view
    factor = max(1, round(pixel_mm * view.scale / max(view.spacing_mm)))
    if min(view.shape) // factor < 16:
        raise RegistrationError(
            "the radiograph is too small to match",
            found=f"{view.shape[0]} × {view.shape[1]} pixels of {max(view.spacing_mm):.2f} mm",
            expected=f">= {16 * pixel_mm:.0f} mm at the isocentre along both sides",
            where=radiograph.label,
        )
    small = view.binned(factor)
    values = _block_means(np.asarray(radiograph.attenuation, dtype=np.float64), factor, small.shape)
    seen = np.isfinite(values)
    values = np.where(seen, values, np.nanmedian(values))
    slopes = slopes_of(values)
    border = np.pad(seen, 1, constant_values=False)
    seen = ndimage.binary_erosion(border, iterations=_BORDER_PIXELS)[1:-1, 1:-1]
    size = np.sum(slopes**2, axis=0)
    if not seen.any() or not size[seen].max() > 0:
        raise RegistrationError("the radiograph is empty", found="one value everywhere", where=radiograph.label)
    sigma = _CONTRAST_MM * small.scale / np.asarray(small.spacing_mm)
    local = ndimage.gaussian_filter(np.where(seen, size, 0.0), sigma) / np.maximum(
        ndimage.gaussian_filter(seen.astype(float), sigma), 1e-6
    )
    weight = seen / np.sqrt(local + (_FLAT**2) * size[seen].mean())
    return LevelImage(small, slopes, weight)


def slopes_of(image: Array) -> Array:
    """Return derivatives along rows and columns (per pixel) of images (rows, columns, …): (2, rows, columns, …)."""
    sigma = [SIGMA_PIXELS, SIGMA_PIXELS] + [0.0] * (image.ndim - 2)
    orders = [[1, 0] + [0] * (image.ndim - 2), [0, 1] + [0] * (image.ndim - 2)]
    return np.stack([ndimage.gaussian_filter(image, sigma, order=order, mode="nearest") for order in orders])


def _block_means(values: Array, factor: int, shape: tuple[int, int]) -> Array:
    rows, columns = shape
    blocks = values[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return np.asarray(blocks.mean(axis=(1, 3)))


@dataclass(frozen=True, eq=False)
class PlanningPatient:
    """The patient of the planning CT as attenuation, without table and air, cropped.

    Parameters
    ----------
    attenuation_per_mm : Volume
        At full resolution.
    """

    attenuation_per_mm: Volume

    @classmethod
    def of(cls, hu: Volume, *, energy_kev: float) -> PlanningPatient:
        """Take the body out of a planning CT.

        Raises
        ------
        RegistrationError
            If the image is too small or shows no patient.
        """
        check_image(hu, "planning")
        body = body_mask(hu)
        if not body.any():
            raise RegistrationError("there is no patient in the planning image", found="no tissue above −400 HU")
        # Half a voxel of skin belongs to the patient; the table, a centimetre away, does not.
        near = ndimage.binary_dilation(body, iterations=2)
        patient = hu.with_array(np.where(near, hu.array, np.float32(-1000.0)).astype(np.float32))
        lower, upper = bounding_box(near, hu.grid, 2.0)
        # A slice with a corner of the patient in it tells nothing; rays beyond the ends are left out.
        area = body.sum(axis=(1, 2))
        full = np.flatnonzero(area >= 0.1 * np.median(area[area > 0]))
        lower[2], upper[2] = max(lower[2], full[0]), min(upper[2], full[-1] + 1)
        return cls(attenuation_per_mm(cropped(patient, lower, upper), energy_kev=energy_kev))

    def at(self, spacing_mm: float) -> Volume:
        """Attenuation averaged to voxels of at most about ``spacing_mm``."""
        return reduced(self.attenuation_per_mm, spacing_mm)
