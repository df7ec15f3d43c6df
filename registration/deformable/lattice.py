"""The coarse lattice that carries a deformation, and its regularised least-squares step."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import DisplacementField, Grid, Volume

from .._field_kernels import jacobian_determinant
from ._kernels import negative_laplacian, symmetric_product

Vectors = NDArray[np.float64]
Real = TypeVar("Real", np.float32, np.float64)


def lattice_grid(grid: Grid, spacing_mm: float) -> tuple[Grid, tuple[int, int, int]]:
    """Return the grid of cell centres, with cells of whole voxels about ``spacing_mm`` wide, and voxels per cell."""
    fk, fj, fi = (max(1, round(spacing_mm / s)) for s in grid.spacing_mm[::-1])
    nz, ny, nx = (-(-n // f) for n, f in zip(grid.shape, (fk, fj, fi), strict=True))
    sx, sy, sz = grid.spacing_mm
    cells = Grid(
        shape=(nz, ny, nx),
        spacing_mm=(sx * fi, sy * fj, sz * fk),
        origin_lps=tuple(grid.to_lps([(fi - 1) / 2, (fj - 1) / 2, (fk - 1) / 2])),
        direction=grid.direction,
    )
    return cells, (fk, fj, fi)


def every_second(grid: Grid) -> Grid:
    """Return the grid of every second voxel along each axis, the first included."""
    nz, ny, nx = grid.shape
    sx, sy, sz = grid.spacing_mm
    return Grid((-(-nz // 2), -(-ny // 2), -(-nx // 2)), (2 * sx, 2 * sy, 2 * sz), grid.origin_lps, grid.direction)


def cell_mean(array: NDArray[np.float32], factors: tuple[int, int, int], shape: tuple[int, int, int]) -> Vectors:
    """Return the mean of each cell's voxels; cells that reach past the array repeat its last voxels."""
    pad = [(0, n * f - s) for n, f, s in zip(shape, factors, array.shape, strict=True)]
    (cz, cy, cx), (fk, fj, fi) = shape, factors
    blocks = np.pad(array, pad, mode="edge").reshape(cz, fk, cy, fj, cx, fi)
    return np.asarray(blocks.mean(axis=(1, 3, 5), dtype=np.float64))


def resample_vectors(vectors_mm: NDArray[Real], old: Grid, new: Grid) -> NDArray[Real]:
    """Return vectors on another grid by cubic splines, axis by axis; beyond the old grid the edge value holds.

    The grids share their axes: they are lattices of the same image. Vectors of float32 give float32.
    """
    affine = old.index_from_lps @ new.lps_from_index
    out = vectors_mm
    for axis in range(3):
        ijk = 2 - axis
        at = affine[ijk, ijk] * np.arange(new.shape[axis]) + affine[ijk, 3]
        weights = _spline_matrix(old.shape[axis], at).astype(vectors_mm.dtype)
        out = np.moveaxis(np.tensordot(weights, out, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(out)


def _spline_matrix(count: int, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (n, count) that interpolates ``count`` samples at index positions, held at the ends."""
    if count == 1:
        return np.ones((len(at), 1))
    at = np.clip(at, 0.0, count - 1.0)
    first = np.minimum(np.floor(at).astype(int), count - 2)
    t = at - first
    taps = np.stack([(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3], axis=1) / 6.0
    basis = np.zeros((len(at), count))
    for tap in range(4):
        index = np.abs(first - 1 + tap)
        index = np.where(index >= count, 2 * (count - 1) - index, index)
        np.add.at(basis, (np.arange(len(at)), np.clip(index, 0, count - 1)), taps[:, tap])
    coefficients = ndimage.spline_filter1d(np.eye(count), order=3, axis=0, mode="mirror")
    return np.asarray(basis @ coefficients)


def solve_step(
    matrix: Vectors,
    vector: Vectors,
    prior: Vectors,
    displacement_mm: Vectors,
    *,
    bending_mm2: float,
    spacing_zyx_mm: tuple[float, float, float],
    iterations: int,
    tolerance: float = 1e-5,
) -> Vectors:
    """Return the Gauss-Newton step: minimise data + prior · ‖u + du‖² + bending · ‖Δ(u + du)‖².

    Bending energy leaves translations and linear changes (shrinkage) free, so a deformation is carried smoothly into
    regions without contrast instead of being drawn back to zero there.

    Parameters
    ----------
    matrix, vector : ndarray, (cz, cy, cx, 6) and (cz, cy, cx, 3)
        Data equations per mm³ of :func:`registration.deformable._kernels.accumulate`, divided by the noise variance.
    prior : ndarray, shape (cz, cy, cx)
        Weight that draws u to zero, 1/mm².
    displacement_mm : ndarray, shape (cz, cy, cx, 3)
        u so far.
    bending_mm2 : float
        Weight of the bending energy.
    spacing_zyx_mm : tuple of float
        Of the lattice.
    iterations : int
        Of conjugate gradients, preconditioned by the 3×3 blocks; the outer loop forgives an unfinished solve.
    tolerance : float
        Stop when the preconditioned squared residual has fallen to this part.
    """
    full = matrix.copy()
    for diagonal in (0, 3, 5):
        full[..., diagonal] += prior

    def bend(x: Vectors) -> Vectors:
        return bending_mm2 * negative_laplacian(negative_laplacian(x, spacing_zyx_mm), spacing_zyx_mm)

    inverse = _block_inverse(full, bending_mm2 * _bending_diagonal(spacing_zyx_mm))
    residual = vector - prior[..., None] * displacement_mm - bend(displacement_mm)
    step = np.zeros_like(residual)
    z = symmetric_product(inverse, residual)
    direction = z.copy()
    rz = first = float(np.sum(residual * z))
    for _ in range(iterations):
        if rz <= tolerance * first or rz <= 0.0:
            break
        image = symmetric_product(full, direction) + bend(direction)
        length = rz / float(np.sum(direction * image))
        step += length * direction
        residual -= length * image
        z = symmetric_product(inverse, residual)
        rz, before = float(np.sum(residual * z)), rz
        direction = z + (rz / before) * direction
    return step


def _bending_diagonal(spacing_zyx_mm: tuple[float, float, float]) -> float:
    """Return the centre of the squared Laplacian's stencil: (2Σ1/h²)² + Σ2/h⁴."""
    per_mm2 = 1.0 / np.square(spacing_zyx_mm)
    return float((2.0 * per_mm2.sum()) ** 2 + 2.0 * np.sum(per_mm2**2))


def _block_inverse(matrix: Vectors, added: float) -> Vectors:
    """Invert symmetric 3×3 blocks (…, 6) plus ``added`` on the diagonal, by cofactors."""
    xx, xy, xz, yy, yz, zz = (matrix[..., n] for n in range(6))
    xx, yy, zz = xx + added, yy + added, zz + added
    a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    determinant = xx * a + xy * b + xz * c
    inverse = np.stack([a, b, c, xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy], axis=-1)
    return np.asarray(inverse / determinant[..., None])


def jacobian(field: DisplacementField) -> Volume:
    """Return the determinant of d(p + u)/dp by central differences: 1 keeps volume, ≤ 0 is a fold."""
    return Volume(jacobian_determinant(field.vectors_mm, field.grid.index_from_lps), field.grid)
