"""Which bixels see a target."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.dose import BeamGeometry, Bixels, bixel_grid
from imrt_core.patient import GeometryError, Grid, StructureError, Volume

BEAM = BeamGeometry(30.0, (5.0, 0.0, 0.0), "HFS", collimator_deg=15.0)


def test_ball_is_a_disc_in_the_beams_eye_view() -> None:
    grid = Grid((41, 41, 41), (2.0, 2.0, 2.0), (-35.0, -40.0, -40.0))
    mask = np.linalg.norm(grid.voxel_centres_lps() - [5, 0, 0], axis=-1) <= 30
    bixels = bixel_grid(BEAM, Volume(mask.astype(np.float32), grid), bixel_mm=5.0, margin_mm=5.0)
    distance = np.linalg.norm(bixels.centres_mm, axis=1)
    # The disc has 36 mm; bixels that it touches reach at most half a diagonal (3.5 mm) and two raster cells beyond.
    assert distance.max() < 36 + 3.6 + 2
    lattice = np.stack(np.meshgrid(np.arange(-12, 12), np.arange(-12, 12)), axis=-1).reshape(-1, 2)
    within = lattice[np.linalg.norm((lattice + 0.5) * 5, axis=1) < 34]
    assert {tuple(i) for i in within} <= {tuple(i) for i in bixels.index}
    assert len(bixels) == pytest.approx(np.pi * 38**2 / 25, rel=0.1)


def test_order_edges_and_lattice() -> None:
    bixels = bixel_grid(BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS"), [[7.0, 0.0, 12.0]], bixel_mm=5.0, margin_mm=0.0)
    np.testing.assert_array_equal(bixels.index, [[1, 2]])  # 5 … 10 mm in X, 10 … 15 mm in Y
    np.testing.assert_allclose(bixels.centres_mm, [[7.5, 12.5]])
    several = Bixels(5.0, np.array([[0, 0], [2, 0], [1, 1]], dtype=np.int32))
    assert several.size == (3, 2)
    np.testing.assert_array_equal(several.to_lattice([1, 2, 3]), [[1, 0, 2], [0, 3, 0]])


def test_refusals() -> None:
    grid = Grid((3, 3, 3), (2.0, 2.0, 2.0))
    with pytest.raises(StructureError, match="empty"):
        bixel_grid(BEAM, Volume(np.zeros(grid.shape, np.float32), grid))
    with pytest.raises(GeometryError, match="width"):
        bixel_grid(BEAM, [[0.0, 0.0, 0.0]], bixel_mm=0.0)
    with pytest.raises(GeometryError, match="each once"):
        Bixels(5.0, np.array([[0, 0], [0, 0]], dtype=np.int32))
    with pytest.raises(GeometryError, match="each once"):
        Bixels(5.0, np.empty((0, 2), dtype=np.int32))
