"""Dice and surface distances of shapes whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.evaluate.overlap import dice, hausdorff95_mm, mean_surface_distance_mm
from imrt_core.patient import GeometryError, Grid, StructureError, Volume
from imrt_core.patient.contours import mask_from_structure
from tests.shapes import sphere

GRID = Grid((40, 60, 60), (1.5, 1.5, 2.0), (-44.25, -44.25, -39.0))


def ball(radius: float, centre=(0.0, 0.0, 0.0)) -> Volume:
    return mask_from_structure(sphere(radius, spacing=2.0, centre=centre), GRID)


def test_equal_masks():
    one = ball(20)
    assert (dice(one, one), hausdorff95_mm(one, one), mean_surface_distance_mm(one, one)) == (1, 0, 0)


def test_boxes_shifted_by_whole_voxels():
    """30 × 30 × 20 mm boxes, 6 mm apart along x: overlap 24/30, the surfaces that faced x are 6 mm off."""
    one, other = np.zeros(GRID.shape, np.float32), np.zeros(GRID.shape, np.float32)
    one[10:20, 10:30, 10:30] = 1
    other[10:20, 10:30, 14:34] = 1
    a, b = Volume(one, GRID), Volume(other, GRID)
    assert dice(a, b) == pytest.approx(16 / 20)
    assert hausdorff95_mm(a, b) == pytest.approx(6.0)
    assert 0 < mean_surface_distance_mm(a, b) < 6


def test_concentric_spheres():
    small, large = ball(18), ball(22)
    assert dice(small, large) == pytest.approx(2 * 18**3 / (18**3 + 22**3), abs=0.01)
    assert mean_surface_distance_mm(small, large) == pytest.approx(4.0, abs=0.5)
    assert hausdorff95_mm(small, large) == pytest.approx(4.0, abs=1.2)
    assert hausdorff95_mm(small, large) == hausdorff95_mm(large, small)


def test_percentile_ignores_a_spike():
    one = ball(20)
    spiked = np.array(one.array)
    spiked[20, 30, 30:58] = 1
    assert hausdorff95_mm(one, one.with_array(spiked)) < 1


def test_refusals():
    one = ball(20)
    with pytest.raises(GeometryError, match="same grid"):
        dice(one, Volume(one.array, Grid(GRID.shape, GRID.spacing_mm)))
    with pytest.raises(StructureError, match="second mask"):
        hausdorff95_mm(one, one.with_array(one.array * 0))
