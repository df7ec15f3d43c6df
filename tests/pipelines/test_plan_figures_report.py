"""Modulation of the plan of the day beside that of the plan of record; an unknown figure is a dash, never a number."""

from __future__ import annotations

from dataclasses import replace

from imrt_core.patient import Plan
from pipelines.filling.plans import plan_of_day_report
from pipelines.report.parts import PlanOfDay
from pipelines.results import DayShift, PlanForDay, PlanOfRecord, Withheld

from .report_example import example_report
from .report_page import page_of
from .test_bad_input import some_plan


def of_day(record: Plan, *, outcome: str = "reoptimised") -> PlanOfDay:
    shift = DayShift(None, None, None, None, "none", None, None, "", (0.0, 0.0, 0.0), None)
    made = some_plan() if outcome == "reoptimised" else None
    plan = PlanForDay(outcome, "a goal", plan=made)
    return plan_of_day_report(plan, PlanOfRecord(record, "received"), Withheld("no dose"), shift)


def without_collimation(plan: Plan) -> Plan:
    """Return the plan as some systems send it: jaws along one axis only."""
    beams = tuple(
        replace(
            beam,
            mlc=None,
            control_points=tuple(replace(cp, leaves_mm=None, jaw_x_mm=None) for cp in beam.control_points),
        )
        for beam in plan.beams
    )
    return replace(plan, beams=beams)


def test_an_open_square_has_a_score_of_one() -> None:
    part = of_day(some_plan())
    assert part.modulation_complexity_score == part.modulation_complexity_score_of_record == 1.0
    assert "of record 1.00 / 1.00" in page_of(example_report(plan_of_day=part)).words


def test_a_received_plan_without_an_aperture_has_none() -> None:
    part = of_day(without_collimation(some_plan()))
    assert part.modulation_complexity_score_of_record is None
    assert "of record 1.00 / –" in page_of(example_report(plan_of_day=part)).words


def test_a_kept_plan_shows_no_comparison() -> None:
    part = of_day(some_plan(), outcome="kept")
    assert part.modulation_complexity_score is None
    assert "MCS" not in page_of(example_report(plan_of_day=part)).words
