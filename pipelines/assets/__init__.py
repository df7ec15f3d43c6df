"""Dagster assets: each loads, makes one call, saves, and emits metadata. No science here."""

from . import course, fraction

ALL = (*course.ASSETS, *fraction.ASSETS)

__all__ = ["ALL"]
