"""A beam model that was compared with no measurement: courses refuse it unless told; all that comes of it says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from imrt_core.dicom import write_plan
from imrt_core.machine import load_machine
from pipelines.cli.main import app
from pipelines.home import quarantine_folder
from pipelines.ledger import open_ledger
from pipelines.report.view_top import banners
from pipelines.store import CourseFolder, course_ids

from . import tiny
from .report_example import example_report
from .report_page import page_of
from .test_bad_input import some_plan

WORDS = "beam model not validated"


def igrt(*arguments: str | Path) -> tuple[int, dict]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.stdout, (result.exception, result.stderr)
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def dicom(tmp_path: Path) -> Path:
    """A course with a plan of one open 10 MV beam."""
    folder = tiny.write_course(tmp_path / "dicom")
    plan = some_plan()
    plan = replace(plan, beams=tuple(replace(beam, nominal_energy_mv=10.0) for beam in plan.beams))
    write_plan(plan, image=tiny.planning_image(), path=folder / "RP.dcm")
    return folder


def test_a_course_refuses_it(dicom: Path, tmp_path: Path) -> None:
    protocol = tiny.write_protocol(tmp_path / "tiny.yaml")
    add = ("course", "add", dicom, "--protocol", protocol, "--id", "declared", "--machine", "generic_10mv")
    code, answer = igrt(*add)
    error = answer["error"]
    assert (code, error["code"]) == (3, "model-not-validated")
    assert WORDS in error["found"] and "generic_10mv 1.0" in error["found"]
    assert "--allow-unvalidated-model" in error["expected"] and "generic_10mv" in error["where"]
    # The input is not at fault.
    assert course_ids() == () and not any(quarantine_folder().glob("*"))
    # Nor is a protocol a way around it.
    asks = tiny.write_protocol(tmp_path / "asks.yaml", machine="generic_10mv")
    code, answer = igrt("course", "add", dicom, "--protocol", asks, "--id", "declared")
    assert (code, answer["error"]["code"]) == (3, "model-not-validated")


def test_an_allowed_course_says_so_everywhere(dicom: Path, tmp_path: Path) -> None:
    protocol = tiny.write_protocol(tmp_path / "tiny.yaml")
    add = ("course", "add", dicom, "--protocol", protocol, "--id", "declared", "--machine", "generic_10mv")
    code, answer = igrt(*add, "--allow-unvalidated-model")
    assert code == 4, answer
    assert answer["unvalidated_model_allowed"] and any(WORDS in reason for reason in answer["reasons"])
    course = CourseFolder("declared")
    assert course.record().unvalidated_model_allowed
    with open_ledger() as ledger:
        assert "unvalidated-model-allowed" in [event.kind for event in ledger.events(course="declared")]
    code, shown = igrt("course", "show", "declared")
    assert code == 4 and shown["unvalidated_model_allowed"] and any(WORDS in reason for reason in shown["reasons"])
    assert WORDS in CliRunner().invoke(app, ["course", "show", "declared"]).stdout
    assert "Beam model not validated" in pydicom.dcmread(course.plan / "RD.dcm").DoseComment
    code, report = igrt("report", "declared")
    assert code == 0 and "Beam model not validated" in Path(report["html"]).read_text(encoding="utf-8")


def test_a_dose_warns(dicom: Path, tmp_path: Path) -> None:
    out = tmp_path / "dose.dcm"
    where = ("--ct", dicom, "--plan", dicom / "RP.dcm", "--out", out, "--grid-mm", "6")
    code, answer = igrt("dose", *where, "--machine", "generic_10mv")
    assert code == 0, answer
    assert WORDS in answer["warnings"][0] and answer["beam_model"] == "generic_10mv 1.0"
    assert answer["course_max_gy"] > 0
    check = answer["beams"][0]["mu_check"]
    assert check["passed"] is None and check["reasons"] == ["no measured tables for 10 MV STANDARD"]
    assert "Beam model not validated" in pydicom.dcmread(out).DoseComment
    code, both = igrt("dose", *where, "--force", "--machine", "generic_6mv", "--machine", "generic_10mv")
    assert (code, both["beam_model"], both["course_max_gy"]) == (0, "generic_10mv 1.0", answer["course_max_gy"])
    code, refused = igrt("dose", *where, "--force", "--machine", "generic_6mv")
    assert code == 3 and "beam AP" in refused["error"]["where"]


def test_the_top_of_a_fraction_report_says_so() -> None:
    warnings = load_machine("generic_10mv").model.validity_warnings
    report = example_report()
    assert report.baseline is not None
    baseline = report.baseline.model_copy(update={"model_warnings": warnings})
    declared = report.model_copy(update={"baseline": baseline})
    assert any("Beam model not validated: generic_10mv" in cell.text for cell in banners(declared))
    assert "Beam model not validated: generic_10mv" in page_of(declared).words
    assert not any("not validated" in cell.text for cell in banners(report))
