"""Pictures of radiographs and DRRs: dense is bright, the patient's sides are written at the edges."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import RigidTransform, Volume
from registration.projection import project

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

#: Pixel of the pictures at the isocentre.
_PIXEL_MM = 1.0
_SQUARE_MM = 30.0
_LETTER, _CAPTION, _STRIP = 22, 16, 24
_EDGE = (255, 150, 0)


def drr_picture(attenuation: Array, view: ProjectionView) -> bytes:
    """Return a DRR as PNG with the patient's sides at its edges."""
    return _png(_labelled(_grey(attenuation, np.ones(attenuation.shape, dtype=bool)), view, ""))


def overlay_picture(radiograph: Radiograph, attenuation_per_mm: Volume, day_from_fixed: RigidTransform) -> bytes:
    """Return four panels as PNG: radiograph, DRR, alternating squares of both, and the DRR's edges on the radiograph.

    Parameters
    ----------
    radiograph : Radiograph
        The image of the day.
    attenuation_per_mm : Volume
        Planning CT as attenuation.
    day_from_fixed : RigidTransform
        The match.
    """
    factor = max(1, round(_PIXEL_MM * radiograph.view.scale / max(radiograph.view.spacing_mm)))
    view = radiograph.view.binned(factor)
    rows, columns = view.shape
    pixels = np.asarray(radiograph.attenuation, dtype=float)[: rows * factor, : columns * factor]
    seen = pixels.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    drr = project(attenuation_per_mm, view, day_from_fixed)
    known = np.isfinite(seen) & (drr.missing_mm < 1.0)
    seen = np.nan_to_num(seen, nan=float(np.nanmin(seen)))
    made = _in_tones_of(seen, drr.attenuation, known)
    low, high = _window(seen, known)
    one, other = (_to_bytes(image, low, high) for image in (seen, made))
    square = max(round(_SQUARE_MM / _PIXEL_MM), 4)
    alternate = (np.arange(rows)[:, None] // square + np.arange(columns) // square) % 2 == 0
    edges = np.repeat(one[..., None], 3, axis=2)
    edges[_edges(drr.attenuation) & known] = _EDGE
    panels = [
        _labelled(one, view, f"{radiograph.label or 'radiograph'}, source at {view.gantry_deg % 360:.1f}°"),
        _labelled(np.where(known, other, other // 3), view, "DRR at the match (dim: beyond the CT)"),
        _labelled(np.where(alternate & known, other, one), view, "alternating squares"),
        _labelled(edges, view, "edges of the DRR on the radiograph"),
    ]
    return _png(_grid(panels))


def write_picture(data: bytes, path: Path) -> Path:
    """Write a picture whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return path


def _in_tones_of(seen: Array, made: Array, known: NDArray[np.bool_]) -> Array:
    """Give a DRR the tones of a radiograph, by their ranks: for the eye alone."""
    if known.sum() < 100:
        return made
    shares = np.linspace(0, 100, 65)
    ladder = np.maximum.accumulate(np.percentile(made[known], shares) + 1e-9 * np.arange(65))
    return np.asarray(np.interp(made, ladder, np.percentile(seen[known], shares)))


def _edges(image: Array) -> NDArray[np.bool_]:
    """Where the curvature changes sign along strong slopes."""
    curvature = ndimage.gaussian_laplace(image, 1.2)
    slope = ndimage.gaussian_gradient_magnitude(image, 1.2)
    crossing = np.zeros(image.shape, dtype=bool)
    crossing[:, :-1] |= curvature[:, :-1] * curvature[:, 1:] < 0
    crossing[:-1] |= curvature[:-1] * curvature[1:] < 0
    # Against the slopes around: bones inside the patient as well as his skin.
    around = ndimage.gaussian_filter(slope, 20.0)
    return np.asarray(crossing & (slope > 1.1 * around) & (slope > 0.25 * slope.mean()))


def _window(image: Array, known: NDArray[np.bool_]) -> tuple[float, float]:
    values = image[known] if known.any() else image
    low, high = (float(v) for v in np.percentile(values, [1.0, 99.5]))
    return low, max(high, low + 1e-6)


def _grey(image: Array, known: NDArray[np.bool_]) -> Picture:
    return _to_bytes(image, *_window(image, known))


def _to_bytes(image: Array, low: float, high: float) -> Picture:
    return np.asarray(np.clip((image - low) / (high - low), 0, 1) * 255, dtype=np.uint8)


def _labelled(pixels: Picture, view: ProjectionView, caption: str) -> Image.Image:
    picture = Image.fromarray(pixels).convert("RGB")
    scale = max(1, round(480 / picture.width))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BILINEAR)
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    left, right, top, bottom = view.side_letters()
    places = (
        (left, (6, height / 2), "lm"),
        (right, (width - 6, height / 2), "rm"),
        (top, (width / 2, 6), "mt"),
        (bottom, (width / 2, height - 6), "mb"),
    )
    for letters, place, anchor in places:
        draw.text(
            place, letters, (255, 220, 0), anchor=anchor, font_size=_LETTER, stroke_width=2, stroke_fill=(0, 0, 0)
        )
    if not caption:
        return picture
    framed = Image.new("RGB", (width, height + _STRIP))
    framed.paste(picture, (0, _STRIP))
    ImageDraw.Draw(framed).text((6, _STRIP / 2), caption, (255, 255, 255), anchor="lm", font_size=_CAPTION)
    return framed


def _grid(panels: Sequence[Image.Image]) -> Image.Image:
    width, height = panels[0].size
    whole = Image.new("RGB", (2 * width + 4, 2 * height + 4))
    for n, panel in enumerate(panels):
        whole.paste(panel, ((n % 2) * (width + 4), (n // 2) * (height + 4)))
    return whole


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
