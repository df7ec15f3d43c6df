"""The gamma index in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from .._numba import kernel
from ..patient.errors import GeometryError
from ..patient.volume import Volume
from ._dvh_kernels import trilinear

#: Positions are searched on a lattice of this share of the distance criterion (Low 2003 asks for finer than 1/3).
_STEPS = 10
#: Rounding allowed on "gamma <= 1".
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class GammaResult:
    """Agreement of two doses.

    Parameters
    ----------
    pass_percent : float
        Share of the points with gamma ≤ 1.
    mean : float
        Mean gamma over the points, each capped at the largest gamma searched.
    points : int
        Reference voxels at or above the cut-off.
    gamma : Volume
        float32 on the reference grid; NaN below the cut-off.
    """

    pass_percent: float
    mean: float
    points: int
    gamma: Volume


def gamma(
    reference: Volume,
    evaluated: Volume,
    *,
    dose_percent: float = 3.0,
    distance_mm: float = 2.0,
    cutoff_percent: float = 10.0,
    local: bool = False,
    max_gamma: float = 2.0,
) -> GammaResult:
    """Return gamma at every voxel of the reference at or above the cut-off [1]_, [2]_.

    The evaluated dose is searched around each reference voxel, trilinearly interpolated on a lattice of a tenth of
    ``distance_mm`` along its axes. The minimum over that lattice is exact: cells that cannot hold it are left out,
    nothing else. Positions outside the centres of the evaluated grid's outer voxels are not searched; a point that
    finds none has gamma ``max_gamma`` and fails.

    Parameters
    ----------
    reference, evaluated : Volume
        Gy in the same frame, on any grids.
    dose_percent : float
        Dose criterion in percent of the maximum of the reference, or of the reference dose at the point if ``local``.
    distance_mm : float
        Distance criterion.
    cutoff_percent : float
        Reference voxels below this percentage of the reference maximum are not judged.
    local : bool
        Local instead of global normalisation.
    max_gamma : float
        Larger values are not searched for and are reported as this.

    Raises
    ------
    GeometryError
        If a criterion is not positive, the reference has no dose, or a dose is not finite.

    References
    ----------
    .. [1] D. A. Low et al., Med. Phys. 25 (1998) 656.
    .. [2] M. Miften et al., AAPM TG-218, Med. Phys. 45 (2018) e53.
    """
    for name, value in (("dose_percent", dose_percent), ("distance_mm", distance_mm), ("max_gamma", max_gamma)):
        if not (np.isfinite(value) and value > 0):
            raise GeometryError("a gamma criterion must be positive", found=str(value), where=name)
    for name, volume in (("reference", reference), ("evaluated", evaluated)):
        if not np.all(np.isfinite(volume.array)):
            raise GeometryError("gamma needs finite doses", found="NaN or infinity", where=f"{name} dose")
    ref = np.ascontiguousarray(reference.array, dtype=np.float64)
    highest = float(ref.max())
    if highest <= 0:
        raise GeometryError("the reference has no dose", found=f"maximum {highest:g} Gy", expected="> 0 Gy")
    wanted = ref >= cutoff_percent / 100 * highest
    points = np.argwhere(wanted).astype(np.int64)
    dose_ref = ref[wanted]
    index_from_index = evaluated.grid.index_from_lps @ reference.grid.lps_from_index
    index = points[:, ::-1] @ index_from_index[:3, :3].T + index_from_index[:3, 3]
    criterion_gy = dose_percent / 100 * (dose_ref if local else np.full(len(dose_ref), highest))
    # A local criterion of a reference voxel without dose (cut-off 0) would be no criterion at all.
    criterion_gy = np.maximum(criterion_gy, 1e-12 * highest)
    dose = np.ascontiguousarray(evaluated.array, dtype=np.float32)
    low, high = _cell_range(dose)
    found = np.empty(len(points))
    _search(
        dose,
        low,
        high,
        np.asarray(evaluated.grid.spacing_mm),
        np.ascontiguousarray(index),
        dose_ref,
        criterion_gy,
        distance_mm,
        max_gamma,
        found,
    )
    array = np.full(ref.shape, np.nan, np.float32)
    array[wanted] = found
    return GammaResult(
        pass_percent=100.0 * float(np.mean(found <= 1 + _ROUNDING)),
        mean=float(found.mean()),
        points=len(points),
        gamma=reference.with_array(array),
    )


def _cell_range(dose: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lowest and highest corner of every cell between eight voxel centres."""
    low, high = dose, dose
    for axis in range(3):
        n = dose.shape[axis]
        if n > 1:
            first, second = (
                tuple(s if a == axis else slice(None) for a in range(3)) for s in (slice(0, -1), slice(1, n))
            )
            low, high = np.minimum(low[first], low[second]), np.maximum(high[first], high[second])
    return np.ascontiguousarray(low), np.ascontiguousarray(high)


