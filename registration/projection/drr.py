"""Digitally reconstructed radiographs, and how they change when the patient moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.radiograph import ProjectionView
from imrt_core.patient import RegistrationError, RigidTransform, Volume

from ._kernels import integrate, integrate_with_slopes

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Drr:
    """Line integrals of attenuation.

    Parameters
    ----------
    attenuation : ndarray, shape (rows, columns)
        Dimensionless.
    missing_mm : ndarray, shape (rows, columns)
        Length of each ray beyond the first or last slice of the CT, where the patient goes on and is not known.
    """

    attenuation: Array
    missing_mm: Array


def project(
    attenuation_per_mm: Volume,
    view: ProjectionView,
    day_from_fixed: RigidTransform,
    *,
    step_mm: float | None = None,
) -> Drr:
    """Integrate attenuation from the source to every pixel.

    Parameters
    ----------
    attenuation_per_mm : Volume
        Planning frame, 1/mm (:func:`registration.projection.attenuation.attenuation_per_mm`).
    view : ProjectionView
        Source and image plane.
    day_from_fixed : RigidTransform
        Where the planning CT lies in the frame of the day (machine isocentre at its origin).
    step_mm : float, optional
        Longest distance between samples; by default three quarters of the shortest voxel side.

    Raises
    ------
    RegistrationError
        If the step is not positive.
    """
    total, missing = integrate(
        attenuation_per_mm.array,
        _index_from_day(attenuation_per_mm, day_from_fixed),
        view.source_lps,
        view.pixel_centres_lps().reshape(-1, 3),
        step_mm=_step(attenuation_per_mm, step_mm),
    )
    return Drr(total.reshape(view.shape), missing.reshape(view.shape))


def project_with_slopes(
    attenuation_per_mm: Volume,
    view: ProjectionView,
    day_from_fixed: RigidTransform,
    *,
    centre_lps: Array,
    step_mm: float | None = None,
) -> tuple[Drr, Array]:
    """As :func:`project`, with the derivatives by a further motion of the patient in the frame of the day.

    The motion is ``q ↦ q + ω × (q − c) + τ``. The patient moves, the rays stand: the attenuation at a point becomes
    what was at ``q − ω × (q − c) − τ``, so ∂/∂τ = −∫∇ and ∂/∂ω = −∫(q − c) × ∇.

    Parameters
    ----------
    centre_lps : ndarray, shape (3,)
        c, frame of the day.

    Returns
    -------
    Drr, and the derivatives by ω (per radian) and τ (per mm), shape (rows, columns, 6).
    """
    index_from_day = _index_from_day(attenuation_per_mm, day_from_fixed)
    pixels = view.pixel_centres_lps().reshape(-1, 3)
    total, missing, gradient, moment = integrate_with_slopes(
        attenuation_per_mm.array,
        index_from_day,
        view.source_lps,
        pixels,
        step_mm=_step(attenuation_per_mm, step_mm),
    )
    to_day = index_from_day[:3, :3]
    gradient, moment = gradient @ to_day, moment @ to_day
    rays = pixels - view.source_lps
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    turning = np.cross(view.source_lps - centre_lps, gradient) + np.cross(rays, moment)
    slopes = -np.concatenate([turning, gradient], axis=1)
    return Drr(total.reshape(view.shape), missing.reshape(view.shape)), slopes.reshape(*view.shape, 6)


def _index_from_day(volume: Volume, day_from_fixed: RigidTransform) -> Array:
    return np.asarray(volume.grid.index_from_lps @ day_from_fixed.inverse().matrix)


def _step(volume: Volume, step_mm: float | None) -> float:
    step = 0.75 * min(volume.grid.spacing_mm) if step_mm is None else step_mm
    if not step > 0:
        raise RegistrationError("the distance between samples must be positive", found=str(step), expected="> 0 mm")
    return float(step)
