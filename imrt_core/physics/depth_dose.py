"""Dose on the axis of a field in water, by superposition of point kernels: what spectra are fitted with.

Around the axis, each plane upstream and downstream is cut into circles. What a circle releases reaches the axis as the
point kernel says, tilted with the diverging ray. No cones, exponentials or cells of the engines are in it, so it also
tells their errors apart. The result is linear in the spectrum: it is given energy by energy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import water
from .point_kernels import water_point_kernels

Array = NDArray[np.float64]

#: Fluence on the isocentre plane as the mean over circles of given radii around the axis.
RadialFluence = Callable[[Array], Array]

#: Distance of planes, mm.
PLANE_STEP_MM = 1.0
_REACH_MM = 420.0
#: Edges of circles around the axis, mm.
_CIRCLE_EDGE_MM = np.concatenate([[0.0], np.geomspace(0.3, 420.0, 72)])
#: Fluences are tabled to this radius on the isocentre plane, at this step, mm.
_TABLED_MM = 600.0
_TABLE_STEP_MM = 0.25
#: Within this radius a ray is as good as parallel to the axis.
_NEAR_AXIS_MM = 5.0


def circle_radius_mm() -> Array:
    """Return a mean radius for each circle."""
    return np.asarray(np.sqrt((_CIRCLE_EDGE_MM[1:] ** 2 + _CIRCLE_EDGE_MM[:-1] ** 2) / 2))


@cache
def cylinder_kernels() -> Array:
    """Return point kernels in cylinder coordinates around their ray, shape (energies, 2, offsets, circles).

    Energy in each bin as a part of the photon's; offsets from −reach to reach downstream by :data:`PLANE_STEP_MM`.
    """
    kernels = water_point_kernels()
    half = int(_REACH_MM / PLANE_STEP_MM)
    shell, cosine = 10.0 * kernels.shell_cm, np.cos(np.radians(kernels.ring_deg))
    sub = 16
    part = (np.arange(sub) + 0.5) / sub
    radius = (shell[:-1, None] + np.diff(shell)[:, None] * part)[None, :, None, :]
    cosines = (cosine[:-1, None] + np.diff(cosine)[:, None] * part)[:, None, :, None]
    plane = np.rint(cosines * radius / PLANE_STEP_MM).astype(int) + half
    circle = np.searchsorted(_CIRCLE_EDGE_MM, np.sqrt(1 - cosines**2) * radius, side="right") - 1
    shape = (2 * half + 1, len(_CIRCLE_EDGE_MM) - 1)
    inside = (plane >= 0) & (plane < shape[0]) & (circle < shape[1])
    flat = (plane * shape[1] + circle)[inside]
    result = np.empty((*kernels.fraction.shape[:2], *shape))
    for energy in range(result.shape[0]):
        for kind in range(2):
            weight = np.broadcast_to(kernels.fraction[energy, kind][:, :, None, None] / sub**2, plane.shape)[inside]
            result[energy, kind] = np.bincount(flat, weight, minlength=shape[0] * shape[1]).reshape(shape)
    return result


@cache
def _log_density() -> tuple[Array, Array, Array]:
    """Return log scatter per solid angle (energies, shells, rings), ring centres in degrees, shell edges in mm."""
    kernels = water_point_kernels()
    cosine = np.cos(np.radians(kernels.ring_deg))
    per_angle = kernels.fraction[:, 1] / -np.diff(cosine)[None, :, None]
    smooth = np.log(np.maximum(per_angle, 1e-12)).transpose(0, 2, 1)
    return smooth, (kernels.ring_deg[1:] + kernels.ring_deg[:-1]) / 2, 10.0 * kernels.shell_cm


def _tilt(offset_mm: Array, distance_mm: Array) -> Array:
    """Return by how much tilting changes the scatter that reaches the axis, shape (energies, planes, circles).

    ``offset_mm``: from each plane downstream to the point; ``distance_mm``: of each plane from the source.
    """
    log, centre_deg, shell_mm = _log_density()
    rho = circle_radius_mm()[None, :]
    offset, distance = offset_mm[:, None], distance_mm[:, None]
    length = np.hypot(offset, rho)
    straight = np.degrees(np.arccos(np.clip(offset / length, -1, 1)))
    along = (offset - rho**2 / distance) / np.hypot(1.0, rho / distance)
    tilted = np.degrees(np.arccos(np.clip(along / length, -1, 1)))
    shell = np.clip(np.searchsorted(shell_mm, length, side="right") - 1, 0, log.shape[1] - 1)
    change = np.zeros((log.shape[0], *length.shape))
    for angle, sign in ((tilted, 1.0), (straight, -1.0)):
        i = np.clip(np.searchsorted(centre_deg, angle, side="right") - 1, 0, len(centre_deg) - 2)
        f = np.clip((angle - centre_deg[i]) / (centre_deg[i + 1] - centre_deg[i]), 0, 1)
        change += sign * ((1 - f) * log[:, shell, i] + f * log[:, shell, i + 1])
    return np.asarray(np.where(rho > _NEAR_AXIS_MM, np.exp(np.clip(change, -1, 1)), 1.0))


def axis_dose(
    depth_mm: ArrayLike,
    ssd_mm: ArrayLike,
    fluences: Sequence[RadialFluence],
    *,
    sad_mm: float = 1000.0,
    steeper: RadialFluence | None = None,
) -> Array:
    """Return MeV/g on the axis per photon/cm², shape (energies of the point kernels, depths, fluences).

    Parameters
    ----------
    depth_mm, ssd_mm : array_like, shape (n,) or one number
        Points on the axis, and where the surface then is.
    fluences : sequence of callable
        Relative fluence of each field as the mean over circles on the isocentre plane.
    sad_mm : float
        Distance of the isocentre plane.
    steeper : callable or None
        Attenuation off axis over that on it.
    """
    kernels = water_point_kernels()
    cylinder = cylinder_kernels()
    mu = water.attenuation(kernels.energy_mev) / 10.0
    released = 10.0 * kernels.energy_mev * mu
    half = (cylinder.shape[2] - 1) // 2
    depths, surfaces = np.broadcast_arrays(np.atleast_1d(np.asarray(depth_mm, dtype=float)), ssd_mm)
    result = np.empty((len(mu), len(depths), len(fluences)))
    radius = np.arange(0.0, _TABLED_MM, _TABLE_STEP_MM)
    tables = np.array([fluence(radius) for fluence in fluences])
    for n, (depth, ssd) in enumerate(zip(depths, surfaces, strict=True)):
        count = min(int((depth + 200.0) / PLANE_STEP_MM), int((depth + half - 2) / PLANE_STEP_MM))
        plane = (np.arange(count) + 0.5) * PLANE_STEP_MM
        distance = ssd + plane
        offset = depth - plane
        # Bins of the kernel lie around whole steps: mix the two next to the offset.
        position = offset / PLANE_STEP_MM + half
        low = np.floor(position).astype(int)
        f = (position - low)[:, None]
        at = (1 - f) * cylinder[:, :, low] + f * cylinder[:, :, np.minimum(low + 1, 2 * half)]
        energy = at[:, 0] + at[:, 1] * _tilt(offset, distance)
        on_plane = circle_radius_mm()[None, :] * (sad_mm / distance)[:, None]
        slope = 1.0 if steeper is None else steeper(on_plane)
        # Per plane step: the kernel's bin is as thick as the step.
        through = np.exp(-mu[:, None, None] * plane[:, None] * slope) * (sad_mm / distance[:, None]) ** 2
        weighted = (released[:, None, None] * through * energy).reshape(len(mu), -1)
        place = on_plane.ravel() / _TABLE_STEP_MM
        i = np.minimum(place.astype(int), len(radius) - 2)
        part = np.minimum(place - i, 1.0)
        result[:, n] = weighted @ ((1 - part) * tables[:, i] + part * tables[:, i + 1]).T
    return result


def square_fluence(side_mm: float) -> RadialFluence:
    """Return a uniform square field: the part of each circle inside it."""
    half = side_mm / 2

    def inside(radius_mm: Array) -> Array:
        radius = np.maximum(radius_mm, 1e-9)
        corner = np.arccos(np.clip(half / radius, 0, 1))
        return np.where(radius <= half, 1.0, np.where(radius >= half * np.sqrt(2), 0.0, 1 - 4 * corner / np.pi))

    return inside
