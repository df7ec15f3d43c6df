"""Objectives against closed forms and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.optimize.objectives import (
    GEUD,
    MaxDvh,
    MeanDose,
    MinDvh,
    Objective,
    SquaredDeviation,
    SquaredOverdose,
    SquaredUnderdose,
)
from imrt_core.patient import ProtocolError
from tests.naive_optimize import finite_difference_gradient

ALL: tuple[Objective, ...] = (
    SquaredOverdose(structure="s", dose_gy=40.0, weight=3.0),
    SquaredUnderdose(structure="s", dose_gy=60.0, weight=2.0),
    SquaredDeviation(structure="s", dose_gy=50.0, weight=1.5),
    MeanDose(structure="s", dose_gy=26.0, weight=4.0),
    GEUD(structure="s", dose_gy=30.0, exponent=8.0, weight=1.0),
    GEUD(structure="s", dose_gy=65.0, exponent=-10.0, weight=1.0),
    MaxDvh(structure="s", dose_gy=30.0, volume_percent=33.0, weight=2.0),
    MinDvh(structure="s", dose_gy=50.0, volume_percent=95.0, weight=2.0),
)


@pytest.mark.parametrize("objective", ALL, ids=lambda o: type(o).__name__)
def test_gradient_is_that_of_finite_differences(objective: Objective) -> None:
    rng = np.random.default_rng(3)
    dose = rng.uniform(5.0, 75.0, 40)
    volume = rng.uniform(0.2, 1.0, 40)
    volume /= volume.sum()
    value, gradient = objective.value_and_gradient(dose, volume)
    assert value > 0
    numeric = finite_difference_gradient(lambda d: objective.value_and_gradient(d, volume)[0], dose)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-6 * np.abs(numeric).max())


def test_closed_forms() -> None:
    dose = np.array([10.0, 20.0, 60.0, 70.0])
    volume = np.array([0.4, 0.3, 0.2, 0.1])
    cases = (
        (SquaredOverdose(structure="s", dose_gy=50.0, weight=2.0), 2.0 * (0.2 * 100 + 0.1 * 400)),
        (SquaredUnderdose(structure="s", dose_gy=15.0), 0.4 * 25),
        (SquaredDeviation(structure="s", dose_gy=20.0), 0.4 * 100 + 0.2 * 1600 + 0.1 * 2500),
        (MeanDose(structure="s", dose_gy=20.0, weight=2.0), 2.0 * (29.0 - 20.0) ** 2),
        (MeanDose(structure="s", dose_gy=30.0), 0.0),
        (GEUD(structure="s", dose_gy=20.0, exponent=1.0), 81.0),
        # the hottest 20 % are exempt: the voxel at 70 Gy and half of the one at 60 Gy
        (MaxDvh(structure="s", dose_gy=50.0, volume_percent=20.0), 0.1 * 100),
        # 80 % must reach 30 Gy: the coldest 20 % are exempt, half of the voxel at 10 Gy
        (MinDvh(structure="s", dose_gy=30.0, volume_percent=80.0), 0.2 * 400 + 0.3 * 100),
    )
    for objective, expected in cases:
        assert objective.value_and_gradient(dose, volume)[0] == pytest.approx(expected, rel=1e-12), objective


def test_geud_approaches_the_maximum_and_the_minimum() -> None:
    dose = np.linspace(1.0, 60.0, 100)
    volume = np.full(100, 0.01)
    hot = GEUD(structure="s", dose_gy=0.0, exponent=400.0).value_and_gradient(dose, volume)[0]
    cold = GEUD(structure="s", dose_gy=100.0, exponent=-400.0).value_and_gradient(dose, volume)[0]
    assert np.sqrt(hot) == pytest.approx(60.0, rel=0.02)
    assert 100.0 - np.sqrt(cold) == pytest.approx(1.0, rel=0.02)


def test_geud_of_a_target_with_a_voxel_without_dose_stays_finite() -> None:
    value, gradient = GEUD(structure="s", dose_gy=60.0, exponent=-20.0).value_and_gradient(
        np.array([0.0, 60.0, 61.0]), np.full(3, 1 / 3)
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))


@settings(max_examples=50, deadline=None)
@given(
    dose=st.lists(st.floats(0.0, 80.0), min_size=3, max_size=20),
    level=st.floats(1.0, 70.0),
    percent=st.floats(0.0, 100.0),
)
def test_dvh_objectives_vanish_exactly_when_the_point_holds(dose: list[float], level: float, percent: float) -> None:
    doses = np.array(dose)
    volume = np.full(doses.size, 1.0 / doses.size)
    above = 100.0 * float(volume[doses > level].sum())
    value, _ = MaxDvh(structure="s", dose_gy=level, volume_percent=percent).value_and_gradient(doses, volume)
    excess = doses - level
    if above <= percent - 1e-6:
        assert value == pytest.approx(0.0, abs=1e-9)
    if above > percent + 1e-6 and excess[excess > 0].min() > 1e-3:
        assert value > 0
    value, _ = MinDvh(structure="s", dose_gy=level, volume_percent=percent).value_and_gradient(doses, volume)
    reached = 100.0 * float(volume[doses >= level].sum())
    if reached >= percent + 1e-6:
        assert value == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    "build",
    [
        lambda: SquaredOverdose(structure="s", dose_gy=-1.0),
        lambda: SquaredUnderdose(structure="s", dose_gy=float("nan")),
        lambda: SquaredDeviation(structure="s", dose_gy=50.0, weight=0.0),
        lambda: MeanDose(structure="s", weight=float("inf")),
        lambda: GEUD(structure="s", dose_gy=20.0, exponent=0.5),
        lambda: MaxDvh(structure="s", dose_gy=20.0, volume_percent=120.0),
    ],
)
def test_parameters_out_of_range_are_refused(build: object) -> None:
    with pytest.raises(ProtocolError):
        build()  # type: ignore[operator]
