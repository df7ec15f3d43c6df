"""Coarse search for the translation between two images whose frames have nothing to do with each other."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from scipy.spatial.transform import Rotation

from imrt_core.patient import Grid, RegistrationError, RigidTransform, Volume

from ..preprocess import BODY_HU, PreparedImage, reduced

#: Grid of the search; a blurred peak is about twice as wide, and the refinement captures more than that.
SPACING_MM = 6.0
#: HU window of the search: air, soft tissue and bone all count, metal does not.
WINDOW_HU = (-700.0, 700.0)
#: Candidates must see at least this part of the smaller image's patient.
MIN_OVERLAP = 0.25


def candidates(
    fixed: PreparedImage,
    moving: PreparedImage,
    *,
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    count: int = 4,
) -> list[tuple[float, RigidTransform]]:
    """Return the best (correlation, moving_from_fixed) over *all* translations, best first.

    The masked normalised cross-correlation of Padfield [1]_ is exact on truncated fields of view: each translation is
    judged on the overlap of what both scanners saw, and needs no guess at the start (a body's centre of mass is biased
    where the field of view cuts the body).

    Parameters
    ----------
    fixed, moving : PreparedImage
        Images with their fields of view.
    rotation_deg : tuple of float
        Rotation tried, about LPS x, y, z, R = Rz·Rx·Ry.
    count : int
        How many separate peaks, at least 18 mm apart.

    Raises
    ------
    RegistrationError
        If there is no patient in one of the images.

    References
    ----------
    .. [1] D. Padfield, Masked object registration in the Fourier domain, IEEE Trans. Image Process. 21 (2012).
    """
    turn = RigidTransform.from_parameters(rotation_deg=rotation_deg, centre_lps=fixed.hu.grid.centre_lps)
    images = []
    for image, placed, name in ((fixed, turn, "fixed"), (moving, RigidTransform.identity(), "moving")):
        coarse, mask = _coarse(image, placed)
        body = ((coarse.array > BODY_HU) & (mask > 0)).astype(np.float32)
        if not body.any():
            raise RegistrationError(f"there is no patient in the {name} image", found="no tissue above −400 HU")
        images.append((coarse, mask, body))
    (f, fm, fb), (m, mm, mb) = images
    correlation, shift_origin = _masked_correlation(f, fm, fb, m, mm, mb)
    peaks = _peaks(correlation, count)
    found = []
    for score, peak in peaks:
        shift = np.array(shift_origin) + np.array(peak)[::-1] * SPACING_MM
        found.append((score, RigidTransform.from_parameters(translation_mm=shift) @ turn))
    return found


def _coarse(image: PreparedImage, placed: RigidTransform) -> tuple[Volume, NDArray[np.float32]]:
    """Return the image in the search window, and its visibility, on an axis-aligned isotropic grid."""
    small = reduced(image.hu, SPACING_MM)
    visible = reduced(image.hu.with_array(image.seen.astype(np.float32)), SPACING_MM)
    small, visible = (v.with_grid(v.grid.transformed(placed)) for v in (small, visible))
    corners = small.grid.to_lps(
        [
            [i, j, k]
            for i in (0, small.grid.shape[2])
            for j in (0, small.grid.shape[1])
            for k in (0, small.grid.shape[0])
        ]
    )
    lower, upper = corners.min(axis=0), corners.max(axis=0)
    nx, ny, nz = np.maximum(np.ceil((upper - lower) / SPACING_MM), 1).astype(int)
    grid = Grid((int(nz), int(ny), int(nx)), (SPACING_MM,) * 3, tuple(lower))
    # About one voxel of blur: the true translation lies between grid points, and rotations shear the peak.
    array = ndimage.gaussian_filter(small.resampled_to(grid, outside=-1000.0).array, 0.7)
    mask = visible.resampled_to(grid, outside=0.0).array > 0.5
    return Volume(np.clip(array, *WINDOW_HU), grid), mask.astype(np.float32)


def _masked_correlation(
    f: Volume,
    fm: NDArray[np.float32],
    fb: NDArray[np.float32],
    m: Volume,
    mm: NDArray[np.float32],
    mb: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the correlation for every shift (array order), and the LPS shift of element [0, 0, 0]."""
    shape = [fft.next_fast_len(a + b - 1, real=True) for a, b in zip(f.array.shape, m.array.shape, strict=True)]
    centre = float(np.mean(f.array[fb > 0]))
    workers = numba.get_num_threads()
    fa, ma = (f.array - centre) * fm, (m.array - centre) * mm

    def forward(array: NDArray[Any], *, flip: bool) -> NDArray[Any]:
        # Correlation = convolution with the flipped fixed image.
        return fft.rfftn((array[::-1, ::-1, ::-1] if flip else array).astype(np.float64), shape, workers=workers)

    def product(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(fft.irfftn(a * b, shape, workers=workers))

    f0, f1, f2 = (forward(a, flip=True) for a in (fm, fa, fa * fa))
    m0, m1, m2 = (forward(a, flip=False) for a in (mm, ma, ma * ma))
    count = np.maximum(np.round(product(m0, f0)), 1.0)
    sum_f, sum_m = product(m0, f1), product(m1, f0)
    covariance = product(m1, f1) - sum_f * sum_m / count
    variance_f = np.maximum(product(m0, f2) - sum_f**2 / count, 0.0)
    variance_m = np.maximum(product(m2, f0) - sum_m**2 / count, 0.0)
    bodies = product(forward(mb, flip=False), forward(fb, flip=True))
    enough = bodies > MIN_OVERLAP * min(float(fb.sum()), float(mb.sum()))
    scale = np.sqrt(variance_f * variance_m)
    good = enough & (scale > 1e-6 * scale.max())
    correlation = np.where(good, covariance / np.where(good, scale, 1.0), -1.0)
    # Element [n − 1] of the full convolution is zero shift of index; unused padding beyond is masked by `enough`.
    last = np.array(f.array.shape)[::-1] - 1
    origin = np.asarray(m.grid.origin_lps) - np.asarray(f.grid.origin_lps) - last * SPACING_MM
    return correlation, origin


def _peaks(correlation: NDArray[np.float64], count: int) -> list[tuple[float, tuple[int, int, int]]]:
    work = correlation.copy()
    radius = 3
    found: list[tuple[float, tuple[int, int, int]]] = []
    for _ in range(count):
        k, j, i = (int(v) for v in np.unravel_index(int(np.argmax(work)), work.shape))
        if work[k, j, i] <= 0:
            break
        found.append((float(work[k, j, i]), (k, j, i)))
        work[tuple(slice(max(c - radius, 0), c + radius + 1) for c in (k, j, i))] = -1.0
    return found


def rotations_to_try(step_deg: float) -> list[tuple[float, float, float]]:
    """Return rotations about each axis by ±step, for a second search when the first match is poor."""
    turns = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            vector = np.zeros(3)
            vector[axis] = sign * step_deg
            rz, rx, ry = Rotation.from_rotvec(np.deg2rad(vector)).as_euler("ZXY", degrees=True)
            turns.append((float(rx), float(ry), float(rz)))
    return turns
