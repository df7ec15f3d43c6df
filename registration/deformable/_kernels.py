"""The compiled loop of the deformable match: image residuals summed into 3×3 normal equations per lattice cell.

One thread writes one plane of cells, each cell sums its voxels in order: results do not depend on the thread count.
"""

from __future__ import annotations

from math import floor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from imrt_core._numba import kernel

from .._field_kernels import _vector_at

Array = NDArray[Any]


@kernel(parallel=True)
def _accumulate(
    fixed: Array,
    gradient: Array,
    weight: Array,
    moving: Array,
    seen: Array,
    affine: Array,
    lattice: Array,
    factors: Array,
    cut: float,
    matrix: Array,
    vector: Array,
) -> None:
    nz, ny, nx = fixed.shape
    mz, my, mx = moving.shape
    cz, cy, cx = vector.shape[:3]
    fk, fj, fi = factors[0], factors[1], factors[2]
    for ck in numba.prange(cz):
        u = np.empty(3)
        a = np.empty(3)
        g = np.empty(3)
        d = np.empty(3)
        sums = np.empty(9)
        for cj in range(cy):
            for ci in range(cx):
                sums[:] = 0.0
                for k in range(ck * fk, min((ck + 1) * fk, nz)):
                    for j in range(cj * fj, min((cj + 1) * fj, ny)):
                        for i in range(ci * fi, min((ci + 1) * fi, nx)):
                            w0 = weight[k, j, i]
                            if w0 == 0.0:
                                continue
                            # Lattice nodes sit at the centres of their cells.
                            x = (i + 0.5) / fi - 0.5
                            y = (j + 0.5) / fj - 0.5
                            z = (k + 0.5) / fk - 0.5
                            _vector_at(lattice, x, y, z, u)
                            for c in range(3):
                                a[c] = (
                                    affine[c, 0] * i
                                    + affine[c, 1] * j
                                    + affine[c, 2] * k
                                    + affine[c, 3]
                                    + affine[c, 4] * u[0]
                                    + affine[c, 5] * u[1]
                                    + affine[c, 6] * u[2]
                                )
                            if not (0.0 <= a[0] <= mx - 1 and 0.0 <= a[1] <= my - 1 and 0.0 <= a[2] <= mz - 1):
                                continue
                            i0 = min(floor(a[0]), mx - 2)
                            j0 = min(floor(a[1]), my - 2)
                            k0 = min(floor(a[2]), mz - 2)
                            fx, fy, fz = a[0] - i0, a[1] - j0, a[2] - k0
                            if seen[floor(a[2] + 0.5), floor(a[1] + 0.5), floor(a[0] + 0.5)] == 0:
                                continue
                            v000 = moving[k0, j0, i0]
                            v001 = moving[k0, j0, i0 + 1]
                            v010 = moving[k0, j0 + 1, i0]
                            v011 = moving[k0, j0 + 1, i0 + 1]
                            v100 = moving[k0 + 1, j0, i0]
                            v101 = moving[k0 + 1, j0, i0 + 1]
                            v110 = moving[k0 + 1, j0 + 1, i0]
                            v111 = moving[k0 + 1, j0 + 1, i0 + 1]
                            a00 = v000 + (v001 - v000) * fx
                            a01 = v010 + (v011 - v010) * fx
                            a10 = v100 + (v101 - v100) * fx
                            a11 = v110 + (v111 - v110) * fx
                            b0 = a00 + (a01 - a00) * fy
                            b1 = a10 + (a11 - a10) * fy
                            value = b0 + (b1 - b0) * fz
                            d[0] = ((v001 - v000) * (1 - fy) + (v011 - v010) * fy) * (1 - fz) + (
                                (v101 - v100) * (1 - fy) + (v111 - v110) * fy
                            ) * fz
                            d[1] = (a01 - a00) * (1 - fz) + (a11 - a10) * fz
                            d[2] = b1 - b0
                            # Mean of both images' gradients (efficient second-order minimisation).
                            for c in range(3):
                                g[c] = 0.5 * (
                                    gradient[k, j, i, c]
                                    + affine[0, 4 + c] * d[0]
                                    + affine[1, 4 + c] * d[1]
                                    + affine[2, 4 + c] * d[2]
                                )
                            r = value - fixed[k, j, i]
                            q = r / cut
                            w = w0 / ((1.0 + q * q) * (1.0 + q * q))
                            sums[0] += w * g[0] * g[0]
                            sums[1] += w * g[0] * g[1]
                            sums[2] += w * g[0] * g[2]
                            sums[3] += w * g[1] * g[1]
                            sums[4] += w * g[1] * g[2]
                            sums[5] += w * g[2] * g[2]
                            for c in range(3):
                                sums[6 + c] -= w * g[c] * r
                for c in range(6):
                    matrix[ck, cj, ci, c] = sums[c]
                for c in range(3):
                    vector[ck, cj, ci, c] = sums[6 + c]


