"""Margins by side of the patient, and the contraction of a mask by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np

from imrt_core.patient import GeometryError, Grid, StructureError, Volume

from .margins import expand

SIDES = ("left", "right", "anterior", "posterior", "superior", "inferior")


@dataclass(frozen=True, kw_only=True)
class SideMargins:
    """A margin for each side of the patient, mm.

    Left is the patient's left (+x of LPS), whatever way the patient lies on the table.

    Raises
    ------
    GeometryError
        If a margin is negative or not finite.
    """

    left_mm: float = 0.0
    right_mm: float = 0.0
    anterior_mm: float = 0.0
    posterior_mm: float = 0.0
    superior_mm: float = 0.0
    inferior_mm: float = 0.0

    def __post_init__(self) -> None:
        for side, margin_mm in zip(SIDES, astuple(self), strict=True):
            if not (np.isfinite(margin_mm) and margin_mm >= 0):
                raise GeometryError(
                    "a margin must be finite and not negative", found=f"{side} {margin_mm} mm", expected=">= 0 mm"
                )

    @classmethod
    def uniform(cls, margin_mm: float) -> SideMargins:
        """Return the same margin on all sides."""
        return cls(**{f"{side}_mm": margin_mm for side in SIDES})

    @property
    def by_side_mm(self) -> tuple[float, float, float, float, float, float]:
        """Left, right, anterior, posterior, superior, inferior: the order of :func:`expand`."""
        return (
            self.left_mm,
            self.right_mm,
            self.anterior_mm,
            self.posterior_mm,
            self.superior_mm,
            self.inferior_mm,
        )

    def __str__(self) -> str:
        values = self.by_side_mm
        if len(set(values)) == 1:
            return f"{values[0]:g} mm"
        return ", ".join(f"{side} {v:g}" for side, v in zip(SIDES, values, strict=True)) + " mm"


def contract(mask: Volume, margin_mm: float | Sequence[float]) -> Volume:
    """Shrink a mask by a margin: the left surface moves in by the left margin, and so on for every side.

    The opposite of :func:`~imrt_core.geometry.margins.expand` in the sense of morphology (erosion by the same
    ellipsoid [1]_): what is left are the points from which the whole margin stays inside the mask. Growing and then
    shrinking by one margin never loses a point of the mask. Accuracy as of :func:`expand`.

    Parameters
    ----------
    mask : Volume
        Fractions 0 … 1. Any grid direction. Beyond the grid there is no mask.
    margin_mm : float or sequence of six floats
        As in :func:`expand`: one number, or (left, right, anterior, posterior, superior, inferior). Not negative.

    Returns
    -------
    Volume
        float32 fractions on the same grid; without a voxel of 0.5 or more where nothing is left.

    Raises
    ------
    StructureError
        If the mask holds no fraction of 0.5 or more, or values that are not fractions.
    GeometryError
        If a margin is negative or not finite.

    References
    ----------
    .. [1] Serra J. Image analysis and mathematical morphology. Academic Press, London 1982, chapter 2.
    """
    if not np.any(np.asarray(mask.array) >= 0.5):
        raise StructureError("an empty structure has no margin", found="no voxel at 0.5 or more")
    sides = np.asarray(margin_mm, dtype=float)
    sides = np.full(6, float(sides)) if sides.ndim == 0 else sides
    # What lies beyond the left surface moves in to the right by the left margin: the ellipsoid is mirrored.
    mirrored = sides[[1, 0, 3, 2, 5, 4]] if sides.shape == (6,) else sides
    grid = mask.grid
    around = Grid(
        shape=(grid.shape[0] + 2, grid.shape[1] + 2, grid.shape[2] + 2),
        spacing_mm=grid.spacing_mm,
        origin_lps=tuple(float(v) for v in grid.to_lps(np.array([-1.0, -1.0, -1.0]))),  # type: ignore[arg-type]
        direction=grid.direction,
    )
    outside = Volume(1.0 - np.pad(np.asarray(mask.array, dtype=np.float32), 1), around)
    grown = expand(outside, mirrored.tolist())
    left = 1.0 - np.asarray(grown.array, dtype=np.float32)[1:-1, 1:-1, 1:-1]
    return mask.with_array(np.minimum(np.ascontiguousarray(left), np.asarray(mask.array, dtype=np.float32)))
