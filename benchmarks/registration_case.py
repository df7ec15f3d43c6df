"""A CT-like volume and its moved or deformed twin, both sampled from one analytic anatomy: truth without a resampler.

256×256×128 voxels of 1.5×1.5×2.5 mm with 20 HU of noise. An abdomen of ellipsoids (fat, muscle, organs, vessels, gas,
spine, ribs, pelvis) and texture, edges 3.5 mm wide (10 to 90 %) as a scanner blurs them. The moving image is the
anatomy evaluated at mapped points, so no tool's interpolation is in the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from imrt_core._numba import kernel
from imrt_core.patient import DisplacementField, Grid, InputRefusedError, RigidTransform, Volume

Points = NDArray[np.float32]

#: The grid of the issue.
GRID = Grid((128, 256, 256), (1.5, 1.5, 2.5), (-191.25, -191.25, -158.75))
NOISE_HU = 20.0
#: Mean displacement inside the body of the deformable case.
MEAN_MM = 3.1
#: Logistic width of edges.
_EDGE_MM = 0.8
#: Amplitude of each of ten waves of texture in soft tissue.
_TEXTURE_HU = 6.0
#: Slices at each end that errors leave out: their neighbours are not imaged.
END_SLICES = 4


@dataclass(frozen=True, eq=False)
class SyntheticCase:
    """A pair with known truth.

    Parameters
    ----------
    fixed, moving : Volume
        HU, on the same grid.
    mask : Volume
        Body on the fixed grid, :data:`END_SLICES` at each end left out; 1 inside.
    truth : DisplacementField
        Fixed → moving on the fixed grid, mm.
    rigid : RigidTransform or None
        The truth as a transform, of the rigid case.
    """

    fixed: Volume
    moving: Volume
    mask: Volume
    truth: DisplacementField
    rigid: RigidTransform | None


@dataclass(frozen=True)
class _Ellipsoid:
    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    hu: float


class Anatomy:
    """HU at any point, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self.skin = _Ellipsoid((0, 0, 0), (165, 112, 420), 0)
        solids = [
            _Ellipsoid((0, 0, 0), (147, 95, 400), 45),
            _Ellipsoid((0, 5, 0), (128, 78, 380), -95),
        ]
        solids += [
            _Ellipsoid(_random(rng, (-95, -50, -170), (95, 45, 170)), _random(rng, (12, 12, 12), (34, 30, 45)), hu)
            for hu in rng.uniform(15, 75, 45)
        ]
        solids += [
            _Ellipsoid(_random(rng, (-95, -50, -170), (95, 45, 170)), _random(rng, (3, 3, 5), (8, 8, 30)), hu)
            for hu in rng.choice([-110.0, 130.0, 60.0], 60)
        ]
        solids += [_Ellipsoid(_random(rng, (-70, -60, -140), (70, 0, 140)), (14, 11, 13), -900) for _ in range(3)]
        solids += [_Ellipsoid((side * 35, 66, 0), (30, 17, 400), 55) for side in (-1, 1)]
        for z in np.arange(-180, 181, 32.0):
            solids += [_Ellipsoid((0, 45, z), (23, 17, 14), 550), _Ellipsoid((0, 45, z), (18, 12, 10), 220)]
            solids += [_Ellipsoid((0, 78, z - 4), (5, 14, 9), 600), _Ellipsoid((0, 64, z), (38, 4, 6), 480)]
            solids += [_Ellipsoid((0, 66, z + 16), (8, 7, 20), 20)]
            # Ribs above, wings of the pelvis below, as short rods along an oval.
            for angle in np.deg2rad(np.arange(-60, 241, 20.0)) if z > 0 else np.deg2rad([0, 12, 24, 156, 168, 180]):
                x, y = 137 * np.cos(angle), 86 * np.sin(angle)
                solids += [_Ellipsoid((x, y, z + 10 * np.sin(angle)), (9, 7, 5.5) if z > 0 else (8, 12, 18), 500)]
        self.solids = solids
        self.waves = rng.normal(size=(10, 3)) / rng.uniform(2.5, 7.0, (10, 1))
        self.phases = rng.uniform(0, 2 * np.pi, 10)

    def hu(self, points_lps: Points) -> Points:
        """HU at (…, 3) points in mm, float32."""
        points = np.ascontiguousarray(points_lps.reshape(-1, 3), dtype=np.float32)
        out = np.empty(len(points), np.float32)
        table = np.array([[*s.centre, *s.radii, s.hu] for s in (self.skin, *self.solids)])
        _paint(points, table, self.waves, self.phases, out)
        return out.reshape(points_lps.shape[:-1])

    def body(self, points_lps: Points) -> NDArray[np.bool_]:
        """Whether (…, 3) points lie within the skin."""
        q = (points_lps - np.array(self.skin.centre)) / np.array(self.skin.radii)
        return np.asarray(np.sum(q * q, axis=-1) < 1)


@kernel()
def _share(x: float, y: float, z: float, row: NDArray[np.float64]) -> float:
    """1 inside, 0 outside, logistic between. First-order distance to the surface: (f − 1)/|∇f| with f = |(p − c)/r|."""
    u, v, w = (x - row[0]) / row[3], (y - row[1]) / row[4], (z - row[2]) / row[5]
    length = np.sqrt(u * u + v * v + w * w) + 1e-9
    slope = np.sqrt((u / row[3]) ** 2 + (v / row[4]) ** 2 + (w / row[5]) ** 2) / length + 1e-9
    return float(1 / (1 + np.exp(min(max((length - 1) / (slope * _EDGE_MM), -30.0), 30.0))))


