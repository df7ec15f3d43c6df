from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from imrt_core.patient import Grid, Volume
from pipelines.thumbnails import WIDTH, axial_hu, checkerboard, dose_on_hu

#: The same space, once with axes along LPS and once with columns that run to the patient's right.
GRIDS = (
    Grid((5, 60, 80), (2.0, 2.0, 3.0), (-79.0, -59.0, 0.0)),
    Grid((5, 60, 80), (2.0, 2.0, 3.0), (79.0, 59.0, 0.0), ((-1, 0, 0), (0, -1, 0), (0, 0, 1))),
)


def patient(grid: Grid) -> Volume:
    """A body of 100 × 80 mm with bone at the left and at the back."""
    x, y, _ = np.moveaxis(grid.voxel_centres_lps(), -1, 0)
    hu = np.where((np.abs(x) <= 50) & (np.abs(y) <= 40), 0.0, -1000.0)
    hu[np.hypot(x - 35, y) <= 8] = 1000.0
    hu[np.hypot(x, y - 30) <= 5] = 1000.0
    return Volume(hu.astype(np.float32), grid)


def pixels(markdown: str) -> np.ndarray:
    encoded = markdown.split("base64,")[1].split(")", maxsplit=1)[0]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"), dtype=float)


def centre_of_bone(picture: np.ndarray) -> tuple[float, float]:
    """Mean row and column of what is white, as shares of the picture."""
    rows, columns = np.nonzero(picture.min(axis=-1) > 240)
    return rows.mean() / picture.shape[0], columns.mean() / picture.shape[1]


@pytest.mark.parametrize("grid", GRIDS)
def test_left_is_right_of_the_picture_and_posterior_below(grid: Grid) -> None:
    picture = pixels(axial_hu(patient(grid), (0.0, 0.0, 6.0)).md_str or "")
    assert picture.shape[1] == WIDTH
    # cropped to the patient: 100 of 130 mm across
    body = np.flatnonzero(picture[picture.shape[0] // 2].max(axis=-1) > 60)
    assert np.ptp(body[(body > 20) & (body < WIDTH - 20)]) == pytest.approx(WIDTH * 100 / 130, abs=8)
    row, column = centre_of_bone(picture)
    assert column > 0.6 and row > 0.5
    # the letters stand at the edges, in a colour that no image has
    yellow = (picture[..., 0] > 200) & (picture[..., 2] < 80)
    for edge in (yellow[:, :18], yellow[:, -18:], yellow[:18], yellow[-18:]):
        assert edge.any()


def test_pictures_of_two_volumes_show_the_same_plane() -> None:
    one, other = (patient(grid) for grid in GRIDS)
    point = (0.0, 0.0, 6.0)
    plain = pixels(axial_hu(one, point).md_str or "")
    np.testing.assert_allclose(pixels(checkerboard(one, other, point).md_str or ""), plain, atol=2)
    dose = one.with_array(np.where(one.array > 500, 2.0, 0.0).astype(np.float32))
    red = pixels(dose_on_hu(one, dose, point).md_str or "")
    hot = red[..., 0] - red[..., 2] > 60
    rows, columns = np.nonzero(hot[20:-20, 20:-20])
    assert (columns.mean() + 20) / WIDTH > 0.6 and rows.size > 50


def test_a_picture_of_nothing_but_air_is_drawn() -> None:
    air = Volume(np.full(GRIDS[0].shape, -1000.0, dtype=np.float32), GRIDS[0])
    assert pixels(axial_hu(air, (0.0, 0.0, 100.0)).md_str or "").shape[1] == WIDTH
