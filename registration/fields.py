"""Displacement fields: composition, inversion, and the figures that TG-132 asks of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import DisplacementField, Grid, RigidTransform, Volume

from ._field_kernels import compose, invert
from .deformable.lattice import jacobian, resample_vectors

#: A field is smoothed where it squeezes tissue to less than this: close to a fold, and beyond any anatomy.
MIN_JACOBIAN = 0.2
_MOST_REPAIRS = 12


def composed(local: DisplacementField, moving_from_fixed: RigidTransform, grid: Grid) -> DisplacementField:
    """Return the field on ``grid`` that displaces by ``local`` within the planning frame, then moves rigidly."""
    vectors = compose(
        local.vectors_mm, local.grid.index_from_lps, moving_from_fixed.matrix, grid.lps_from_index, grid.shape
    )
    return DisplacementField(vectors, grid)


def inverted(local: DisplacementField, moving_from_fixed: RigidTransform, grid: Grid) -> DisplacementField:
    """Return day → planning on a grid of the day: the inverse of :func:`composed`, by fixed-point iteration."""
    fixed_from_moving = moving_from_fixed.inverse().matrix
    vectors, _ = invert(local.vectors_mm, local.grid.index_from_lps, fixed_from_moving, grid.lps_from_index, grid.shape)
    return DisplacementField(vectors, grid)


def jacobian_figures(field: DisplacementField, body: Volume) -> tuple[float, float, float]:
    """Return the smallest and largest Jacobian determinant and the folded percentage inside a mask (same grid)."""
    inside = jacobian(field).array[body.array > 0.5]
    return float(inside.min()), float(inside.max()), float(100.0 * np.mean(inside <= 0.0))


def inverse_consistency(
    forward: DisplacementField, backward: DisplacementField, body: Volume, *, points: int = 100_000
) -> tuple[float, float]:
    """Return the mean and largest ``|backward(forward(p)) − p|`` in mm over points of a mask that stay on both grids.

    NaN where no point does.
    """
    flat = np.flatnonzero(body.array.ravel() > 0.5)
    flat = flat[:: max(1, flat.size // points)]
    k, j, i = np.unravel_index(flat, body.grid.shape)
    start = body.grid.to_lps(np.stack([i, j, k], axis=-1))
    there = forward.apply(start)
    stays = forward.grid.contains(start) & backward.grid.contains(there)
    if not stays.any():
        return float("nan"), float("nan")
    error = np.linalg.norm(backward.apply(there[stays]) - start[stays], axis=1)
    return float(error.mean()), float(error.max())


def unfolded(vectors_mm: NDArray[np.float64], lattice: Grid, body: Volume) -> tuple[NDArray[np.float64], int]:
    """Smooth a lattice where it folds the body or nearly so; return it with the number of rounds that it took."""
    grid = body.grid
    inside = body.array > 0.5
    for turn in range(_MOST_REPAIRS):
        field = DisplacementField(resample_vectors(vectors_mm.astype(np.float32), lattice, grid), grid)
        bad = (jacobian(field).array < MIN_JACOBIAN) & inside
        if not bad.any():
            return vectors_mm, turn
        k, j, i = np.nonzero(bad)
        cells = np.rint(lattice.to_index(grid.to_lps(np.stack([i, j, k], axis=-1)))).astype(int)
        marked = np.zeros(lattice.shape)
        ci, cj, ck = (np.clip(cells[:, a], 0, lattice.shape[2 - a] - 1) for a in range(3))
        marked[ck, cj, ci] = 1.0
        # Smooth over the fold and blend over about two cells, so that the repair makes no new one at its rim.
        reach = np.minimum(1.0, 8.0 * ndimage.gaussian_filter(marked, 1.5))[..., None]
        calm = np.stack([ndimage.gaussian_filter(vectors_mm[..., c], 1.5, mode="nearest") for c in range(3)], axis=-1)
        vectors_mm = (1.0 - reach) * vectors_mm + reach * calm
    return vectors_mm, _MOST_REPAIRS
