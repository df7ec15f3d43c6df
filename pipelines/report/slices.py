"""Three orthogonal planes through the isocentre, and the grey and colour pictures on them.

Orientation is radiological and fixed by construction: on every plane pixel columns run along ``right_lps`` and rows
along ``down_lps``. Transverse: patient left (LPS +x) on the right, posterior (+y) down. Coronal: left on the right,
superior (+z) up. Sagittal: anterior on the left, superior up. Only the three slices are resampled, never a volume.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from imrt_core.patient import Volume

Image8 = NDArray[np.uint8]

#: Soft-tissue window (HU) that still shows lung and bone edges.
WINDOW_HU = (-400.0, 500.0)
#: Outside the image's extent, as air.
AIR_HU = -1000.0
_BODY_HU = -400.0
_MARGIN_MM = 12.0


@dataclass(frozen=True)
class Plane:
    """A raster in a plane through the isocentre, planning frame.

    Parameters
    ----------
    name : str
        ``"transverse"``, ``"coronal"`` or ``"sagittal"``.
    isocentre_lps : tuple of float
        The point (u, v) = (0, 0), mm.
    right_lps, down_lps : tuple of float
        Unit vectors of u and v.
    extent_mm : tuple of float
        (left, top, width, height) of the raster's outer edge in (u, v).
    shape : tuple of int
        (rows, columns).
    marks : tuple of str
        Letters at left, right, top, bottom.
    letter_mm : float
        Height of the letters: the same on the panels of one report, which share one scale.
    """

    name: str
    isocentre_lps: tuple[float, float, float]
    right_lps: tuple[float, float, float]
    down_lps: tuple[float, float, float]
    extent_mm: tuple[float, float, float, float]
    shape: tuple[int, int]
    marks: tuple[str, str, str, str]
    letter_mm: float = 12.0

    @property
    def u_mm(self) -> NDArray[np.float64]:
        """Pixel-centre positions along the columns."""
        left, _, width, _ = self.extent_mm
        return left + (np.arange(self.shape[1]) + 0.5) * width / self.shape[1]

    @property
    def v_mm(self) -> NDArray[np.float64]:
        """Pixel-centre positions along the rows."""
        _, top, _, height = self.extent_mm
        return top + (np.arange(self.shape[0]) + 0.5) * height / self.shape[0]

    def points_lps(self) -> NDArray[np.float64]:
        """Pixel centres, (rows, columns, 3), planning frame, mm."""
        return np.asarray(
            np.asarray(self.isocentre_lps)
            + self.v_mm[:, None, None] * np.asarray(self.down_lps)
            + self.u_mm[None, :, None] * np.asarray(self.right_lps)
        )


#: name, direction of u, direction of v, letters at left, right, top, bottom.
_PLANES = (
    ("transverse", (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), ("R", "L", "A", "P")),
    ("coronal", (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), ("R", "L", "S", "I")),
    ("sagittal", (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), ("A", "P", "S", "I")),
)


def planes_through(
    planning_hu: Volume,
    isocentre_lps: tuple[float, float, float],
    *,
    covered_lps: NDArray[np.float64] | None = None,
    pixel_mm: float = 1.0,
) -> tuple[Plane, Plane, Plane]:
    """Choose the three planes, cut to the body and to what the image of the day covers, with a margin.

    Parameters
    ----------
    planning_hu : Volume
        Planning CT, HU; the planes never reach beyond it.
    isocentre_lps : tuple of float
        Planned isocentre, mm.
    covered_lps : ndarray, shape (n, 3), or None
        Corners of the image of the day, brought to the planning frame.
    pixel_mm : float
        Pixel size.
    """
    grid = planning_hu.grid
    nz, ny, nx = grid.shape
    corners = grid.to_lps([[i, j, k] for i in (-0.5, nx - 0.5) for j in (-0.5, ny - 0.5) for k in (-0.5, nz - 0.5)])
    tissue = [_tissue_lps(planning_hu, isocentre_lps, axis) for axis in range(3)]
    # Nothing beyond the planning CT, and little beyond the image of the day.
    outer = [corners.min(axis=0), corners.max(axis=0)]
    if covered_lps is not None:
        outer = [
            np.maximum(outer[0], covered_lps.min(axis=0) - _MARGIN_MM),
            np.minimum(outer[1], covered_lps.max(axis=0) + _MARGIN_MM),
        ]
    # The coronal and the sagittal picture show the same stretch along z.
    heights = np.concatenate(tissue[1:])[:, 2]
    boxes = []
    for points in tissue:
        lower, upper = points.min(axis=0), points.max(axis=0)
        lower[2], upper[2] = heights.min(), heights.max()
        lower, upper = np.maximum(lower - _MARGIN_MM, outer[0]), np.minimum(upper + _MARGIN_MM, outer[1])
        # The isocentre is always in the picture, even where the image of the day does not reach it.
        boxes.append((np.minimum(lower - isocentre_lps, -_MARGIN_MM), np.maximum(upper - isocentre_lps, _MARGIN_MM)))
    letter_mm = 0.021 * sum(
        float((upper - lower) @ right) for (_, right, *_), (lower, upper) in zip(_PLANES, boxes, strict=True)
    )
    planes = []
    for (name, right, down, marks), (lower, upper) in zip(_PLANES, boxes, strict=True):
        left, columns = _span_mm(right, lower, upper, pixel_mm)
        top, rows = _span_mm(down, lower, upper, pixel_mm)
        extent = (left, top, columns * pixel_mm, rows * pixel_mm)
        planes.append(Plane(name, isocentre_lps, right, down, extent, (rows, columns), marks, letter_mm))
    return planes[0], planes[1], planes[2]


def _span_mm(
    axis: tuple[float, float, float], lower: NDArray[np.float64], upper: NDArray[np.float64], pixel_mm: float
) -> tuple[float, int]:
    """Begin (mm) and number of pixels of a box along an axis."""
    begin, end = sorted((float(np.dot(axis, lower)), float(np.dot(axis, upper))))
    return begin, max(round((end - begin) / pixel_mm), 8)


def _tissue_lps(planning_hu: Volume, isocentre_lps: tuple[float, float, float], axis: int) -> NDArray[np.float64]:
    """Points of the body on the voxel plane nearest the isocentre, array axis ``axis`` fixed, and the isocentre."""
    grid = planning_hu.grid
    nearest = np.clip(np.round(grid.to_index(isocentre_lps)).astype(int)[::-1], 0, np.array(grid.shape) - 1)
    # Opening leaves out noise and thin shells; small components are the table.
    tissue = ndimage.binary_opening(np.take(planning_hu.array, nearest[axis], axis=axis) > _BODY_HU, iterations=2)
    labels, _ = ndimage.label(tissue)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = np.argwhere(sizes[labels] > 0.2 * sizes.max())
    points = grid.to_lps(np.insert(body, axis, nearest[axis], axis=1)[:, ::-1])
    return np.concatenate([points, np.asarray(isocentre_lps)[None, :]])


def sample_on(volume: Volume, points_lps: NDArray[np.float64], *, outside: float) -> NDArray[np.float32]:
    """Trilinear values at (rows, columns, 3) points of the volume's own frame.

    Unlike ``Volume.sample`` it makes no double-precision copy of the volume, which costs more than the slice itself.
    """
    index = volume.grid.to_index(points_lps)
    upper = np.array(volume.grid.shape[::-1]) - 1
    inside = np.all((index >= -0.5) & (index <= upper + 0.5), axis=-1)
    coordinates = np.moveaxis(np.clip(index, 0, upper)[..., ::-1], -1, 0)
    values = ndimage.map_coordinates(volume.array, coordinates, order=1, output=np.float32)
    return np.where(inside, values, np.float32(outside))


def grey(hu: NDArray[np.float32]) -> Image8:
    """Window HU to 0 … 255."""
    low, high = WINDOW_HU
    return np.asarray(np.round(np.clip((hu - low) / (high - low), 0, 1) * 255), dtype=np.uint8)


def overlay(planning: Image8, day: Image8, covered: NDArray[np.bool_]) -> Image8:
    """Mix two grey pictures in complementary colours: planning blue, day orange, grey where they agree.

    Where the image of the day holds nothing (``covered`` False) the planning picture is shown dim and grey: no data is
    not a difference.
    """
    blue_half = planning.astype(np.uint16)
    orange_half = day.astype(np.uint16)
    mixed = np.stack([orange_half, (blue_half + orange_half) // 2, blue_half], axis=-1)
    dim = (0.4 * planning).astype(np.uint16)[..., None]
    return np.where(covered[..., None], mixed, dim).astype(np.uint8)


def png_uri(picture: Image8) -> str:
    """Encode (rows, columns) bytes, or with 2 (grey, alpha), 3 or 4 channels, as a PNG data URI."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", compress_level=5)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
