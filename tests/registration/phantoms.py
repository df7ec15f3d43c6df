"""An analytic head and neck, sampled without interpolation: the truth of the registration tests."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, RigidTransform, Volume

Points = NDArray[np.float64]


def _inside(distance_mm: Points, edge_mm: float = 1.2) -> Points:
    """Soft step: 1 inside (negative distance)."""
    return 1.0 / (1.0 + np.exp(np.clip(distance_mm / edge_mm, -40, 40)))


def _ellipsoid(p: Points, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Points:
    q = (p - np.array(centre)) / np.array(radii)
    return (np.sqrt(np.sum(q * q, axis=-1)) - 1.0) * min(radii)


def _tube(p: Points, centre_xy: tuple[float, float], radii: tuple[float, float], z: tuple[float, float]) -> Points:
    q = (p[..., :2] - np.array(centre_xy)) / np.array(radii)
    lateral = (np.sqrt(np.sum(q * q, axis=-1)) - 1.0) * min(radii)
    return np.maximum(lateral, np.maximum(z[0] - p[..., 2], p[..., 2] - z[1]))


@dataclass(frozen=True)
class Anatomy:
    """Options of the patient: another ``build`` is another patient."""

    build: float = 1.0
    vertebra_mm: float = 20.0
    airway_mm: float = 8.0
    gas_mm: float = 0.0

    def hu(self, points_lps: Points) -> Points:
        """HU at (…, 3) points. Head towards +z, face towards −y."""
        p = points_lps / self.build
        head = _ellipsoid(p, (0, 0, 45), (70, 88, 85))
        neck = _tube(p, (0, 8), (52, 56), (-85, 30))
        skin = np.minimum(head, neck)
        hu = -1000.0 + 1000.0 * _inside(skin)
        texture = 12 * np.cos(p[..., 0] / 7) * np.cos(p[..., 1] / 9 + 1) * np.cos(p[..., 2] / 8)
        hu += _inside(skin) * (-95.0 + 150.0 * _inside(skin + 7) + texture)
        muscles = np.minimum(_tube(p, (30, 20), (12, 16), (-90, 5)), _tube(p, (-30, 20), (12, 16), (-90, 5)))
        hu += -70.0 * _inside(np.abs(muscles) - 2.0) * _inside(skin + 9)
        shell = np.abs(_ellipsoid(p, (0, 2, 50), (62, 78, 74))) - 4.0
        skull = np.maximum(shell, -(p[..., 2] - 8.0))
        bones = skull
        for n in range(5):
            z = -72 + n * self.vertebra_mm
            body = _tube(p, (0, 22), (15, 11), (z, z + 0.72 * self.vertebra_mm))
            spine = np.maximum(
                np.abs(p[..., 0]) - 4, np.maximum(np.abs(p[..., 1] - 50) - 8, np.abs(p[..., 2] - z - 5) - 5)
            )
            wings = np.maximum(
                np.abs(p[..., 0]) - 26, np.maximum(np.abs(p[..., 1] - 30) - 4, np.abs(p[..., 2] - z - 6) - 4)
            )
            bones = np.minimum(bones, np.minimum(body, np.minimum(spine, wings)))
        canal = _tube(p, (0, 37), (7, 6), (-100, 20))
        jaw = np.maximum(np.abs(_tube(p, (0, -30), (38, 42), (-14, 4))) - 4.5, p[..., 1] + 20.0)
        bones = np.maximum(np.minimum(bones, jaw), -canal)
        bone = _inside(bones) * _inside(skin + 4)
        hu = hu * (1 - bone) + bone * (750.0 + 8 * texture)
        airway = _inside(_tube(p, (0, -8), (self.airway_mm, self.airway_mm), (-100, 10)))
        hu = hu * (1 - airway) - 980.0 * airway
        if self.gas_mm > 0:
            gas = _inside(_ellipsoid(p, (24, -22, -45), (self.gas_mm,) * 3))
            hu = hu * (1 - gas) - 950.0 * gas
        return np.asarray(hu)


def planning_ct(anatomy: Anatomy = Anatomy(), *, spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0)) -> Volume:
    """Return a planning CT with its own odd origin."""
    size = np.ceil(np.array([168.0, 204.0, 216.0]) / spacing_mm).astype(int)
    origin = np.array([-83.0, -100.0, -84.0])
    grid = Grid(tuple(int(n) for n in size[::-1]), spacing_mm, tuple(origin))  # type: ignore[arg-type]
    return Volume(anatomy.hu(grid.voxel_centres_lps()).astype(np.float32), grid)


@dataclass(frozen=True)
class WeightLoss:
    """Soft tissue beyond 34 mm of the neck's axis moves inwards by up to ``most_mm``; bone stays where it is."""

    most_mm: float = 5.0

    def fixed_from_day(self, p: Points) -> Points:
        """Material point of the planning CT that lies at a point of the rigidly aligned day."""
        axis = p[..., :2] - np.array([0.0, 10.0])
        radius = np.sqrt(np.sum(axis * axis, axis=-1)) + 1e-9
        ramp = np.clip((radius - 34.0) / 20.0, 0.0, 1.0)
        level = 1.0 / (1.0 + np.exp((p[..., 2] + 30.0) / 8.0))
        push = self.most_mm * ramp * ramp * (3 - 2 * ramp) * level / radius
        moved = p.copy()
        moved[..., :2] += axis * push[..., None]
        return moved


def image_of_day(
    anatomy: Anatomy,
    moving_from_fixed: RigidTransform,
    *,
    loss: WeightLoss | None = None,
    spacing_mm: tuple[float, float, float] = (2.5, 2.5, 3.0),
    diameter_mm: float | None = None,
    length_mm: float = 190.0,
    noise_hu: float = 30.0,
    cupping_hu: float = 60.0,
    shift_hu: float = 25.0,
    seed: int = 0,
) -> Volume:
    """Return a CBCT-like image centred on its machine isocentre, the origin of its frame."""
    width = 240.0 if diameter_mm is None else diameter_mm
    size = np.ceil(np.array([width, width, length_mm]) / spacing_mm).astype(int)
    origin = -(size - 1) / 2 * np.array(spacing_mm)
    grid = Grid(tuple(int(n) for n in size[::-1]), spacing_mm, tuple(origin))  # type: ignore[arg-type]
    q = grid.voxel_centres_lps()
    p = moving_from_fixed.inverse().apply(q)
    hu = anatomy.hu(loss.fixed_from_day(p) if loss else p)
    rng = np.random.default_rng(seed)
    radius2 = (q[..., 0] ** 2 + q[..., 1] ** 2) / 100.0**2
    hu = hu + (hu > -500) * (shift_hu - cupping_hu * (1 - np.minimum(radius2, 1.5)))
    hu = np.clip(np.rint(hu + rng.normal(scale=noise_hu, size=hu.shape)) if noise_hu else hu, -1000, 3000)
    if diameter_mm is not None:
        hu[np.hypot(q[..., 0], q[..., 1]) > diameter_mm / 2] = -1000
    return Volume(hu.astype(np.float32), grid)


def error_of(found: RigidTransform, truth: RigidTransform, centre: Points) -> tuple[float, float]:
    """Return (mm at the centre, degrees)."""
    left = found.rotation.T @ truth.rotation
    angle = np.rad2deg(np.arccos(np.clip((np.trace(left) - 1) / 2, -1, 1)))
    return float(np.linalg.norm(found.apply(centre) - truth.apply(centre))), float(angle)
