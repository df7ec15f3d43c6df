"""The report of a course."""

from __future__ import annotations

import json

import jsonschema

from pipelines.report import CourseReport, FractionSummary, render_course

from .report_example import example_report
from .report_page import Page


def course() -> CourseReport:
    report = example_report()
    summaries = []
    for fraction, decision in ((1, "shift"), (18, "reoptimise"), (35, "review")):
        one = example_report(decision=decision, fraction={"number": fraction, "planned": 35, "delivery": "assumed"})
        summaries.append(FractionSummary.from_report(one, href=f"fx{fraction:02d}/fraction_report.html"))
    return CourseReport(
        course="demo", site="head-neck", plan=report.plan, planned_goals=report.goals, fractions=tuple(summaries),
        provenance=report.provenance, written_at=report.written_at,
    )  # fmt: skip


def test_course_report_shows_the_trends(tmp_path):
    files = render_course(course(), tmp_path)
    text = files.html.read_text(encoding="utf-8")
    page = Page(text)
    for fraction, word in ((1, "SHIFT, THEN TREAT"), (18, "RE-OPTIMISE"), (35, "REVIEW")):
        assert word in page.words
        assert ("a", "href", f"fx{fraction:02d}/fraction_report.html") in page.attributes
    assert "vertical (+ up), fraction 18: -3.0" in page.words
    assert text.count("class='limit'") == len(example_report().goals)
    assert "Couch shift, as recorded, else as proposed" in page.words
    assert "Goals as of fraction 35" in page.words
    assert files.pdf.read_bytes().startswith(b"%PDF-")
    jsonschema.validate(json.loads(files.json.read_text()), CourseReport.model_json_schema())
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_course_without_fractions_renders(tmp_path):
    empty = course().model_copy(update={"fractions": (), "planned_goals": (), "plan": None})
    page = Page(render_course(empty, tmp_path).html.read_text(encoding="utf-8"))
    assert "No fraction has been processed yet." in page.words
    planned = course().model_copy(update={"fractions": ()})
    page = Page(render_course(planned, tmp_path).html.read_text(encoding="utf-8"))
    assert "Goals of the plan of record" in page.words
    assert "PTV70 V70Gy[%]" in page.words
