from __future__ import annotations

import numpy as np
import pytest

from imrt_core.evaluate.body_contour import contour_change
from imrt_core.patient import GeometryError, Grid, StructureError, Volume

GRID = Grid((12, 60, 60), (2.0, 2.0, 3.0), (-59.0, -59.0, 0.0))


def disc(radius_mm: float, centre: tuple[float, float] = (0.0, 0.0)) -> Volume:
    points = GRID.voxel_centres_lps()
    inside = np.hypot(points[..., 0] - centre[0], points[..., 1] - centre[1]) <= radius_mm
    return Volume(inside.astype(np.float32), GRID)


def test_no_change_is_zero() -> None:
    change = contour_change(disc(40), disc(40))
    assert change.largest_mm <= 1.0 and change.mean_mm <= 1.0


@pytest.mark.parametrize(("today_mm", "expected_mm", "outward"), [(34.0, 6.0, False), (48.0, 8.0, True)])
def test_a_uniform_change_is_its_thickness(today_mm: float, expected_mm: float, outward: bool) -> None:
    change = contour_change(disc(40), disc(today_mm))
    assert change.largest_mm == pytest.approx(expected_mm, abs=1.5)
    assert change.mean_mm == pytest.approx(expected_mm, abs=1.0)
    assert change.outward is outward


def test_a_local_change_is_found_where_it_is() -> None:
    planned, today = disc(40), disc(40)
    array = today.array.copy()
    points = GRID.voxel_centres_lps()
    array[np.hypot(points[..., 0] - 40, points[..., 1]) <= 12] = 1.0
    change = contour_change(planned, today.with_array(array))
    assert change.outward and change.where_lps[0] > 40
    assert 9 <= change.largest_mm <= 12.5
    assert change.mean_mm < 3


def test_what_the_image_does_not_show_is_not_compared() -> None:
    points = GRID.voxel_centres_lps()
    seen = Volume((np.abs(points[..., 0]) < 20).astype(np.float32), GRID)
    planned, today = disc(40), disc(40)
    array = today.array.copy()
    array[np.hypot(points[..., 0] - 40, points[..., 1]) <= 12] = 1.0
    assert contour_change(planned, today.with_array(array), seen=seen).largest_mm <= 1.0


def test_bad_masks_are_refused() -> None:
    with pytest.raises(StructureError):
        contour_change(disc(40), disc(0.1))
    other = Volume(np.ones((3, 3, 3)), Grid((3, 3, 3), (1.0, 1.0, 1.0)))
    with pytest.raises(GeometryError):
        contour_change(disc(40), other)


def test_an_open_mouth_is_no_change() -> None:
    points = GRID.voxel_centres_lps()
    x, y = points[..., 0], points[..., 1]
    planned = disc(40)
    cavity = np.hypot(x, y) <= 18
    lips = (np.abs(x) <= 3) & (y < 0)
    closed = planned.with_array(np.where(cavity, 0.0, planned.array))
    opened = planned.with_array(np.where(cavity | lips, 0.0, planned.array))
    change = contour_change(closed, opened)
    assert change.largest_mm <= 3.0
