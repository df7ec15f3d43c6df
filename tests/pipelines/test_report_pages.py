"""What stands on the report's pages: HTML, PDF, JSON."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from pipelines.errors import StorageError
from pipelines.report import CourseReport, FractionReport, FractionSummary, render_course, render_fraction
from pipelines.report.colors import contrast
from pipelines.report.html import html_bytes
from pipelines.report.parts import Curve, GoalLine, PlanOfDay, Shift, ShiftReport
from pipelines.report.pdf import pdf_bytes
from pipelines.report.view_fraction import fraction_page
from pipelines.report.words import VERDICTS, date_time, number, signed

from .report_example import example_images, example_report

HOSTILE = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)> \' #panic("x") *b* $m$ #read("/etc/passwd") \\ @a `c`'
)
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, attributes and text; refuses tags that do not close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += f" {data}"

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def page_of(report: FractionReport) -> Page:
    return Page(html_bytes(fraction_page(report, {})).decode())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return render_fraction(example_report(), example_images(), tmp_path_factory.mktemp("report") / "fx18")


@pytest.fixture(scope="module")
def html(files) -> Page:
    return Page(files.html.read_text(encoding="utf-8"))


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
        "not made: required before approval",
        "Plan of the day: apply this shift YES",
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


def hostile_report() -> FractionReport:
    report = example_report()
    plain = report.model_dump()
    plain["course"] = HOSTILE
    plain["reasons"] = (HOSTILE,)
    plain["plan"]["label"] = HOSTILE
    plain["beams"][0]["name"] = HOSTILE
    plain["structures"][0]["name"] = HOSTILE
    plain["dvh"][0]["structure"] = HOSTILE
    plain["audit"][0]["who"] = HOSTILE
    plain["image"]["device"] = HOSTILE
    return FractionReport.model_validate(plain)


def test_hostile_text_stays_text(tmp_path):
    images = example_images()
    files = render_fraction(hostile_report(), images, tmp_path)
    page = Page(files.html.read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert page.words.count("<script>alert(1)</script>") >= 6
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert files.pdf.read_bytes().startswith(b"%PDF-")


@pytest.mark.service
def test_hostile_text_in_the_pdf_is_printed_not_run(tmp_path):
    files = render_fraction(hostile_report(), None, tmp_path)
    text = " ".join(pdf_text(files.pdf).split())
    assert '#panic("x") *b* $m$ #read("/etc/passwd")' in text.replace("\u2019", "'").replace("\u201d", '"')
    assert "root:" not in text


def pdf_text(path: Path) -> str:
    program = shutil.which("pdftotext")
    assert program, "pdftotext is missing: apt-get install poppler-utils (tools/services.sh does it)"
    return subprocess.run([program, "-layout", str(path), "-"], check=True, capture_output=True, text=True).stdout


@pytest.mark.service
def test_pdf_says_what_the_page_says(files):
    text = " ".join(pdf_text(files.pdf).replace("\u00a0", " ").split())
    for expected in (
        "RE-OPTIMISE",
        "Apply this shift: YES",
        "down 3.0 mm",
        "away from gantry 5.0 mm",
        "right (−X) 10.0 mm",
        "Parotid_L Mean[Gy]",
        "✗ violated",
        "27.40",
        "Research software, not a medical device",
        "UNAPPROVED",
        "page 1 of",
        "G154",
    ):
        assert expected in text, expected


def test_same_input_same_bytes(files, tmp_path):
    again = render_fraction(example_report(), example_images(), tmp_path)
    assert again.html.read_bytes() == files.html.read_bytes()
    assert again.pdf.read_bytes() == files.pdf.read_bytes()
    assert again.json.read_bytes() == files.json.read_bytes()


def test_json_fits_its_schema_and_comes_back(files):
    plain = json.loads(files.json.read_text(encoding="utf-8"))
    jsonschema.validate(plain, FractionReport.model_json_schema())
    assert FractionReport.model_validate(plain) == example_report()
    assert plain["schema_version"] == 1


def test_unknown_numbers_are_absent_not_zero():
    line = GoalLine(
        goal="PTV70 V70Gy[%] >= 95", planned=math.nan, today=np.float32(91), limit=95, status="met", ok=True
    )
    assert line.planned is None
    assert json.loads(line.model_dump_json())["planned"] is None
    assert number(None) == "–"
    with pytest.raises(ValidationError):
        Shift(vertical_mm=math.nan, longitudinal_mm=0, lateral_mm=0)


@dataclass(frozen=True)
class _Row:
    """Has the names of ``imrt_core.evaluate.goals.GoalRow``."""

    goal: object
    planned: float
    today: float
    accumulated: float | None
    projected: float | None
    low: float
    high: float
    limit: float
    status: str
    ok: bool


def test_goal_line_reads_the_evaluators_row():
    goal = GoalLine(goal="SpinalCord D0.03cc[Gy] <= 45 (hard)", limit=45, status="met", ok=True).parsed
    row = _Row(goal, 41.0, 43.0, None, 42.0, 41.0, 43.0, 45.0, "met", True)
    line = GoalLine.model_validate(row)
    assert line.goal == "SpinalCord D0.03cc[Gy] <= 45 (hard)"
    assert line.parsed.hard
    assert line.accumulated is None


def test_curve_is_thinned_and_ends_at_zero():
    dose = np.linspace(0, 80, 4001)
    volume = np.clip(60 - dose, 0, None)
    curve = Curve.from_arrays(dose, volume, total=60.0, points=100)
    assert len(curve.dose_gy) <= 100
    assert curve.volume_percent[0] == 100
    assert curve.volume_percent[-1] == 0
    assert curve.dose_gy[-1] == pytest.approx(60, abs=0.05)
    expected = np.clip(100 * (60 - np.asarray(curve.dose_gy)) / 60, 0, None)
    np.testing.assert_allclose(curve.volume_percent, expected, atol=0.02)


def test_disk_that_refuses_leaves_nothing(tmp_path):
    blocked = tmp_path / "report"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        render_fraction(example_report(), None, blocked)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report"]


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
    assert "Couch shift, applied where there is one, else proposed" in page.words
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


def _colours(block: str) -> dict[str, tuple[int, int, int]]:
    found = re.findall(r"--([\w-]+):\s*#([0-9a-f]{6})", block)
    return {name: tuple(int(code[i : i + 2], 16) for i in (0, 2, 4)) for name, code in found}


def test_text_colours_have_enough_contrast_in_light_and_dark():
    """WCAG 2.2 AA: 4.5:1 for text."""
    css = resources.files("pipelines.report").joinpath("templates", "report.css").read_text(encoding="utf-8")
    light = _colours(css.split("@media")[0])
    dark = {**light, **_colours(css.split("@media")[1])}
    for theme in (light, dark):
        for ground in ("card", "ground"):
            for name in ("text", "muted", "good", "bad", "warn", "info", "link"):
                assert contrast(theme[name], theme[ground]) >= 4.5, (name, ground)
        for name in ("good", "bad", "warn", "info"):
            assert contrast((255, 255, 255), theme[f"{name}-ground"]) >= 4.5


def test_numbers_in_words():
    assert number(-0.04, 1) == "0.0"
    assert number(-1.25, 2, "mm") == "−1.25\u00a0mm"
    assert signed(0.04, 1) == "0.0"
    assert signed(2.0) == "+2.0"
    assert date_time("2026-03-19T08:41:12.500000+01:00") == "2026-03-19 08:41:12+01:00"
    assert date_time("") == "–"


def test_pdf_of_a_page_needs_no_clock(monkeypatch):
    page = fraction_page(example_report(), {})
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    first = pdf_bytes(page)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert pdf_bytes(page) == first


@pytest.mark.service
def test_browser_runs_our_script_and_only_ours(files, tmp_path):
    program = shutil.which("chromium")
    assert program, "chromium is missing: apt-get install chromium (tools/services.sh does it)"
    quiet = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    done = subprocess.run(
        [program, "--headless", "--no-sandbox", "--disable-gpu", *quiet.split(), f"--user-data-dir={tmp_path}/p",
         "--dump-dom", files.html.as_uri()],
        check=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert 'id="readout"' in done.stdout
    assert "Refused to" not in done.stderr
