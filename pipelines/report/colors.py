"""Colours: dose scales, and structure colours made readable on a given ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[int, int, int]

#: Dose wash, low to high: blue, cyan, green, yellow, red, in the order that clinics know.
_DOSE_STOPS = ((40, 70, 200), (0, 170, 220), (40, 180, 90), (240, 210, 40), (240, 120, 30), (210, 20, 40))
#: Difference, negative (less dose today) to positive: blue, transparent white, red-orange. Safe for colour-blind eyes.
_DIFFERENCE_STOPS = ((30, 90, 230), (140, 180, 250), (245, 245, 245), (250, 160, 110), (220, 40, 10))

#: Stand-ins where a structure's own colour is taken.
_PALETTE: tuple[Rgb, ...] = (
    (230, 60, 60), (255, 150, 30), (240, 220, 50), (80, 200, 80), (0, 190, 190), (70, 140, 255), (170, 100, 255),
    (255, 110, 190), (170, 110, 60), (150, 170, 60), (120, 200, 255), (200, 160, 220), (255, 190, 150), (130, 130, 150),
)  # fmt: skip
_TELL_APART = 110.0

GROUND_LIGHT: Rgb = (255, 255, 255)
GROUND_DARK: Rgb = (27, 31, 38)
GROUND_IMAGE: Rgb = (0, 0, 0)


def _ramp(stops: tuple[Rgb, ...], position: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.linspace(0, 1, len(stops))
    table = np.asarray(stops, dtype=float)
    return np.stack([np.interp(position, places, table[:, channel]) for channel in range(3)], axis=-1)


def dose_rgba(dose_gy: NDArray[np.float32], *, top_gy: float, floor: float = 0.1) -> NDArray[np.uint8]:
    """Colour a dose picture; below ``floor`` of ``top_gy``, and where it is NaN, transparent."""
    relative = np.nan_to_num(np.asarray(dose_gy, dtype=float) / top_gy, nan=0.0)
    alpha = np.where(relative >= floor, 120.0, 0.0)
    return np.concatenate([_ramp(_DOSE_STOPS, np.clip(relative, 0, 1)), alpha[..., None]], axis=-1).astype(np.uint8)


def difference_rgba(difference_gy: NDArray[np.float32], *, top_gy: float) -> NDArray[np.uint8]:
    """Colour a difference, ``-top_gy`` … ``top_gy``; the smaller the more transparent, NaN wholly."""
    relative = np.nan_to_num(np.asarray(difference_gy, dtype=float) / top_gy, nan=0.0)
    alpha = 215.0 * np.clip(np.abs(relative) / 0.35, 0, 1)
    colors = _ramp(_DIFFERENCE_STOPS, np.clip((relative + 1) / 2, 0, 1))
    return np.concatenate([colors, alpha[..., None]], axis=-1).astype(np.uint8)


def dose_stops() -> tuple[Rgb, ...]:
    """Colours of the dose scale, low to high, evenly spaced."""
    return _DOSE_STOPS


def difference_stops() -> tuple[Rgb, ...]:
    """Colours of the difference scale, negative to positive, evenly spaced."""
    return _DIFFERENCE_STOPS


def luminance(color: Rgb) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    channels = np.asarray(color, dtype=float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a: Rgb, b: Rgb) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def readable(color: Rgb, ground: Rgb, *, ratio: float = 3.0) -> Rgb:
    """Darken or lighten a colour just enough to stand out from its ground (WCAG: 3:1 for lines)."""
    target = 0.0 if luminance(ground) > 0.18 else 255.0
    start = np.asarray(color, dtype=float)
    for step in range(21):
        mixed = start + (target - start) * step / 20
        candidate = (int(mixed[0]), int(mixed[1]), int(mixed[2]))
        if contrast(candidate, ground) >= ratio:
            return candidate
    return (int(target), int(target), int(target))


def distinct(wanted: Sequence[tuple[str, Rgb]]) -> dict[str, Rgb]:
    """Give each name a colour that no earlier name has: its own where it is still free, else one of a palette.

    Planning systems often give all targets one colour; on a picture they must be told apart.
    """
    given: dict[str, Rgb] = {}
    for name, own in wanted:
        if name in given:
            continue
        candidates = (own, *_PALETTE)
        free = [c for c in candidates if all(_distance(c, other) >= _TELL_APART for other in given.values())]
        given[name] = free[0] if free else own
    return given


def _distance(a: Rgb, b: Rgb) -> float:
    """Low-cost perceptual colour difference ("redmean"): 0 … 765."""
    mean = (a[0] + b[0]) / 2
    red, green, blue = (float(x - y) for x, y in zip(a, b, strict=True))
    return float(((2 + mean / 256) * red**2 + 4 * green**2 + (2 + (255 - mean) / 256) * blue**2) ** 0.5)


def css(color: Rgb) -> str:
    """Write a colour for SVG and CSS."""
    return f"#{color[0]:02x}{color[1]:02x}{color[2]:02x}"
