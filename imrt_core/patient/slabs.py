"""Contours as slabs: which thickness of the patient each contour plane stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._rasterize import cover_planes, even_odd_areas
from .errors import StructureError
from .structures import Structure

#: Points of one contour, and contours of one plane, may differ in z by this much (rounding in the file).
PLANE_TOLERANCE_MM = 0.1
#: A gap below this many spacings is no gap: the slices are merely unequal.
_CONTIGUOUS = 1.5
#: A gap up to this many spacings may be one or two contours that were not drawn.
_BRIDGEABLE = 3.5


@dataclass(frozen=True, eq=False)
class ContourSlabs:
    """The contour planes of one structure, each with the slab it stands for.

    Parameters
    ----------
    name : str
        Of the structure.
    z_mm, lower_mm, upper_mm : ndarray, shape (planes,)
        Plane, and the ends of its slab, LPS z, ascending.
    spacing_mm : float
        Common distance of neighbouring planes.
    bridged_mm : tuple of (float, float)
        Planes below and above each gap that was taken for contours not drawn, and was filled.
    edges_mm : ndarray, shape (m, 4)
        (x0, y0, x1, y1) of every edge that is not horizontal, plane by plane.
    start : ndarray, shape (planes + 1,)
        First edge of each plane.
    """

    name: str
    z_mm: NDArray[np.float64]
    lower_mm: NDArray[np.float64]
    upper_mm: NDArray[np.float64]
    spacing_mm: float
    bridged_mm: tuple[tuple[float, float], ...]
    edges_mm: NDArray[np.float64]
    start: NDArray[np.int64]

    @property
    def areas_mm2(self) -> NDArray[np.float64]:
        """Even-odd area of each plane."""
        return even_odd_areas(self.edges_mm, self.start)

    @property
    def volume_cc(self) -> float:
        """Sum of area times slab thickness, in cm³."""
        return float(np.sum(self.areas_mm2 * (self.upper_mm - self.lower_mm))) / 1000.0

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """(x lowest, y lowest, x highest, y highest) of all contours."""
        x, y = self.edges_mm[:, 0::2], self.edges_mm[:, 1::2]
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def contour_slabs(structure: Structure, *, slice_spacing_mm: float | None = None) -> ContourSlabs:
    """Find the planes of a structure's contours and the slab that each stands for.

    The common spacing is the most frequent distance of neighbouring planes (the smaller where two are as frequent),
    or ``slice_spacing_mm`` where stated. Then, plane by plane:

    - a distance below 1.5 spacings joins the planes: each contour reaches half-way to its neighbour, so unequal
      slices are integrated as they are;
    - a distance of 1.5 to 3.5 spacings is one or two planes without contours. Where the contours on both sides overlap
      in the plane they are the same body and contours are missing: both sides are extended to the middle, and the gap
      is listed in ``bridged_mm``. Where they do not overlap they are separate pieces;
    - a larger distance separates two pieces of the structure, for example two nodes;
    - but two larger distances in a row, a contour alone between them, and overlapping contours all along are contours
      drawn at irregular distances: refused, since neither filling nor leaving out can be right;
    - every piece reaches half a slice beyond its first and its last contour: half the distance to its neighbour, and
      half a spacing where it has none.

    Parameters
    ----------
    structure : Structure
        With transverse contours (constant z in LPS).
    slice_spacing_mm : float, optional
        Slice spacing of the image that the contours were drawn on. Needed only where they lie in a single plane.

    Raises
    ------
    StructureError
        If there is no contour, one is not transverse, none has an area, the contours are at irregular distances, or
        all lie in one plane and ``slice_spacing_mm`` is not given.
    """
    where = f"structure {structure.name}"
    if structure.is_empty:
        raise StructureError("the structure is empty", found="no contours", expected="closed contours", where=where)
    if slice_spacing_mm is not None and not (np.isfinite(slice_spacing_mm) and slice_spacing_mm > 0):
        raise StructureError("slice spacing must be positive", found=f"{slice_spacing_mm} mm", where=where)
    planes = _planes(structure, where)
    z_mm = np.array([z for z, _ in planes])
    parts = [_edges(polygons) for _, polygons in planes]
    edges = np.ascontiguousarray(np.concatenate(parts))
    start = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    if not np.any(even_odd_areas(edges, start) > 0):
        raise StructureError("the contours enclose no area", found=f"{len(structure.contours)} contours", where=where)
    gaps = np.diff(z_mm)
    spacing = slice_spacing_mm if slice_spacing_mm is not None else _common_spacing(gaps, where)
    joined = gaps < _CONTIGUOUS * spacing
    bridged = np.array(
        [
            not joined[n] and gap <= _BRIDGEABLE * spacing and _overlap(parts[n], parts[n + 1])
            for n, gap in enumerate(gaps)
        ],
        dtype=bool,
    )
    wide = gaps > _BRIDGEABLE * spacing
    for n in np.flatnonzero(wide[:-1] & wide[1:]):
        if _overlap(parts[n], parts[n + 1]) and _overlap(parts[n + 1], parts[n + 2]):
            raise StructureError(
                "contours are drawn at irregular distances; interpolate them in the planning system",
                found=f"gaps of {gaps[n]:.1f} and {gaps[n + 1]:.1f} mm around z = {z_mm[n + 1]:.1f} mm",
                expected=f"every {spacing:g} mm, or separate pieces",
                where=where,
            )
    below, above = np.full(len(z_mm), np.nan), np.full(len(z_mm), np.nan)
    half = np.where(joined | bridged, gaps / 2, np.nan)
    below[1:], above[:-1] = half, half
    # The free end of a piece mirrors its other side, unless that side is itself a filled gap.
    regular_below, regular_above = np.full(len(z_mm), spacing / 2), np.full(len(z_mm), spacing / 2)
    regular_below[:-1][joined] = gaps[joined] / 2
    regular_above[1:][joined] = gaps[joined] / 2
    below = np.where(np.isnan(below), regular_below, below)
    above = np.where(np.isnan(above), regular_above, above)
    return ContourSlabs(
        name=structure.name,
        z_mm=z_mm,
        lower_mm=z_mm - below,
        upper_mm=z_mm + above,
        spacing_mm=float(spacing),
        bridged_mm=tuple((float(z_mm[n]), float(z_mm[n + 1])) for n in np.flatnonzero(bridged)),
        edges_mm=edges,
        start=start,
    )


def _planes(structure: Structure, where: str) -> list[tuple[float, list[NDArray[np.float64]]]]:
    heights: list[tuple[float, NDArray[np.float64]]] = []
    for number, contour in enumerate(structure.contours, start=1):
        z = contour.points_lps[:, 2]
        if np.ptp(z) > PLANE_TOLERANCE_MM:
            raise StructureError(
                "a contour does not lie in a transverse plane",
                found=f"z from {z.min():.2f} to {z.max():.2f} mm in contour {number}",
                expected=f"one z, to {PLANE_TOLERANCE_MM} mm",
                where=where,
            )
        heights.append((float(np.mean(z)), contour.points_lps[:, :2]))
    heights.sort(key=lambda item: item[0])
    planes: list[tuple[float, list[NDArray[np.float64]]]] = []
    for z_mm, points in heights:
        if planes and z_mm - planes[-1][0] <= PLANE_TOLERANCE_MM:
            planes[-1][1].append(points)
        else:
            planes.append((z_mm, [points]))
    return planes


def _edges(polygons: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    edges = np.concatenate([np.hstack([points, np.roll(points, -1, axis=0)]) for points in polygons])
    return np.asarray(edges[edges[:, 1] != edges[:, 3]])


def _common_spacing(gaps: NDArray[np.float64], where: str) -> float:
    if len(gaps) == 0:
        raise StructureError(
            "all contours lie in one plane, so their slice spacing is unknown",
            found="1 plane",
            expected="two planes, or slice_spacing_mm of the image",
            where=where,
        )
    alike = np.abs(gaps[:, None] - gaps[None, :]) <= PLANE_TOLERANCE_MM
    votes = alike.sum(axis=1)
    shortest = np.min(gaps[votes == votes.max()])
    return float(np.median(gaps[np.abs(gaps - shortest) <= PLANE_TOLERANCE_MM]))


def _overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether two planes have area in common, seen at 100 pixels across."""
    if len(one) == 0 or len(other) == 0:
        return False
    lower = np.maximum(one.reshape(-1, 2).min(axis=0), other.reshape(-1, 2).min(axis=0))
    upper = np.minimum(one.reshape(-1, 2).max(axis=0), other.reshape(-1, 2).max(axis=0))
    if np.any(upper <= lower):
        return False
    cover = np.empty((2, 100, 100), np.float32)
    edges = np.ascontiguousarray(np.concatenate([one, other]))
    start = np.array([0, len(one), len(edges)], np.int64)
    cover_planes(edges, start, lower, (upper - lower) / 100, 2, cover)
    return bool(np.any(cover[0] * cover[1] > 0.25))
