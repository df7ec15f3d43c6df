"""Margins against analytic solids, a naive twin and their own algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.geometry import expand
from imrt_core.patient import GeometryError, Grid, RigidTransform, StructureError, Volume
from tests import naive_dose


def solid(grid: Grid, semi_axes_mm: tuple[float, float, float], oversample: int = 5) -> Volume:
    """Partial-volume ellipsoid at the origin, by counting sub-voxels."""
    nz, ny, nx = grid.shape
    step = (np.arange(oversample) + 0.5) / oversample - 0.5
    fraction = np.zeros(grid.shape, dtype=np.float32)
    k, j, i = np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")
    for dz in step:
        for dy in step:
            for dx in step:
                points = grid.to_lps(np.stack([i + dx, j + dy, k + dz], axis=-1))
                fraction += np.sum((points / np.array(semi_axes_mm)) ** 2, axis=-1) <= 1
    return Volume(fraction / oversample**3, grid)


GRID = Grid((33, 41, 41), (2.0, 2.0, 2.5), (-40.0, -40.0, -40.0))


@pytest.mark.parametrize("margin_mm", [3.0, 5.0, 8.0])
def test_sphere_grows_into_a_sphere(margin_mm: float) -> None:
    grown = expand(solid(GRID, (15.0, 15.0, 15.0)), margin_mm)
    radius = (3 * grown.array.sum() * GRID.voxel_volume_cc * 1000 / (4 * np.pi)) ** (1 / 3)
    assert radius == pytest.approx(15 + margin_mm, abs=0.25)
    distance = np.linalg.norm(GRID.voxel_centres_lps(), axis=-1)
    assert np.all(grown.array[distance < 15 + margin_mm - 1.0] > 0.5)
    assert np.all(grown.array[distance > 15 + margin_mm + 1.0] < 0.5)


def test_each_side_gets_its_own_margin() -> None:
    """A small ball grows into half-ellipsoids; extents along the six axes are the six margins."""
    sides = (4.0, 8.0, 6.0, 10.0, 12.0, 5.0)
    grown = expand(solid(GRID, (9.0, 9.0, 9.0)), sides).array
    z, y, x = 16, 20, 20
    left, right = grown[z, y, x:].sum() * 2 - 1, grown[z, y, : x + 1].sum() * 2 - 1
    anterior, posterior = grown[z, : y + 1, x].sum() * 2 - 1, grown[z, y:, x].sum() * 2 - 1
    superior, inferior = grown[z:, y, x].sum() * 2.5 - 1.25, grown[: z + 1, y, x].sum() * 2.5 - 1.25
    found = np.array([left, right, anterior, posterior, superior, inferior]) - 9
    np.testing.assert_allclose(found, sides, atol=0.4)


def test_box_corners_are_round() -> None:
    """Steiner's formula: a box a×b×c with margin m has abc + 2m(ab+bc+ca) + πm²(a+b+c) + 4πm³/3."""
    grid = Grid((50, 50, 50), (1.0, 1.0, 1.0))
    box = np.zeros(grid.shape, dtype=np.float32)
    box[15:35, 18:32, 20:30] = 1
    a, b, c, m = 10, 14, 20, 6
    expected = a * b * c + 2 * m * (a * b + b * c + c * a) + np.pi * m**2 * (a + b + c) + 4 * np.pi * m**3 / 3
    assert expand(Volume(box, grid), 6.0).array.sum() == pytest.approx(expected, rel=0.025)  # 0.13 mm of its surface


def test_partial_volume_places_the_surface() -> None:
    grid = Grid((3, 3, 30), (2.0, 2.0, 2.0))
    slab = np.zeros(grid.shape, dtype=np.float32)
    slab[..., :10] = 1
    slab[..., 10] = 0.3
    grown = expand(Volume(slab, grid), 5.0).array[1, 1]
    assert grown.sum() * 2 == pytest.approx(10 * 2 + 0.3 * 2 + 5, abs=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(*[st.floats(0, 6)] * 6),
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.floats(-40, 40)] * 3),
)
def test_against_the_naive_twin(sides: tuple[float, ...], seed: int, rotation: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(seed)
    fraction = np.zeros((6, 7, 8), dtype=np.float32)
    fraction[2:4, 2:5, 3:6] = rng.random((2, 3, 3)) ** 0.3
    fraction[2, 3, 4] = 1
    grid = Grid(fraction.shape, (1.5, 2.0, 2.5)).transformed(RigidTransform.from_parameters(rotation_deg=rotation))
    mask = Volume(fraction, grid)
    np.testing.assert_allclose(expand(mask, sides).array, naive_dose.expand(mask, sides), atol=2e-3)  # type: ignore[arg-type]


def test_only_grows_and_zero_margin_is_identity() -> None:
    mask = solid(GRID, (12.0, 9.0, 15.0))
    np.testing.assert_array_equal(expand(mask, 0.0).array, mask.array)
    assert np.all(expand(mask, 4.0).array >= mask.array)


def test_a_sliver_that_no_surface_touches_does_not_grow() -> None:
    fraction = np.zeros((11, 11, 21), dtype=np.float32)
    fraction[5, 5, 4] = 1
    fraction[5, 5, 15] = 0.4
    grown = expand(Volume(fraction, Grid(fraction.shape, (2.0, 2.0, 2.0))), 6.0).array
    assert grown[5, 5, 7] > 0.4 and grown[5, 5, 12:15].max() == 0


def test_grid_border_cuts_off() -> None:
    grid = Grid((5, 5, 5), (2.0, 2.0, 2.0))
    assert np.all(expand(Volume(np.ones(grid.shape, np.float32), grid), 7.0).array == 1)


def test_refusals() -> None:
    mask = solid(Grid((5, 5, 5), (2.0, 2.0, 2.0), (-4.0, -4.0, -4.0)), (3.0, 3.0, 3.0))
    with pytest.raises(GeometryError, match="negative"):
        expand(mask, -1.0)
    with pytest.raises(GeometryError, match="negative"):
        expand(mask, (1.0, 2.0, 3.0))
    with pytest.raises(StructureError, match="empty"):
        expand(mask.with_array(np.zeros(mask.grid.shape, np.float32)), 3.0)
    with pytest.raises(StructureError, match="fractions"):
        expand(mask.with_array(np.full(mask.grid.shape, np.nan, np.float32)), 3.0)
