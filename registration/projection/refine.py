"""Gauss-Newton on the slopes of radiographs: the pose whose DRRs have the same edges.

Slopes see neither the offset of attenuation nor scatter, which is smooth. Thick parts are paler in a radiograph than
their line integral says (beam hardening, scatter): each view has a polynomial of its own from attenuation to
radiograph, eliminated in every step (variable projection). Residuals are weighted by local contrast (see
:class:`registration.projection.images.LevelImage`) and robustly, so that what the CT does not hold (a mask, a tube,
a shutter) does not pull. Steps are damped until the similarity grows (Levenberg-Marquardt).

References
----------
.. [1] Penney GP et al. A comparison of similarity measures for use in 2-D-3-D medical image registration. IEEE Trans
   Med Imaging 17 (1998) 586-595: gradient correlation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from imrt_core.patient import RigidTransform, Volume

from .drr import project_with_slopes
from .images import LevelImage, slopes_of

Array = NDArray[np.float64]

#: Rays that run so far beyond the CT's ends are not compared; then so many pixels around them.
_MISSING_MM, _MISSING_PIXELS = 4.0, 3
#: Geman-McClure width in robust standard deviations.
_ROBUST_SIGMAS = 3.0
#: Largest step.
_MAX_STEP_MM, _MAX_STEP_RAD = 12.0, np.deg2rad(5.0)
#: Loss of correlation that a step may cost.
_MAX_LOSS = 0.002
#: Length that makes radians and mm alike: the size of a patient's half.
ARM_MM = 100.0
#: Radiographs show thick parts paler than line integrals do (beam hardening, scatter): a polynomial of these powers.
POWERS = (1, 2, 3)


@dataclass(frozen=True, eq=False)
class ViewFit:
    """One view at one pose.

    Parameters
    ----------
    correlation : float
        Weighted correlation of the slopes: 1 where DRR and radiograph have the same edges.
    matrix, vector : ndarray, (tiles, 6, 6) and (tiles, 6)
        Normal equations of each tile of the image (one tile: the whole), of ω (per :data:`ARM_MM`) and τ (mm), the
        polynomial eliminated.
    pixels : int
        Pixels compared.
    """

    correlation: float
    matrix: Array
    vector: Array
    pixels: int


@dataclass(frozen=True, eq=False)
class Fit:
    """A pose and how well it fits.

    Parameters
    ----------
    day_from_fixed : RigidTransform
        Planning frame to frame of the day.
    correlation : float
        Mean over the views.
    views : tuple of ViewFit
        In the order of the images.
    iterations : int
        Steps taken.
    converged : bool
        Whether the last step was small.
    """

    day_from_fixed: RigidTransform
    correlation: float
    views: tuple[ViewFit, ...]
    iterations: int
    converged: bool


def refine(
    images: Sequence[LevelImage],
    attenuation_per_mm: Volume,
    start: RigidTransform,
    *,
    basis: Array,
    iterations: int,
    tolerance_mm: float,
    robust: bool = True,
) -> Fit:
    """Refine a pose.

    Parameters
    ----------
    images : sequence of LevelImage
        Radiographs at one resolution.
    attenuation_per_mm : Volume
        Planning CT at a like resolution.
    start : RigidTransform
        day_from_fixed.
    basis : ndarray, shape (6, n)
        Motions allowed: columns of (ω in units of 1/:data:`ARM_MM` per mm, τ in mm), about the machine isocentre.
    iterations : int
        Most steps.
    tolerance_mm : float
        Stop when a step is smaller.
    robust : bool
        Weigh down what does not fit. Far from the goal nothing fits, and plain least squares get there faster.
    """
    pose = start
    fits = _evaluate(images, attenuation_per_mm, pose, robust)
    damping, done, converged = 1e-4, 0, False
    while done < iterations:
        done += 1
        matrix = basis.T @ sum(f.matrix.sum(axis=0) for f in fits) @ basis
        vector = basis.T @ sum(f.vector.sum(axis=0) for f in fits)
        diagonal = np.diag(matrix)
        if not np.all(np.isfinite(matrix)) or diagonal.max() <= 0:
            break
        step = basis @ np.linalg.solve(matrix + np.diag(damping * diagonal + 1e-9 * diagonal.max()), vector)
        turn, move = step[:3] / ARM_MM, step[3:]
        shrink = min(1.0, _MAX_STEP_RAD / max(float(np.linalg.norm(turn)), 1e-12))
        shrink = min(shrink, _MAX_STEP_MM / max(float(np.linalg.norm(move)), 1e-12))
        tried = moved(pose, turn * shrink, move * shrink)
        found = _evaluate(images, attenuation_per_mm, tried, robust)
        # The robust optimum is not quite that of the correlation: a little loss is no failure.
        if _mean(found) >= _mean(fits) - _MAX_LOSS:
            pose, fits, damping = tried, found, max(damping / 10.0, 1e-5)
        else:
            damping = max(damping * 10.0, 1e-3)
        if np.linalg.norm(step) * shrink < tolerance_mm:
            converged = damping < 0.1
            break
        if damping > 1e3:
            break
    return Fit(pose, _mean(fits), tuple(fits), done, converged)


def moved(pose: RigidTransform, turn_rad: Array, move_mm: Array) -> RigidTransform:
    """Return the pose after a further rotation about the machine isocentre (frame of the day), then a translation."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn_rad).as_matrix()
    matrix[:3, 3] = move_mm
    return RigidTransform.from_matrix(matrix) @ pose


