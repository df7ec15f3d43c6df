"""The geometry of a regular voxel grid in the patient frame (DICOM LPS, mm)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import GeometryError

if TYPE_CHECKING:
    from .transform import RigidTransform

#: Direction cosines may deviate this far from orthonormal before they are refused (vendors round to 6 digits).
_ORTHONORMAL_TOLERANCE = 1e-4

Direction = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
IDENTITY_DIRECTION: Direction = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Grid:
    """A right-handed regular grid of voxels.

    Arrays on a grid are C-ordered ``[z, y, x]``; ``shape`` follows the array. ``spacing_mm`` and the columns of
    ``direction`` follow the index axes i (x, fastest), j (y), k (z), as in ITK and DICOM.

    Parameters
    ----------
    shape : tuple of int
        ``(nz, ny, nx)``.
    spacing_mm : tuple of float
        Distance between voxel centres along i, j, k, in mm.
    origin_lps : tuple of float
        Centre of voxel ``[0, 0, 0]``, in LPS mm.
    direction : 3×3 nested tuple
        Columns are the unit vectors of i, j, k in LPS. Rotation matrix: orthonormal with determinant +1.

    Raises
    ------
    GeometryError
        If a size or spacing is not positive and finite, or the direction is not a rotation.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_lps: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: Direction = field(default=IDENTITY_DIRECTION)

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        spacing = tuple(float(s) for s in self.spacing_mm)
        origin = tuple(float(o) for o in self.origin_lps)
        if len(shape) != 3 or any(n < 1 for n in shape):
            raise GeometryError(
                "a grid needs three positive sizes", found=str(self.shape), expected="(nz, ny, nx) >= 1"
            )
        if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise GeometryError("voxel spacing must be positive", found=str(self.spacing_mm), expected="> 0 mm")
        if len(origin) != 3 or not all(np.isfinite(o) for o in origin):
            raise GeometryError("the grid's origin must be finite", found=str(self.origin_lps))
        matrix = np.asarray(self.direction, dtype=float)
        if (
            matrix.shape != (3, 3)
            or not np.allclose(matrix.T @ matrix, np.eye(3), atol=_ORTHONORMAL_TOLERANCE)
            or np.linalg.det(matrix) < 0
        ):
            raise GeometryError(
                "the grid's direction must be a rotation",
                found=str(np.round(matrix, 6).tolist()),
                expected="orthonormal columns, determinant +1",
            )
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "spacing_mm", spacing)
        object.__setattr__(self, "origin_lps", origin)
        object.__setattr__(self, "direction", tuple(tuple(float(v) for v in row) for row in matrix))

    @cached_property
    def lps_from_index(self) -> NDArray[np.float64]:
        """4×4 matrix from voxel index (i, j, k) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.direction) * np.asarray(self.spacing_mm)
        matrix[:3, 3] = self.origin_lps
        matrix.setflags(write=False)
        return matrix

    @cached_property
    def index_from_lps(self) -> NDArray[np.float64]:
        """4×4 matrix from LPS mm to (fractional) voxel index (i, j, k)."""
        matrix = np.asarray(np.linalg.inv(self.lps_from_index), dtype=np.float64)
        matrix.setflags(write=False)
        return matrix

    @property
    def voxel_volume_cc(self) -> float:
        """Volume of one voxel in cm³."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def centre_lps(self) -> tuple[float, float, float]:
        """Centre of the grid's extent, in LPS mm."""
        nz, ny, nx = self.shape
        x, y, z = self.to_lps(np.array([[(nx - 1) / 2, (ny - 1) / 2, (nz - 1) / 2]]))[0]
        return float(x), float(y), float(z)

    @property
    def is_axis_aligned(self) -> bool:
        """Whether the index axes are the LPS axes (the usual transverse, unrotated grid)."""
        return bool(np.allclose(self.direction, np.eye(3), atol=_ORTHONORMAL_TOLERANCE))

    def to_lps(self, index_ijk: ArrayLike) -> NDArray[np.float64]:
        """Map (…, 3) indices (i, j, k) to LPS mm."""
        points = np.asarray(index_ijk, dtype=float)
        return np.asarray(points @ self.lps_from_index[:3, :3].T + self.lps_from_index[:3, 3])

    def to_index(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Map (…, 3) LPS points in mm to fractional indices (i, j, k)."""
        points = np.asarray(points_lps, dtype=float)
        return np.asarray(points @ self.index_from_lps[:3, :3].T + self.index_from_lps[:3, 3])

    def contains(self, points_lps: ArrayLike) -> NDArray[np.bool_]:
        """Whether each (…, 3) point in LPS mm lies within the voxels' extent (half a voxel past the centres)."""
        index = self.to_index(points_lps)
        upper = np.array(self.shape[::-1]) - 0.5
        return np.asarray(np.all((index >= -0.5) & (index <= upper), axis=-1))

    def voxel_centres_lps(self) -> NDArray[np.float64]:
        """All voxel centres as an array (nz, ny, nx, 3) in LPS mm."""
        return self.affine_at_voxels(np.eye(4))

    def affine_at_voxels(self, affine: ArrayLike) -> NDArray[np.float64]:
        """Apply a 4×4 affine map (rows 0 to 2) to all voxel centres in LPS mm; array (nz, ny, nx, 3)."""
        matrix = np.asarray(affine, dtype=float) @ self.lps_from_index
        k, j, i = (np.arange(n, dtype=float) for n in self.shape)
        mapped = np.empty((*self.shape, 3))
        for axis in range(3):
            in_slice = j[:, None] * matrix[axis, 1] + i * matrix[axis, 0]
            np.add((k * matrix[axis, 2] + matrix[axis, 3])[:, None, None], in_slice, out=mapped[..., axis])
        return mapped

    def matches(self, other: Grid, *, tolerance_mm: float = 0.01) -> bool:
        """Whether both grids have the same voxels: equal shape, corners within ``tolerance_mm``."""
        if self.shape != other.shape:
            return False
        nz, ny, nx = self.shape
        corners = np.array([[i, j, k] for i in (0, nx - 1) for j in (0, ny - 1) for k in (0, nz - 1)], dtype=float)
        return bool(np.max(np.abs(self.to_lps(corners) - other.to_lps(corners))) <= tolerance_mm)

    def transformed(self, dst_from_src: RigidTransform) -> Grid:
        """Return the grid carried along by a rigid transform: the same voxels, elsewhere in space."""
        matrix = dst_from_src.matrix @ self.lps_from_index
        return Grid(
            shape=self.shape,
            spacing_mm=self.spacing_mm,
            origin_lps=tuple(matrix[:3, 3]),
            direction=tuple(map(tuple, matrix[:3, :3] / np.asarray(self.spacing_mm))),  # type: ignore[arg-type]
        )

    def resampled(self, spacing_mm: tuple[float, float, float]) -> Grid:
        """Return a grid of another spacing that covers the same extent with the same outer corner."""
        old = np.asarray(self.spacing_mm)
        new = np.asarray(spacing_mm, dtype=float)
        extent = np.asarray(self.shape[::-1]) * old
        size = np.maximum(np.ceil(extent / new - 1e-6), 1).astype(int)
        origin = self.to_lps((new / old - 1) / 2)
        return Grid(
            shape=(int(size[2]), int(size[1]), int(size[0])),
            spacing_mm=(float(new[0]), float(new[1]), float(new[2])),
            origin_lps=tuple(origin),
            direction=self.direction,
        )

    def cropped(self, lower_ijk: ArrayLike, upper_ijk: ArrayLike) -> Grid:
        """Return the part from index ``lower`` to ``upper`` (exclusive), both (i, j, k)."""
        lower = np.asarray(lower_ijk, dtype=int)
        size = np.asarray(upper_ijk, dtype=int) - lower
        return Grid(
            shape=(int(size[2]), int(size[1]), int(size[0])),
            spacing_mm=self.spacing_mm,
            origin_lps=tuple(self.to_lps(lower)),
            direction=self.direction,
        )
