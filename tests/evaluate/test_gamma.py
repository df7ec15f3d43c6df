"""Gamma against the naive twin and against cases that can be written down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.evaluate import gamma
from imrt_core.patient import GeometryError, Grid, Volume
from tests import naive_evaluate as naive

GRID = Grid((20, 30, 30), (2.0, 2.0, 2.5), (-30.0, -20.0, 5.0))


def field(grid: Grid, *, shift=(0.0, 0.0, 0.0), scale=1.0) -> Volume:
    """A smooth beam of 60 Gy with penumbrae along x and y and a slope along z."""
    x, y, z = np.moveaxis(grid.voxel_centres_lps() - np.asarray(shift), -1, 0)
    lateral = 1 / (1 + np.exp((np.abs(x) - 15) / 2)) / (1 + np.exp((np.abs(y - 9) - 12) / 2))
    return Volume((scale * 60 * lateral * np.exp(-z / 150)).astype(np.float32), grid)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_agrees_with_naive_twin(seed, local):
    """Random doses on different, rotated grids: the lattice search is exact."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-0.2, 0.2)
    turn = ((np.cos(angle), -np.sin(angle), 0.0), (np.sin(angle), np.cos(angle), 0.0), (0.0, 0.0, 1.0))
    ref_grid = Grid((2, 3, 3), (2.0, 2.0, 2.5), tuple(rng.uniform(2, 4, 3)))
    eval_grid = Grid((5, 6, 6), (1.8, 2.2, 2.0), tuple(rng.uniform(-1, 1, 3)), turn)
    reference = Volume(rng.uniform(20, 40, ref_grid.shape).astype(np.float32), ref_grid)
    evaluated = Volume(rng.uniform(20, 40, eval_grid.shape).astype(np.float32), eval_grid)
    ours = gamma(reference, evaluated, dose_percent=5, distance_mm=2, cutoff_percent=0, local=local)
    dose_gy = 0.05 * (reference.array.astype(float) if local else float(reference.array.max()))
    expected = naive.gamma(reference, evaluated, dose_gy=dose_gy, distance_mm=2.0, max_gamma=2.0)
    assert np.allclose(ours.gamma.array, expected, atol=2e-4)
    assert ours.points == reference.array.size
    assert ours.mean == pytest.approx(expected.mean(), abs=2e-4)
    assert ours.pass_percent == pytest.approx(100 * np.mean(expected <= 1 + 1e-6))


def test_equal_doses():
    dose = field(GRID)
    result = gamma(dose, dose)
    assert (result.pass_percent, result.mean) == (100.0, 0.0)
    assert result.points == np.count_nonzero(dose.array >= np.float32(0.1) * dose.array.max())
    assert np.array_equal(np.isnan(result.gamma.array), dose.array < np.float32(0.1) * dose.array.max())


def uniform(level: float) -> Volume:
    return Volume(np.full(GRID.shape, level, np.float32), GRID)


@pytest.mark.parametrize(("percent", "passes"), [(1.5, True), (2.99, True), (3.01, False), (4.5, False)])
def test_a_pure_dose_difference(percent, passes):
    """Uniform 50 Gy, raised: gamma is the difference in units of the criterion."""
    result = gamma(uniform(50), uniform(50 * (1 + percent / 100)), dose_percent=3, distance_mm=2)
    assert result.mean == pytest.approx(percent / 3, abs=1e-4)
    assert result.pass_percent == (100 if passes else 0)


@pytest.mark.parametrize("shift", [0.7, 1.5, 2.6])
def test_a_pure_shift_of_a_steep_gradient(shift):
    """A slope of 10 Gy/mm shifted: gamma of Low 1998 for a plane, |Δ| / sqrt(dta² + (dd / slope)²)."""
    x = GRID.voxel_centres_lps()[..., 0]
    reference = Volume((400 + 10 * x).astype(np.float32), GRID)
    evaluated = Volume((400 + 10 * (x - shift)).astype(np.float32), GRID)
    criterion_gy = 0.03 * float(reference.array.max())
    result = gamma(reference, evaluated, dose_percent=3, distance_mm=2, cutoff_percent=0)
    expected = shift / np.hypot(2.0, criterion_gy / 10)
    inner = result.gamma.array[5:15, 5:25, 5:25]
    assert np.allclose(inner, expected, atol=0.01)


def test_shift_of_a_beam_passes_at_its_distance():
    """1.8 mm passes 3 %/2 mm everywhere; 3 mm fails in the penumbra and nowhere in the middle."""
    reference = field(GRID)
    assert gamma(reference, field(GRID, shift=(1.8, 0, 0)), cutoff_percent=10).pass_percent > 99.5
    off = gamma(reference, field(GRID, shift=(3.0, 0, 0)), cutoff_percent=10)
    assert 50 < off.pass_percent < 95
    assert np.nanmax(off.gamma.array[:, 12:18, 13:18]) <= 1


def test_local_is_stricter_where_the_dose_is_low():
    """15 Gy raised by 1 Gy, beside a region of 60 Gy: 0.56 of the global criterion, 2.2 of the local one."""
    halves = np.where(np.arange(GRID.shape[0]) < 10, 15.0, 60.0)[:, None, None] + np.zeros(GRID.shape)
    reference = Volume(halves.astype(np.float32), GRID)
    evaluated = Volume((halves + 1).astype(np.float32), GRID)
    result = gamma(reference, evaluated, max_gamma=4.0)
    assert (result.pass_percent, result.mean) == pytest.approx((100, 1 / 1.8), abs=1e-4)
    local = gamma(reference, evaluated, max_gamma=4.0, local=True)
    assert local.pass_percent == pytest.approx(50)
    assert np.allclose(local.gamma.array[:8], 1 / 0.45, atol=1e-3)


def test_cutoff_is_on_the_reference():
    reference = uniform(50)
    low = np.array(reference.array)
    low[:10] = 4.9
    result = gamma(reference.with_array(low), reference, cutoff_percent=10)
    assert result.points == low[10:].size
    assert np.all(np.isnan(result.gamma.array[:10]))


def test_points_without_evaluated_dose_fail_at_the_cap():
    reference = uniform(50)
    evaluated = Volume(reference.array[:10], GRID.cropped((0, 0, 0), (30, 30, 10)))
    result = gamma(reference, evaluated, max_gamma=1.5)
    # 2 mm beyond the last centre a search of 3 mm still finds dose: at 2.5 mm, so gamma 1.25.
    assert np.allclose(result.gamma.array[10], 1.3, atol=0.06)
    assert np.all(result.gamma.array[11:] == 1.5)
    assert result.pass_percent == pytest.approx(50)


def test_a_single_slice():
    plane = Grid((1, 30, 30), (2.0, 2.0, 2.5), (-30.0, -20.0, 5.0))
    reference, evaluated = field(plane), field(plane, shift=(1.0, 0, 0))
    result = gamma(reference, evaluated)
    assert 0 < result.mean < 0.6
    assert result.pass_percent == 100


def test_refusals():
    dose = uniform(10)
    with pytest.raises(GeometryError, match="criterion must be positive"):
        gamma(dose, dose, distance_mm=0)
    with pytest.raises(GeometryError, match="no dose"):
        gamma(uniform(0), dose)
    bad = np.array(dose.array)
    bad[0, 0, 0] = np.nan
    with pytest.raises(GeometryError, match="evaluated dose"):
        gamma(dose, dose.with_array(bad))
