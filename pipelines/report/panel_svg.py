"""One image panel as SVG: pictures in layers, structure lines, orientation letters, scale bar and isocentre.

The coordinates of the SVG are the plane's millimetres. Letters say which side is which on every panel: nobody should
have to know a convention to read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

from .slices import Plane

_FONT = "font-family='system-ui, Libertinus Serif, sans-serif' font-weight='700'"
#: White on black outline: readable on air and on bone.
_HALO = "fill='#fff' stroke='#000' stroke-width='{w:.1f}' paint-order='stroke' stroke-linejoin='round'"


@dataclass(frozen=True)
class Layer:
    """A picture that fills the plane. ``view``: ``"planning"``, ``"day"`` or ``"overlay"``; "" is always shown.

    The page's style sheet shows the layers that the chosen view needs; for the checkerboard it clips the day's.
    """

    uri: str
    view: str = ""


@dataclass(frozen=True)
class Line:
    """Structure or isodose lines as path data, with colour, dash and a name for the pointer."""

    data: str
    color: str
    name: str
    dash: bool = False
    width: float = 1.2


def panel_svg(
    plane: Plane,
    layers: Sequence[Layer],
    lines: Sequence[Line] = (),
    *,
    alt: str,
    unique: str,
    for_print: bool = False,
) -> str:
    """Draw a panel.

    Parameters
    ----------
    plane : Plane
        Gives the extent in mm and the orientation letters.
    layers : sequence of Layer
        Bottom first. In print only layers of no view or of view ``"overlay"`` are drawn.
    lines : sequence of Line
        On top of the pictures; solid over dashed as given.
    alt : str
        Text alternative.
    unique : str
        Prefix of the ids inside, unique on the page.
    for_print : bool
        No layers to choose, no ids.
    """
    left, top, width, height = plane.extent_mm
    size = f"viewBox='{left:g} {top:g} {width:g} {height:g}'"
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' class='panel' {size} role='img' aria-label='{escape(alt)}' "
        f"style='aspect-ratio:{width:g}/{height:g}'>"
    ]
    if for_print:
        # The printer has no CSS: give a size in mm so that all panels of a report share one scale.
        parts = [f"<svg xmlns='http://www.w3.org/2000/svg' {size} width='{width:g}' height='{height:g}'>"]
    parts.append(f"<rect x='{left:g}' y='{top:g}' width='{width:g}' height='{height:g}' fill='#000'/>")
    if not for_print and any(layer.view == "day" for layer in layers):
        parts.append(_checker(plane, f"{unique}-checker"))
    for layer in layers:
        if for_print and layer.view not in ("", "overlay"):
            continue
        parts.append(_picture(plane, layer, unique, for_print))
    for line in lines:
        if not line.data:
            continue
        dash = " stroke-dasharray='4 2.4'" if line.dash else ""
        parts.append(
            f"<path d='{line.data}' fill='none' stroke='{line.color}' stroke-width='{line.width:g}'{dash} "
            f"stroke-linejoin='round'><title>{escape(line.name)}</title></path>"
        )
    parts.append(_isocentre(0.6 * plane.letter_mm))
    parts.append(_marks(plane))
    parts.append(_scale_bar(plane))
    parts.append("</svg>")
    return "".join(parts)


def _picture(plane: Plane, layer: Layer, unique: str, for_print: bool) -> str:
    left, top, width, height = plane.extent_mm
    view = "" if for_print or not layer.view else f" class='layer view-{layer.view}'"
    clip = f" style='--checker:url(#{unique}-checker)'" if view and layer.view == "day" else ""
    return (
        f"<image{view} href='{layer.uri}' x='{left:g}' y='{top:g}' width='{width:g}' height='{height:g}' "
        f"preserveAspectRatio='none'{clip}/>"
    )


def _checker(plane: Plane, name: str, *, square_mm: float = 25.0) -> str:
    left, top, width, height = plane.extent_mm
    squares = []
    for row in range(int(height // square_mm) + 1):
        for column in range(int(width // square_mm) + 1):
            if (row + column) % 2:
                x, y = left + column * square_mm, top + row * square_mm
                squares.append(f"M{x:g} {y:g}h{square_mm:g}v{square_mm:g}h-{square_mm:g}z")
    return f"<clipPath id='{name}'><path d='{''.join(squares)}'/></clipPath>"


def _isocentre(arm: float) -> str:
    cross = (
        f"M{-arm:.1f} 0H{-arm / 3:.1f}M{arm / 3:.1f} 0H{arm:.1f}M0 {-arm:.1f}V{-arm / 3:.1f}M0 {arm / 3:.1f}V{arm:.1f}"
    )
    return f"<g fill='none'><path d='{cross}' stroke='#000' stroke-width='2'/><path d='{cross}' stroke='#fff'/></g>"


def _marks(plane: Plane) -> str:
    left, top, width, height = plane.extent_mm
    size = plane.letter_mm
    margin = 0.3 * size
    middle_u, middle_v = left + width / 2, top + height / 2
    places = (
        (left + margin, middle_v + size / 3, "start"),
        (left + width - margin, middle_v + size / 3, "end"),
        (middle_u, top + margin + 0.75 * size, "middle"),
        (middle_u, top + height - margin, "middle"),
    )
    halo = _HALO.format(w=0.16 * size)
    return "".join(
        f"<text class='mark' x='{u:.1f}' y='{v:.1f}' font-size='{size:.1f}' text-anchor='{anchor}' {_FONT} {halo}>"
        f"{letter}</text>"
        for letter, (u, v, anchor) in zip(plane.marks, places, strict=True)
    )


def _scale_bar(plane: Plane) -> str:
    left, top, width, height = plane.extent_mm
    length = 50 if width >= 110 else 20
    size = 0.7 * plane.letter_mm
    x, y = left + 0.03 * width, top + height - 0.03 * height
    halo = _HALO.format(w=0.16 * size)
    return (
        f"<path d='M{x:.1f} {y - 3:.1f}v3h{length}v-3' fill='none' stroke='#000' stroke-width='3.4'/>"
        f"<path d='M{x:.1f} {y - 3:.1f}v3h{length}v-3' fill='none' stroke='#fff' stroke-width='1.4'/>"
        f"<text x='{x:.1f}' y='{y - 4:.1f}' font-size='{size:.1f}' {_FONT} {halo}>"
        f"{length} mm</text>"
    )


def color_bar_svg(
    stops: Sequence[tuple[int, int, int]], low: str, middle: str, high: str, *, title: str, for_print: bool = False
) -> str:
    """Draw a horizontal colour bar with three labels, on a dark ground like the pictures."""
    colors = "".join(
        f"<stop offset='{index / (len(stops) - 1):.3f}' stop-color='rgb({r},{g},{b})'/>"
        for index, (r, g, b) in enumerate(stops)
    )
    # Ids are per page: the title is unique among the bars of a report.
    name = "bar-" + "".join(c for c in title.lower() if c.isalnum())
    labels = "".join(
        f"<text x='{x}' y='36' font-size='12' text-anchor='{anchor}' fill='#fff' font-family='system-ui, "
        f"Libertinus Serif, sans-serif'>{escape(text)}</text>"
        for x, anchor, text in ((10, "start", low), (150, "middle", middle), (290, "end", high))
    )
    size = " width='300' height='42'" if for_print else ""
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' class='bar' viewBox='0 0 300 42'{size} role='img' "
        f"aria-label='{escape(title)}: {escape(low)} to {escape(high)}'>"
        f"<defs><linearGradient id='{name}'>{colors}</linearGradient></defs>"
        f"<rect width='300' height='42' rx='4' fill='#000'/>"
        f"<rect x='10' y='7' width='280' height='14' fill='url(#{name})'/>{labels}</svg>"
    )
