"""Grid: index and patient coordinates, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.patient import GeometryError, Grid, RigidTransform

coordinate = st.floats(-300, 300)
angle = st.floats(-180, 180)
spacing = st.floats(0.3, 6)


@st.composite
def grids(draw) -> Grid:
    shape = tuple(draw(st.integers(1, 9)) for _ in range(3))
    turn = RigidTransform.from_parameters(rotation_deg=[draw(angle) for _ in range(3)]).rotation
    return Grid(
        shape,
        (draw(spacing), draw(spacing), draw(spacing)),
        (draw(coordinate), draw(coordinate), draw(coordinate)),
        tuple(map(tuple, turn)),
    )


@given(grids(), st.tuples(coordinate, coordinate, coordinate))
def test_index_and_lps_are_inverse(grid, point):
    assert np.allclose(grid.to_lps(grid.to_index(point)), point, atol=1e-6)
    assert np.allclose(grid.to_lps([0, 0, 0]), grid.origin_lps)


def test_arrays_are_zyx_and_indices_ijk():
    grid = Grid((2, 3, 4), (1.0, 2.0, 3.0), (10.0, 20.0, 30.0))
    centres = grid.voxel_centres_lps()
    assert centres.shape == (2, 3, 4, 3)
    assert np.allclose(centres[1, 2, 3], [13, 24, 33])
    assert grid.centre_lps == pytest.approx((11.5, 22, 31.5))
    assert grid.voxel_volume_cc == pytest.approx(0.006)


@given(grids())
def test_extent_reaches_half_a_voxel_past_the_centres(grid):
    _, ny, nx = grid.shape
    assert grid.contains(grid.to_lps([nx - 0.501, ny - 0.501, -0.499]))
    assert not grid.contains(grid.to_lps([nx - 0.49, 0, 0]))
    assert not grid.contains(grid.to_lps([0, 0, -0.51]))


@given(grids(), st.tuples(coordinate, coordinate, coordinate), st.tuples(angle, angle, angle))
def test_transformed_grid_carries_its_voxels(grid, translation, rotation):
    motion = RigidTransform.from_parameters(translation_mm=translation, rotation_deg=rotation)
    moved = grid.transformed(motion)
    assert np.allclose(moved.voxel_centres_lps(), motion.apply(grid.voxel_centres_lps()), atol=1e-6)
    assert moved.transformed(motion.inverse()).matches(grid, tolerance_mm=1e-6)


@given(grids(), st.tuples(spacing, spacing, spacing))
def test_resampled_grid_covers_the_same_extent_from_the_same_corner(grid, new):
    other = grid.resampled(new)
    assert np.allclose(other.to_lps([-0.5] * 3), grid.to_lps([-0.5] * 3), atol=1e-6)
    old_mm, new_mm = (np.array(g.shape[::-1]) * g.spacing_mm for g in (grid, other))
    assert np.all(new_mm >= old_mm - 1e-4)
    assert np.all(new_mm < old_mm + np.array(new))


def test_cropped_grid_keeps_its_voxels():
    grid = Grid((6, 7, 8), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0))
    part = grid.cropped((1, 2, 3), (4, 6, 5))
    assert part.shape == (2, 4, 3)
    assert np.array_equal(part.voxel_centres_lps(), grid.voxel_centres_lps()[3:5, 2:6, 1:4])


def test_matching_grids():
    grid = Grid((6, 7, 8), (1.0, 2.0, 3.0))
    assert grid.matches(Grid((6, 7, 8), (1.0, 2.0, 3.0), (0.005, 0, 0)))
    assert not grid.matches(Grid((6, 7, 8), (1.0, 2.0, 3.0), (0.02, 0, 0)))
    assert not grid.matches(Grid((6, 7, 9), (1.0, 2.0, 3.0)))
    # A small error of the spacing grows over the grid.
    assert not grid.matches(Grid((6, 7, 8), (1.002, 2.0, 3.0)))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"shape": (0, 3, 3)}, "three positive sizes"),
        ({"shape": (3, 3)}, "three positive sizes"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "spacing must be positive"),
        ({"spacing_mm": (1.0, float("nan"), 1.0)}, "spacing must be positive"),
        ({"origin_lps": (0.0, 0.0, float("inf"))}, "finite"),
        ({"direction": ((1, 0, 0), (0, 1, 0), (0, 0, -1))}, "rotation"),
        ({"direction": ((1, 0.01, 0), (0, 1, 0), (0, 0, 1))}, "rotation"),
    ],
)
def test_invalid_geometry_is_refused(change, text):
    with pytest.raises(GeometryError, match=text):
        Grid(**{"shape": (3, 3, 3), "spacing_mm": (1.0, 1.0, 1.0), **change})


def test_directions_rounded_by_a_vendor_are_accepted():
    grid = Grid((3, 3, 3), (1.0, 1.0, 1.0), direction=((1, 0.000012, 0), (-0.000012, 1, 0), (0, 0, 1)))
    assert grid.is_axis_aligned
    assert not Grid((3, 3, 3), (1.0, 1.0, 1.0), direction=((-1, 0, 0), (0, -1, 0), (0, 0, 1))).is_axis_aligned
