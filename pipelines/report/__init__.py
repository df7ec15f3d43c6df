"""Fraction and course reports: one self-contained HTML, one PDF and one JSON each."""

from .images import FractionImages
from .model import CourseReport, FractionReport, FractionSummary
from .render import ReportFiles, render_course, render_fraction

__all__ = [
    "CourseReport",
    "FractionImages",
    "FractionReport",
    "FractionSummary",
    "ReportFiles",
    "render_course",
    "render_fraction",
]
