"""``igrt report``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..reporting import write_course_report, write_fraction_report
from ..store import CourseFolder
from .answers import ReportAnswer
from .output import JsonOption, answering


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(answering(report))


def report(
    course: Annotated[str, typer.Argument(metavar="COURSE", help="Course id.")],
    fraction: Annotated[str | None, typer.Argument(metavar="[FX]", help="A fraction; the course if not given.")] = None,
    as_json: JsonOption = False,
) -> ReportAnswer:
    """Write or rewrite the report of a fraction, or of the course."""
    folder = CourseFolder(course)
    folder.record()
    files = write_fraction_report(folder.fraction(fraction)) if fraction else write_course_report(folder)
    return ReportAnswer(html=str(files.html), pdf=str(files.pdf))