def accumulate(
    fixed: Array,
    gradient: Array,
    weight: Array,
    moving: Array,
    seen: Array,
    moving_index_from_fixed_lps: Array,
    fixed_lps_from_index: Array,
    lattice_mm: Array,
    factors: tuple[int, int, int],
    *,
    cut_hu: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum the Gauss-Newton equations of ``moving(p + u(p)) − fixed(p)`` per lattice cell.

    Parameters
    ----------
    fixed, weight : ndarray, shape (nz, ny, nx)
        Intensities and weights of the fixed voxels; weight 0 is left out.
    gradient : ndarray, shape (nz, ny, nx, 3)
        Gradient of ``fixed`` per mm, along LPS.
    moving, seen : ndarray, shape (mz, my, mx)
        Intensities, and where they may be used.
    moving_index_from_fixed_lps, fixed_lps_from_index : ndarray, 4×4
        Geometry, the rigid match included.
    lattice_mm : ndarray, shape (cz, cy, cx, 3)
        u at the cells' centres, LPS mm, trilinear between.
    factors : tuple of int
        Voxels per cell along z, y, x.
    cut_hu : float
        Residual at which the Geman-McClure weight falls to 1/4.

    Returns
    -------
    matrix (cz, cy, cx, 6) as xx, xy, xz, yy, yz, zz; vector (cz, cy, cx, 3).
    """
    shape = lattice_mm.shape[:3]
    matrix, vector = np.zeros((*shape, 6)), np.zeros((*shape, 3))
    affine = np.empty((3, 7))
    affine[:, :4] = (moving_index_from_fixed_lps @ fixed_lps_from_index)[:3]
    affine[:, 4:] = moving_index_from_fixed_lps[:3, :3]
    _accumulate(
        np.ascontiguousarray(fixed, dtype=np.float32),
        np.ascontiguousarray(gradient, dtype=np.float32),
        np.ascontiguousarray(weight, dtype=np.float32),
        np.ascontiguousarray(moving, dtype=np.float32),
        np.ascontiguousarray(seen, dtype=np.uint8),
        affine,
        np.ascontiguousarray(lattice_mm, dtype=np.float32),
        np.asarray(factors, dtype=np.int64),
        cut_hu,
        matrix,
        vector,
    )
    return matrix, vector


@kernel(parallel=True)
def _negative_laplacian(x: Array, per_mm2: Array, out: Array) -> None:
    nz, ny, nx, _ = x.shape
    for k in numba.prange(nz):
        for j in range(ny):
            for i in range(nx):
                for c in range(3):
                    v = x[k, j, i, c]
                    total = 0.0
                    if k > 0:
                        total += per_mm2[0] * (v - x[k - 1, j, i, c])
                    if k < nz - 1:
                        total += per_mm2[0] * (v - x[k + 1, j, i, c])
                    if j > 0:
                        total += per_mm2[1] * (v - x[k, j - 1, i, c])
                    if j < ny - 1:
                        total += per_mm2[1] * (v - x[k, j + 1, i, c])
                    if i > 0:
                        total += per_mm2[2] * (v - x[k, j, i - 1, c])
                    if i < nx - 1:
                        total += per_mm2[2] * (v - x[k, j, i + 1, c])
                    out[k, j, i, c] = total


@kernel(parallel=True)
def _symmetric_product(matrix: Array, x: Array, out: Array) -> None:
    nz, ny, nx, _ = x.shape
    for k in numba.prange(nz):
        for j in range(ny):
            for i in range(nx):
                a, b, c = x[k, j, i, 0], x[k, j, i, 1], x[k, j, i, 2]
                m = matrix[k, j, i]
                out[k, j, i, 0] = m[0] * a + m[1] * b + m[2] * c
                out[k, j, i, 1] = m[1] * a + m[3] * b + m[4] * c
                out[k, j, i, 2] = m[2] * a + m[4] * b + m[5] * c


def negative_laplacian(x: Array, spacing_zyx_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return −Δ of a vector lattice (cz, cy, cx, 3), nothing flowing through its border."""
    out = np.empty(x.shape)
    per_mm2 = 1.0 / np.square(np.asarray(spacing_zyx_mm, dtype=np.float64))
    _negative_laplacian(np.ascontiguousarray(x, dtype=np.float64), per_mm2, out)
    return out


def symmetric_product(matrix: Array, x: Array) -> NDArray[np.float64]:
    """Multiply symmetric 3×3 matrices (…, 6: xx, xy, xz, yy, yz, zz) with vectors (…, 3) on a lattice."""
    out = np.empty(x.shape)
    _symmetric_product(np.ascontiguousarray(matrix, dtype=np.float64), np.ascontiguousarray(x, dtype=np.float64), out)
    return out


@kernel(parallel=True)
def _compress(
    hu: Array,
    soft: np.float32,
    low_share: np.float32,
    high_share: np.float32,
    least: np.float32,
    most: np.float32,
    out: Array,
) -> None:
    nz, ny, nx = hu.shape
    for k in numba.prange(nz):
        for j in range(ny):
            for i in range(nx):
                value = min(max(hu[k, j, i], least), most)
                inner = min(max(value, -soft), soft)
                out[k, j, i] = (
                    inner
                    + low_share * min(value - inner, np.float32(0.0))
                    + high_share * max(value - inner, np.float32(0.0))
                )


def compress(
    hu: Array, *, soft_hu: float, low_share: float, high_share: float, range_hu: tuple[float, float]
) -> NDArray[np.float32]:
    """Return HU as they are within ±``soft_hu``, and with a lower slope beyond.

    Parameters
    ----------
    hu : ndarray, shape (nz, ny, nx)
        Read as float32.
    soft_hu : float
        Where the slope changes.
    low_share, high_share : float
        Slopes below and above.
    range_hu : tuple of float
        HU beyond are clipped.
    """
    source = np.ascontiguousarray(hu, dtype=np.float32)
    out = np.empty_like(source)
    # In single precision throughout, so that eight voxels go through at once.
    soft, low, high = np.float32(soft_hu), np.float32(low_share), np.float32(high_share)
    _compress(source, soft, low, high, np.float32(range_hu[0]), np.float32(range_hu[1]), out)
    return out
