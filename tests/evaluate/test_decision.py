"""Every rule of CLINICAL "Decision", one by one."""

from __future__ import annotations

import dataclasses

import pytest

from imrt_core.evaluate import Check, Evidence, Finding, GoalRow, Policy, TargetCoverage, Verdict, decide
from imrt_core.evaluate.goals import judge
from imrt_core.patient import Goal, ProtocolError

OK = Check(passed=True)
PAROTID = "Parotid_L Mean[Gy] < 26"
CORD = "SpinalCord D0.03cc[Gy] <= 45 (hard)"


def row(text: str, *, planned: float, today: float, projected: float | None = None, plan_only=False) -> GoalRow:
    goal = Goal.parse(text)
    judged = today if projected is None else projected
    result = judge(goal, judged)
    return GoalRow(
        goal=goal,
        planned=planned,
        today=today,
        accumulated=None,
        projected=projected,
        low=judged,
        high=judged,
        limit=goal.limit,
        status=result.status,
        ok=result.ok,
        planned_status=judge(goal, planned).status,
        today_status=judge(goal, today).status,
        plan_only=plan_only,
    )


def evidence(**changes) -> Evidence:
    """A fraction on which everything is in order and no shift is needed."""
    good = Evidence(
        identity=OK,
        match=OK,
        shift_mm=(0.0, 0.0, 0.0),
        shift_deg=(0.0, 0.0, 0.0),
        shift_limits=OK,
        residual_mm=0.4,
        residual_deg=0.5,
        deformable=OK,
        outside_image=(),
        density=OK,
        contour_change_mm=2.0,
        ctv_volume_change_percent=(("CTV70", -1.0),),
        baseline=OK,
        goals=(
            row(PAROTID, planned=24, today=25, projected=24.5),
            row(CORD, planned=40, today=41, projected=40.5),
        ),
        coverage=(TargetCoverage(name="CTV70", prescription_gy=70, planned_d98_gy=69, today_d98_gy=68.8),),
        remaining_fractions=18,
    )
    return dataclasses.replace(good, **changes)


def parotid(*, planned=24.0, today: float, projected: float | None) -> dict[str, object]:
    return {"goals": (row(PAROTID, planned=planned, today=today, projected=projected),)}


def history(name: str, *, today: int = 0, projected: int = 0) -> tuple[tuple[Finding, ...], ...]:
    """Earlier fractions, oldest first: none exceeded, then as many as said."""
    depth = max(today, projected)
    rows = [Finding(name=name, today=False, projected=False)]
    rows += [Finding(name=name, today=n <= today, projected=n <= projected) for n in range(depth, 0, -1)]
    return tuple((r,) for r in rows)


def test_nothing_to_do_is_treat():
    decision = decide(evidence())
    assert decision.decision == Verdict.TREAT
    assert decision.plan_allowed
    assert not decision.plan_wanted
    assert "zero after rounding" in decision.reasons[0]


def test_a_shift_within_limits_is_shift():
    decision = decide(evidence(shift_mm=(-3.0, -5.0, -10.0), shift_deg=(0.0, 0.0, 1.5)))
    assert decision.decision == Verdict.SHIFT
    assert "vertical -3.0, longitudinal -5.0, lateral -10.0 mm" in decision.reasons[0]
    assert "yaw +1.5°" in decision.reasons[0]


REVIEWS = [
    ({"identity": Check(passed=False, reasons=("patient id A1 against B2",))}, "A1 against B2"),
    ({"match": Check(passed=False, reasons=("correlation 0.41, at least 0.8",))}, "correlation 0.41"),
    ({"match": Check(passed=None)}, "match"),
    (
        {"shift_mm": None, "shift_limits": Check(passed=False, reasons=("no machine isocentre",))},
        "no machine isocentre",
    ),
    ({"shift_limits": Check(passed=False, reasons=("lateral 62 mm, limit 50 mm",))}, "do not move, look"),
    ({"residual_mm": 3.2}, "3.2 mm remain"),
    ({"residual_deg": 5.5}, "5.5° remains"),
    ({"residual_mm": float("nan")}, "remain"),
    ({"deformable": Check(passed=False, reasons=("12 % folded",))}, "within 2 cm of a target: 12 % folded"),
    ({"outside_image": ("CTV70", "SpinalCord")}, "CTV70, SpinalCord"),
    ({"density": Check(passed=False, reasons=("fat −40 HU",))}, "density"),
    ({"density": Check(passed=None)}, "density"),
    ({"contour_change_mm": 20.5}, "20.5 mm; the limit is 20 mm"),
    ({"contour_change_mm": float("nan")}, "body contour"),
    ({"ctv_volume_change_percent": (("CTV70", 1.0), ("CTV56", -5.2))}, "CTV56 lost 5.2 %"),
    ({"ctv_volume_change_percent": (("CTV56", float("nan")),)}, "CTV56"),
    ({"baseline": Check(passed=False, reasons=("gamma 91 %",))}, "not validated for this plan: gamma 91 %"),
]


