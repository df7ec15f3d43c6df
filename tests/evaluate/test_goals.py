"""Judging goals, and the goals table of a fraction."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.evaluate import DVH, Status, compare_goals, judge_goals
from imrt_core.evaluate.goals import judge
from imrt_core.patient import Goal, ProtocolError


def uniform_between(low: float, high: float, *, volume=10.0, outside=0.0, grid_max=80.0) -> DVH:
    """A structure whose dose is spread evenly from ``low`` to ``high``."""
    return DVH(
        name="",
        volume_cc=volume + outside,
        outside_cc=outside,
        mean_gy=(low + high) / 2,
        min_gy=low,
        max_gy=high,
        dose_edges_gy=np.array([0.0, low, high]) if low > 0 else np.array([low, high]),
        cumulative_cc=np.array([volume, volume, 0.0]) if low > 0 else np.array([volume, 0.0]),
        grid_max_gy=grid_max,
        prescription_gy=70.0,
    )


@pytest.mark.parametrize(
    ("text", "value", "status"),
    [
        ("Parotid_L Mean[Gy] < 26", 25.0, "met"),
        ("Parotid_L Mean[Gy] < 25", 25.0, "violated"),
        ("Parotid_L Mean[Gy] <= 25", 25.0, "met"),
        ("Parotid_L D50%[Gy] > 25", 25.0, "violated"),
        ("Parotid_L D50%[Gy] >= 25", 25.0, "met"),
        ("Parotid_L V40Gy[%] < 30", 20.0, "met"),
        ("Parotid_L Max[Gy] <= 45 (hard)", 50.0, "violated"),
    ],
)
def test_goals_are_judged_on_their_metric(text, value, status):
    (result,) = judge_goals([Goal.parse(text)], {"Parotid_L": uniform_between(0, 50)})
    assert result.value == pytest.approx(value)
    assert (result.low, result.high) == pytest.approx((value, value))
    assert result.status == status
    assert result.ok == (status == "met")


def test_volume_outside_the_dose_leaves_a_goal_undecided():
    """Mean 25 Gy in 10 cm³, 2 cm³ unknown: between 20.8 and 34.2 Gy."""
    dvhs = {"Lung_L": uniform_between(0, 50, outside=2.0)}
    within, beyond, between = judge_goals([Goal.parse(f"Lung_L Mean[Gy] < {limit}") for limit in (35, 20, 26)], dvhs)
    assert (within.status, beyond.status, between.status) == ("met", "violated", "undecided")
    assert (between.low, between.high) == pytest.approx((250 / 12, (250 + 2 * 80) / 12))
    assert not between.ok


def test_dose_band_leaves_a_goal_undecided():
    dvhs = {"Cord": uniform_between(10, 44)}
    goal = Goal.parse("Cord D0.03cc[Gy] <= 45 (hard)")
    (result,) = judge_goals([goal], dvhs, dose_band_percent=3.0)
    assert (result.low, result.high) == pytest.approx((0.97 * 43.898, 1.03 * 43.898), abs=0.01)
    assert result.status == Status.UNDECIDED
    assert judge_goals([goal], dvhs, dose_band_percent=2.0)[0].status == Status.MET


def test_a_value_that_is_no_number_is_undecided():
    assert judge(Goal.parse("A Mean[Gy] < 3"), float("nan")).status == Status.UNDECIDED
    assert judge(Goal.parse("A Mean[Gy] < 3"), 2.0, high=float("nan")).status == Status.UNDECIDED


def test_a_goal_without_structure_is_refused_by_name():
    with pytest.raises(ProtocolError, match=r"found Cord; expected Parotid_R; in goal Parotid_R Mean\[Gy\] < 26"):
        judge_goals([Goal.parse("Parotid_R Mean[Gy] < 26")], {"Cord": uniform_between(0, 10)})


def test_table_judges_projected_and_keeps_the_rest():
    goals = [Goal.parse("Parotid_L Mean[Gy] < 26"), Goal.parse("PTV70 V65Gy[%] >= 95")]
    planned = {"Parotid_L": uniform_between(0, 48), "PTV70": uniform_between(66, 72)}
    today = {"Parotid_L": uniform_between(0, 60), "PTV70": uniform_between(60, 70)}
    accumulated = {name: d.scaled(0.5) for name, d in planned.items()}
    projected = {"Parotid_L": uniform_between(0, 51), "PTV70": uniform_between(64, 71)}
    parotid, ptv = compare_goals(goals, planned=planned, today=today, accumulated=accumulated, projected=projected)
    assert (parotid.planned, parotid.today, parotid.accumulated, parotid.projected) == pytest.approx((24, 30, 12, 25.5))
    assert (parotid.status, parotid.ok, parotid.limit) == ("met", True, 26)
    assert (parotid.planned_status, parotid.today_status) == ("met", "violated")
    assert parotid.judged == pytest.approx(25.5)
    assert (parotid.plan_only, ptv.plan_only) == (False, True)
    assert ptv.status == "violated"


def test_table_of_the_first_fraction_judges_today():
    goals = [Goal.parse("Parotid_L Mean[Gy] < 26")]
    (row,) = compare_goals(
        goals,
        planned={"Parotid_L": uniform_between(0, 48)},
        today={"Parotid_L": uniform_between(0, 60)},
        is_plan_only=lambda name: name == "Parotid_L",
    )
    assert (row.accumulated, row.projected) == (None, None)
    assert (row.status, row.judged, row.plan_only) == ("violated", 30, True)
