"""Volume: sampling and resampling."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.patient import GeometryError, Grid, RigidTransform, Volume

GRID = Grid((6, 7, 8), (2.0, 2.5, 3.0), (-5.0, -6.0, -7.0))
SLOPE = np.array([0.5, -0.25, 2.0])


def linear(grid: Grid) -> Volume:
    return Volume((grid.voxel_centres_lps() @ SLOPE + 3).astype(np.float32), grid)


def test_array_is_read_only_and_not_copied():
    array = np.zeros(GRID.shape, np.float32)
    volume = Volume(array, GRID)
    assert np.shares_memory(volume.array, array)
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    with pytest.raises(GeometryError, match="fit its grid"):
        Volume(array[1:], GRID)


def test_trilinear_sampling_of_a_linear_field_is_exact():
    points = GRID.to_lps(np.random.default_rng(1).uniform(0, np.array(GRID.shape[::-1]) - 1, (50, 3)))
    assert np.allclose(linear(GRID).sample(points), points @ SLOPE + 3, atol=1e-5)


def test_sampling_at_and_beyond_the_edge():
    volume = linear(GRID)
    outer = GRID.to_lps([[-0.4, 0, 0], [-0.6, 0, 0]])
    values = volume.sample(outer)
    assert values[0] == pytest.approx(float(volume.array[0, 0, 0]))
    assert np.isnan(values[1])
    assert volume.sample(outer, outside=-1.0)[1] == -1.0
    assert volume.sample(GRID.to_lps([3.4, 2.6, 1.0]), order=0) == volume.array[1, 3, 3]


def test_resampling_a_linear_field_on_an_oblique_grid():
    turn = RigidTransform.from_parameters(rotation_deg=(10, -20, 30)).rotation
    other = Grid((3, 4, 5), (1.1, 0.9, 1.3), (0.5, 0.2, -1.0), tuple(map(tuple, turn)))
    moved = linear(GRID).resampled_to(other, outside=-99.0)
    inside = np.all(
        (GRID.to_index(other.voxel_centres_lps()) >= 0)
        & (GRID.to_index(other.voxel_centres_lps()) <= np.array(GRID.shape[::-1]) - 1),
        axis=-1,
    )
    assert inside.any()
    assert np.allclose(moved.array[inside], linear(other).array[inside], atol=1e-4)
    assert np.all(moved.array[~GRID.contains(other.voxel_centres_lps())] == -99)


def test_resampling_to_the_same_grid_changes_nothing():
    volume = linear(GRID)
    assert volume.resampled_to(Grid(GRID.shape, GRID.spacing_mm, GRID.origin_lps)) is volume


def test_the_same_values_elsewhere():
    volume = linear(GRID)
    motion = RigidTransform.from_parameters(translation_mm=(1, 2, 3), rotation_deg=(0, 0, 90))
    moved = volume.with_grid(GRID.transformed(motion))
    assert np.array_equal(moved.array, volume.array)
    point = np.array([1.0, 2.0, 3.0])
    assert moved.sample(motion.apply(point)) == pytest.approx(float(volume.sample(point)), abs=1e-5)
