"""The report as files: PDF, hostile text, reproducible bytes, a browser."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.errors import StorageError
from pipelines.report import FractionReport, render_fraction
from pipelines.report.pdf import pdf_bytes
from pipelines.report.view_fraction import fraction_page

from .report_example import example_report
from .report_images import example_images
from .report_page import Page

HOSTILE = (
    '"><script>alert(1)</script><img src=x onerror=alert(2)> \' #panic("x") *b* $m$ #read("/etc/passwd") \\ @a `c`'
)


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


def test_pdf_of_a_page_needs_no_clock(monkeypatch):
    page = fraction_page(example_report(), {})
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    first = pdf_bytes(page)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert pdf_bytes(page) == first


def test_disk_that_refuses_leaves_nothing(tmp_path):
    blocked = tmp_path / "report"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(StorageError):
        render_fraction(example_report(), None, blocked)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report"]


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
