"""Numbers of a quality dataclass, as the report shows them."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

from pipelines.report.parts import (
    QualityFigure,
)

#: Figures of the match that have a unit in their name.
_UNITS = {"_mm": "mm", "_deg": "°", "_hu": "HU", "_percent": "%", "_cc": "cc", "_gy": "Gy"}


def quality_figures(quality: Any) -> tuple[QualityFigure, ...]:
    """Return the finite numbers of a quality dataclass by name, with the unit that the name ends in."""
    if not is_dataclass(quality):
        return ()
    found = []
    for field in fields(quality):
        value = getattr(quality, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        unit = next((text for ending, text in _UNITS.items() if field.name.endswith(ending)), "")
        name = field.name.removesuffix(next((e for e in _UNITS if field.name.endswith(e)), "")).replace("_", " ")
        found.append(QualityFigure(name=name, value=float(value), unit=unit))
    return tuple(found)
