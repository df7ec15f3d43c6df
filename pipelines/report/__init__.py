"""Fraction and course reports: one self-contained HTML, one PDF and one JSON each."""

from .images import FractionImages
from .model import CourseReport, FractionReport, FractionSummary

__all__ = ["CourseReport", "FractionImages", "FractionReport", "FractionSummary"]
