"""Accumulated dose: exact without deformation, right with a known one, equal to the naive twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.evaluate.accumulation import FractionDose, accumulate, pull_back
from imrt_core.patient import DisplacementField, GeometryError, Grid, RigidTransform, Volume
from tests.naive_evaluate import pulled_back

GRID = Grid((12, 14, 16), (2.5, 2.5, 3.0), (-20.0, -17.0, 4.0))
NONE = RigidTransform.identity()


def random_dose(seed: int, grid: Grid = GRID) -> Volume:
    return Volume(np.random.default_rng(seed).uniform(0, 2.5, grid.shape).astype(np.float32), grid)


def zero_field() -> DisplacementField:
    return DisplacementField(np.zeros((4, 4, 4, 3), np.float32), Grid((4, 4, 4), (10.0, 10.0, 10.0), (-20, -17, 4)))


@pytest.mark.parametrize("transform", [NONE, zero_field()], ids=["rigid", "field"])
def test_zero_deformation_gives_the_exact_sum(transform):
    doses = [random_dose(n) for n in range(3)]
    fractions = [FractionDose(number=n + 1, dose_gy=d, moving_from_fixed=transform) for n, d in enumerate(doses)]
    result = accumulate(fractions, grid=GRID, planned_fractions=35, remaining_fraction_gy=doses[2])
    total = sum(d.array.astype(float) for d in doses)
    assert np.allclose(result.accumulated_gy.array, total, rtol=0, atol=1e-12)
    assert np.allclose(result.projected_gy.array, total + 32 * doses[2].array.astype(float), rtol=1e-12)
    assert (result.delivered, result.remaining, result.assumed) == (3, 32, 0)
    assert not result.substituted.array.any()
    assert result.eqd2_gy is None


def test_order_of_arrival_changes_nothing():
    fractions = [FractionDose(number=n, dose_gy=random_dose(n), moving_from_fixed=NONE) for n in (1, 2, 3, 4)]
    one = accumulate(fractions, grid=GRID, planned_fractions=4, remaining_fraction_gy=fractions[0].dose_gy)
    other = accumulate(fractions[::-1], grid=GRID, planned_fractions=4, remaining_fraction_gy=fractions[0].dose_gy)
    assert np.array_equal(one.accumulated_gy.array, other.accumulated_gy.array)
    assert np.array_equal(one.projected_gy.array, one.accumulated_gy.array)


def linear(grid: Grid) -> Volume:
    return Volume((20 + grid.voxel_centres_lps() @ np.array([0.2, -0.3, 0.1])).astype(np.float32), grid)


@settings(max_examples=8, deadline=None)
@given(st.tuples(*[st.floats(-4, 4)] * 3), st.tuples(*[st.floats(-5, 5)] * 3))
def test_rigid_motion_of_a_gradient_is_followed(translation, rotation):
    """The dose of the day is a gradient on a larger grid: each planning voxel receives it at its moved place."""
    motion = RigidTransform.from_parameters(
        translation_mm=translation, rotation_deg=rotation, centre_lps=GRID.centre_lps
    )
    day = Grid((40, 40, 40), (2.0, 2.0, 2.0), tuple(np.array(GRID.centre_lps) - 39.0))
    expected = 20 + motion.apply(GRID.voxel_centres_lps()) @ np.array([0.2, -0.3, 0.1])
    ours = pull_back(linear(day), motion, grid=GRID)
    assert np.allclose(ours.array, expected, atol=1e-4)
    field = DisplacementField.from_rigid(motion, GRID)
    inner = (slice(1, -1),) * 3
    assert np.allclose(pull_back(linear(day), field, grid=GRID).array[inner], expected[inner], atol=1e-4)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_agrees_with_naive_twin(seed):
    """Random dose, random field on its own grid, sub-samples partly beyond the dose (NaN)."""
    rng = np.random.default_rng(seed)
    plan = Grid((3, 4, 3), (2.5, 2.5, 2.5), (1.0, 0.0, 2.0))
    day = Grid((5, 5, 6), (2.4, 2.6, 2.2), (-1.0, -1.5, 0.5))
    field = DisplacementField(
        rng.uniform(-1.5, 1.5, (3, 3, 3, 3)).astype(np.float32), Grid((3, 3, 3), (4.0, 4.0, 4.0), (0.3, 0.2, 1.0))
    )
    dose = random_dose(seed, day)
    expected = pulled_back(dose, field.apply, plan, divide=2)
    ours = pull_back(dose, field, grid=plan).array
    assert np.array_equal(np.isnan(ours), np.isnan(expected))
    assert np.allclose(ours, expected, atol=1e-5, equal_nan=True)


def test_never_negative_and_energy_is_kept_by_a_whole_voxel_shift():
    dose = random_dose(5)
    spiky = dose.with_array(np.where(dose.array > 1.5, dose.array * 20, 0).astype(np.float32))
    motion = RigidTransform.from_parameters(translation_mm=(2.5, 0, 0))
    moved = pull_back(spiky, motion, grid=GRID.cropped((0, 0, 0), (15, 14, 12))).array
    assert np.allclose(moved, spiky.array[:, :, 1:], atol=1e-5)
    half = pull_back(spiky, RigidTransform.from_parameters(translation_mm=(1.1, 0.4, 0)), grid=GRID).array
    assert np.nanmin(half) >= 0


def test_uncovered_voxels_need_a_stand_in_and_are_marked():
    short = Volume(random_dose(1).array[:8], GRID.cropped((0, 0, 0), (16, 14, 8)))
    planned = Volume(np.full(GRID.shape, 2.0, np.float32), GRID)
    fractions = [FractionDose(number=4, dose_gy=short, moving_from_fixed=NONE, assumed=True)]
    with pytest.raises(GeometryError, match=r"33.3 % of the voxels.*fraction 4"):
        accumulate(fractions, grid=GRID, planned_fractions=5, remaining_fraction_gy=planned)
    result = accumulate(
        fractions, grid=GRID, planned_fractions=5, remaining_fraction_gy=planned, planned_fraction_gy=planned
    )
    assert np.all(result.accumulated_gy.array[8:] == 2.0)
    assert np.array_equal(result.substituted.array, np.arange(12)[:, None, None] >= 8 + np.zeros(GRID.shape))
    assert result.assumed == 1


def test_eqd2_of_unequal_fractions():
    """1 × 3 Gy and 1 × 2 Gy with α/β = 3 Gy: 3 · 6 / 5 + 2 = 5.6 Gy, physically 5 Gy."""
    fractions = [
        FractionDose(number=n, dose_gy=Volume(np.full(GRID.shape, d, np.float32), GRID), moving_from_fixed=NONE)
        for n, d in ((1, 3.0), (2, 2.0))
    ]
    result = accumulate(
        fractions, grid=GRID, planned_fractions=2, remaining_fraction_gy=fractions[0].dose_gy, alpha_beta_gy=3.0
    )
    assert result.eqd2_gy is not None
    assert np.allclose(result.eqd2_gy.array, 5.6)
    assert np.allclose(result.accumulated_gy.array, 5.0)


def test_refusals():
    dose = random_dose(0)
    one = FractionDose(number=1, dose_gy=dose, moving_from_fixed=NONE)
    with pytest.raises(GeometryError, match="delivered once"):
        accumulate([one, one], grid=GRID, planned_fractions=5, remaining_fraction_gy=dose)
    with pytest.raises(GeometryError, match="more fractions than planned"):
        accumulate([one], grid=GRID, planned_fractions=0, remaining_fraction_gy=dose)
    with pytest.raises(GeometryError, match="α/β"):
        accumulate([one], grid=GRID, planned_fractions=5, remaining_fraction_gy=dose, alpha_beta_gy=-1)
    elsewhere = dose.with_grid(Grid(GRID.shape, GRID.spacing_mm, (300.0, 0.0, 0.0)))
    with pytest.raises(GeometryError, match="remaining fraction"):
        accumulate([one], grid=GRID, planned_fractions=5, remaining_fraction_gy=elsewhere)
