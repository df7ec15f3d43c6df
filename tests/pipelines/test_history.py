"""Accumulation from the store's point of view: which fraction counts with which dose. All doses are uniform."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.patient import Grid, RigidTransform, Volume
from pipelines.stages.history import ComputedFraction, accumulated_to

GRID = Grid((6, 6, 6), (3.0, 3.0, 3.0))
DAY = Grid((12, 12, 12), (3.0, 3.0, 3.0), (-9.0, -9.0, -9.0))
MOVE = RigidTransform.from_parameters(translation_mm=(2.0, 1.0, -3.0))
PLANNED = Volume(np.full(GRID.shape, 70.0, dtype=np.float32), GRID)


def fraction(number: int, gy: float, *, delivered: float | None = None) -> ComputedFraction:
    dose = Volume(np.full(DAY.shape, gy, dtype=np.float32), DAY)
    other = dose if delivered is None else dose.with_array(np.full(DAY.shape, delivered, dtype=np.float32))
    return ComputedFraction(number, dose, other, MOVE)


def sums(today: ComputedFraction, earlier: list[ComputedFraction], deliveries: dict[int, str]):  # type: ignore[no-untyped-def]
    result, notes = accumulated_to(today, earlier, deliveries, planned_course_gy=PLANNED, planned_fractions=35)
    accumulated, projected = result.accumulated_gy.array, result.projected_gy.array
    assert np.ptp(accumulated) < 1e-4 and np.ptp(projected) < 1e-4
    return float(accumulated.mean()), float(projected.mean()), result, notes


def test_first_fraction() -> None:
    accumulated, projected, result, notes = sums(fraction(1, 2.2), [], {})
    assert (accumulated, projected) == pytest.approx((0.0, 35 * 2.2), abs=1e-4)
    assert (result.delivered, result.remaining, notes) == (0, 35, ())


def test_fractions_without_image_are_like_the_last_one_that_had_one_and_said_so() -> None:
    accumulated, projected, result, notes = sums(fraction(18, 2.4), [fraction(1, 2.1)], {1: "full"})
    assert accumulated == pytest.approx(17 * 2.1, abs=1e-3)
    assert projected == pytest.approx(17 * 2.1 + 18 * 2.4, abs=1e-3)
    assert (result.delivered, result.assumed) == (17, 16)
    assert notes == ("fractions 2–17 have no image: assumed as fx01",)


def test_before_any_image_the_plan_stands_in() -> None:
    accumulated, _, _, notes = sums(fraction(4, 2.4), [], {})
    assert accumulated == pytest.approx(3 * 2.0, abs=1e-3)
    assert notes == ("fractions 1–3 have no image: assumed as planned",)


def test_what_was_not_delivered_does_not_count_and_is_still_to_come() -> None:
    accumulated, projected, result, _ = sums(fraction(3, 2.0), [fraction(1, 2.0), fraction(2, 2.0)], {2: "none"})
    assert accumulated == pytest.approx(2.0, abs=1e-3)
    assert projected == pytest.approx(70.0, abs=1e-3) and result.remaining == 34


def test_a_partial_delivery_or_a_plan_of_the_day_counts_as_delivered_and_only_that_day() -> None:
    earlier = [fraction(1, 2.0, delivered=1.0)]
    accumulated, _, _, _ = sums(fraction(4, 2.0), earlier, {1: "partial"})
    assert accumulated == pytest.approx(1.0 + 2 * 2.0, abs=1e-3)


def test_a_recorded_today_is_delivered() -> None:
    accumulated, projected, result, _ = sums(fraction(1, 2.0, delivered=1.5), [], {1: "partial"})
    assert accumulated == pytest.approx(1.5, abs=1e-3)
    assert projected == pytest.approx(1.5 + 34 * 2.0, abs=1e-3) and result.assumed == 0


def test_order_of_arrival_changes_nothing() -> None:
    earlier = [fraction(1, 2.1), fraction(5, 2.2), fraction(9, 2.3)]
    forth, back = (sums(fraction(12, 2.4), order, {})[:2] for order in (earlier, earlier[::-1]))
    assert forth == back
