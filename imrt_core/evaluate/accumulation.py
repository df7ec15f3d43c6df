"""Dose accumulation on the planning grid, and its projection to the end of the course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from .._numba import kernel
from ..patient.errors import GeometryError
from ..patient.grid import Grid
from ..patient.transform import DisplacementField, RigidTransform
from ..patient.volume import Volume

#: Voxels are sampled at least twice along each axis, and at points no further apart than this.
_SAMPLE_MM = 1.5


@dataclass(frozen=True, eq=False, kw_only=True)
class FractionDose:
    """The dose of one delivered fraction, in the frame of its day.

    Parameters
    ----------
    number : int
        Fraction number, from 1.
    dose_gy : Volume
        Dose of this fraction, Gy.
    moving_from_fixed : DisplacementField or RigidTransform
        Maps planning points to points of the day.
    assumed : bool
        Delivery was not recorded.
    """

    number: int
    dose_gy: Volume
    moving_from_fixed: DisplacementField | RigidTransform
    assumed: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Accumulation:
    """Dose of a course on the planning grid, in Gy.

    Parameters
    ----------
    accumulated_gy : Volume
        Physical sum of the delivered fractions.
    projected_gy : Volume
        ``accumulated_gy`` + remaining fractions × the given dose.
    eqd2_gy : Volume or None
        Sum of the delivered fractions as EQD2 per voxel; None where no α/β was given.
    alpha_beta_gy : float or None
        α/β of ``eqd2_gy``.
    delivered, assumed, remaining : int
        Fractions summed, those of them that are assumed, and those still to come.
    substituted : Volume
        bool: voxels where the dose of a day did not reach and the planned fraction dose stands in.
    """

    accumulated_gy: Volume
    projected_gy: Volume
    eqd2_gy: Volume | None
    alpha_beta_gy: float | None
    delivered: int
    assumed: int
    remaining: int
    substituted: Volume


def pull_back(dose_gy: Volume, moving_from_fixed: DisplacementField | RigidTransform, *, grid: Grid) -> Volume:
    """Return the dose of the day as the planning voxels received it: the mean over sub-samples of each voxel.

    The dose between voxel centres is reconstructed linearly in each voxel with limited slopes (van Leer's monotonised
    central scheme [1]_), so that a voxel's mean is the voxel's value: without deformation, on the same grid, the dose
    comes back exactly; a dose gradient is followed; nothing negative appears.

    Parameters
    ----------
    dose_gy : Volume
        Gy, in the frame of the day, on any grid.
    moving_from_fixed : DisplacementField or RigidTransform
        Maps planning points to points of the day. A field's edge value holds beyond its grid.
    grid : Grid
        Planning grid.

    Returns
    -------
    Volume
        float64 on ``grid``; NaN where any sub-sample lies beyond the voxels of ``dose_gy``.

    References
    ----------
    .. [1] B. van Leer, J. Comput. Phys. 23 (1977) 276.
    """
    if isinstance(moving_from_fixed, RigidTransform):
        if np.array_equal(moving_from_fixed.matrix, np.eye(4)) and dose_gy.grid.matches(grid, tolerance_mm=1e-6):
            # Nothing to map, and every voxel's mean is its value: courses hold many fractions that stand in as planned.
            return Volume(dose_gy.array.astype(np.float64), grid)
        lps_from_index = moving_from_fixed.matrix @ grid.lps_from_index
        vectors = np.zeros((1, 1, 1, 3), np.float32)
        field_from_index = np.eye(4)
    else:
        lps_from_index = grid.lps_from_index
        vectors = moving_from_fixed.vectors_mm
        field_from_index = moving_from_fixed.grid.index_from_lps @ grid.lps_from_index
    divide = np.maximum(2, np.ceil(np.asarray(grid.spacing_mm) / _SAMPLE_MM - 1e-9)).astype(np.int64)
    out = np.empty(grid.shape)
    _pull_back(
        np.ascontiguousarray(dose_gy.array, dtype=np.float32),
        np.ascontiguousarray(dose_gy.grid.index_from_lps @ lps_from_index),
        np.ascontiguousarray(dose_gy.grid.index_from_lps[:3, :3]),
        vectors,
        np.ascontiguousarray(field_from_index),
        divide,
        out,
    )
    return Volume(out, grid)


def accumulate(
    fractions: Sequence[FractionDose],
    *,
    grid: Grid,
    planned_fractions: int,
    remaining_fraction_gy: Volume,
    planned_fraction_gy: Volume | None = None,
    alpha_beta_gy: float | None = None,
) -> Accumulation:
    """Sum the delivered fractions on the planning grid and project to the end of the course.

    First version: dose mapping only. Energy/mass mapping, and the marking of vanishing and sliding tissue, come with
    the accumulation issue; until then read metrics of rectal and bladder wall and of shrinking organs with care.

    Parameters
    ----------
    fractions : sequence of FractionDose
        In any order; they are summed by number, so the order of arrival changes nothing.
    grid : Grid
        Planning grid.
    planned_fractions : int
        Of the whole course.
    remaining_fraction_gy : Volume
        Dose that each remaining fraction gives, in the planning frame: the active plan at today's anatomy, pulled
        back, or a stated mean. Resampled to ``grid`` where it is on another.
    planned_fraction_gy : Volume, optional
        Planned dose of one fraction in the planning frame, to stand in where the dose of a day does not reach; the
        voxels are marked in ``substituted``. Without it such a fraction is refused.
    alpha_beta_gy : float, optional
        Sum EQD2 = d (d + α/β) / (2 Gy + α/β) per voxel and fraction as well.

    Raises
    ------
    GeometryError
        If a fraction number appears twice, more fractions are delivered than planned, α/β is not positive, or a dose
        does not reach over the grid and nothing stands in for it.
    """
    numbers = [f.number for f in fractions]
    twice = sorted({n for n in numbers if numbers.count(n) > 1})
    if twice:
        raise GeometryError("a fraction is delivered once", found=f"fractions {twice} more than once")
    if len(numbers) > planned_fractions:
        raise GeometryError(
            "more fractions than planned", found=f"{len(numbers)} delivered", expected=f"<= {planned_fractions}"
        )
    if alpha_beta_gy is not None and not (np.isfinite(alpha_beta_gy) and alpha_beta_gy > 0):
        raise GeometryError("α/β must be positive", found=f"{alpha_beta_gy} Gy")
    planned = None if planned_fraction_gy is None else _on_grid(planned_fraction_gy, grid, "planned fraction dose")
    total = np.zeros(grid.shape)
    eqd2 = np.zeros(grid.shape)
    substituted = np.zeros(grid.shape, dtype=bool)
    for fraction in sorted(fractions, key=lambda f: f.number):
        dose = np.array(pull_back(fraction.dose_gy, fraction.moving_from_fixed, grid=grid).array)
        missing = np.isnan(dose)
        if missing.any():
            if planned is None:
                raise GeometryError(
                    "the dose of a day does not cover the planning grid",
                    found=f"{100 * missing.mean():.1f} % of the voxels beyond it",
                    expected="a larger dose grid, or planned_fraction_gy to stand in",
                    where=f"fraction {fraction.number}",
                )
            dose[missing] = planned[missing]
            substituted |= missing
        total += dose
        if alpha_beta_gy is not None:
            eqd2 += dose * (dose + alpha_beta_gy) / (2.0 + alpha_beta_gy)
    remaining = planned_fractions - len(numbers)
    projected = total
    if remaining:
        projected = total + remaining * _on_grid(remaining_fraction_gy, grid, "dose of a remaining fraction")
    return Accumulation(
        accumulated_gy=Volume(total, grid),
        projected_gy=Volume(projected, grid),
        eqd2_gy=None if alpha_beta_gy is None else Volume(eqd2, grid),
        alpha_beta_gy=alpha_beta_gy,
        delivered=len(numbers),
        assumed=sum(f.assumed for f in fractions),
        remaining=remaining,
        substituted=Volume(substituted, grid),
    )


def _on_grid(dose_gy: Volume, grid: Grid, what: str) -> NDArray[np.float64]:
    array = np.asarray(dose_gy.resampled_to(grid, outside=np.nan).array, dtype=np.float64)
    if np.isnan(array).any():
        raise GeometryError(
            "a dose does not cover the planning grid",
            found=f"{100 * np.isnan(array).mean():.1f} % of the voxels without dose",
            where=what,
        )
    return array


@kernel()
def _slope(before: float, here: float, after: float) -> float:
    """Monotonised central slope per voxel: zero at an extremum, never steeper than twice either side."""
    left, right = here - before, after - here
    if left * right <= 0:
        return 0.0
    size = min(2 * abs(left), 2 * abs(right), 0.5 * abs(left + right))
    return size if left > 0 else -size


@kernel()
def _reconstructed(dose: NDArray[np.float32], i: float, j: float, k: float) -> float:
    nz, ny, nx = dose.shape
    ci, cj, ck = int(np.floor(i + 0.5)), int(np.floor(j + 0.5)), int(np.floor(k + 0.5))
    if ci < 0 or cj < 0 or ck < 0 or ci >= nx or cj >= ny or ck >= nz:
        return np.nan
    here = float(dose[ck, cj, ci])
    value = here
    if 0 < ci < nx - 1:
        value += _slope(float(dose[ck, cj, ci - 1]), here, float(dose[ck, cj, ci + 1])) * (i - ci)
    if 0 < cj < ny - 1:
        value += _slope(float(dose[ck, cj - 1, ci]), here, float(dose[ck, cj + 1, ci])) * (j - cj)
    if 0 < ck < nz - 1:
        value += _slope(float(dose[ck - 1, cj, ci]), here, float(dose[ck + 1, cj, ci])) * (k - ck)
    return value


@kernel()
def _field_component(vectors: NDArray[np.float32], axis: int, i: float, j: float, k: float) -> float:
    nz, ny, nx, _ = vectors.shape
    i, j, k = min(max(i, 0.0), nx - 1.0), min(max(j, 0.0), ny - 1.0), min(max(k, 0.0), nz - 1.0)
    i0, j0, k0 = int(i), int(j), int(k)
    i1, j1, k1 = min(i0 + 1, nx - 1), min(j0 + 1, ny - 1), min(k0 + 1, nz - 1)
    fi, fj, fk = i - i0, j - j0, k - k0
    low = (1 - fj) * ((1 - fi) * vectors[k0, j0, i0, axis] + fi * vectors[k0, j0, i1, axis]) + fj * (
        (1 - fi) * vectors[k0, j1, i0, axis] + fi * vectors[k0, j1, i1, axis]
    )
    high = (1 - fj) * ((1 - fi) * vectors[k1, j0, i0, axis] + fi * vectors[k1, j0, i1, axis]) + fj * (
        (1 - fi) * vectors[k1, j1, i0, axis] + fi * vectors[k1, j1, i1, axis]
    )
    return float((1 - fk) * low + fk * high)


@kernel(parallel=True)
def _pull_back(
    dose: NDArray[np.float32],
    dose_from_index: NDArray[np.float64],
    dose_from_mm: NDArray[np.float64],
    vectors: NDArray[np.float32],
    field_from_index: NDArray[np.float64],
    divide: NDArray[np.int64],
    out: NDArray[np.float64],
) -> None:
    """Average the reconstructed dose: index = affine of the planning index + displacement turned into an index."""
    m, f, r = dose_from_index, field_from_index, dose_from_mm
    nz, ny, nx = out.shape
    for k in numba.prange(nz):
        for j in range(ny):
            for i in range(nx):
                total = 0.0
                for c in range(divide[2]):
                    z = k + (c + 0.5) / divide[2] - 0.5
                    for b in range(divide[1]):
                        y = j + (b + 0.5) / divide[1] - 0.5
                        for a in range(divide[0]):
                            x = i + (a + 0.5) / divide[0] - 0.5
                            fi = f[0, 0] * x + f[0, 1] * y + f[0, 2] * z + f[0, 3]
                            fj = f[1, 0] * x + f[1, 1] * y + f[1, 2] * z + f[1, 3]
                            fk = f[2, 0] * x + f[2, 1] * y + f[2, 2] * z + f[2, 3]
                            ux = _field_component(vectors, 0, fi, fj, fk)
                            uy = _field_component(vectors, 1, fi, fj, fk)
                            uz = _field_component(vectors, 2, fi, fj, fk)
                            total += _reconstructed(
                                dose,
                                m[0, 0] * x
                                + m[0, 1] * y
                                + m[0, 2] * z
                                + m[0, 3]
                                + r[0, 0] * ux
                                + r[0, 1] * uy
                                + r[0, 2] * uz,
                                m[1, 0] * x
                                + m[1, 1] * y
                                + m[1, 2] * z
                                + m[1, 3]
                                + r[1, 0] * ux
                                + r[1, 1] * uy
                                + r[1, 2] * uz,
                                m[2, 0] * x
                                + m[2, 1] * y
                                + m[2, 2] * z
                                + m[2, 3]
                                + r[2, 0] * ux
                                + r[2, 1] * uy
                                + r[2, 2] * uz,
                            )
                out[k, j, i] = total / (divide[0] * divide[1] * divide[2])
