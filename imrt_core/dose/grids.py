"""Dose grids, and the body on them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import GeometryError, Grid, Structure, StructureError, Volume

#: Relative electron density from which a voxel is tissue: lung begins at about 0.15.
TISSUE_LEVEL = 0.1


def dose_grid_for(
    image_grid: Grid,
    body: Volume | Structure | Iterable[Structure],
    *,
    spacing_mm: float | tuple[float, float, float] = 2.5,
    margin_mm: float = 5.0,
) -> Grid:
    """Return a dose grid along the LPS axes that covers the body within the image.

    Parameters
    ----------
    image_grid : Grid
        The dose grid stays within its extent (for an oblique image, within the box around it).
    body : Volume, Structure or iterable of Structure
        Mask (0.5 or more is body), or contours.
    spacing_mm : float or tuple of float
        Along x, y, z.
    margin_mm : float
        Added on all sides.

    Raises
    ------
    StructureError
        If the body is empty.
    GeometryError
        If a spacing or the margin is not valid, or the body lies outside the image.
    """
    spacing = np.full(3, spacing_mm) if np.ndim(spacing_mm) == 0 else np.asarray(spacing_mm, dtype=float)
    if spacing.shape != (3,) or not np.all(np.isfinite(spacing)) or np.any(spacing <= 0) or not margin_mm >= 0:
        raise GeometryError("a dose grid needs a positive spacing and a margin", found=f"{spacing_mm}, {margin_mm} mm")
    lower, upper = _extent(body)
    nz, ny, nx = image_grid.shape
    corners = image_grid.to_lps(
        [[i, j, k] for i in (-0.5, nx - 0.5) for j in (-0.5, ny - 0.5) for k in (-0.5, nz - 0.5)]
    )
    lower = np.maximum(lower - margin_mm, corners.min(axis=0))
    upper = np.minimum(upper + margin_mm, corners.max(axis=0))
    if np.any(upper <= lower):
        raise GeometryError("the body lies outside the image", found=f"{lower.tolist()} … {upper.tolist()} mm")
    # Whole voxels inside the extent: a dose voxel beyond the image has no density.
    counts = np.maximum(np.floor((upper - lower) / spacing + 1e-6).astype(int), 1)
    origin = (lower + upper) / 2 - (counts - 1) / 2 * spacing
    return Grid(
        shape=(int(counts[2]), int(counts[1]), int(counts[0])),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        origin_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
    )


def _extent(body: Volume | Structure | Iterable[Structure]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if isinstance(body, Volume):
        mask = np.asarray(body.array) >= 0.5
        occupied = [np.flatnonzero(mask.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
        if not all(len(o) for o in occupied):
            raise StructureError("the body is empty: no dose grid")
        ends = [(o[0] - 0.5, o[-1] + 0.5) for o in occupied]
        points = body.grid.to_lps([[i, j, k] for i in ends[0] for j in ends[1] for k in ends[2]])
    else:
        structures = [body] if isinstance(body, Structure) else list(body)
        contours = [c.points_lps for s in structures for c in s.contours]
        if not contours:
            raise StructureError("the body is empty: no dose grid", found=", ".join(s.name for s in structures))
        points = np.concatenate(contours)
    return points.min(axis=0), points.max(axis=0)


def body_mask(red: Volume, grid: Grid) -> NDArray[np.bool_]:
    """Return which voxels of a grid lie in the body: tissue, and the cavities that it encloses on a slice."""
    tissue = red.resampled_to(grid, outside=0.0).array >= TISSUE_LEVEL
    in_slice = np.zeros((3, 3, 3), dtype=bool)
    in_slice[1] = ndimage.generate_binary_structure(2, 1)
    return np.asarray(ndimage.binary_fill_holes(tissue, structure=in_slice))
