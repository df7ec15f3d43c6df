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
    """Return the finite numbers of a quality dataclass by name, with the unit that the name ends in.

    A number ``x`` is judged where the dataclass has ``limits`` with a ``max_x`` or a ``min_x``.
    """
    if not is_dataclass(quality):
        return ()
    limits = getattr(quality, "limits", None)
    found = []
    for field in fields(quality):
        value = getattr(quality, field.name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            continue
        ending, unit = next(((e, text) for e, text in _UNITS.items() if field.name.endswith(e)), ("", ""))
        most, least = (getattr(limits, f"{which}_{field.name}", None) for which in ("max", "min"))
        limit, passed = "", None
        if most is not None:
            limit, passed = f"<= {most:g}", bool(value <= most)
        elif least is not None:
            limit, passed = f">= {least:g}", bool(value >= least)
        name = field.name.removesuffix(ending).replace("_", " ")
        found.append(QualityFigure(name=name, value=float(value), unit=unit, limit=limit, passed=passed))
    return tuple(found)
