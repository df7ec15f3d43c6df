"""Leaf sequences: limits obeyed, and the fluence that they deliver is the one that was wanted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.machine import DeliveryLimits
from imrt_core.optimize.fluence_map import FluenceMap, delivered_fluence
from imrt_core.optimize.sequencing import LeafSequence, Technique, sequence
from imrt_core.patient import MultileafCollimator, PlanError
from tests.naive_optimize import fluence_by_time_steps

MLC = MultileafCollimator(tuple(np.arange(-100.0, 101.0, 5.0)))
#: 10 mm leaves outside, 5 mm inside, as most clinical collimators have.
MIXED_MLC = MultileafCollimator(
    (*np.arange(-100.0, -40.0, 10.0), *np.arange(-40.0, 40.0, 5.0), *np.arange(40.0, 101.0, 10.0))
)
LIMITS = DeliveryLimits(leaf_gap_mm=0.6)
TRANSMISSION = 0.015
TRAVEL_MM_PER_MU = 25.0 * 60.0 / 600.0


def clinical_map(seed: int = 0, *, rows: int = 16, columns: int = 20, size_mm: float = 5.0) -> FluenceMap:
    """A smooth, modulated map of 0 … 30 MU with a ragged edge and a valley, as an optimiser produces."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    modes = sum(
        rng.normal() * np.cos(np.pi * (kx * (x + 0.5) / columns + rng.uniform()) + ky * np.pi * (y + 0.5) / rows)
        for kx in range(1, 5)
        for ky in range(3)
    )
    mu = 15.0 + 6.0 * modes / np.abs(modes).max() * 2
    inside = ((x + 0.5) / columns - 0.5) ** 2 + ((y + 0.5) / rows - 0.5) ** 2 < 0.24
    mu = np.where(inside, np.clip(mu, 0.0, 30.0), 0.0)
    mu[rows // 2, columns // 3 : columns // 2] = 0.0
    x_edges = (np.arange(columns + 1) - columns / 2) * size_mm
    y_edges = (np.arange(rows + 1) - rows / 2) * size_mm
    return FluenceMap(mu, x_edges, y_edges)


def assert_deliverable(result: LeafSequence, limits: DeliveryLimits) -> None:
    leaves, mu = result.leaves_mm, result.cumulative_mu
    assert np.all(leaves[:, 1] - leaves[:, 0] >= limits.leaf_gap_mm - 1e-9)
    assert mu[0] == 0.0
    assert np.all(np.diff(mu) >= 0)
    assert mu[-1] == pytest.approx(result.mu)
    if result.technique is Technique.SLIDING_WINDOW:
        travel = np.abs(np.diff(leaves, axis=0)).max(axis=(1, 2))
        assert np.all(travel <= TRAVEL_MM_PER_MU * np.diff(mu) + 1e-6)
        assert np.all(np.diff(leaves, axis=0) >= -1e-9), "the sweep goes one way"
    else:
        on = np.diff(mu) > 0
        assert np.all(np.diff(leaves, axis=0)[on] == 0), "leaves stand while the beam is on"
        assert np.all(np.diff(mu)[on] >= limits.minimum_segment_mu - 1e-9)
    if not limits.interdigitation:
        assert np.all(leaves[:, 0, :-1] <= leaves[:, 1, 1:] + 1e-9)
        assert np.all(leaves[:, 0, 1:] <= leaves[:, 1, :-1] + 1e-9)


@pytest.mark.parametrize("interdigitation", [True, False])
@pytest.mark.parametrize("mlc", [MLC, MIXED_MLC], ids=["5 mm", "5 and 10 mm"])
def test_sliding_window_delivers_the_map(mlc: MultileafCollimator, interdigitation: bool) -> None:
    wanted = clinical_map()
    limits = replace(LIMITS, interdigitation=interdigitation)
    result = sequence(wanted, mlc, limits, transmission=TRANSMISSION)
    assert_deliverable(result, limits)
    # closed bixels inside the jaws keep the transmission: no sequence can do less
    floor = TRANSMISSION * result.mu
    opened = wanted.mu > 2.0 * floor
    difference = np.abs(result.delivered.mu - wanted.mu)
    assert difference[opened].mean() < 0.005 * wanted.mu.max()
    assert difference[opened].max() < 0.02 * wanted.mu.max()
    assert difference[~opened].max() < 2.5 * floor


@pytest.mark.parametrize("interdigitation", [True, False])
def test_step_and_shoot_delivers_the_levels(interdigitation: bool) -> None:
    wanted = clinical_map()
    limits = replace(LIMITS, interdigitation=interdigitation)
    result = sequence(
        wanted, MLC, limits, technique="step-and-shoot", transmission=TRANSMISSION, minimum_segment_area_mm2=25.0
    )
    assert_deliverable(result, limits)
    assert result.segments <= 40
    # rounding to a tenth of the peak alone gives an error of 0.1/sqrt(12)
    assert result.error_mu < 1.3 * 0.1 / np.sqrt(12.0) * wanted.mu.max() + TRANSMISSION * result.mu
    finer = sequence(
        wanted,
        MLC,
        replace(limits, minimum_segment_mu=0.5),
        technique="step-and-shoot",
        levels=40,
        transmission=TRANSMISSION,
        minimum_segment_area_mm2=25.0,
    )
    assert finer.error_mu < 0.6 * result.error_mu
    assert finer.segments > result.segments


def test_monitor_units_are_those_of_the_theory() -> None:
    """A unidirectional sweep needs the sum of the rises of the worst row plus the travel (Svensson 1994)."""
    mu = np.array([[0.0, 10.0, 4.0, 12.0, 3.0], [5.0, 5.0, 5.0, 5.0, 5.0]])
    wanted = FluenceMap(mu, np.arange(-12.5, 13.0, 5.0), np.array([-5.0, 0.0, 5.0]))
    limits = DeliveryLimits(leaf_gap_mm=0.0)
    result = sequence(wanted, MLC, limits, control_points=400)
    travel = (25.0 + 2 * 2.0) / TRAVEL_MM_PER_MU
    assert result.mu == pytest.approx(10.0 + 8.0 + travel, rel=0.02)
    assert result.jaw_x_mm == (-12.5, 12.5)
    assert result.jaw_y_mm == (-5.0, 5.0)
    assert result.seconds == pytest.approx(result.mu / 600.0 * 60.0)
    static = sequence(
        wanted,
        MLC,
        replace(limits, minimum_segment_mu=1.0),
        technique="step-and-shoot",
        levels=12,
        minimum_segment_area_mm2=0.0,
    )
    assert static.mu == pytest.approx(18.0)
    np.testing.assert_allclose(static.delivered.mu, mu, atol=1e-9)


def test_a_lower_dose_rate_needs_fewer_mu() -> None:
    fast, slow = (sequence(clinical_map(), MLC, LIMITS, dose_rate_mu_per_min=rate) for rate in (600.0, 300.0))
    assert slow.mu < fast.mu - 15.0
    assert slow.seconds > fast.seconds


def test_integration_of_apertures_agrees_with_small_time_steps() -> None:
    result = sequence(clinical_map(2, rows=4, columns=8), MLC, LIMITS, control_points=12, transmission=TRANSMISSION)
    first = int(np.searchsorted(MLC.boundaries_mm, -10.0))
    x = np.arange(-20.0, 20.0, 0.5) + 0.25
    open_mu = fluence_by_time_steps(result.leaves_mm[:, :, first : first + 4], result.cumulative_mu, x, steps_per_mu=40)
    inside = (x > result.jaw_x_mm[0]) & (x < result.jaw_x_mm[1])
    expected = np.where(inside, (1 - 0.015) * open_mu + 0.015 * result.mu, 0.0).reshape(4, 8, 10).mean(axis=2)
    np.testing.assert_allclose(result.delivered.mu, expected, atol=0.02 * result.mu)
    assert np.abs(result.delivered.mu - expected).mean() < 0.002 * result.mu


def test_integration_is_exact_for_an_evenly_moving_slit() -> None:
    leaves = np.zeros((2, 2, MLC.pairs))
    leaves[0, 0], leaves[0, 1] = -60.0, -50.0
    leaves[1, 0], leaves[1, 1] = 50.0, 60.0
    edges = np.arange(-40.0, 41.0, 5.0)
    fluence = delivered_fluence(leaves, np.array([0.0, 110.0]), MLC, x_edges_mm=edges, y_edges_mm=edges)
    np.testing.assert_allclose(fluence.mu, 10.0, rtol=1e-12)


def test_half_bixel_of_a_jaw_counts_half() -> None:
    leaves = np.zeros((2, 2, MLC.pairs))
    leaves[:, 0], leaves[:, 1] = -30.0, 30.0
    edges = np.arange(-10.0, 11.0, 5.0)
    fluence = delivered_fluence(
        leaves,
        np.array([0.0, 8.0]),
        MLC,
        x_edges_mm=edges,
        y_edges_mm=edges,
        jaw_x_mm=(-7.5, 10.0),
        jaw_y_mm=(-10.0, 7.5),
    )
    np.testing.assert_allclose(fluence.mu[0], [4.0, 8.0, 8.0, 8.0], rtol=1e-12)
    np.testing.assert_allclose(fluence.mu[:, 1], [8.0, 8.0, 8.0, 4.0], rtol=1e-12)


def test_leaves_along_y_deliver_the_same_as_leaves_along_x() -> None:
    wanted = clinical_map(1)
    along_x = sequence(wanted, MLC, LIMITS)
    along_y = sequence(wanted.transposed(), MultileafCollimator(MLC.boundaries_mm, axis="Y"), LIMITS)
    np.testing.assert_array_equal(along_x.leaves_mm, along_y.leaves_mm)
    np.testing.assert_array_equal(along_x.delivered.mu, along_y.delivered.mu.T)
    assert along_x.jaw_x_mm == along_y.jaw_y_mm


def test_pairs_outside_the_jaws_are_closed() -> None:
    result = sequence(clinical_map(), MLC, LIMITS)
    boundaries = np.asarray(MLC.boundaries_mm)
    outside = (boundaries[1:] <= result.jaw_y_mm[0]) | (boundaries[:-1] >= result.jaw_y_mm[1])
    assert outside.sum() == MLC.pairs - 16
    gaps = result.leaves_mm[:, 1] - result.leaves_mm[:, 0]
    np.testing.assert_allclose(gaps[:, outside], LIMITS.leaf_gap_mm, atol=1e-9)


def test_control_points_carry_the_sequence() -> None:
    result = sequence(clinical_map(), MLC, LIMITS, control_points=30)
    points = result.control_points(gantry_deg=40.0, isocentre_lps=(1.0, 2.0, 3.0))
    assert len(points) == 30
    assert points[0].cumulative_weight == 0.0
    assert points[-1].cumulative_weight == 1.0
    assert all(p.gantry_deg == 40.0 and p.isocentre_lps == (1.0, 2.0, 3.0) for p in points)
    np.testing.assert_array_equal(points[7].leaves_mm, result.leaves_mm[7])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 8),
    columns=st.integers(1, 10),
    interdigitation=st.booleans(),
    technique=st.sampled_from(list(Technique)),
)
def test_any_map_is_deliverable(
    seed: int, rows: int, columns: int, interdigitation: bool, technique: Technique
) -> None:
    rng = np.random.default_rng(seed)
    mu = rng.uniform(0.0, 20.0, (rows, columns)) * (rng.uniform(size=(rows, columns)) < 0.7)
    mu[0, 0] = 20.0
    wanted = FluenceMap(mu, np.arange(columns + 1) * 5.0 - 25.0, np.arange(rows + 1) * 5.0 - 20.0)
    limits = replace(LIMITS, interdigitation=interdigitation)
    result = sequence(wanted, MLC, limits, technique=technique, levels=20, minimum_segment_area_mm2=20.0)
    assert_deliverable(result, limits)
    tolerance = 0.06 if technique is Technique.SLIDING_WINDOW else 0.1
    assert result.error_mu < tolerance * 20.0


