"""Small pictures for the metadata of assets: PNG as data URI in Markdown, which the web UI shows inline."""

from __future__ import annotations

import base64
import io

import numpy as np
from dagster import MarkdownMetadataValue, MetadataValue
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from imrt_core.patient import Volume

#: Width of the pictures in pixels; the event log holds them, so they stay small.
WIDTH = 320
_WINDOW_HU = (-200.0, 300.0)
#: What is above this belongs to the picture, with a margin.
_AIR_HU, _MARGIN_MM = -400.0, 15.0


def axial_hu(hu: Volume, point_lps: tuple[float, float, float]) -> MarkdownMetadataValue:
    """Return the transverse slice through a point, soft-tissue window."""
    return _markdown(_grey(_slice(hu, _plane(hu, point_lps))), "transverse slice through the isocentre")


def checkerboard(fixed: Volume, moved: Volume, point_lps: tuple[float, float, float]) -> MarkdownMetadataValue:
    """Return alternating squares of two images on the grid of the first: edges must run on across them."""
    plane = _plane(fixed, point_lps)
    one, other = (_grey(_slice(v, plane)) for v in (fixed, moved))
    rows, columns = one.shape
    squares = (np.arange(rows)[:, None] // 35 + np.arange(columns)[None, :] // 35) % 2 == 0
    return _markdown(np.where(squares, one, other), "planning CT and image of the day in alternating squares")


def dose_on_hu(hu: Volume, dose_gy: Volume, point_lps: tuple[float, float, float]) -> MarkdownMetadataValue:
    """Return the transverse slice with the dose in colour, from 20 % of its maximum."""
    plane = _plane(hu, point_lps)
    grey = _grey(_slice(hu, plane)).astype(np.float64)
    top = float(dose_gy.array.max()) or 1.0
    share = np.clip(_slice(dose_gy, plane) / top, 0.0, 1.0)
    colour = np.stack([255 * share, 120 * (1 - np.abs(2 * share - 1)), 255 * (1 - share)], axis=-1)
    opacity = np.where(share > 0.2, 0.45, 0.0)[..., None]
    return _markdown((grey[..., None] * (1 - opacity) + colour * opacity).astype(np.uint8), f"dose up to {top:.2f} Gy")


def _plane(hu: Volume, point_lps: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the LPS points (rows, columns, 3) of a transverse picture of the patient, :data:`WIDTH` pixels wide.

    Rows run to posterior and columns to the patient's left, whatever the axes of the grid.
    """
    z = point_lps[2]
    k = int(np.clip(np.rint(hu.grid.to_index(point_lps)[2]), 0, hu.grid.shape[0] - 1))
    j, i = np.nonzero(np.nan_to_num(hu.array[k], nan=-1000.0) > _AIR_HU)
    if not len(i):
        j, i = (index.ravel() for index in np.indices(hu.grid.shape[1:]))
    tissue = hu.grid.to_lps(np.stack([i, j, np.full_like(i, k)], axis=-1))
    (left, front), (right, back) = tissue[:, :2].min(axis=0) - _MARGIN_MM, tissue[:, :2].max(axis=0) + _MARGIN_MM
    pixel_mm = max(right - left, back - front) / WIDTH
    columns = (left + right) / 2 + (np.arange(WIDTH) - (WIDTH - 1) / 2) * pixel_mm
    height = max(round((back - front) / pixel_mm), 1)
    rows = (front + back) / 2 + (np.arange(height) - (height - 1) / 2) * pixel_mm
    return np.stack(np.broadcast_arrays(columns[None, :], rows[:, None], np.float64(z)), axis=-1)


def _slice(volume: Volume, plane_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    return volume.sample(plane_lps, outside=float(volume.array.min()))


def _grey(hu: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = _WINDOW_HU
    return np.asarray(np.clip((hu - low) / (high - low), 0, 1) * 255, dtype=np.uint8)


def _markdown(pixels: NDArray[np.uint8], caption: str) -> MarkdownMetadataValue:
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels).convert("RGB")
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    marks = {"R": (8, height / 2), "L": (width - 8, height / 2), "A": (width / 2, 8), "P": (width / 2, height - 8)}
    for letter, place in marks.items():
        draw.text(place, letter, fill=(255, 220, 0), anchor="mm", font_size=16)
    picture.save(buffer, format="PNG", optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return MetadataValue.md(f"![{caption}](data:image/png;base64,{encoded})\n\n{caption}")
