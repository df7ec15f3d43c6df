"""Cylinders and ellipsoids around the isocentre, drawn as contours: what the TG-119 phantoms are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, Structure, Volume
from imrt_core.patient.contours import structure_from_mask

#: Contours lie on planes 2.5 mm apart, drawn on pixels of 1 mm.
SLICE_MM, PIXEL_MM = 2.5, 1.0
#: Half extent of the region that holds structures (x, y, z).
_REGION_MM = (80.0, 75.0, 70.0)

Array = NDArray[np.float64]


def _region() -> Grid:
    half = np.array(_REGION_MM)
    spacing = np.array([PIXEL_MM, PIXEL_MM, SLICE_MM])
    size = np.rint(2 * half / spacing).astype(int)
    origin = -half + spacing / 2
    return Grid(
        (int(size[2]), int(size[1]), int(size[0])),
        (PIXEL_MM, PIXEL_MM, SLICE_MM),
        (float(origin[0]), float(origin[1]), float(origin[2])),
    )


@dataclass(frozen=True, eq=False)
class DrawnRegion:
    """Levels (mm, negative inside) on the region; slices are all in or all out, edges in the plane are sub-pixel."""

    grid: Grid
    x: Array
    y: Array
    z: Array

    @classmethod
    def fresh(cls) -> DrawnRegion:
        """Return the region around the isocentre."""
        grid = _region()
        points = grid.voxel_centres_lps()
        return cls(grid, points[..., 0], points[..., 1], points[..., 2])

    def cylinder(self, radius_mm: float, bottom_mm: float, top_mm: float, *, x: float = 0.0, y: float = 0.0) -> Array:
        """Along z."""
        level = np.hypot(self.x - x, self.y - y) - radius_mm
        return self.between(level, bottom_mm, top_mm)

    def between(self, level: Array, bottom_mm: float, top_mm: float) -> Array:
        """Cut by two transverse planes, which must lie between slices."""
        return np.where((self.z > bottom_mm) & (self.z < top_mm), level, np.inf)

    def ellipsoid(self, centre: Sequence[float], semi_mm: Sequence[float]) -> Array:
        """First-order distance, exact at the surface."""
        offset = (self.x - centre[0], self.y - centre[1], self.z - centre[2])
        rho = np.sqrt(sum((o / s) ** 2 for o, s in zip(offset, semi_mm, strict=True)))
        slope = np.sqrt(sum((o / s**2) ** 2 for o, s in zip(offset[:2], semi_mm[:2], strict=True)))
        return np.asarray(np.where(slope > 1e-6, rho * (rho - 1.0) / np.maximum(slope, 1e-6), (rho - 1.0) * 1e3))

    def mask(self, level: Array) -> Volume:
        """Fraction of every pixel inside."""
        return Volume(np.clip(0.5 - level / PIXEL_MM, 0.0, 1.0).astype(np.float32), self.grid)

    def structure(self, name: str, level: Array, kind: str = "ORGAN") -> Structure:
        """Draw it."""
        return structure_from_mask(self.mask(level), name=name, interpreted_type=kind)
