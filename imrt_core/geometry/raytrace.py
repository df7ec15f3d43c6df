"""Radiological depth: how much water a ray has met before it reaches a point.

Depth is the line integral of relative electron density from the source. Air (relative density below
:data:`AIR_LIMIT`) counts nothing: the machine's calibration already crosses a metre of it, and what the image shows of
it depends on where the scan was cut off.

Two ways, same physics: :func:`ray_depths` integrates ray by ray, and :class:`DepthGrid` casts one fan of rays through
the patient on a beam's-eye-view grid and interpolates between them, for millions of points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import GeometryError, MachineError, Volume

from ._ray_kernels import SKIN_LEVEL, cast_rays, integrate_rays, look_up_all
from .beams_eye_view import BeamGeometry

#: Relative electron density below which matter is air.
AIR_LIMIT = 0.01
#: Lengths over which mean densities upstream of a point are taken, mm (weight falls by e): the range of secondary
#: electrons, and the mean free path of scattered photons of 0.5 MeV in water.
NEAR_MM = 20.0
FAR_MM = 100.0


@dataclass(frozen=True, eq=False)
class RayVolume:
    """A density volume made ready for rays. Build it once per patient with :func:`ray_volume`.

    Parameters
    ----------
    array : ndarray, shape (nz, ny, nx)
        Relative electron density, float32, air set to 0, cut to the box of all that is not air, with a border of 0 so
        that samples need no clamping.
    index_from_lps : ndarray, shape (4, 4)
        Index (i, j, k) in ``array``; any direction.
    body_lps : ndarray, shape (8, 3)
        Corners of the box of all that is not air.
    finest_mm : float
        Smallest voxel spacing.
    red : Volume
        What it was made of.
    """

    array: NDArray[np.float32]
    index_from_lps: NDArray[np.float64]
    body_lps: NDArray[np.float64]
    finest_mm: float
    red: Volume


def rays_of(red: Volume, rays: RayVolume | None) -> RayVolume:
    """Return rays that are there already, or make them.

    Raises
    ------
    MachineError
        If they were made of another density; else as :func:`ray_volume`.
    GeometryError
        As :func:`ray_volume`.
    """
    if rays is None:
        return ray_volume(red)
    if rays.red is not red:
        raise MachineError("the rays were made of another density volume", where="density volume", code="no-density")
    return rays


def ray_volume(red: Volume) -> RayVolume:
    """Check a density volume and make it ready for rays.

    Parameters
    ----------
    red : Volume
        Relative electron density; the grid may have any direction.

    Raises
    ------
    MachineError
        If a density is NaN, infinite or negative.
    GeometryError
        If there is nothing but air.
    """
    array = np.asarray(red.array, dtype=np.float32)
    lowest, highest = float(array.min()), float(array.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0:
        raise MachineError(
            "densities must be finite and not negative",
            found=f"{lowest:g} … {highest:g}",
            where="density volume",
            code="no-density",
        )
    solid = array >= AIR_LIMIT
    occupied = [np.flatnonzero(solid.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    if not all(len(o) for o in occupied):
        raise GeometryError("there is no patient in the density volume", found=f"highest density {highest:g}")
    corners = np.array(
        [[occupied[0][a], occupied[1][b], occupied[2][c]] for a in (0, -1) for b in (0, -1) for c in (0, -1)],
        dtype=float,
    )
    first = [int(o[0]) for o in occupied]
    box = tuple(slice(int(o[0]), int(o[-1]) + 1) for o in occupied[::-1])
    corners += np.where(corners == corners.min(axis=0), -0.5, 0.5)
    index_from_lps = np.array(red.grid.index_from_lps)
    index_from_lps[:3, 3] += 1 - np.array(first, dtype=float)
    return RayVolume(
        array=np.pad(np.where(solid[box], array[box], np.float32(0)), 1),
        index_from_lps=index_from_lps,
        body_lps=red.grid.to_lps(corners),
        finest_mm=min(red.grid.spacing_mm),
        red=red,
    )


@dataclass(frozen=True, eq=False)
class DepthGrid:
    """Radiological depth on the rays of one beam, between planes across its axis.

    Parameters
    ----------
    depth_mm, near, far : ndarray, shape (rows, columns, planes)
        Radiological depth, and the mean relative densities upstream with exponential weight over :data:`NEAR_MM` and
        :data:`FAR_MM`. A mean starts as 1 and takes note of densities from one voxel below the skin on:
        the ramp from air to tissue of an image's voxels is not light tissue.
    beam : BeamGeometry
        Whose rays.
    origin_mm : tuple of float
        BLD X and Y, on the isocentre plane, of ray [0, 0].
    pitch_mm : float
        Distance of rays on the isocentre plane.
    top_mm, step_mm : float
        BLD Z of plane 0, and the distance of planes, downstream.
    """

    depth_mm: NDArray[np.float32]
    near: NDArray[np.float32]
    far: NDArray[np.float32]
    beam: BeamGeometry
    origin_mm: tuple[float, float]
    pitch_mm: float
    top_mm: float
    step_mm: float


@dataclass(frozen=True, eq=False)
class RayFan:
    """Where the rays of one beam run, and all that :func:`cast_ray` needs to walk them.

    Parameters
    ----------
    geometry : ndarray, shape (6,)
        BLD X and Y on the isocentre plane of ray [0, 0], distance of rays there, BLD Z of plane 0, distance of planes,
        SAD; mm.
    shape : tuple of int
        (rows, columns, planes).
    index_from_bld : ndarray, shape (4, 4)
        Index (i, j, k) in the ray volume's array.
    keep : ndarray, shape (2,)
        What is left of the near and the far mean after one plane.
    skin_planes : int
        Planes from the skin to where densities begin to count.
    """

    geometry: NDArray[np.float64]
    shape: tuple[int, int, int]
    index_from_bld: NDArray[np.float64]
    keep: NDArray[np.float64]
    skin_planes: int


def ray_fan(
    rays: RayVolume,
    beam: BeamGeometry,
    points_lps: NDArray[np.float64],
    *,
    pitch_mm: float | None = None,
    step_mm: float | None = None,
) -> RayFan:
    """Lay out a fan of rays that covers the given points; arguments and errors as :func:`depth_grid`."""
    pitch = pitch_mm or float(np.clip(rays.finest_mm / 1.5, 1.0, 2.0))
    step = step_mm or float(np.clip(rays.finest_mm, 1.0, 3.0))
    extremes = box_corners(points_lps)
    projected = beam.project(extremes)
    lower, upper = projected.min(axis=0) - pitch, projected.max(axis=0) + pitch
    columns, rows = (int(n) for n in np.ceil((upper - lower) / pitch).astype(int) + 1)
    top = float(beam.to_bld(rays.body_lps)[:, 2].max()) + step
    bottom = float(beam.to_bld(extremes)[:, 2].min()) - step
    if top >= beam.sad_mm:
        raise GeometryError("the source is inside the patient", found=f"patient {top:.0f} mm above the isocentre")
    return RayFan(
        geometry=np.array([lower[0], lower[1], pitch, top, step, beam.sad_mm]),
        shape=(rows, columns, max(int(np.ceil((top - bottom) / step)) + 1, 2)),
        index_from_bld=_index_from_bld(rays, beam),
        keep=np.exp([-step / NEAR_MM, -step / FAR_MM]),
        skin_planes=max(round(rays.finest_mm / step), 1),
    )


def depth_grid(
    rays: RayVolume,
    beam: BeamGeometry,
    points_lps: NDArray[np.float64],
    *,
    pitch_mm: float | None = None,
    step_mm: float | None = None,
) -> DepthGrid:
    """Cast a fan of rays that covers the given points.

    Parameters
    ----------
    rays : RayVolume
        The patient.
    beam : BeamGeometry
        Source and axes.
    points_lps : ndarray, shape (n, 3)
        Where depths will be looked up (only their extent matters).
    pitch_mm, step_mm : float or None
        Distance of rays on the isocentre plane (default two thirds of the finest voxel, from 1 to 2 mm), and of samples
        along them (default the finest voxel, from 1 to 3 mm).

    Raises
    ------
    GeometryError
        If the source is inside the patient, or a point is at or behind the source.
    """
    fan = ray_fan(rays, beam, points_lps, pitch_mm=pitch_mm, step_mm=step_mm)
    depth = np.empty(fan.shape, dtype=np.float32)
    near, far = np.empty_like(depth), np.empty_like(depth)
    cast_rays(rays.array, fan.index_from_bld, fan.geometry, fan.keep, fan.skin_planes, depth, near, far)
    u, v, pitch, top, step, _ = (float(value) for value in fan.geometry)
    return DepthGrid(depth, near, far, beam, (u, v), pitch, top, step)


def radiological_depths(rays: RayVolume, beam: BeamGeometry, points_lps: ArrayLike) -> NDArray[np.float64]:
    """Return the radiological depth in mm of (n, 3) points by interpolation between cast rays."""
    points = np.asarray(points_lps, dtype=float).reshape(-1, 3)
    grid = depth_grid(rays, beam, points)
    bld = beam.to_bld(points)
    magnification = (beam.sad_mm - bld[:, 2]) / beam.sad_mm
    index = np.stack(
        [
            (bld[:, 1] / magnification - grid.origin_mm[1]) / grid.pitch_mm,
            (bld[:, 0] / magnification - grid.origin_mm[0]) / grid.pitch_mm,
            (grid.top_mm - bld[:, 2]) / grid.step_mm,
        ],
        axis=1,
    )
    found = np.empty(len(points))
    look_up_all(grid.depth_mm, index, found)
    return found


def ray_depths(
    rays: RayVolume, source_lps: ArrayLike, points_lps: ArrayLike, *, step_mm: float = 0.25
) -> NDArray[np.float64]:
    """Return the radiological depth in mm of (n, 3) points, each by integrating along its own ray."""
    points = np.ascontiguousarray(np.asarray(points_lps, dtype=float).reshape(-1, 3))
    found = np.empty(len(points))
    integrate_rays(
        rays.array, rays.index_from_lps, np.asarray(source_lps, dtype=float), points, _reach(rays), step_mm, found
    )
    return found


def source_skin_distance_mm(rays: RayVolume, beam: BeamGeometry, *, step_mm: float = 0.25) -> float:
    """Return the distance from the source to the skin along the beam axis.

    The skin is where the density first reaches :data:`SKIN_LEVEL`, between samples by linear interpolation.

    Raises
    ------
    GeometryError
        If the axis meets no patient.
    """
    direction = -beam.bld_from_lps[2]
    bld = beam.to_bld(rays.body_lps)
    start, stop = beam.sad_mm - bld[:, 2].max() - 2.0, beam.sad_mm - bld[:, 2].min() + 2.0
    distance = np.arange(max(start, 0.0), stop, step_mm)
    line = beam.source_lps + distance[:, None] * direction
    index = line @ rays.index_from_lps[:3, :3].T + rays.index_from_lps[:3, 3]
    density = np.empty(len(distance))
    look_up_all(rays.array, np.ascontiguousarray(index[:, ::-1]), density)
    inside = np.flatnonzero(density >= SKIN_LEVEL)
    if not len(inside):
        raise GeometryError("the beam axis does not meet the patient", found=f"gantry {beam.gantry_deg:g}°")
    first = int(inside[0])
    if first == 0:
        return float(distance[0])
    before, after = density[first - 1], density[first]
    return float(distance[first] - step_mm * (after - SKIN_LEVEL) / (after - before))


def box_corners(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the eight corners of the points' bounding box: a box and its corners project to the same extent."""
    # Column by column: numpy reduces along the long axis of (n, 3) several times slower.
    lower, upper = [points[:, n].min() for n in range(3)], [points[:, n].max() for n in range(3)]
    return np.array(
        [[x, y, z] for x in (lower[0], upper[0]) for y in (lower[1], upper[1]) for z in (lower[2], upper[2])]
    )


def _reach(rays: RayVolume) -> NDArray[np.float64]:
    """Centre and radius of a ball that holds the patient."""
    centre = rays.body_lps.mean(axis=0)
    return np.append(centre, np.linalg.norm(rays.body_lps - centre, axis=1).max() + 2.0)


def _index_from_bld(rays: RayVolume, beam: BeamGeometry) -> NDArray[np.float64]:
    lps_from_bld = np.eye(4)
    lps_from_bld[:3, :3] = beam.bld_from_lps.T
    lps_from_bld[:3, 3] = beam.isocentre_lps
    return np.asarray(rays.index_from_lps @ lps_from_bld)
