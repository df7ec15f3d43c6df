"""The image of the day: what an on-board cone-beam CT makes of the patient.

The degradation is a model in image space, not a reconstruction: scatter gives cupping and a loss of contrast, the
small panel a cylinder of view, photon starvation horizontal streaks where the body is wide, patient and gantry motion
faint radial streaks, and every day another offset of the HU scale. Orders of magnitude follow published clinical
cone-beam CT (noise 20 to 40 HU, cupping and HU errors of 20 to 100 HU).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import Grid, Volume

from .shapes import smooth_noise

AIR_HU = -1000.0


@dataclass(frozen=True)
class Imager:
    """An on-board imager.

    Parameters
    ----------
    diameter_mm, length_mm : float
        Cylinder of view about the machine isocentre.
    spacing_mm : tuple of float
        Voxels x, y, z.
    noise_hu : float
        Standard deviation in the middle of a head.
    cupping_hu : float
        How much darker the centre of the body is than its surface.
    shift_sd_hu, scale : float
        Daily offset of HU (standard deviation), and the contrast kept.
    streak_hu : float
        Standard deviation of streaks through 300 mm of tissue.
    """

    diameter_mm: float = 270.0
    length_mm: float = 250.0
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 2.5)
    noise_hu: float = 24.0
    cupping_hu: float = 45.0
    shift_sd_hu: float = 15.0
    scale: float = 0.95
    streak_hu: float = 22.0


def imager_grid(imager: Imager, *, z_range_mm: tuple[float, float]) -> Grid:
    """Return the grid of the day: centred on the machine isocentre, which is its DICOM origin.

    Parameters
    ----------
    imager : Imager
        Size and spacing.
    z_range_mm : tuple of float
        Extent of the planning CT relative to its isocentre: nothing is known, and nothing is imaged, beyond.
    """
    sx, sy, sz = imager.spacing_mm
    n = int(np.floor(imager.diameter_mm / max(sx, sy) / 2)) * 2
    low = max(-imager.length_mm / 2, z_range_mm[0])
    high = min(imager.length_mm / 2, z_range_mm[1])
    slices = max(1, int(np.floor((high - low) / sz)))
    return Grid((slices, n, n), imager.spacing_mm, (-(n - 1) / 2 * sx, -(n - 1) / 2 * sy, low + sz / 2))


def degraded(true_hu: Volume, imager: Imager, *, rng: np.random.Generator) -> Volume:
    """Return the image that the imager would show of a true patient.

    Parameters
    ----------
    true_hu : Volume
        The patient of the day on the imager's grid, HU.
    imager : Imager
        What takes the image.
    rng : numpy.random.Generator
        Of this image.

    Returns
    -------
    Volume
        float32, whole HU, −1000 outside the cylinder of view.
    """
    grid = true_hu.grid
    hu = np.asarray(true_hu.array, dtype=np.float32)
    body = _body(hu)
    shift = np.float32(np.clip(rng.normal(0, imager.shift_sd_hu), -2.5 * imager.shift_sd_hu, 2.5 * imager.shift_sd_hu))
    path_mm = body.sum(axis=2, keepdims=True) * np.float32(grid.spacing_mm[0])
    depth = _relative_depth(body)
    image = np.float32(imager.scale) * (hu - np.float32(40)) + np.float32(40)
    shading = smooth_noise(grid.shape, 70.0 / np.asarray(grid.spacing_mm[::-1]), rng) * np.float32(9)
    image += body * (shift - np.float32(imager.cupping_hu) * (depth - np.float32(0.35)) + shading)
    image += _streaks(grid, path_mm, imager, rng) * np.maximum(depth, np.float32(0.15))
    white = rng.standard_normal(grid.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(white, (0.45, 0.6, 0.6))
    grain /= np.float32(grain.std())
    image += grain * np.float32(imager.noise_hu) * (np.float32(0.55) + np.float32(0.7) * depth)
    x = grid.origin_lps[0] + grid.spacing_mm[0] * np.arange(grid.shape[2])
    y = grid.origin_lps[1] + grid.spacing_mm[1] * np.arange(grid.shape[1])
    seen = np.hypot(*np.meshgrid(x, y)) <= imager.diameter_mm / 2 - max(grid.spacing_mm[:2])
    image = np.where(seen[None], np.clip(np.rint(image), -1000, 3071), AIR_HU)
    return Volume(image.astype(np.float32), grid)


def _body(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Soft outline of the patient per slice, cavities filled."""
    dense = ndimage.binary_opening(hu > -450, structure=np.ones((1, 3, 3)))
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in dense])
    return np.asarray(ndimage.gaussian_filter(filled.astype(np.float32), (0, 0.8, 0.8)), dtype=np.float32)


def _relative_depth(body: NDArray[np.float32]) -> NDArray[np.float32]:
    """0 at the surface, about 1 in the middle of the widest slices: a heavily blurred body, as scatter is."""
    wide = ndimage.uniform_filter(body, size=(9, 31, 31))
    wide = ndimage.uniform_filter(wide, size=(5, 15, 15))
    return np.asarray(body * np.clip(1.6 * wide - 0.6, 0, 1), dtype=np.float32)


def _streaks(grid: Grid, path_mm: NDArray[np.float32], imager: Imager, rng: np.random.Generator) -> NDArray[np.float32]:
    """Horizontal streaks, stronger with the square of the lateral path, and radial ones about the isocentre."""
    nz, ny, nx = grid.shape
    lateral = smooth_noise((nz, ny, nx), (2.0, 2.5, 60.0), rng)
    strength = np.float32(imager.streak_hu) * np.minimum(path_mm / 300, np.float32(1.3)) ** 2
    x = grid.origin_lps[0] + grid.spacing_mm[0] * np.arange(nx)
    y = grid.origin_lps[1] + grid.spacing_mm[1] * np.arange(ny)
    angle = (np.arctan2(y[:, None], x[None, :]) % np.pi) * (180 / np.pi)
    spokes = smooth_noise((nz, 181, 1), (6.0, 5.0, 1.0), rng)[:, :, 0]
    radial = spokes[:, np.clip(angle.astype(int), 0, 180)]
    return np.asarray(lateral * strength + np.float32(0.35 * imager.streak_hu) * radial, dtype=np.float32)
