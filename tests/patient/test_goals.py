"""Metrics and goals as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.patient import Goal, Metric, MetricKind, ProtocolError


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("D95%[Gy]", Metric(MetricKind.DOSE_AT_VOLUME, "Gy", 95, "%")),
        ("D0.03cc[Gy]", Metric(MetricKind.DOSE_AT_VOLUME, "Gy", 0.03, "cc")),
        ("D2%[%]", Metric(MetricKind.DOSE_AT_VOLUME, "%", 2, "%")),
        ("V60Gy[%]", Metric(MetricKind.VOLUME_AT_DOSE, "%", 60, "Gy")),
        ("V95%[cc]", Metric(MetricKind.VOLUME_AT_DOSE, "cc", 95, "%")),
        ("Mean[Gy]", Metric(MetricKind.MEAN, "Gy")),
        ("Max[%]", Metric(MetricKind.MAX, "%")),
        ("Min[Gy]", Metric(MetricKind.MIN, "Gy")),
        ("Volume[cc]", Metric(MetricKind.VOLUME, "cc")),
    ],
)
def test_metrics_are_read_and_written(text, metric):
    assert Metric.parse(text) == metric
    assert str(metric) == text


@pytest.mark.parametrize(
    "text", ["D95", "D95[Gy]", "V60[%]", "Mean", "D101%[Gy]", "mean[Gy]", "D-5%[Gy]", "", "VGy[%]"]
)
def test_other_text_is_no_metric(text):
    with pytest.raises(ProtocolError):
        Metric.parse(text)


def test_goals_are_read_and_written():
    goal = Goal.parse("SpinalCord D0.03cc[Gy] <= 45 (hard)")
    assert goal == Goal("SpinalCord", Metric.parse("D0.03cc[Gy]"), "<=", 45, hard=True)
    assert str(goal) == "SpinalCord D0.03cc[Gy] <= 45 (hard)"
    spaced = Goal.parse("Optic Nerve - Rt  Max[Gy]<54")
    assert (spaced.structure, spaced.limit, spaced.hard, spaced.is_upper) == ("Optic Nerve - Rt", 54, False, True)
    assert not Goal.parse("PTV70 V70Gy[%] >= 95").is_upper


@pytest.mark.parametrize(
    "text", ["PTV70 >= 95", "V70Gy[%] >= 95", "PTV V70Gy[%] = 95", "PTV V70Gy[%] >= x", "PTV D95%[Gy]"]
)
def test_other_text_is_no_goal(text):
    with pytest.raises(ProtocolError, match=r"goal|metric"):
        Goal.parse(text)


@given(
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(0, 100).map(lambda x: round(x, 2)),
    st.floats(0, 100).map(lambda x: round(x, 2)),
)
def test_comparisons(comparison, limit, value):
    goal = Goal("A", Metric.parse("Mean[Gy]"), comparison, limit)
    assert goal.is_met(value) == eval(f"{value!r} {comparison} {limit!r}")
    assert Goal.parse(str(goal)).comparison == comparison
    assert not goal.is_met(float("nan"))
