"""The independent MU check in the fraction report: outcome, beams, a warning at the top; and which tables are taken."""

from __future__ import annotations

from importlib import resources

import pytest

from imrt_core.evaluate.mu_check import BeamMuCheck, MuCheck
from imrt_core.machine import load_machine
from imrt_core.patient import MachineError
from pipelines.filling.plans import plan_of_day_report
from pipelines.home import check_tables_folder
from pipelines.report.view_top import banners
from pipelines.results import DayShift, PlanForDay, PlanOfRecord, Withheld
from pipelines.stages.mu_check import tables_of

from .report_example import example_report
from .report_page import Page, page_of
from .test_bad_input import some_plan

GOOD = BeamMuCheck(
    1, "AP", 100.0, "generic_6mv 1.0", (1.0, 2.0, 3.0), 0.300, 0.306, 102.0, 2.0, True, notes=("80 mm of tissue",)
)
BAD = BeamMuCheck(2, "PA", 100.0, "generic_6mv 1.0", (1.0, 2.0, 3.0), 0.300, 0.276, 92.0, -8.0, False)
NOT_MADE = BeamMuCheck(3, "L", 100.0, reasons=("no measured tables for 10 MV STANDARD",))


def report_of(*beams: BeamMuCheck) -> tuple[Page, str]:
    """The page of a report whose plan of the day was checked so, and the lines at its top."""
    shift = DayShift(None, None, None, None, "none", None, None, "", (0.0, 0.0, 0.0), None)
    plan = PlanForDay("reoptimised", "a goal", plan=some_plan(), mu_check=MuCheck(beams) if beams else None)
    of_day = plan_of_day_report(plan, PlanOfRecord(some_plan(), "received"), Withheld("no dose"), shift)
    report = example_report(plan_of_day=of_day)
    return page_of(report), " ".join(cell.text for cell in banners(report))


def test_passed() -> None:
    page, top = report_of(GOOD)
    assert "Independent MU check ✓ passed, largest difference +2.0 % (limit ≤ 5 %)" in page.words.replace("\u00a0", " ")
    assert "1 of 1 beams judged, tables generic_6mv 1.0" in page.words and "80 mm of tissue" in page.words
    assert "MU check" not in top


def test_failed() -> None:
    page, top = report_of(GOOD, BAD, NOT_MADE)
    words = page.words.replace("\u00a0", " ")
    assert "✗ failed, largest difference −8.0 %" in words and "✗ differs" in words and "✓ agrees" in words
    assert "no measured tables for 10 MV STANDARD" in words and "2 of 3 beams judged" in words
    assert "FAILED the independent MU check" in top


def test_not_made() -> None:
    page, top = report_of(GOOD, NOT_MADE)
    assert "? not judged for every beam, largest difference +2.0" in page.words.replace("\u00a0", " ")
    assert "could not be made for every beam" in top
    page, top = report_of()
    assert "Independent MU check not made: required before approval" in page.words
    assert "could not be made" in top


def test_tables_go_by_the_name_of_the_machine_and_the_clinics_own_come_first() -> None:
    machines = (load_machine("generic_6mv"), load_machine("generic_10mv"))
    assert [tables.name for tables in tables_of(machines)] == ["generic_6mv"]
    text = (resources.files("imrt_core.check") / "data" / "generic_6mv.toml").read_text("utf-8")
    check_tables_folder().mkdir(parents=True)
    own = check_tables_folder() / "generic_10mv.toml"
    own.write_text(text.replace("nominal_energy_mv = 6.0", "nominal_energy_mv = 10.0").replace("generic_6mv", "ours"))
    assert [(t.name, t.nominal_energy_mv) for t in tables_of(machines)] == [("generic_6mv", 6.0), ("ours", 10.0)]
    (check_tables_folder() / "generic_6mv.toml").write_text("no tables")
    with pytest.raises(MachineError):
        tables_of(machines)
