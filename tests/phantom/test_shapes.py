from __future__ import annotations

import numpy as np
import pytest

from imrt_core.patient import Grid
from imrt_core.phantom.canvas import coverage
from imrt_core.phantom.shapes import (
    Level,
    Space,
    ellipsoid,
    smooth_noise,
    smooth_union,
    stack,
    tube,
    warped_space,
)

GRID = Grid((50, 60, 60), (2.0, 2.0, 2.5), (-59.0, -59.0, -61.25))


@pytest.fixture(scope="module")
def space() -> Space:
    x, y, z = np.moveaxis(GRID.voxel_centres_lps().astype(np.float32), -1, 0)
    return Space(GRID, x, y, z, 0.0)


def volume_mm3(level: Level) -> float:
    return float(coverage(level.full()).sum()) * GRID.voxel_volume_cc * 1000


def test_ellipsoid_volume_and_distance(space: Space) -> None:
    ball = ellipsoid(space, (3, -2, 1), (30, 22, 26))
    assert volume_mm3(ball) == pytest.approx(4 / 3 * np.pi * 30 * 22 * 26, rel=0.01)
    sphere = ellipsoid(space, (0, 0, 0), (25, 25, 25))
    exact = np.linalg.norm(GRID.voxel_centres_lps(), axis=-1) - 25
    near = np.abs(exact) < 6
    assert np.abs(sphere.full() - exact)[near].max() < 0.2


def test_tilted_ellipsoid_keeps_its_volume_and_turns(space: Space) -> None:
    rod = ellipsoid(space, (0, 0, 0), (40, 8, 8), tilt_deg=30, about="z")
    assert volume_mm3(rod) == pytest.approx(4 / 3 * np.pi * 40 * 8 * 8, rel=0.02)
    inside = np.argwhere(rod.inside())[:, ::-1]
    points = GRID.to_lps(inside)
    far = points[points[:, 0] > 20]
    # Right-handed about z: the +x end turns towards +y.
    assert np.degrees(np.arctan2(far[:, 1].mean(), far[:, 0].mean())) == pytest.approx(30, abs=2)


def test_straight_tube_and_stack_volumes(space: Space) -> None:
    straight = tube(space, [(0, 0, -30), (0, 0, 30)], (12, 12, 12))
    assert volume_mm3(straight) == pytest.approx(np.pi * 144 * 60 + 4 / 3 * np.pi * 12**3, rel=0.02)
    column = stack(space, [(-40, 0, 0, 20, 10, 16), (40, 0, 0, 20, 10, 16)])
    assert volume_mm3(column) == pytest.approx(np.pi * 20 * 13 * 80, rel=0.02)


def test_set_operations(space: Space) -> None:
    a, b = ellipsoid(space, (-10, 0, 0), (20, 20, 20)), ellipsoid(space, (10, 0, 0), (20, 20, 20))
    inside_a, inside_b = a.inside(), b.inside()
    assert np.array_equal((a | b).inside(), inside_a | inside_b)
    assert np.array_equal((a & b).inside(), inside_a & inside_b)
    assert np.array_equal((a - b).inside(), inside_a & ~inside_b)
    assert np.all(smooth_union(a, b, blend_mm=8).inside() >= (inside_a | inside_b))
    assert volume_mm3(a.grown(3)) == pytest.approx(4 / 3 * np.pi * 23**3, rel=0.01)


def test_noise_has_unit_variance_a_scale_and_a_seed() -> None:
    field = smooth_noise((40, 50, 60), (4, 6, 6), np.random.default_rng(1))
    assert field.mean() == pytest.approx(0, abs=1e-5)
    assert field.std() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(field[:, :, :-1].ravel(), field[:, :, 1:].ravel())[0, 1] > 0.95
    assert abs(np.corrcoef(field[:, :, :-24].ravel(), field[:, :, 24:].ravel())[0, 1]) < 0.2
    assert np.array_equal(field, smooth_noise((40, 50, 60), (4, 6, 6), np.random.default_rng(1)))


def test_warp_is_smooth_and_bounded() -> None:
    space = warped_space(GRID, rng=np.random.default_rng(3))
    assert 0 < space.warp_mm < 10
    for axis, coordinate in enumerate((space.x, space.y, space.z)):
        slope = np.diff(coordinate, axis=2 - axis) / GRID.spacing_mm[axis]
        assert slope.min() > 0.7 and slope.max() < 1.3