@kernel(parallel=True)
def _paint(
    points: Points, table: NDArray[np.float64], waves: NDArray[np.float64], phases: NDArray[np.float64], out: Points
) -> None:
    for n in numba.prange(points.shape[0]):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        hu = -95.0
        for s in range(1, table.shape[0]):
            row = table[s]
            if (
                abs(x - row[0]) < row[3] + 10 * _EDGE_MM
                and abs(y - row[1]) < row[4] + 10 * _EDGE_MM
                and abs(z - row[2]) < row[5] + 10 * _EDGE_MM
            ):
                hu += _share(x, y, z, row) * (row[6] - hu)
        if hu > -200:
            for w in range(phases.size):
                hu += _TEXTURE_HU * np.sin(waves[w, 0] * x + waves[w, 1] * y + waves[w, 2] * z + phases[w])
        out[n] = -1000 + _share(x, y, z, table[0]) * (hu + 1000)


def rigid_case(*, seed: int = 0, grid: Grid = GRID) -> SyntheticCase:
    """Return a pair that differs by a rigid motion of up to 12 mm and 3° about each axis."""
    rng = np.random.default_rng([seed, 1])
    motion = RigidTransform.from_parameters(
        translation_mm=rng.uniform(-12, 12, 3), rotation_deg=rng.uniform(-3, 3, 3), centre_lps=grid.centre_lps
    )
    back = motion.inverse()
    anatomy = Anatomy(seed)
    return SyntheticCase(
        fixed=_scan(anatomy, grid, None, rng),
        moving=_scan(anatomy, grid, lambda q: back.apply(q).astype(np.float32), rng),
        mask=_mask(anatomy, grid),
        truth=DisplacementField.from_rigid(motion, grid),
        rigid=motion,
    )


def deformable_case(*, seed: int = 0, grid: Grid = GRID) -> SyntheticCase:
    """Return a pair that differs by a smooth field of 3.1 mm in the mean inside the body, bones included."""
    rng = np.random.default_rng([seed, 2])
    waves = rng.normal(size=(8, 3))
    waves *= 2 * np.pi / np.linalg.norm(waves, axis=1, keepdims=True) / rng.uniform(110, 260, (8, 1))
    phases, amplitudes = rng.uniform(0, 2 * np.pi, 8), rng.normal(size=(8, 3))
    anatomy = Anatomy(seed)
    mask = _mask(anatomy, grid)

    def backward(q: Points) -> Points:
        return np.asarray(np.sin(q @ waves.T.astype(np.float32) + phases) @ amplitudes, dtype=np.float32)

    inside = grid.voxel_centres_lps()[mask.array > 0].astype(np.float32)[::7]
    amplitudes *= MEAN_MM / np.linalg.norm(backward(inside), axis=1).mean()
    truth = np.empty((*grid.shape, 3), np.float32)
    for k, p in _slabs(grid):
        # The moving point of p is the q with q + backward(q) = p: a contraction, to 1e-4 mm.
        q = p
        for _ in range(10):
            q = p - backward(q)
        truth[k] = q - p
    return SyntheticCase(
        fixed=_scan(anatomy, grid, None, rng),
        moving=_scan(anatomy, grid, lambda q: q + backward(q), rng),
        mask=mask,
        truth=DisplacementField(truth, grid),
        rigid=None,
    )


def synthetic(mode: str, *, seed: int = 0, grid: Grid = GRID) -> SyntheticCase:
    """Return the case of a mode, ``"rigid"`` or ``"deformable"``."""
    cases = {"rigid": rigid_case, "deformable": deformable_case}
    if mode not in cases:
        raise InputRefusedError("no synthetic pair of that kind", found=mode, expected="rigid or deformable")
    return cases[mode](seed=seed, grid=grid)


def _random(rng: np.random.Generator, low: tuple[float, ...], high: tuple[float, ...]) -> tuple[float, float, float]:
    x, y, z = rng.uniform(low, high)
    return float(x), float(y), float(z)


def _slabs(grid: Grid) -> list[tuple[slice, Points]]:
    points = grid.voxel_centres_lps().astype(np.float32)
    return [(slice(k, k + 16), points[k : k + 16]) for k in range(0, grid.shape[0], 16)]


def _scan(anatomy: Anatomy, grid: Grid, fixed_from_moving: object, rng: np.random.Generator) -> Volume:
    array = np.empty(grid.shape, np.float32)
    for k, p in _slabs(grid):
        array[k] = anatomy.hu(fixed_from_moving(p) if callable(fixed_from_moving) else p)
    array += rng.normal(0, NOISE_HU, grid.shape).astype(np.float32)
    return Volume(np.clip(np.rint(array), -1024, 3071).astype(np.int16), grid)


def _mask(anatomy: Anatomy, grid: Grid) -> Volume:
    array = np.empty(grid.shape, np.uint8)
    for k, p in _slabs(grid):
        array[k] = anatomy.body(p)
    array[:END_SLICES] = array[-END_SLICES:] = 0
    return Volume(array, grid)
