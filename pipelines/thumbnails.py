"""Small pictures for the metadata of assets: PNG as data URI in Markdown, which the web UI shows inline."""

from __future__ import annotations

import base64
import io

import numpy as np
from dagster import MarkdownMetadataValue, MetadataValue
from numpy.typing import NDArray
from PIL import Image

from imrt_core.patient import Grid, Volume

#: Width of the pictures in pixels; the event log holds them, so they stay small.
WIDTH = 280
_WINDOW_HU = (-200.0, 300.0)


def axial_hu(hu: Volume, point_lps: tuple[float, float, float]) -> MarkdownMetadataValue:
    """Return the transverse slice through a point, soft-tissue window."""
    return _markdown(_grey(_slice(hu, hu.grid, point_lps)), "transverse slice through the isocentre")


def checkerboard(fixed: Volume, moved: Volume, point_lps: tuple[float, float, float]) -> MarkdownMetadataValue:
    """Return alternating squares of two images on the grid of the first: edges must run on across them."""
    one, other = (_grey(_slice(v, fixed.grid, point_lps)) for v in (fixed, moved))
    rows, columns = one.shape
    squares = (np.arange(rows)[:, None] // 35 + np.arange(columns)[None, :] // 35) % 2 == 0
    return _markdown(np.where(squares, one, other), "planning CT and image of the day in alternating squares")


def dose_on_hu(hu: Volume, dose_gy: Volume, point_lps: tuple[float, float, float]) -> MarkdownMetadataValue:
    """Return the transverse slice with the dose in colour, from 20 % of its maximum."""
    grey = _grey(_slice(hu, hu.grid, point_lps)).astype(np.float64)
    dose = _slice(dose_gy, hu.grid, point_lps)
    top = float(dose_gy.array.max()) or 1.0
    share = np.clip(dose / top, 0.0, 1.0)
    colour = np.stack([255 * share, 120 * (1 - np.abs(2 * share - 1)), 255 * (1 - share)], axis=-1)
    opacity = np.where(share > 0.2, 0.45, 0.0)[..., None]
    return _markdown((grey[..., None] * (1 - opacity) + colour * opacity).astype(np.uint8), f"dose up to {top:.2f} Gy")


def _slice(volume: Volume, like: Grid, point_lps: tuple[float, float, float]) -> NDArray[np.float64]:
    """Sample the transverse slice of ``like`` through a point, :data:`WIDTH` square pixels wide."""
    _, ny, nx = like.shape
    k = like.to_index(point_lps)[2]
    pixel_mm = nx * like.spacing_mm[0] / WIDTH
    height = max(round(ny * like.spacing_mm[1] / pixel_mm), 1)
    columns = (np.arange(WIDTH) + 0.5) * pixel_mm / like.spacing_mm[0] - 0.5
    rows = (np.arange(height) + 0.5) * pixel_mm / like.spacing_mm[1] - 0.5
    j, i = np.meshgrid(rows, columns, indexing="ij")
    points = like.to_lps(np.stack([i, j, np.full_like(i, k)], axis=-1))
    return volume.sample(points, outside=float(volume.array.min()))


def _grey(hu: NDArray[np.float64]) -> NDArray[np.uint8]:
    low, high = _WINDOW_HU
    return np.asarray(np.clip((hu - low) / (high - low), 0, 1) * 255, dtype=np.uint8)


def _markdown(pixels: NDArray[np.uint8], caption: str) -> MarkdownMetadataValue:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return MetadataValue.md(f"![{caption}](data:image/png;base64,{encoded})\n\n{caption}")
