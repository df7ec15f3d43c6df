"""Fraction and course reports: one self-contained HTML, one PDF and one JSON each."""

from .files import ReportFiles
from .images import FractionImages
from .model import CourseReport, FractionReport, FractionSummary
from .render import render_course, render_fraction

__all__ = [
    "CourseReport",
    "FractionImages",
    "FractionReport",
    "FractionSummary",
    "ReportFiles",
    "render_course",
    "render_fraction",
]