def _mean(fits: Sequence[ViewFit]) -> float:
    return float(np.mean([f.correlation for f in fits]))


def _evaluate(
    images: Sequence[LevelImage], attenuation_per_mm: Volume, pose: RigidTransform, robust: bool
) -> list[ViewFit]:
    return [view_fit(image, attenuation_per_mm, pose, robust=robust) for image in images]


def view_fit(
    image: LevelImage, attenuation_per_mm: Volume, pose: RigidTransform, *, robust: bool = True, tiles: int = 1
) -> ViewFit:
    """Compare one view with its DRR and linearise the difference, in ``tiles`` × ``tiles`` parts."""
    drr, by_motion = project_with_slopes(
        attenuation_per_mm,
        image.view,
        pose,
        centre_lps=np.zeros(3),
        step_mm=min(attenuation_per_mm.grid.spacing_mm),
    )
    weight = image.weight * known(drr.missing_mm)
    used = weight > 0
    count = int(used.sum())
    nothing = ViewFit(-1.0, np.zeros((tiles * tiles, 6, 6)), np.zeros((tiles * tiles, 6)), count)
    if count < 50:
        return nothing
    # Two numbers per pixel: slopes along rows and columns.
    w = weight[used]
    seen = (image.slopes[:, used] * w).ravel()
    size = np.sqrt(seen @ seen)
    full = max(float(drr.attenuation[used].max()), 1e-6)
    relative = drr.attenuation / full
    made = np.stack([(slopes_of(relative**n)[:, used] * w).ravel() for n in POWERS], axis=1)
    if not (size > 0 and np.all(np.isfinite(made)) and float(np.abs(made[:, 0]).max()) > 0):
        return nothing
    response = _response(seen, made, np.ones_like(seen))
    residual = seen - made @ response
    weights = np.ones_like(seen)
    if robust:
        spread = 1.4826 * np.median(np.abs(residual)) + 1e-12
        weights = 1.0 / (1.0 + (residual / (_ROBUST_SIGMAS * spread)) ** 2) ** 2
        response = _response(seen, made, weights)
    fitted = made @ response
    correlation = float(seen @ fitted / (size * max(np.sqrt(fitted @ fitted), 1e-12)))
    # All views count alike, whatever the size of their attenuation.
    residual = (seen - fitted) / size
    by_motion[..., :3] /= ARM_MM
    gain = sum(c * n * relative ** (n - 1) for c, n in zip(response, POWERS, strict=True)) / full
    change = (slopes_of(by_motion * np.asarray(gain)[..., None])[:, used] * w[None, :, None]).reshape(-1, 6) / size
    change = (
        change - made @ np.linalg.lstsq(made.T @ (made * weights[:, None]), made.T @ (weights[:, None] * change))[0]
    )
    weighted = change * weights[:, None]
    if tiles == 1:
        return ViewFit(correlation, (weighted.T @ change)[None], (weighted.T @ residual)[None], count)
    tile = np.tile(_tiles(used, tiles), 2)
    matrix, vector = np.empty_like(nothing.matrix), np.empty_like(nothing.vector)
    for n in range(tiles * tiles):
        rows = np.flatnonzero(tile == n)
        matrix[n], vector[n] = weighted[rows].T @ change[rows], weighted[rows].T @ residual[rows]
    return ViewFit(correlation, matrix, vector, count)


def _response(seen: Array, made: Array, weights: Array) -> Array:
    """Coefficients of the powers of attenuation that make a DRR's slopes those of the radiograph, growing at 0."""
    matrix = made.T @ (made * weights[:, None])
    return np.asarray(np.linalg.solve(matrix + 1e-4 * np.diag(np.diag(matrix)), made.T @ (weights * seen)))


def known(missing_mm: Array) -> NDArray[np.bool_]:
    """Pixels whose rays stay within the CT's first and last slice, and not next to one that does not."""
    beyond = missing_mm > _MISSING_MM
    return np.asarray(~ndimage.binary_dilation(beyond, iterations=_MISSING_PIXELS)) if beyond.any() else ~beyond


def _tiles(used: NDArray[np.bool_], tiles: int) -> NDArray[np.int64]:
    """Return the tile of each used pixel, in their bounding box."""
    rows, columns = np.nonzero(used)
    places = []
    for index in (rows, columns):
        first, last = index.min(), index.max()
        places.append((index - first) * tiles // (last - first + 1))
    return np.asarray(places[0] * tiles + places[1])
