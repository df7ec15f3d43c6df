"""Structures cut by a plane, as SVG paths.

The contours of a structure are a stack of parallel polygons. Each is filled (even-odd, holes included) on a raster in
its own plane; the display plane is sampled from the stack, linearly between neighbouring contours and half a slice
beyond the ends, and its outline is the 0.5 level. So any plane, tilted ones of a rotated day image too, is drawn by one
rule. This is for pictures: volumes and doses come from ``imrt_core.patient.contours``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import contourpy
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import RigidTransform, Structure

from .slices import Plane

#: Raster inside the stack: this fine, and never more than this many pixels a side.
_PIXEL_MM = 1.0
_LARGEST_SIDE = 320


@dataclass(frozen=True, eq=False)
class _Stack:
    """Filled contours: coverage[slice, row, column] at heights along the contours' common normal."""

    coverage: NDArray[np.float32]
    heights_mm: NDArray[np.float64]
    first_mm: NDArray[np.float64]
    pixel_mm: float
    axes: NDArray[np.float64]


def _normal(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit normal of a polygon (Newell's method), pointing to superior."""
    following = np.roll(points, -1, axis=0)
    vector = np.cross(points, following).sum(axis=0)
    length = float(np.linalg.norm(vector))
    if length < 1e-9:
        return np.array([0.0, 0.0, 1.0])
    vector = vector / length
    return np.asarray(vector if vector[2] >= 0 else -vector)


def _stack(structure: Structure) -> _Stack:
    largest = max(structure.contours, key=lambda c: float(np.ptp(c.points_lps, axis=0).sum()))
    normal = _normal(largest.points_lps)
    # Columns along x where the contours are transverse: rows of `axes` are the directions of column, row, slice.
    helper = np.array([0.0, 1.0, 0.0]) if abs(normal[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    column = np.cross(helper, normal)
    column /= np.linalg.norm(column)
    axes = np.stack([column, np.cross(normal, column), normal])
    polygons = [contour.points_lps @ axes.T for contour in structure.contours]
    height_of = np.round([polygon[:, 2].mean() for polygon in polygons], 2)
    heights = np.unique(height_of)
    everything = np.concatenate(polygons)[:, :2]
    span = float(np.ptp(everything, axis=0).max())
    pixel = max(_PIXEL_MM, span / _LARGEST_SIDE)
    first = everything.min(axis=0) - 2 * pixel
    columns, rows = (np.ceil(np.ptp(everything, axis=0) / pixel).astype(int) + 5).tolist()
    slice_of = np.searchsorted(heights, height_of)
    coverage = _fill(polygons, slice_of, (len(heights), rows, columns), first, pixel)
    # A light blur turns the pixel stairs into a straight 0.5 level without moving it.
    coverage = ndimage.uniform_filter1d(ndimage.uniform_filter1d(coverage, 3, axis=1), 3, axis=2)
    gap = float(np.median(np.diff(heights))) if len(heights) > 1 else 3.0
    padded, levels = [np.zeros_like(coverage[0])], [heights[0] - gap]
    for index, height in enumerate(heights):
        if index and height - heights[index - 1] > 2.5 * gap:
            # Separate parts: end the lower one and begin the upper one.
            padded += [np.zeros_like(coverage[0])] * 2
            levels += [heights[index - 1] + gap, height - gap]
        padded.append(coverage[index])
        levels.append(height)
    padded.append(np.zeros_like(coverage[0]))
    levels.append(heights[-1] + gap)
    return _Stack(np.stack(padded), np.asarray(levels), first, pixel, axes)


def _fill(
    polygons: list[NDArray[np.float64]],
    slice_of: NDArray[np.intp],
    shape: tuple[int, int, int],
    first_mm: NDArray[np.float64],
    pixel_mm: float,
) -> NDArray[np.float32]:
    """Even-odd fill of all polygons at once: every edge toggles the pixels to its right in each row that it crosses."""
    # Eight bits are enough: only the parity counts, and wrapping keeps it.
    toggles = np.zeros((shape[0], shape[1], shape[2] + 1), dtype=np.uint8)
    for polygon, index in zip(polygons, slice_of, strict=True):
        start = (polygon[:, :2] - first_mm) / pixel_mm
        stop = np.roll(start, -1, axis=0)
        low, high = np.minimum(start[:, 1], stop[:, 1]), np.maximum(start[:, 1], stop[:, 1])
        # Row centres r with low <= r < high.
        begin = np.ceil(low).astype(int)
        count = np.maximum(np.ceil(high).astype(int) - begin, 0)
        edge = np.repeat(np.arange(len(start)), count)
        row = begin[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        slope = (stop[edge, 0] - start[edge, 0]) / (stop[edge, 1] - start[edge, 1])
        crossing = start[edge, 0] + (row - start[edge, 1]) * slope
        column = np.clip(np.ceil(crossing).astype(int), 0, shape[2])
        np.add.at(toggles, (index, row, column), 1)
    return (np.cumsum(toggles, axis=2, dtype=np.uint8)[:, :, :-1] & 1).astype(np.float32)


def contour_lines(
    structure: Structure, planes: Sequence[Plane], *, frame_from_planning: RigidTransform | None = None
) -> tuple[tuple[NDArray[np.float64], ...], ...]:
    """Cut a structure by planes.

    Parameters
    ----------
    structure : Structure
        In the planning frame, or in the frame that ``frame_from_planning`` leads to.
    planes : sequence of Plane
        Display planes, planning frame.
    frame_from_planning : RigidTransform or None
        For a structure of the day: planning points to day points.

    Returns
    -------
    tuple (per plane) of tuple of ndarray, shape (n, 2)
        Closed lines in the plane's (u, v), mm; open where they leave the picture.
    """
    if structure.is_empty:
        return tuple(() for _ in planes)
    stack = _stack(structure)
    levels = np.arange(len(stack.heights_mm), dtype=float)
    cuts = []
    for plane in planes:
        points = plane.points_lps()
        if frame_from_planning is not None:
            points = frame_from_planning.apply(points)
        local = points @ stack.axes.T
        slice_index = np.interp(local[..., 2], stack.heights_mm, levels, left=0.0, right=levels[-1])
        in_plane = (local[..., :2] - stack.first_mm) / stack.pixel_mm
        coordinates = [slice_index, in_plane[..., 1], in_plane[..., 0]]
        values = ndimage.map_coordinates(stack.coverage, coordinates, order=1, output=np.float32)
        lines = contourpy.contour_generator(plane.u_mm, plane.v_mm, values).lines(0.5)
        cuts.append(tuple(np.asarray(line, dtype=float) for line in lines))
    return tuple(cuts)


def path_data(lines: tuple[NDArray[np.float64], ...], *, digits: int = 1) -> str:
    """Write lines as the ``d`` of an SVG path, leaving out points closer than the rounding shows."""
    parts = []
    for line in lines:
        rounded = np.round(line, digits)
        closed = bool(np.allclose(line[0], line[-1]))
        keep = [rounded[0]]
        for before, here in pairwise(rounded):
            if not np.array_equal(before, here):
                keep.append(here)
        if len(keep) < 3:
            continue
        text = "L".join(f"{u:g} {v:g}" for u, v in keep)
        parts.append(f"M{text}{'Z' if closed else ''}")
    return "".join(parts)
