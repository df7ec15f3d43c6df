"""An analytic chest that breathes: lungs with vessels, a tumour that a smooth field carries, ribs and spine at rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, RigidTransform, Volume
from tests.registration.phantoms import _ellipsoid, _inside, _tube

Points = NDArray[np.float64]
GRID = Grid((44, 64, 88), (3.0, 3.0, 3.0), (-130.5, -94.5, -64.5))
TUMOUR_LPS, RADIUS_MM = np.array([-48.0, 0.0, -5.0]), 14.0
#: Displacement of the tumour's centre at full expiration, LPS: towards the head, backwards.
AMPLITUDE_MM = np.array([1.0, 2.5, 9.0])
_REACH_MM = 26.0


def hu(p: Points) -> Points:
    """HU at (…, 3) points of the reference phase."""
    skin = _ellipsoid(p * [1.0, 1.0, 0.0], (0, 0, 0), (120, 84, 1e3))
    values = -1000.0 + 1040.0 * _inside(skin)
    for side in (-1.0, 1.0):
        lung = _ellipsoid(p, (side * 52.0, -2.0, 0.0), (44, 62, 130))
        vessels = 90.0 * np.cos(p[..., 0] / 5) * np.cos(p[..., 1] / 6 + side) * np.cos(p[..., 2] / 7)
        values += _inside(lung) * (-800.0 + vessels)
    values += 820.0 * _inside(_ellipsoid(p, tuple(TUMOUR_LPS), (RADIUS_MM,) * 3))  # type: ignore[arg-type]
    spine = _tube(p, (0, 62), (16, 14), (-200, 200))
    gaps = 0.5 + 0.5 * np.cos(2 * np.pi * p[..., 2] / 24.0)
    values += _inside(spine) * (300.0 + 350.0 * gaps)
    for z in range(-90, 91, 26):
        rib = np.maximum(np.abs(skin + 10.0) - 4.0, np.abs(p[..., 2] - z - 0.2 * p[..., 1]) - 5.0)
        values += 600.0 * _inside(rib)
    return np.asarray(values)


def displacement(p: Points, share: float, shift_mm: Sequence[float] = (0.0, 0.0, 0.0)) -> Points:
    """Where a point of the reference phase has gone: ``share`` of the amplitude, and a shift of the day."""
    near = np.exp(-np.sum((p - TUMOUR_LPS) ** 2, axis=-1) / (2 * _REACH_MM**2))
    return np.asarray(near[..., None] * (share * AMPLITUDE_MM + np.asarray(shift_mm)))


def phase(
    share: float,
    *,
    shift_mm: Sequence[float] = (0.0, 0.0, 0.0),
    pose: RigidTransform | None = None,
    noise_hu: float = 15.0,
    seed: int = 1,
) -> Volume:
    """Return one phase, in the planning frame or at a pose of the day."""
    there = GRID.voxel_centres_lps()
    if pose is not None:
        there = pose.inverse().apply(there)
    before = there
    for _ in range(40):
        before = there - displacement(before, share, shift_mm)
    noise = np.random.default_rng(seed).normal(0.0, noise_hu, GRID.shape)
    return Volume((hu(before) + noise).astype(np.float32), GRID)


def tumour_displacement(share: float, shift_mm: Sequence[float] = (0.0, 0.0, 0.0)) -> Points:
    """Mean displacement of the tumour's points."""
    points = inside_points()
    return np.asarray(displacement(points, share, shift_mm).mean(axis=0))


def inside_points() -> Points:
    """Points of the tumour in the reference phase, on a lattice of 1 mm."""
    axis = np.arange(-RADIUS_MM, RADIUS_MM + 0.5, 1.0)
    offsets = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(TUMOUR_LPS + offsets[np.linalg.norm(offsets, axis=1) <= RADIUS_MM])


def in_tumour(p: Points, share: float) -> NDArray[np.bool_]:
    """Whether points of the room lie in the tumour of a phase."""
    before = p
    for _ in range(40):
        before = p - displacement(before, share)
    return np.asarray(np.linalg.norm(before - TUMOUR_LPS, axis=-1) <= RADIUS_MM)
