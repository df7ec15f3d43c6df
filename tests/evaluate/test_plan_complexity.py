"""MU, modulation and time of plans whose figures can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.evaluate.plan_complexity import plan_complexity
from imrt_core.machine import DeliveryLimits
from imrt_core.patient import Beam, ControlPoint, MultileafCollimator, Plan, PlanError

MLC = MultileafCollimator((-20.0, -10.0, 0.0, 10.0, 20.0))
LIMITS = DeliveryLimits(leaf_speed_mm_per_s=25.0, gantry_speed_deg_per_s=6.0, dose_rate_mu_per_min=600.0)


def beam(apertures, mu, *, number=1, gantry=0.0, mlc=MLC, jaw_x=(-50.0, 50.0), jaw_y=(-20.0, 20.0), rate=None) -> Beam:
    """Static segments: (left tips, right tips) each, with their MU."""
    ends = np.cumsum(mu) / np.sum(mu)
    points = []
    for leaves, first, last in zip(apertures, [0.0, *ends[:-1]], ends, strict=True):
        points += [
            ControlPoint(
                weight,
                gantry,
                (0.0, 0.0, 0.0),
                jaw_x_mm=jaw_x,
                jaw_y_mm=jaw_y,
                leaves_mm=None if leaves is None else np.array(leaves, dtype=float),
                dose_rate_mu_per_min=rate,
            )
            for weight in (first, last)
        ]
    return Beam(number, f"B{number}", float(np.sum(mu)), tuple(points), 6.0, "test", mlc)


def plan(*beams: Beam, **options) -> Plan:
    return Plan(beams, **options)


@given(
    left=st.floats(-50, 0),
    width=st.floats(5, 50),
    mu=st.floats(1, 500),
    pairs=st.integers(1, 4),
)
def test_one_rectangle_is_not_modulated(left: float, width: float, mu: float, pairs: int) -> None:
    closed = 4 - pairs
    tips = [[left] * pairs + [0.0] * closed, [left + width] * pairs + [0.0] * closed]
    result = plan_complexity(plan(beam([tips], [mu], jaw_y=(-20.0, -20.0 + 10.0 * pairs))), LIMITS)
    assert result.modulation_complexity_score == pytest.approx(1.0)
    assert result.mean_leaf_gap_mm == pytest.approx(width)
    assert result.mean_area_cm2 == pytest.approx(width * 10.0 * pairs / 100.0)
    assert result.segments == 1


#: Left tips 0, −10, −20, −10 mm: differences 10, 10, 10 of a reach of 20, LSV = (20 − 10) / 20; right tips level.
STEPPED = [[0.0, -10.0, -20.0, -10.0], [20.0, 20.0, 20.0, 20.0]]
#: Two pairs open, 8 and 16 mm wide: left level, right differs by all of its reach, LSV = 0.
TWO_OPEN = [[0.0, 0.0, 0.0, 0.0], [0.5, 8.0, 16.0, 0.5]]


def test_two_segments_worked_out_by_hand() -> None:
    """The union of both apertures is 20, 30, 40, 30 mm: 120 mm of leaf gaps, of which the second opens 24."""
    result = plan_complexity(plan(beam([STEPPED, TWO_OPEN], [30.0, 10.0])), LIMITS)
    one = result.beams[0]
    assert one.leaf_sequence_variability == pytest.approx((30 * 0.5 + 10 * 0.0) / 40)
    assert one.aperture_area_variability == pytest.approx((30 * 1.0 + 10 * 24 / 120) / 40)
    assert one.modulation_complexity_score == pytest.approx(30 * 0.5 / 40)
    assert one.mean_leaf_gap_mm == pytest.approx((30 * 30 + 10 * 12) / 40)
    assert one.small_gap_share == pytest.approx(10 * 0.5 / 40)
    assert one.segments == 2


def test_a_sliding_window_counts_half_way_between_control_points() -> None:
    """A slit of 10 mm opens evenly to 30 mm: mean gap 20, of an outline that is 30 mm wide."""
    points = tuple(
        ControlPoint(
            weight,
            0.0,
            (0.0, 0.0, 0.0),
            jaw_x_mm=(-50.0, 50.0),
            jaw_y_mm=(-20.0, 20.0),
            leaves_mm=np.array([[-10.0] * 4, [tip] * 4]),
        )
        for weight, tip in ((0.0, 0.0), (0.5, 10.0), (1.0, 20.0))
    )
    result = plan_complexity(plan(Beam(1, "B", 60.0, points, 6.0, "test", MLC)), LIMITS)
    assert result.segments == 2
    assert result.mean_leaf_gap_mm == pytest.approx(20.0)
    assert result.modulation_complexity_score == pytest.approx(20.0 / 30.0)


def test_only_what_the_jaws_uncover_counts() -> None:
    """Jaws of 20 × 20 mm make the stepped aperture a square."""
    jawed = plan_complexity(plan(beam([STEPPED], [10.0], jaw_x=(0.0, 20.0), jaw_y=(-10.0, 10.0))), LIMITS)
    assert jawed.modulation_complexity_score == pytest.approx(1.0)
    assert jawed.mean_area_cm2 == pytest.approx(4.0)


@given(shift=st.floats(-20, 20), factor=st.floats(0.1, 10))
def test_the_score_depends_on_neither_place_nor_mu(shift: float, factor: float) -> None:
    moved = [(np.array(a) + shift).tolist() for a in (STEPPED, TWO_OPEN)]
    there = plan_complexity(
        plan(beam(moved, [30.0 * factor, 10.0 * factor], jaw_x=(-50.0 + shift, 50.0 + shift))), LIMITS
    )
    here = plan_complexity(plan(beam([STEPPED, TWO_OPEN], [30.0, 10.0])), LIMITS)
    assert there.modulation_complexity_score == pytest.approx(here.modulation_complexity_score)
    assert there.mu == pytest.approx(factor * here.mu)


@given(
    tips=st.lists(st.tuples(st.floats(-50, 0), st.floats(2, 50)), min_size=8, max_size=8),
    mu=st.tuples(st.floats(1, 50), st.floats(1, 50)),
)
def test_scores_are_shares(tips: list[tuple[float, float]], mu: tuple[float, float]) -> None:
    apertures = [[[a for a, _ in part], [b for _, b in part]] for part in (tips[:4], tips[4:])]
    one = plan_complexity(plan(beam(apertures, mu)), LIMITS).beams[0]
    for value in (one.leaf_sequence_variability, one.aperture_area_variability, one.small_gap_share):
        assert 0.0 <= value <= 1.0 + 1e-12
    least = min(one.leaf_sequence_variability, one.aperture_area_variability)
    assert 0.0 <= one.modulation_complexity_score <= least + 1e-12


def test_the_plan_weights_its_beams_by_mu() -> None:
    open_field = beam([[[-20.0] * 4, [20.0] * 4]], [30.0], number=1)
    stepped = beam([STEPPED], [10.0], number=2)
    result = plan_complexity(plan(open_field, stepped), LIMITS)
    assert result.modulation_complexity_score == pytest.approx((30 * 1.0 + 10 * 0.5) / 40)
    assert result.mu_per_gy is None


def test_mu_per_gray() -> None:
    """400 MU in each of 35 fractions for 70 Gy: 2 Gy a fraction."""
    treatment = plan(beam([STEPPED], [400.0]), fractions_planned=35, prescription_gy=(("PTV56", 56.0), ("PTV70", 70.0)))
    assert plan_complexity(treatment, LIMITS).mu_per_gy == pytest.approx(200.0)


def test_time_of_beams_leaves_and_gantry() -> None:
    """40 MU at 300/min: 8 s; the tips move 20 mm between the segments: 0.8 s. Gantry 40° at 6°/s."""
    first = beam([STEPPED, TWO_OPEN], [30.0, 10.0], rate=300.0)
    second = beam([STEPPED], [50.0], number=2, gantry=40.0)  # at the machine's 600/min: 5 s
    result = plan_complexity(plan(first, second), LIMITS)
    assert result.beams[0].seconds == pytest.approx(8.0 + 20.0 / 25.0)
    assert result.beams[1].seconds == pytest.approx(5.0)
    assert result.gantry_seconds == pytest.approx(40.0 / 6.0)
    assert result.treatment_seconds == pytest.approx(8.8 + 5.0 + 40.0 / 6.0)


@pytest.mark.parametrize(
    ("start", "stop", "way"), [(320, 0, 40), (160, 200, 320), (180, 200, 20), (150, 180, 30), (350, 10, 20)]
)
def test_the_gantry_does_not_pass_180(start: float, stop: float, way: float) -> None:
    beams = [beam([STEPPED], [10.0], number=n, gantry=float(g)) for n, g in ((1, start), (2, stop))]
    assert plan_complexity(plan(*beams), LIMITS).gantry_seconds == pytest.approx(way / 6.0)


def test_leaves_along_y_and_fields_without_leaves() -> None:
    along_y = MultileafCollimator(MLC.boundaries_mm, axis="Y")
    turned = beam([STEPPED], [10.0], mlc=along_y, jaw_x=(-20.0, 20.0), jaw_y=(-50.0, 50.0))
    assert plan_complexity(plan(turned), LIMITS).modulation_complexity_score == pytest.approx(0.5)
    jaws_only = beam([None], [10.0], mlc=None)
    result = plan_complexity(plan(jaws_only), LIMITS)
    assert result.modulation_complexity_score == pytest.approx(1.0)
    assert result.mean_area_cm2 == pytest.approx(40.0)


def test_beams_without_mu_or_collimation_are_refused() -> None:
    with pytest.raises(PlanError, match="MU"):
        plan_complexity(plan(replace(beam([STEPPED], [10.0]), mu=0.0)), LIMITS)
    with pytest.raises(PlanError, match="leaves or two pairs of jaws"):
        plan_complexity(plan(beam([None], [10.0], mlc=None, jaw_x=None)), LIMITS)
