"""Which motions radiographs can tell: six from two directions, three translations on demand, in-plane from one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.radiograph import ProjectionView
from imrt_core.patient import RegistrationError

Array = NDArray[np.float64]

#: Names of the freedoms, as callers choose them.
FREEDOMS = ("rigid", "translation", "in-plane", "in-plane translation")
#: Two images must look along directions at least so far apart: depth along one is seen across the other.
LEAST_ANGLE_DEG = 30.0


def freedom_of(views: Sequence[ProjectionView], *, translation_only: bool) -> str:
    """Return what a set of views can tell.

    Raises
    ------
    RegistrationError
        Without images, where patients lie in different positions, or where several images look along one direction.
    """
    if not views:
        raise RegistrationError("there is no radiograph to match", expected="one or more")
    positions = sorted({view.patient_position for view in views})
    if len(positions) > 1:
        raise RegistrationError(
            "the radiographs show the patient in different positions", found=" ".join(positions), expected="one"
        )
    if len(views) == 1:
        return "in-plane translation" if translation_only else "in-plane"
    if (angle := widest_angle_deg(views)) < LEAST_ANGLE_DEG:
        raise RegistrationError(
            "the radiographs look along nearly the same direction: depth cannot be told",
            found=f"{angle:.1f}° apart",
            expected=f">= {LEAST_ANGLE_DEG:g}°, or one image alone",
        )
    return "translation" if translation_only else "rigid"


def widest_angle_deg(views: Sequence[ProjectionView]) -> float:
    """Return the largest angle between the beam axes of two views, opposite directions being the same one."""
    cosines = [abs(float(beam_axis(a) @ beam_axis(b))) for a, b in combinations(views, 2)]
    return float(np.rad2deg(np.arccos(np.clip(min(cosines, default=1.0), 0.0, 1.0))))


def beam_axis(view: ProjectionView) -> Array:
    """Return the unit vector from the source to the machine isocentre, frame of the day."""
    return np.asarray(-view.source_lps / np.linalg.norm(view.source_lps))


def basis_of(freedom: str, views: Sequence[ProjectionView]) -> Array:
    """Return the motions allowed as columns of (ω, τ) in the frame of the day, shape (6, n).

    ``"rigid"``: all. ``"translation"``: τ. ``"in-plane"``: τ across the one beam, and ω along it.
    """
    if freedom == "rigid":
        return np.eye(6)
    if freedom == "translation":
        return np.eye(6)[:, 3:]
    axis = beam_axis(views[0])
    across = np.linalg.svd(axis[None, :])[2][1:]
    columns = [np.concatenate([np.zeros(3), direction]) for direction in across]
    if freedom == "in-plane":
        columns.append(np.concatenate([axis, np.zeros(3)]))
    return np.stack(columns, axis=1)
