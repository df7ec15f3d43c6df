"""What every part of a report has in common: frozen, finite, and "unknown" instead of a wrong number."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict

Decision = Literal["treat", "shift", "reoptimise", "replan", "review"]
GoalStatus = Literal["met", "violated", "undecided"]


def _unknown_if_nan(value: Any) -> Any:
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        return None
    return float(value) if isinstance(value, np.number) else value


#: A number, or None where it is not known (NaN and infinities become None).
Figure = Annotated[float | None, BeforeValidator(_unknown_if_nan)]
Point = tuple[float, float, float]


class Part(BaseModel):
    """Base: frozen, no unknown fields, fillable from attributes, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, allow_inf_nan=False)


class QualityFigure(Part):
    """One named number of a check. ``limit`` is text, e.g. ``"<= 2"``; ``passed`` None: not judged."""

    name: str
    value: Figure = None
    unit: str = ""
    limit: str = ""
    passed: bool | None = None
    note: str = ""
