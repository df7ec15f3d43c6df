"""Rigid transforms and displacement fields between patient frames (DICOM LPS, mm)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from .errors import GeometryError
from .grid import Grid

#: Order of the angles wherever this project states Euler angles about patient axes: R = Rz·Rx·Ry.
EULER_ORDER = "ZXY"


def rotation_from_euler_deg(rotation_deg: ArrayLike) -> NDArray[np.float64]:
    """Return R = Rz·Rx·Ry for right-handed angles (about x, about y, about z), in degrees."""
    rx, ry, rz = np.asarray(rotation_deg, dtype=float)
    return np.asarray(Rotation.from_euler(EULER_ORDER, [rz, rx, ry], degrees=True).as_matrix())


def euler_deg_from_rotation(matrix: ArrayLike) -> tuple[float, float, float]:
    """Return the angles (about x, about y, about z), in degrees, of R = Rz·Rx·Ry."""
    rz, rx, ry = Rotation.from_matrix(np.asarray(matrix, dtype=float)).as_euler(EULER_ORDER, degrees=True)
    return float(rx), float(ry), float(rz)


@dataclass(frozen=True)
class RigidTransform:
    """A rotation and translation, ``dst_from_src``: maps source points to destination points.

    Parameters
    ----------
    rows : 4×4 nested tuple
        Homogeneous matrix, LPS mm.

    Raises
    ------
    GeometryError
        If the matrix is not finite, not rigid, or its last row is not (0, 0, 0, 1).
    """

    rows: tuple[tuple[float, float, float, float], ...]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.rows, dtype=float)
        if matrix.shape != (4, 4) or not np.all(np.isfinite(matrix)) or not np.allclose(matrix[3], [0, 0, 0, 1]):
            raise GeometryError("a rigid transform needs a finite homogeneous 4×4 matrix", found=str(matrix.tolist()))
        rotation = matrix[:3, :3]
        if not np.allclose(rotation.T @ rotation, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
            raise GeometryError(
                "the matrix is not rigid",
                found=str(np.round(rotation, 6).tolist()),
                expected="orthonormal, determinant +1",
            )
        object.__setattr__(self, "rows", tuple(tuple(float(v) for v in row) for row in matrix))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> RigidTransform:
        """Build from a 4×4 array."""
        return cls(tuple(map(tuple, np.asarray(matrix, dtype=float))))

    @classmethod
    def identity(cls) -> RigidTransform:
        """Return the transform that moves nothing."""
        return cls.from_matrix(np.eye(4))

    @classmethod
    def from_parameters(
        cls,
        *,
        translation_mm: ArrayLike = (0.0, 0.0, 0.0),
        rotation_deg: ArrayLike = (0.0, 0.0, 0.0),
        centre_lps: ArrayLike = (0.0, 0.0, 0.0),
    ) -> RigidTransform:
        """Build ``q = R (p − c) + c + t`` with R = Rz·Rx·Ry.

        Parameters
        ----------
        translation_mm : array_like, shape (3,)
            t, LPS mm.
        rotation_deg : array_like, shape (3,)
            Right-handed angles about LPS x, y, z.
        centre_lps : array_like, shape (3,)
            c, the centre of rotation.
        """
        rotation = rotation_from_euler_deg(rotation_deg)
        centre = np.asarray(centre_lps, dtype=float)
        matrix = np.eye(4)
        matrix[:3, :3] = rotation
        matrix[:3, 3] = centre - rotation @ centre + np.asarray(translation_mm, dtype=float)
        return cls.from_matrix(matrix)

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The 4×4 matrix (read-only)."""
        matrix = np.asarray(self.rows, dtype=float)
        matrix.setflags(write=False)
        return matrix

    @property
    def rotation(self) -> NDArray[np.float64]:
        """The 3×3 rotation."""
        return self.matrix[:3, :3]

    def rotation_deg(self) -> tuple[float, float, float]:
        """Right-handed angles about LPS x, y, z, with R = Rz·Rx·Ry."""
        return euler_deg_from_rotation(self.rotation)

    def translation_mm(self, *, centre_lps: ArrayLike) -> tuple[float, float, float]:
        """Return the translation of the stated centre: where ``centre_lps`` goes, minus where it was."""
        centre = np.asarray(centre_lps, dtype=float)
        x, y, z = self.apply(centre) - centre
        return float(x), float(y), float(z)

    def apply(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Map (…, 3) source points to destination points."""
        return np.asarray(np.asarray(points_lps, dtype=float) @ self.rotation.T + self.matrix[:3, 3])

    def inverse(self) -> RigidTransform:
        """Return ``src_from_dst``."""
        return RigidTransform.from_matrix(np.linalg.inv(self.matrix))

    def __matmul__(self, other: RigidTransform) -> RigidTransform:
        """``c_from_b @ b_from_a`` is ``c_from_a``."""
        return RigidTransform.from_matrix(self.matrix @ other.matrix)


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """Displacements on the fixed grid: the moving point of a fixed point p is ``p + u(p)``.

    Parameters
    ----------
    vectors_mm : ndarray, shape (nz, ny, nx, 3)
        u in LPS mm (x, y, z), made read-only.
    grid : Grid
        The fixed grid.

    Raises
    ------
    GeometryError
        If the shape does not fit or a vector is not finite.
    """

    vectors_mm: NDArray[np.float32]
    grid: Grid

    def __post_init__(self) -> None:
        vectors = np.ascontiguousarray(self.vectors_mm, dtype=np.float32)
        if vectors.shape != (*self.grid.shape, 3):
            raise GeometryError(
                "a displacement field must fit its grid",
                found=str(vectors.shape),
                expected=str((*self.grid.shape, 3)),
            )
        if not np.all(np.isfinite(vectors)):
            raise GeometryError("a displacement field must be finite", found="NaN or infinite displacements")
        if vectors.flags.writeable:
            vectors = vectors.view()
            vectors.setflags(write=False)
        object.__setattr__(self, "vectors_mm", vectors)

    @classmethod
    def from_rigid(cls, moving_from_fixed: RigidTransform, grid: Grid) -> DisplacementField:
        """Sample a rigid transform on a grid."""
        displacement = moving_from_fixed.matrix - np.diag([1.0, 1.0, 1.0, 0.0])
        return cls(grid.affine_at_voxels(displacement).astype(np.float32), grid)

    def displacement_at(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Trilinear displacement (mm) at (…, 3) fixed points; beyond the grid the edge value holds."""
        index = self.grid.to_index(points_lps)
        coordinates = index.reshape(-1, 3)[:, ::-1].T
        parts = [
            ndimage.map_coordinates(self.vectors_mm[..., axis], coordinates, order=1, mode="nearest", output=np.float64)
            for axis in range(3)
        ]
        return np.stack(parts, axis=-1).reshape(index.shape)

    def apply(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Map (…, 3) fixed points to moving points."""
        return np.asarray(points_lps, dtype=float) + self.displacement_at(points_lps)

    def apply_inverse(
        self, points_lps: ArrayLike, *, tolerance_mm: float = 0.01, max_iterations: int = 200
    ) -> NDArray[np.float64]:
        """Map (…, 3) moving points to fixed points: solve ``p + u(p) = q`` for p.

        Fixed-point iteration with the mean displacement as start [1]_; it converges wherever the displacement varies by
        less than 1 mm per mm, which a field without folding and with rotations below some 40° does.

        Parameters
        ----------
        points_lps : array_like, shape (…, 3)
            q, LPS mm.
        tolerance_mm : float
            Largest ``|p + u(p) - q|`` accepted.
        max_iterations : int
            Bound on the iterations.

        Raises
        ------
        GeometryError
            If a point does not converge: the field folds there, or stretches to more than twice the size.

        References
        ----------
        .. [1] Chen M et al. A simple fixed-point approach to invert a deformation field. Med Phys 35 (2008) 81-88.
        """
        target = np.asarray(points_lps, dtype=float)
        found = target - self.vectors_mm.reshape(-1, 3).mean(axis=0, dtype=np.float64)
        for _ in range(max_iterations):
            residual = found + self.displacement_at(found) - target
            if not np.any(np.abs(residual) > tolerance_mm / 2):
                return np.asarray(found)
            found = found - residual
        worst = np.linalg.norm(found + self.displacement_at(found) - target, axis=-1)
        if float(worst.max(initial=0.0)) <= tolerance_mm:
            return np.asarray(found)
        raise GeometryError(
            "the displacement field cannot be inverted",
            found=f"{int(np.count_nonzero(worst > tolerance_mm))} points off by up to {float(worst.max()):.2f} mm",
            expected=f"<= {tolerance_mm} mm after {max_iterations} iterations",
        )

    def inverse_on(self, grid: Grid, *, tolerance_mm: float = 0.05) -> DisplacementField:
        """Return the inverse field, sampled on a grid of the moving frame."""
        points = grid.voxel_centres_lps()
        return DisplacementField(
            (self.apply_inverse(points, tolerance_mm=tolerance_mm) - points).astype(np.float32), grid
        )