@kernel()
def _lattice_range(cell: int, size: int, at: float, per_step: float) -> tuple[int, int]:
    """First and last lattice step, relative to the index ``at``, whose position lies in [cell, cell + 1]."""
    end = min(cell + 1, size - 1)
    return int(np.ceil((cell - at) / per_step - 1e-6)), int(np.floor((end - at) / per_step + 1e-6))


@kernel()
def _gap(cell: int, size: int, at: float) -> float:
    """Distance, in voxels, from the index ``at`` to the cell."""
    return max(cell - at, at - min(cell + 1, size - 1), 0.0)


@kernel()
def _search_cell(
    dose: NDArray[np.float32],
    spacing: NDArray[np.float64],
    index: NDArray[np.float64],
    cell: tuple[int, int, int],
    step: float,
    dose_ref: float,
    per_mm2: float,
    per_gy2: float,
    best: float,
) -> float:
    """Lower ``best`` (gamma²) to the minimum over the lattice positions in one cell."""
    nz, ny, nx = dose.shape
    i_step, j_step, k_step = step / spacing[0], step / spacing[1], step / spacing[2]
    a0, a1 = _lattice_range(cell[0], nx, index[0], i_step)
    b0, b1 = _lattice_range(cell[1], ny, index[1], j_step)
    c0, c1 = _lattice_range(cell[2], nz, index[2], k_step)
    if a1 < a0:
        return best
    for c in range(c0, c1 + 1):
        for b in range(b0, b1 + 1):
            across = (b * b + c * c) * step * step * per_mm2
            if across >= best:
                continue
            # Along i the interpolated dose is linear inside the cell, so gamma² is a parabola in a: its lowest
            # lattice point is next to the vertex.
            j, k = index[1] + b * j_step, index[2] + c * k_step
            first = trilinear(dose, index[0] + a0 * i_step, j, k)
            slope = 0.0
            if a1 > a0:
                slope = (trilinear(dose, index[0] + a1 * i_step, j, k) - first) / (a1 - a0)
            miss = first - slope * a0 - dose_ref
            curvature = step * step * per_mm2 + slope * slope * per_gy2
            vertex = min(max(-miss * slope * per_gy2 / curvature, float(a0)), float(a1))
            for a in (np.floor(vertex), np.ceil(vertex)):
                value = across + a * a * step * step * per_mm2 + (miss + slope * a) ** 2 * per_gy2
                best = min(best, value)
    return best


@kernel(parallel=True)
def _search(
    dose: NDArray[np.float32],
    low: NDArray[np.float32],
    high: NDArray[np.float32],
    spacing: NDArray[np.float64],
    index: NDArray[np.float64],
    dose_ref: NDArray[np.float64],
    criterion_gy: NDArray[np.float64],
    distance_mm: float,
    max_gamma: float,
    found: NDArray[np.float64],
) -> None:
    nz, ny, nx = dose.shape
    step = distance_mm / _STEPS
    per_mm2 = 1.0 / (distance_mm * distance_mm)
    for p in numba.prange(len(dose_ref)):
        per_gy2 = 1.0 / (criterion_gy[p] * criterion_gy[p])
        i, j, k = index[p, 0], index[p, 1], index[p, 2]
        best = max_gamma * max_gamma
        tolerance = 1e-6
        if (
            -tolerance <= i <= nx - 1 + tolerance
            and -tolerance <= j <= ny - 1 + tolerance
            and -tolerance <= k <= nz - 1 + tolerance
        ):
            best = min(best, (trilinear(dose, i, j, k) - dose_ref[p]) ** 2 * per_gy2)
        reach = np.sqrt(best) * distance_mm
        # A grid of one voxel along an axis has one cell of no thickness there.
        for ck in range(max(int(k - reach / spacing[2]), 0), min(int(k + reach / spacing[2]), low.shape[0] - 1) + 1):
            for cj in range(
                max(int(j - reach / spacing[1]), 0), min(int(j + reach / spacing[1]), low.shape[1] - 1) + 1
            ):
                for ci in range(
                    max(int(i - reach / spacing[0]), 0), min(int(i + reach / spacing[0]), low.shape[2] - 1) + 1
                ):
                    gap_mm2 = (
                        (_gap(ci, nx, i) * spacing[0]) ** 2
                        + (_gap(cj, ny, j) * spacing[1]) ** 2
                        + (_gap(ck, nz, k) * spacing[2]) ** 2
                    )
                    miss = max(low[ck, cj, ci] - dose_ref[p], dose_ref[p] - high[ck, cj, ci], 0.0)
                    if gap_mm2 * per_mm2 + miss * miss * per_gy2 < best:
                        best = _search_cell(
                            dose, spacing, index[p], (ci, cj, ck), step, dose_ref[p], per_mm2, per_gy2, best
                        )
        found[p] = np.sqrt(best)
