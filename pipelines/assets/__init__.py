"""Dagster assets: each loads, makes one call, saves, and emits metadata. No science here.

``course`` holds those of a course; a fraction flows through ``position``, ``anatomy``, ``dose`` and ``adaptation``,
names and edges as in the design's figure.
"""

from . import adaptation, anatomy, course, dose, position

ALL = (*course.ASSETS, *position.ASSETS, *anatomy.ASSETS, *dose.ASSETS, *adaptation.ASSETS)

__all__ = ["ALL"]
