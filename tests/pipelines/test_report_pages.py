"""What stands on the page of a fraction's report."""

from __future__ import annotations

import re

import pytest

from pipelines.report import render_fraction
from pipelines.report.parts import PlanOfDay, Shift, ShiftReport
from pipelines.report.words import VERDICTS, number

from .report_example import example_report
from .report_page import Page, page_of


def test_page_is_self_contained(files, html):
    text = files.html.read_text(encoding="utf-8")
    addresses = set(re.findall(r"(?:https?|file|ftp)://[^\s'\"<)]+", text))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    for tag, name, value in html.attributes:
        if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
            assert value.startswith(("data:image/png;base64,", "#")), (tag, name, value[:80])
        assert not name.startswith("on")
    for target in re.findall(r"url\(([^)]*)\)", text):
        assert target.startswith("#"), target
    assert "@import" not in text
    assert not {"iframe", "object", "embed", "link", "base", "form"} & set(html.tags)


def test_ids_are_unique_and_references_resolve(html):
    ids = [value for _, name, value in html.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    text = " ".join(value for _, name, value in html.attributes if name in ("style", "fill", "clip-path"))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_pictures_have_text_alternatives(html):
    drawn = sum(1 for tag, name, value in html.attributes if tag == "svg" and (name, value) == ("role", "img"))
    hidden = sum(1 for tag, name, _ in html.attributes if tag == "svg" and name == "aria-hidden")
    assert drawn + hidden == html.tags.count("svg")
    labels = [value for tag, name, value in html.attributes if tag == "svg" and name == "aria-label"]
    assert len(labels) == drawn
    assert all(len(label) > 20 for label in labels)


def couch_table(html: str) -> dict[str, list[str]]:
    table = html.split('<table class="couch">')[1].split("</table>", maxsplit=1)[0]
    rows = re.findall(r"<tr class=\"[a-z]+\">(.*?)</tr>", table, re.S)
    cells = [[re.sub(r"<[^>]+>", "", c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]
    return {row[0]: row[1:] for row in cells}


def as_number(text: str) -> float:
    return float(re.search(r"[−+]?[\d.]+", text)[0].replace("−", "-"))


def test_couch_table_says_the_models_numbers(files):
    shift = example_report().shift
    table = couch_table(files.html.read_text(encoding="utf-8"))
    for axis, name in (
        ("Vertical", "vertical_mm"),
        ("Longitudinal", "longitudinal_mm"),
        ("Lateral", "lateral_mm"),
        ("Pitch", "pitch_deg"),
        ("Roll", "roll_deg"),
        ("Yaw", "yaw_deg"),
    ):
        _, applied, found, residual = table[axis]
        assert as_number(applied) == pytest.approx(getattr(shift.applied, name), abs=0.05)
        assert as_number(found) == pytest.approx(getattr(shift.found, name), abs=0.005)
        assert as_number(residual) == pytest.approx(getattr(shift.residual, name), abs=0.005)
        assert all(cell.endswith("mm" if name.endswith("mm") else "°") for cell in (applied, found, residual))
    assert table["Vertical"][0] == "down 3.0\u00a0mm"
    assert table["Longitudinal"][0] == "away from gantry 5.0\u00a0mm"
    assert table["Lateral"][0] == "to patient&#39;s right (−X) 10.0\u00a0mm"


def test_goals_table_says_the_models_numbers(html):
    for line in example_report().goals:
        goal = line.parsed
        digits = 1 if goal.metric.unit == "%" else 2
        row = html.words.split(f"{goal.structure} {goal.metric}")[1][:160]
        for value in (line.planned, line.tps, line.today, line.accumulated, line.projected, line.low, line.high):
            assert f" {number(value, digits)}" in row
        assert {"met": "✓", "violated": "✗", "undecided": "?"}[line.status] in row.split("met")[0] + row[:40]


def test_report_says_all_that_clinical_lists(html):
    for text in (
        "RE-OPTIMISE",
        "Apply this shift: YES",
        "2026-03-19 08:41:12+01:00",
        "CT igrt phantom, CBCT",
        "HFS",
        "HN70 plan A, APPROVED",
        "1.2.826.0.1.3680043.8.498.22222222222222222222222222222222222222",
        "18 of 35",
        "not delivered yet",
        "before delivery",
        "bone within 40 mm of PTV70",
        "1.2 mm left, 0.4 mm anterior",
        "unreviewed",
        "SSD today",
        "Depth today",
        "Outer contour change, largest",
        "✗ over 5 mm",
        "Engine against TPS",
        "97.4 % of points",
        "histogram match",
        "fat",
        "muscle",
        "generic_6mv",
        "commissioned range",
        "dose to water",
        "image received and complete",
        "Python",
        "ab" * 32,
        "Research software, not a medical device",
        "IGRT DAY fx18 UNAPPROVED",
        "? not judged for every beam, largest difference −2.1 %",
        "edge or modulation",
        "Plan of the day: apply this shift YES",
        "Modulation (MCS): plan of the day / of record 0.31 / 0.35",
    ):
        assert text in html.words.replace("\u00a0", " "), text


@pytest.mark.parametrize("decision", list(VERDICTS))
def test_every_verdict_is_said_by_word_and_sign(decision):
    page = page_of(example_report(decision=decision, reasons=("Because.",)))
    word, icon, _, _ = VERDICTS[decision]
    assert word in page.words
    assert icon in page.words
    assert "Because." in page.words
    assert ("section", "data-decision", decision) in page.attributes


def test_withheld_shift_gives_the_reason():
    shift = ShiftReport(reasons=("The machine isocentre in the setup image is unknown.",))
    page = page_of(example_report(decision="review", shift=shift))
    assert "Apply this shift: NO: the couch shift is withheld" in page.words
    assert "The machine isocentre in the setup image is unknown." in page.words
    assert "couch" not in [value for _, name, value in page.attributes if name == "class"]


def test_shift_beyond_limits_says_do_not_move():
    shift = ShiftReport(
        found=Shift(vertical_mm=60.2, longitudinal_mm=0, lateral_mm=0),
        proposed=Shift(vertical_mm=60, longitudinal_mm=0, lateral_mm=0),
        applied=Shift(vertical_mm=0, longitudinal_mm=0, lateral_mm=0),
        apply_shift=False,
        within_limits=False,
        reasons=("60 mm is beyond the limit of 50 mm.",),
        patient_position="HFS",
    )
    page = page_of(example_report(decision="review", shift=shift))
    assert "NO: do not move, look" in page.words
    assert "Vertical no move 0.0\u00a0mm +60.0\u00a0mm +60.20\u00a0mm" in " ".join(page.text.split(" ")).replace(
        "  ", " "
    )


def test_recorded_shift_is_said_to_be_done():
    shift = example_report().shift.model_copy(
        update={
            "source": "recorded",
            "apply_shift": False,
            "applied": Shift(vertical_mm=-4, longitudinal_mm=-5, lateral_mm=-10),
        }
    )
    page = page_of(example_report(shift=shift.model_dump()))
    assert "Apply this shift: done, as recorded" in page.words
    assert "Table Move Applied Proposed Found Residual" in page.words


def test_report_of_a_failed_chain_renders(tmp_path):
    report = example_report(
        decision="review",
        reasons=("The match failed.",),
        shift=ShiftReport(reasons=("There is no match.",)),
        plan=None, match=None, deformable=None, density=None, body_contour=None, dose=None, baseline=None,
        plan_of_day=PlanOfDay(outcome="not-computed", reason="The match failed."),
        structures=(), beams=(), goals=(), dvh=(), checks=(), audit=(), stage_seconds=(),
        missing=("No dose of the day: the match failed.",),
    )  # fmt: skip
    files = render_fraction(report, None, tmp_path)
    page = Page(files.html.read_text(encoding="utf-8"))
    for text in ("REVIEW", "The match failed.", "No dose of the day: the match failed.", "not computed", "none"):
        assert text in page.words
    assert files.pdf.read_bytes().startswith(b"%PDF-")


def test_identity_is_printed_only_when_asked():
    patient = {"patient_id": "MRN-123", "name": "Doe^Jane"}
    assert "MRN-123" not in page_of(example_report()).words
    assert "Doe^Jane, MRN-123" in page_of(example_report(patient=patient)).words
