"""Coarse search: where in each image the DRR's edges lie, and from two images where in space the patient is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.spatial.transform import Rotation

from imrt_core.patient import RigidTransform, Volume

from .drr import project
from .images import LevelImage, slopes_of
from .refine import known, moved

Array = NDArray[np.float64]

#: A shift is judged only where so much of the DRR's contrast stays in the image.
_LEAST_OVERLAP = 0.4


def shift_in_image(image: LevelImage, attenuation_per_mm: Volume, pose: RigidTransform, *, reach_mm: float) -> Array:
    """Find where a view's DRR fits best when it is shifted in the image plane.

    Correlation of slope vectors over all shifts by Fourier transforms, normalised on the overlap.

    Parameters
    ----------
    image : LevelImage
        Radiograph at a coarse resolution.
    attenuation_per_mm : Volume
        Planning CT at a coarse resolution.
    pose : RigidTransform
        day_from_fixed.
    reach_mm : float
        Largest shift along rows and columns, at the isocentre.

    Returns
    -------
    ndarray, shape (3,)
        Motion in the frame of the day, mm at the isocentre, across the beam.
    """
    drr = project(attenuation_per_mm, image.view, pose)
    ok = known(drr.missing_mm).astype(float)
    made = slopes_of(drr.attenuation) * ok
    seen = image.slopes * image.weight
    mask = (image.weight > 0).astype(float)
    rows, columns = image.view.shape
    size = [fft.next_fast_len(2 * n - 1, real=True) for n in (rows, columns)]

    def at_all_shifts(moving: Array, still: Array) -> Array:
        product = fft.rfft2(still, size) * np.conj(fft.rfft2(moving, size))
        return np.asarray(fft.irfft2(product, size))

    energy = np.sum(made**2, axis=0)
    total = at_all_shifts(made[0], seen[0]) + at_all_shifts(made[1], seen[1])
    made_there = at_all_shifts(energy, mask)
    seen_there = at_all_shifts(ok, np.sum(seen**2, axis=0))
    enough = (made_there > _LEAST_OVERLAP * energy.sum()) & (seen_there > 1e-6 * np.sum(seen**2))
    score = np.where(enough, total / np.sqrt(np.maximum(made_there * seen_there, 1e-12)), -1.0)
    per_pixel = np.asarray(image.view.spacing_mm) / image.view.scale
    reach = [min(n - 1, int(np.ceil(reach_mm / s))) for n, s in zip((rows, columns), per_pixel, strict=True)]
    shifts = [np.arange(-n, n + 1) for n in reach]
    window = score[np.ix_(shifts[0] % size[0], shifts[1] % size[1])]
    best = np.unravel_index(int(np.argmax(window)), window.shape)
    down, across = (float(shifts[a][best[a]]) * per_pixel[a] for a in (0, 1))
    axes = image.view.axes_lps
    return np.asarray(down * axes[1] + across * axes[0])


def aligned(
    images: Sequence[LevelImage],
    attenuation_per_mm: Volume,
    pose: RigidTransform,
    *,
    basis: Array,
    reach_mm: float,
    rounds: int = 2,
) -> RigidTransform:
    """Move a pose by the translation that brings every view's shift to nothing, in the least squares.

    Parameters
    ----------
    images, attenuation_per_mm, pose, reach_mm
        As :func:`shift_in_image`.
    basis : ndarray, shape (6, n)
        Motions allowed (:func:`registration.projection.refine.refine`); rotations stay.
    rounds : int
        Second rounds see what the first shift did to the perspective.
    """
    allowed = np.linalg.svd(basis[3:], full_matrices=False)
    directions = allowed[0][:, allowed[1] > 1e-9]
    for _ in range(rounds):
        sides = np.concatenate([image.view.axes_lps[:2] for image in images])
        found = np.concatenate(
            [
                image.view.axes_lps[:2] @ shift_in_image(image, attenuation_per_mm, pose, reach_mm=reach_mm)
                for image in images
            ]
        )
        move = directions @ np.linalg.lstsq(sides @ directions, found)[0]
        pose = moved(pose, np.zeros(3), move)
        if np.linalg.norm(move) < 1.0:
            break
    return pose


def turned(pose: RigidTransform, about_lps: Array, *, basis: Array, step_deg: float) -> Iterator[RigidTransform]:
    """Yield the pose, and the pose turned by ± a step about each axis that the match may turn about.

    Parameters
    ----------
    pose : RigidTransform
        day_from_fixed.
    about_lps : ndarray, shape (3,)
        Point of the planning frame that keeps its place.
    basis : ndarray, shape (6, n)
        Motions allowed.
    step_deg : float
        Angle.
    """
    yield pose
    axes, sizes, _ = np.linalg.svd(basis[:3], full_matrices=False)
    centre = pose.apply(about_lps)
    for axis in axes.T[sizes > 1e-9]:
        for sign in (-1.0, 1.0):
            turn = Rotation.from_rotvec(np.deg2rad(sign * step_deg) * axis).as_matrix()
            matrix = np.eye(4)
            matrix[:3, :3] = turn
            matrix[:3, 3] = centre - turn @ centre
            yield RigidTransform.from_matrix(matrix) @ pose