@pytest.mark.parametrize(("change", "text"), REVIEWS)
def test_each_ground_for_review(change, text):
    decision = decide(evidence(**change))
    assert decision.decision == Verdict.REVIEW
    assert not decision.plan_allowed
    assert text in decision.reasons[0]


@pytest.mark.parametrize(("change", "text"), REVIEWS)
def test_review_has_precedence_over_every_trigger(change, text):
    """The cord's hard limit is broken and the shift is large: still no plan of day, but the trigger is told."""
    goals = (row(CORD, planned=40, today=50, projected=48),)
    decision = decide(evidence(**{"shift_mm": (1.0, 2.0, 3.0), "goals": goals, **change}))
    assert decision.decision == Verdict.REVIEW
    assert any("SpinalCord" in reason for reason in decision.reasons[1:])


def test_no_deformable_registration_is_no_failed_one():
    assert decide(evidence(deformable=Check(passed=None))).decision == Verdict.TREAT


def test_limits_themselves_are_allowed():
    allowed = evidence(
        residual_mm=3.0, residual_deg=5.0, contour_change_mm=20.0, ctv_volume_change_percent=(("CTV70", -5.0),)
    )
    assert decide(allowed).decision == Verdict.TREAT


def test_one_days_organ_excess_never_triggers():
    decision = decide(evidence(**parotid(today=31, projected=25)))
    assert decision.decision == Verdict.TREAT
    assert any("one day's excess" in reason for reason in decision.reasons)
    # Nor on the first fraction, where nothing is projected yet.
    assert decide(evidence(**parotid(today=31, projected=None))).decision == Verdict.TREAT


def test_projection_triggers():
    decision = decide(evidence(**parotid(today=31, projected=27.3)))
    assert decision.decision == Verdict.REOPTIMISE
    assert decision.plan_wanted
    assert "projected 27.3 Gy at the end of the course (planned 24.0 Gy)" in decision.reasons[0]


def test_persistence_triggers_on_the_third_day():
    for before, expected in ((0, "treat"), (1, "treat"), (2, "reoptimise"), (5, "reoptimise")):
        decision = decide(evidence(**parotid(today=31, projected=25), previous=history(PAROTID, today=before)))
        assert decision.decision == expected, before
    assert "on 6 fractions in a row" in decision.reasons[0]


def test_persistence_is_broken_by_a_good_day():
    days = (*history(PAROTID, today=5), (Finding(name=PAROTID, today=False, projected=False),))
    assert decide(evidence(**parotid(today=31, projected=25), previous=days)).decision == Verdict.TREAT


def test_hard_limit_triggers_on_one_day():
    goals = (row(CORD, planned=40, today=46, projected=41),)
    decision = decide(evidence(goals=goals))
    assert decision.decision == Verdict.REOPTIMISE
    assert "46.0 Gy" in decision.reasons[0]
    assert "hard limit" in decision.reasons[0]


@pytest.mark.parametrize(
    ("text", "planned", "allowed", "too_much"),
    [
        (PAROTID, 30.0, 31.9, 32.1),
        (CORD, 46.0, 47.9, 48.1),
        ("Mandible V60Gy[%] < 20", 25.0, 29.9, 30.1),
        ("Bowel V45Gy[cc] < 195", 210.0, 214.9, 215.1),
        ("GTV D98%[Gy] >= 68", 60.0, 58.1, 57.9),
        ("Cochlea_L D5%[%] < 70", 75.0, 77.9, 78.1),
        ("Lung_L V30%[%] < 20", 25.0, 29.9, 30.1),
    ],
)
def test_goal_violated_in_the_baseline_triggers_only_when_worse(text, planned, allowed, too_much):
    for value, expected in ((planned, "treat"), (allowed, "treat"), (too_much, "reoptimise")):
        goals = (row(text, planned=planned, today=value, projected=value),)
        assert decide(evidence(goals=goals)).decision == expected, value


