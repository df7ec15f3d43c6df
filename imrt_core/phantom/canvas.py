"""Painting tissue into a CT: partial volume at every edge, texture by tissue."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid

from .shapes import Level, Space, smooth_noise

#: Edges are blurred over this width, about one voxel of a planning CT.
_EDGE_MM = 2.2


def coverage(level_mm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the fraction 0…1 of each voxel inside a level (mm, negative inside)."""
    return np.asarray(np.clip(0.5 - level_mm / np.float32(_EDGE_MM), 0, 1), dtype=np.float32)


def level_from_coverage(fraction: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the level (mm, negative inside) whose coverage is the given fraction; exact only within the edge."""
    return np.asarray((np.float32(0.5) - fraction) * np.float32(_EDGE_MM), dtype=np.float32)


class Canvas:
    """A CT under construction: later paint covers earlier paint.

    Parameters
    ----------
    space : Space
        Atlas coordinates of the grid to paint on. Starts as air.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.hu: NDArray[np.float32] = np.full(space.grid.shape, np.float32(-1000))
        #: Standard deviation of the tissue's own texture, HU.
        self.texture_hu: NDArray[np.float32] = np.zeros(space.grid.shape, dtype=np.float32)
        #: What moves as one rigid body (skull, spine, pelvis, ribs).
        self.bone: NDArray[np.bool_] = np.zeros(space.grid.shape, dtype=bool)

    @property
    def grid(self) -> Grid:
        """The grid painted on."""
        return self.space.grid

    def paint(self, level: Level, hu: float, *, texture_hu: float = 4.0) -> None:
        """Fill a solid with one tissue."""
        part = coverage(level.mm)
        for target, value in ((self.hu, hu), (self.texture_hu, texture_hu)):
            view = target[level.slices]
            view += part * (np.float32(value) - view)

    def paint_bone(
        self, level: Level, *, marrow_hu: float = 280.0, cortex_hu: float = 1150.0, cortex_mm: float = 2.0
    ) -> None:
        """Fill a solid with marrow inside a cortex."""
        self.paint(level, cortex_hu, texture_hu=60)
        self.paint(level.grown(-cortex_mm), marrow_hu, texture_hu=45)
        self.bone[level.slices] |= level.mm < 0

    def tissue_hu(self, *, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the patient: paint with each tissue's own texture, at two scales."""
        spacing = np.asarray(self.grid.spacing_mm[::-1])
        fine = smooth_noise(self.hu.shape, 4.0 / spacing, rng)
        coarse = smooth_noise(self.hu.shape, 11.0 / spacing, rng)
        return np.asarray(self.hu + self.texture_hu * (0.75 * fine + 0.65 * coarse), dtype=np.float32)


def scanned(tissue_hu: NDArray[np.float32], grid: Grid, *, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a planning CT of a patient: noise of a soft kernel, whole HU."""
    noise = smooth_noise(tissue_hu.shape, 2.6 / np.asarray(grid.spacing_mm[::-1]), rng)
    return np.asarray(np.clip(np.rint(tissue_hu + np.float32(9) * noise), -1024, 3071), dtype=np.float32)
