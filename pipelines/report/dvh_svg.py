"""Cumulative dose-volume histograms as SVG: planned dashed, today solid, the plan of day dotted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import escape

from .axes_svg import Frame, axes_svg, ticks
from .colors import GROUND_DARK, GROUND_LIGHT, Rgb, css, readable
from .parts import Curve, DvhPair

_WIDTH, _HEIGHT = 760.0, 420.0


def dvh_svg(
    pairs: Sequence[DvhPair], colors: Mapping[str, Rgb], *, unique: str = "dvh", for_print: bool = False
) -> str:
    """Draw the histograms of several structures on one axis, course scale, each in its structure's colour.

    Each curve has a ``<title>`` for the pointer; the page's script reads ``data-x``/``data-y`` for the cursor.
    """
    highest = max((c.dose_gy[-1] for pair in pairs for c in _curves(pair) if c.dose_gy), default=1.0)
    end = max(highest * 1.02, 1.0)
    x_ticks = [x for x in ticks(0.0, end, about=9) if x <= end]
    frame = Frame(_WIDTH, _HEIGHT, left=58, right=14, top=12, bottom=46, x=(0.0, end), y=(0.0, 100.0))
    parts = [axes_svg(frame, x_ticks, ticks(0.0, 100.0), x_label="Dose, course scale (Gy)", y_label="Volume (%)")]
    for pair in pairs:
        light = css(readable(colors[pair.structure], GROUND_LIGHT))
        dark = css(readable(colors[pair.structure], GROUND_DARK))
        for curve, what, dash in (
            (pair.planned, "planned", "7 4"),
            (pair.plan_of_day, "plan of day", "2 3"),
            (pair.today, "today", ""),
        ):
            if curve is None or not curve.dose_gy:
                continue
            style = f"stroke='{light}' style='--dark:{dark}'"
            name = f"{escape(pair.structure)}, {what}"
            if curve.low_percent and curve.high_percent:
                parts.append(_band(frame, curve, light, dark))
            dashes = f" stroke-dasharray='{dash}'" if dash else ""
            points = " ".join(
                f"{frame.u(x):.1f},{frame.v(y):.1f}" for x, y in zip(curve.dose_gy, curve.volume_percent, strict=True)
            )
            parts.append(
                f"<polyline class='curve' points='{points}' fill='none' stroke-width='{1.6 if dash else 2.2}' {style}"
                f"{dashes} data-name='{name}'><title>{name}</title></polyline>"
            )
    return frame.wrap("".join(parts), alt=_alt(pairs), unique=unique, for_print=for_print)


def _curves(pair: DvhPair) -> tuple[Curve, ...]:
    return tuple(curve for curve in (pair.planned, pair.today, pair.plan_of_day) if curve is not None)


def _band(frame: Frame, curve: Curve, light: str, dark: str) -> str:
    dose = np.asarray(curve.dose_gy)
    upper = [f"{frame.u(x):.1f},{frame.v(y):.1f}" for x, y in zip(dose, curve.high_percent, strict=True)]
    lower = [f"{frame.u(x):.1f},{frame.v(y):.1f}" for x, y in zip(dose, curve.low_percent, strict=True)]
    points = " ".join(upper + lower[::-1])
    return f"<polygon class='band' points='{points}' fill='{light}' fill-opacity='0.18' style='--dark:{dark}'/>"


def _alt(pairs: Sequence[DvhPair]) -> str:
    names = ", ".join(pair.structure for pair in pairs)
    return f"Dose-volume histograms, planned dashed and today solid, of {names}. The numbers are in the goals table."