def test_goals_of_ptvs_apply_to_plans_only():
    goals = (row("PTV70 V70Gy[%] >= 95", planned=96, today=60, projected=70, plan_only=True),)
    decision = decide(evidence(goals=goals))
    assert decision.decision == Verdict.TREAT
    assert all("PTV70" not in f.name for f in decision.findings)


def test_lost_ctv_coverage_triggers():
    """95 % of 70 Gy is 66.5 Gy; lost only if also 1.4 Gy below the baseline."""

    def verdict(planned: float, today: float, projected: float | None = None) -> str:
        target = TargetCoverage(
            name="CTV70", prescription_gy=70, planned_d98_gy=planned, today_d98_gy=today, projected_d98_gy=projected
        )
        return decide(evidence(coverage=(target,))).decision

    assert verdict(69, 66.6) == "treat"
    assert verdict(69, 66.4) == "reoptimise"
    assert verdict(66, 64.7) == "treat"
    assert verdict(66, 64.5) == "reoptimise"
    assert verdict(69, 69, 66.0) == "reoptimise"
    assert verdict(69, float("nan")) == "reoptimise"


def test_undecided_goals_are_named_and_trigger_nothing():
    undecided = dataclasses.replace(
        row(PAROTID, planned=24, today=25, projected=25.8), low=25.1, high=26.5, status="undecided", ok=False
    )
    decision = decide(evidence(goals=(undecided,)))
    assert decision.decision == Verdict.TREAT
    assert "undecided, between 25.1 and 26.5 Gy" in decision.reasons[1]


def test_lasting_projection_is_a_replan():
    for before, expected in ((1, "reoptimise"), (2, "replan")):
        decision = decide(evidence(**parotid(today=31, projected=28), previous=history(PAROTID, projected=before)))
        assert decision.decision == expected
    assert "on 3 fractions in a row" in decision.reasons[0]


def test_a_replan_needs_remaining_fractions():
    late = evidence(**parotid(today=31, projected=28), previous=history(PAROTID, projected=2), remaining_fractions=3)
    decision = decide(late)
    assert decision.decision == Verdict.REOPTIMISE
    assert any("3 fractions remain" in reason for reason in decision.reasons)


def test_lasting_coverage_loss_is_a_replan():
    target = TargetCoverage(name="CTV70", prescription_gy=70, planned_d98_gy=69, today_d98_gy=64)
    days = history("CTV70 coverage", today=2, projected=2)
    assert decide(evidence(coverage=(target,), previous=days)).decision == Verdict.REPLAN


def test_lasting_contour_change_is_a_replan_and_a_small_one_a_flag():
    flagged = decide(evidence(contour_change_mm=7.0))
    assert flagged.decision == Verdict.TREAT
    assert "7.0 mm (flag 5 mm)" in flagged.reasons[1]
    once = decide(evidence(contour_change_mm=12.0))
    assert once.decision == Verdict.TREAT
    assert decide(evidence(contour_change_mm=12.0, previous=history("body contour", today=2))).decision == "replan"


def test_findings_of_one_fraction_are_the_history_of_the_next():
    """Three fractions in a row, each decided with the findings of those before."""
    days: tuple[tuple[Finding, ...], ...] = ()
    verdicts = []
    for _ in range(3):
        decision = decide(evidence(**parotid(today=31, projected=28), previous=days))
        days = (*days, decision.findings)
        verdicts.append(str(decision.decision))
    assert verdicts == ["reoptimise", "reoptimise", "replan"]


def test_a_protocol_sets_the_thresholds():
    policy = Policy(worsening_gy=5.0, persistence_fractions=1)
    goals = (row(PAROTID, planned=30, today=34, projected=34),)
    assert decide(evidence(goals=goals), policy).decision == Verdict.TREAT
    assert decide(evidence(**parotid(today=31, projected=25)), policy).decision == Verdict.REOPTIMISE


def test_senseless_thresholds_are_refused():
    with pytest.raises(ProtocolError, match="positive"):
        Policy(worsening_gy=0)
    with pytest.raises(ProtocolError, match="ascend"):
        Policy(contour_flag_mm=30)
    with pytest.raises(ProtocolError):
        Policy(residual_limit_mm=float("nan"))
