"""Trends over the fractions of a course as SVG: shifts, goal values, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

from .axes_svg import FONT, Frame, axes_svg, ticks

#: Series colours on light and dark ground, and point shapes so that colour is not the only sign (Okabe-Ito based).
SERIES = (("#0062a3", "#6cb8f0"), ("#b34700", "#ff9a4d"), ("#00795c", "#4fd6ac"), ("#8c3a78", "#e39ccf"))
_SHAPES = ("circle", "square", "triangle", "diamond")


@dataclass(frozen=True)
class Series:
    """A named row of values, one per fraction; None where there is none."""

    name: str
    values: tuple[float | None, ...]


def trend_svg(
    fractions: Sequence[int],
    series: Sequence[Series],
    *,
    y_label: str,
    title: str,
    limit: float | None = None,
    limit_name: str = "limit",
    include_zero: bool = True,
    unique: str,
    for_print: bool = False,
    height: float = 260.0,
    width: float = 760.0,
) -> str:
    """Draw values over fraction numbers, with an optional limit line."""
    known = [v for row in series for v in row.values if v is not None]
    known += [limit] if limit is not None else []
    known += [0.0] if include_zero or not known else []
    low, high = min(known), max(known)
    pad = 0.06 * max(high - low, 1.0)
    y_ticks = ticks(low - (0 if low == 0 else pad), high + (0 if high == 0 else pad), about=5)
    if len(y_ticks) < 3:
        y_ticks = ticks(low - 1, high + 1, about=5)
    first, last = min(fractions), max(fractions)
    x_range = (first - 0.7, last + 0.7) if last > first else (first - 1.5, first + 1.5)
    frame = Frame(width, height, left=62, right=14, top=12, bottom=46, x=x_range, y=(y_ticks[0], y_ticks[-1]))
    shown = _fraction_ticks(fractions)
    parts = [axes_svg(frame, shown, y_ticks, x_label="Fraction", y_label=y_label)]
    if limit is not None:
        v = frame.v(limit)
        parts.append(
            f"<path class='limit' d='M{frame.left:g} {v:.1f}H{frame.width - frame.right:g}' stroke='#b3261e' "
            f"stroke-width='1.8' stroke-dasharray='9 5' style='--dark:#ff8a80'>"
            f"<title>{escape(limit_name)}</title></path>"
        )
    for index, row in enumerate(series):
        parts.append(_row(frame, fractions, row, index))
    return frame.wrap("".join(parts), alt=title, unique=unique, for_print=for_print)


def _fraction_ticks(fractions: Sequence[int]) -> list[float]:
    every = sorted(set(fractions))
    step = max(1, -(-len(every) // 20))
    return [float(n) for n in every[::step]]


def _row(frame: Frame, fractions: Sequence[int], row: Series, index: int) -> str:
    light, dark = SERIES[index % len(SERIES)]
    style = f"style='--dark:{dark}'"
    places = [(frame.u(n), frame.v(v), n, v) for n, v in zip(fractions, row.values, strict=True) if v is not None]
    line = " ".join(f"{u:.1f},{v:.1f}" for u, v, _, _ in places)
    parts = [f"<polyline class='curve' points='{line}' fill='none' stroke='{light}' stroke-width='2' {style}/>"]
    parts += [
        f"<path class='point' d='{_shape(index, u, v)}' fill='{light}' {style}>"
        f"<title>{escape(row.name)}, fraction {n}: {value:.1f}</title></path>"
        for u, v, n, value in places
    ]
    return "".join(parts)


def _shape(index: int, u: float, v: float, size: float = 5.0) -> str:
    match _SHAPES[index % len(_SHAPES)]:
        case "circle":
            return f"M{u - size:.1f} {v:.1f}a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0z"
        case "square":
            return f"M{u - size:.1f} {v - size:.1f}h{2 * size}v{2 * size}h{-2 * size}z"
        case "triangle":
            return f"M{u:.1f} {v - 1.2 * size:.1f}l{1.2 * size} {2.1 * size}h{-2.4 * size}z"
        case _:
            half = 1.3 * size
            return f"M{u:.1f} {v - half:.1f}l{half} {half}l{-half} {half}l{-half} {-half}z"


def timeline_svg(
    steps: Sequence[tuple[int, str, str, str]], *, title: str, unique: str, for_print: bool = False
) -> str:
    """Draw the decisions as a row of labelled boxes.

    Parameters
    ----------
    steps : sequence of (fraction, word, colour of the ground, note)
        White text on the ground; the note is shown to the pointer.
    title : str
        Text alternative.
    unique : str
        Id on the page.
    for_print : bool
        Give the size in points.
    """
    columns = 7
    box_width, box_height, gap = 104.0, 46.0, 6.0
    rows = -(-max(len(steps), 1) // columns)
    width, height = columns * (box_width + gap), rows * (box_height + gap)
    parts = []
    for index, (fraction, word, ground, note) in enumerate(steps):
        x, y = (index % columns) * (box_width + gap), (index // columns) * (box_height + gap)
        parts.append(
            f"<g transform='translate({x:g} {y:g})'><title>Fraction {fraction}: {escape(note)}</title>"
            f"<rect width='{box_width:g}' height='{box_height:g}' rx='6' fill='{ground}'/>"
            f"<g fill='#fff' text-anchor='middle' {FONT}>"
            f"<text x='{box_width / 2:g}' y='18' font-size='13'>fx{fraction:02d}</text>"
            f"<text x='{box_width / 2:g}' y='36' font-size='14' font-weight='700'>{escape(word)}</text></g></g>"
        )
    size = f" width='{width:g}' height='{height:g}'" if for_print else ""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' class='plot timeline' id='{unique}' "
        f"viewBox='0 0 {width:g} {height:g}'{size} role='img' aria-label='{escape(title)}'>{''.join(parts)}</svg>"
    )
