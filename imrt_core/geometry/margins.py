"""Margins around a structure: isotropic, or another one on each of the six sides of the patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core._numba import kernel
from imrt_core.patient import GeometryError, StructureError, Volume


def expand(mask: Volume, margin_mm: float | Sequence[float]) -> Volume:
    """Grow a mask by a margin.

    The margin is an ellipsoid whose semi-axis may differ on each side of the patient, as in van Herk's recipe with
    direction-dependent margins: the result is the set of points that some point of the mask reaches by a vector
    inside that ellipsoid. Partial-volume fractions place the old surface, and the result is a partial-volume mask
    too: its 0.5 level lies at the margin from the old 0.5 level, within about a quarter of a voxel (anti-aliased
    Euclidean distance transform [1]_, exact for a flat surface along the grid).

    Parameters
    ----------
    mask : Volume
        Fractions 0 … 1 (a Boolean mask is 0 or 1). Any grid direction.
    margin_mm : float or sequence of six floats
        One margin, or (left, right, anterior, posterior, superior, inferior) in the patient's sense. Not negative.

    Returns
    -------
    Volume
        float32 fractions on the same grid. What would grow beyond the grid is cut off there.

    Raises
    ------
    StructureError
        If the mask holds no fraction of 0.5 or more, or values that are not fractions.
    GeometryError
        If a margin is negative or not finite.

    References
    ----------
    .. [1] Gustavson S, Strand R. Anti-aliased Euclidean distance transform. Pattern Recogn Lett 32 (2011) 252-257.
    """
    sides = np.asarray(margin_mm, dtype=float)
    sides = np.full(6, float(sides)) if sides.ndim == 0 else sides
    if sides.shape != (6,) or not np.all(np.isfinite(sides)) or np.any(sides < 0):
        raise GeometryError(
            "a margin must not be negative",
            found=str(margin_mm),
            expected="mm, one number or (left, right, anterior, posterior, superior, inferior)",
        )
    sides = np.where(sides < 1e-6, 0.0, sides)
    fraction = np.asarray(mask.array, dtype=np.float32)
    if not np.all((fraction >= 0) & (fraction <= 1)):
        raise StructureError("a mask must hold fractions", found="NaN or values beyond 0 … 1", expected="0 … 1")
    if not np.any(fraction >= 0.5):
        raise StructureError("an empty structure has no margin", found="no voxel at 0.5 or more")
    if not np.any(sides > 0):
        return mask.with_array(fraction)

    offsets, slack_mm, width_mm = _element(mask, sides)
    if len(offsets) == 0:
        return mask.with_array(fraction)
    reach = np.abs(offsets).max(axis=0)
    occupied = [np.flatnonzero(fraction.any(axis=other)) for other in ((1, 2), (0, 2), (0, 1))]
    lower = [max(int(o[0]) - int(r), 0) for o, r in zip(occupied, reach, strict=True)]
    upper = [min(int(o[-1]) + int(r) + 1, n) for o, r, n in zip(occupied, reach, fraction.shape, strict=True)]
    box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
    part = np.ascontiguousarray(fraction[box])
    # The 0.5 level is the surface. A fraction below it that touches none above belongs to no surface (a sliver at a
    # tip, a part of a slice at an end) and must not grow the full margin.
    beside = ndimage.binary_dilation(part >= 0.5, structure=np.ones((3, 3, 3), dtype=bool))
    surface = np.argwhere(_surface(part) & beside)
    grown = fraction.copy()
    grown[box] = _grow(part, surface, offsets, slack_mm.astype(np.float32), width_mm.astype(np.float32))
    return mask.with_array(grown)


def _element(
    mask: Volume, sides: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """List the voxel offsets (k, j, i) that a margin can reach.

    With each: how far the ellipsoid goes beyond the offset (mm, negative within the last voxel), and the width of a
    voxel along it (mm).
    """
    spacing = np.asarray(mask.grid.spacing_mm)
    reach = np.ceil(sides.max() / spacing).astype(int) + 1
    i, j, k = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij")
    ijk = np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1)
    ijk = ijk[np.any(ijk != 0, axis=1)]
    lps = (ijk * spacing) @ np.asarray(mask.grid.direction).T
    left, right, anterior, posterior, superior, inferior = sides
    semi_axes = np.where(lps > 1e-9, [left, posterior, superior], [right, anterior, inferior])
    moved = np.abs(lps) > 1e-9
    length = np.linalg.norm(lps, axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gauge = np.sqrt(np.sum(np.where(moved, (lps / semi_axes) ** 2, 0.0), axis=1))
    width = np.linalg.norm(ijk * spacing**2, axis=1) / length
    slack = length / gauge - length
    keep = slack > -width
    return np.ascontiguousarray(ijk[keep][:, ::-1]).astype(np.int64), slack[keep], width[keep]


def _surface(fraction: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Voxels of the mask that are partial or touch a face that is: no other voxel can reach further."""
    padded = np.pad(fraction, 1, mode="edge")
    full = padded >= 1
    inner = full[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for step in (slice(None, -2), slice(2, None)):
            index = [slice(1, -1)] * 3
            index[axis] = step
            inner &= full[tuple(index)]
    return np.asarray((fraction > 0) & ~inner)


@kernel()
def _grow(
    fraction: NDArray[np.float32],
    surface: NDArray[np.int64],
    offsets: NDArray[np.int64],
    slack_mm: NDArray[np.float32],
    width_mm: NDArray[np.float32],
) -> Any:
    """Let every surface voxel fill what the margin reaches; the largest fraction wins. Serial: no two writers."""
    grown = fraction.copy()
    nz, ny, nx = fraction.shape
    for s in range(surface.shape[0]):
        z, y, x = surface[s, 0], surface[s, 1], surface[s, 2]
        own = fraction[z, y, x]
        for n in range(offsets.shape[0]):
            k = z + offsets[n, 0]
            j = y + offsets[n, 1]
            i = x + offsets[n, 2]
            if 0 <= k < nz and 0 <= j < ny and 0 <= i < nx and grown[k, j, i] < 1:
                # 0.5 where the margin ends: the surface of the source voxel lies (own − 0.5) widths beyond its centre.
                value = slack_mm[n] / width_mm[n] + own
                if value > grown[k, j, i]:
                    grown[k, j, i] = min(value, np.float32(1.0))
    return grown
