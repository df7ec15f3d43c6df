"""A voxel array and the grid it lives on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .errors import GeometryError
from .grid import Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """Values on a grid. The unit is said by the name of the variable that holds the volume.

    Parameters
    ----------
    array : ndarray, shape (nz, ny, nx)
        Made read-only, C-ordered, never copied when it already is.
    grid : Grid
        Geometry of the array.

    Raises
    ------
    GeometryError
        If the array's shape is not the grid's.
    """

    array: NDArray[Any]
    grid: Grid

    def __post_init__(self) -> None:
        array = np.ascontiguousarray(self.array)
        if array.shape != self.grid.shape:
            raise GeometryError("an array must fit its grid", found=str(array.shape), expected=str(self.grid.shape))
        if array.flags.writeable:
            array = array.view()
            array.setflags(write=False)
        object.__setattr__(self, "array", array)

    def with_array(self, array: NDArray[Any]) -> Volume:
        """Return a volume of other values on the same grid."""
        return replace(self, array=array)

    def with_grid(self, grid: Grid) -> Volume:
        """Return the same values placed elsewhere in space (no resampling)."""
        return replace(self, grid=grid)

    def sample(self, points_lps: ArrayLike, *, order: int = 1, outside: float = np.nan) -> NDArray[np.float64]:
        """Interpolate at (…, 3) LPS points in mm.

        Parameters
        ----------
        points_lps : array_like, shape (…, 3)
            Where to sample.
        order : int
            0 nearest, 1 trilinear (default).
        outside : float
            Value beyond the voxels' extent; within the outer half voxel the edge value holds.
        """
        index = self.grid.to_index(points_lps)
        upper = np.array(self.grid.shape[::-1]) - 1
        inside = np.all((index >= -0.5) & (index <= upper + 0.5), axis=-1)
        clamped = np.clip(index, 0, upper)
        coordinates = clamped.reshape(-1, 3)[:, ::-1].T
        values = ndimage.map_coordinates(self.array, coordinates, output=np.float64, order=order)
        return np.asarray(np.where(inside, values.reshape(inside.shape), outside))

    def resampled_to(self, grid: Grid, *, order: int = 1, outside: float = 0.0) -> Volume:
        """Interpolate onto another grid (same frame). Points outside this volume become ``outside``."""
        if self.grid.matches(grid, tolerance_mm=1e-6):
            return self
        affine = self.grid.index_from_lps @ grid.lps_from_index
        # scipy works in array order (z, y, x): reverse both axes of the index matrix.
        matrix = affine[:3, :3][::-1, ::-1]
        offset = affine[:3, 3][::-1]
        moved = ndimage.affine_transform(
            self.array.astype(np.float32, copy=False),
            matrix,
            offset=offset,
            output_shape=grid.shape,
            order=order,
            mode="nearest",
        )
        if not _covers(self.grid, grid):
            nz, ny, nx = grid.shape
            inside = np.ones(grid.shape, dtype=bool)
            upper = np.array(self.grid.shape[::-1]) - 0.5
            k, j, i = np.ogrid[:nz, :ny, :nx]
            for axis in range(3):
                index = affine[axis, 0] * i + affine[axis, 1] * j + affine[axis, 2] * k + affine[axis, 3]
                inside &= (index >= -0.5 - 1e-9) & (index <= upper[axis] + 1e-9)
            moved = np.where(inside, moved, np.float32(outside))
        return Volume(moved, grid)


def _covers(outer: Grid, inner: Grid) -> bool:
    nz, ny, nx = inner.shape
    corners = np.array([[i, j, k] for i in (0, nx - 1) for j in (0, ny - 1) for k in (0, nz - 1)], dtype=float)
    return bool(np.all(outer.contains(inner.to_lps(corners))))
