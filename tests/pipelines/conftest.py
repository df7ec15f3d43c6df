"""Every test of the pipelines gets an ``IGRT_HOME`` of its own; tests of the report share one that is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.report import ReportFiles, render_fraction

from .report_example import example_report
from .report_images import example_images
from .report_page import Page


@pytest.fixture(autouse=True)
def igrt_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "igrt-home"
    monkeypatch.setenv("IGRT_HOME", str(home))
    monkeypatch.setenv("IGRT_ACTOR", "tester")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return home


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    """The example report, written."""
    return render_fraction(example_report(), example_images(), tmp_path_factory.mktemp("report") / "fx18")


@pytest.fixture(scope="module")
def html(files: ReportFiles) -> Page:
    """Its page."""
    return Page(files.html.read_text(encoding="utf-8"))
