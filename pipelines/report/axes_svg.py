"""The frame of a plot: scales, ticks and labels, shared by the DVH and the trends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import escape

FONT = "font-family='system-ui, Libertinus Serif, sans-serif'"


@dataclass(frozen=True)
class Frame:
    """A plot's outer size and margins in SVG units, and its ranges in data units."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def u(self, x: float) -> float:
        """SVG abscissa of a data value."""
        low, high = self.x
        return self.left + (x - low) / (high - low) * (self.width - self.left - self.right)

    def v(self, y: float) -> float:
        """SVG ordinate of a data value."""
        low, high = self.y
        return self.height - self.bottom - (y - low) / (high - low) * (self.height - self.top - self.bottom)

    def wrap(self, inner: str, *, alt: str, unique: str, for_print: bool) -> str:
        """Put the SVG element around the drawing."""
        size = f" width='{self.width:g}' height='{self.height:g}'" if for_print else ""
        low, high = self.x
        scale = (
            f"data-left='{self.left:g}' data-right='{self.width - self.right:g}' "
            f"data-low='{low:g}' data-high='{high:g}' "
            f"data-top='{self.top:g}' data-bottom='{self.height - self.bottom:g}'"
        )
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' class='plot' id='{unique}' "
            f"viewBox='0 0 {self.width:g} {self.height:g}'{size} {scale} role='img' aria-label='{escape(alt)}'>"
            f"{inner}</svg>"
        )


def ticks(low: float, high: float, *, about: int = 7) -> tuple[float, ...]:
    """Round tick values that cover ``low`` … ``high``: steps of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 1e-9)
    raw = span / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return tuple(round(index * step, 10) for index in range(first, max(last, first + 1) + 1))


def axes_svg(
    frame: Frame,
    x_ticks: Sequence[float],
    y_ticks: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    x_texts: Sequence[str] | None = None,
) -> str:
    """Draw grid lines, tick labels and axis labels in the colour of the page's text."""
    bottom = frame.height - frame.bottom
    right = frame.width - frame.right
    parts = ["<g class='grid' stroke='#8a8f98' stroke-opacity='0.35' stroke-width='1'>"]
    parts += [f"<path d='M{frame.u(x):.1f} {frame.top:g}V{bottom:g}'/>" for x in x_ticks]
    parts += [f"<path d='M{frame.left:g} {frame.v(y):.1f}H{right:g}'/>" for y in y_ticks]
    parts.append(f"</g><g class='axis' fill='currentColor' font-size='13' {FONT}>")
    texts = x_texts if x_texts is not None else [f"{x:g}" for x in x_ticks]
    parts += [
        f"<text x='{frame.u(x):.1f}' y='{bottom + 17:g}' text-anchor='middle'>{escape(text)}</text>"
        for x, text in zip(x_ticks, texts, strict=True)
    ]
    parts += [
        f"<text x='{frame.left - 7:g}' y='{frame.v(y) + 4.5:.1f}' text-anchor='end'>{_minus(f'{y:g}')}</text>"
        for y in y_ticks
    ]
    middle_x, middle_y = (frame.left + right) / 2, (frame.top + bottom) / 2
    parts.append(
        f"<text x='{middle_x:g}' y='{frame.height - 8:g}' text-anchor='middle' font-weight='600'>"
        f"{escape(x_label)}</text>"
        f"<text x='15' y='{middle_y:g}' text-anchor='middle' font-weight='600' "
        f"transform='rotate(-90 15 {middle_y:g})'>{escape(y_label)}</text></g>"
    )
    return "".join(parts)


def _minus(text: str) -> str:
    return text.replace("-", "−")