@pytest.mark.parametrize("technique", list(Technique))
@pytest.mark.parametrize("interdigitation", [True, False])
def test_a_field_wider_than_the_span_keeps_the_leaves_together(technique: Technique, interdigitation: bool) -> None:
    """Two targets far apart: left to themselves, short rows would run ahead of long ones."""
    mu = np.zeros((8, 36))
    mu[:4, :14], mu[4:, 22:], mu[3:5, 10:26] = 12.0, 5.0, 8.0
    mu[0, 2:12:2] = 4.0
    wanted = FluenceMap(mu, np.arange(37) * 5.0 - 90.0, np.arange(9) * 5.0 - 20.0)
    free = replace(LIMITS, interdigitation=interdigitation, leaf_span_mm=400.0)
    if interdigitation:
        assert np.ptp(sequence(wanted, MLC, free, technique=technique).leaves_mm, axis=2).max() > 110.0
    limits = replace(free, leaf_span_mm=100.0)
    result = sequence(wanted, MLC, limits, technique=technique, minimum_segment_area_mm2=20.0)
    assert_deliverable(result, limits)
    assert np.ptp(result.leaves_mm, axis=2).max() <= 100.0
    assert result.error_mu < 0.05 * 12.0


def test_a_field_beyond_the_machine_is_refused() -> None:
    with pytest.raises(PlanError, match="leaf span"):
        sequence(clinical_map(columns=40), MLC, replace(LIMITS, leaf_span_mm=60.0))
    with pytest.raises(PlanError, match="longer than the collimator"):
        sequence(clinical_map(rows=60), MLC, LIMITS)
    with pytest.raises(PlanError, match="no fluence"):
        sequence(FluenceMap(np.zeros((2, 2)), np.arange(3.0), np.arange(3.0)), MLC, LIMITS)
    with pytest.raises(PlanError, match="jaws X"):
        sequence(clinical_map(), MLC, replace(LIMITS, jaw_x_mm=(-20.0, 200.0)))
    with pytest.raises(PlanError, match="leaves would leave"):
        sequence(clinical_map(), MLC, replace(LIMITS, leaf_range_mm=(-20.0, 200.0)))
    with pytest.raises(PlanError, match="more MU"):
        sequence(clinical_map(), MLC, replace(LIMITS, maximum_beam_mu=10.0))
    with pytest.raises(PlanError, match="dose rate"):
        sequence(clinical_map(), MLC, LIMITS, dose_rate_mu_per_min=900.0)


def test_fluence_maps_are_checked() -> None:
    edges = np.array([0.0, 5.0, 10.0])
    with pytest.raises(PlanError, match="not negative"):
        FluenceMap(np.array([[1.0, -1.0]]), edges, edges[:2])
    with pytest.raises(PlanError, match="fit its edges"):
        FluenceMap(np.ones((2, 3)), edges, edges)
    with pytest.raises(PlanError, match="lattice"):
        FluenceMap.from_bixels([0.0, 7.0], [0.0, 0.0], [1.0, 1.0], size_mm=(5.0, 5.0))
    placed = FluenceMap.from_bixels([-2.5, 2.5, 2.5], [0.0, 0.0, 5.0], [1.0, 2.0, 3.0], size_mm=(5.0, 5.0))
    np.testing.assert_array_equal(placed.mu, [[1.0, 2.0], [0.0, 3.0]])
    np.testing.assert_array_equal(placed.x_edges_mm, [-5.0, 0.0, 5.0])
    halves = placed.averaged_onto(np.array([-5.0, 5.0]), np.array([-2.5, 7.5]))
    np.testing.assert_allclose(halves.mu, [[1.5]])
