"""Writing the reports: HTML, PDF and JSON side by side, each whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.files import write_bytes

from .figures import fraction_figures
from .html import html_bytes
from .images import FractionImages
from .model import CourseReport, FractionReport
from .pdf import pdf_bytes
from .view_course import course_page
from .view_fraction import fraction_page


@dataclass(frozen=True)
class ReportFiles:
    """Where a report was written."""

    html: Path
    pdf: Path
    json: Path


def render_fraction(report: FractionReport, images: FractionImages | None, folder: Path) -> ReportFiles:
    """Write a fraction's report.

    Parameters
    ----------
    report : FractionReport
        All figures and sentences.
    images : FractionImages or None
        For the pictures; None where the chain ended before there was an image. The DVH needs none.
    folder : Path
        Made if missing. Files: ``fraction_report.html``, ``.pdf``, ``.json``; existing ones are replaced.

    Raises
    ------
    StorageError
        If the disk refuses; files that were not yet written are then as before.
    """
    page = fraction_page(report, fraction_figures(report, images))
    return _write(folder, "fraction_report", html_bytes(page), pdf_bytes(page), _json(report))


def render_course(report: CourseReport, folder: Path) -> ReportFiles:
    """Write a course's report: ``course_report.html``, ``.pdf``, ``.json`` in ``folder``.

    Raises
    ------
    StorageError
        If the disk refuses.
    """
    page = course_page(report)
    return _write(folder, "course_report", html_bytes(page), pdf_bytes(page), _json(report))


def _json(report: FractionReport | CourseReport) -> bytes:
    return (report.model_dump_json(indent=2) + "\n").encode("utf-8")


def _write(folder: Path, stem: str, html: bytes, pdf: bytes, json: bytes) -> ReportFiles:
    # Everything is made before anything is written.
    return ReportFiles(
        pdf=write_bytes(folder / f"{stem}.pdf", pdf),
        json=write_bytes(folder / f"{stem}.json", json),
        html=write_bytes(folder / f"{stem}.html", html),
    )
