"""Bixels: the squares of a beam's fluence that the optimiser weighs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from imrt_core.geometry import BeamGeometry
from imrt_core.patient import GeometryError, StructureError, Volume


@dataclass(frozen=True, eq=False)
class Bixels:
    """Squares of one width on the isocentre plane, aligned with the BLD axes.

    Edges lie at whole multiples of the width, so that with 5 mm (2.5 mm) a row of bixels along X is one (half a) leaf
    of a 5 mm collimator: bixel (iu, iv) covers ``[iu, iu + 1] × [iv, iv + 1]`` widths in BLD X and Y. An offset moves
    them all, for bixels of other programs; sequencing takes only bixels without one.

    Parameters
    ----------
    width_mm : float
        Side of a bixel.
    index : ndarray of int, shape (n, 2)
        (iu, iv) of each bixel, made read-only.
    offset_mm : tuple of float
        Added to BLD X and Y.

    Raises
    ------
    GeometryError
        If the width is not positive, the offset not finite, there is no bixel, or one occurs twice.
    """

    width_mm: float
    index: NDArray[np.int32]
    offset_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        index = np.array(self.index, dtype=np.int32).reshape(-1, 2)
        if not np.isfinite(self.width_mm) or self.width_mm <= 0:
            raise GeometryError("the width of a bixel must be positive", found=f"{self.width_mm} mm")
        if len(self.offset_mm) != 2 or not np.all(np.isfinite(self.offset_mm)):
            raise GeometryError("the offset of bixels must be two finite lengths", found=f"{self.offset_mm} mm")
        if not len(index) or len(np.unique(index, axis=0)) != len(index):
            raise GeometryError("a beam needs bixels, each once", found=f"{len(index)} bixels")
        index.setflags(write=False)
        object.__setattr__(self, "index", index)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def centres_mm(self) -> NDArray[np.float64]:
        """BLD X and Y of the centres on the isocentre plane, shape (n, 2)."""
        return np.asarray((self.index + 0.5) * self.width_mm + self.offset_mm)

    @cached_property
    def lower(self) -> tuple[int, int]:
        """Smallest (iu, iv)."""
        iu, iv = self.index.min(axis=0)
        return int(iu), int(iv)

    @cached_property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the lattice that holds all bixels: (nu, nv)."""
        nu, nv = self.index.max(axis=0) - self.index.min(axis=0) + 1
        return int(nu), int(nv)

    @cached_property
    def lattice_position(self) -> NDArray[np.int64]:
        """Position of each bixel in the flattened lattice ``[iv, iu]``, shape (n,)."""
        shifted = self.index.astype(np.int64) - self.lower
        return np.asarray(shifted[:, 1] * self.size[0] + shifted[:, 0])

    def to_lattice(self, weights: ArrayLike) -> NDArray[np.float32]:
        """Spread one value per bixel over the lattice, shape (nv, nu); zero where there is no bixel."""
        nu, nv = self.size
        lattice = np.zeros(nv * nu, dtype=np.float32)
        lattice[self.lattice_position] = weights
        return lattice.reshape(nv, nu)


def bixel_grid(
    beam: BeamGeometry, target: Volume | ArrayLike, *, bixel_mm: float = 5.0, margin_mm: float = 5.0
) -> Bixels:
    """Return the bixels of a beam that see the target, with a margin.

    Parameters
    ----------
    beam : BeamGeometry
        Direction.
    target : Volume or array_like, shape (n, 3)
        Mask (0.5 or more is target; half a voxel is added to its projection), or points in LPS mm.
    bixel_mm : float
        Width of a bixel on the isocentre plane.
    margin_mm : float
        Round margin on the isocentre plane for the penumbra.

    Returns
    -------
    Bixels
        Ordered by row (iv), then column (iu).

    Raises
    ------
    StructureError
        If the target is empty.
    GeometryError
        If a width is not positive or a margin negative, or the target lies behind the source.
    """
    if bixel_mm <= 0 or margin_mm < 0 or not np.isfinite(bixel_mm + margin_mm):
        raise GeometryError("bixel width must be positive and margin not negative", found=f"{bixel_mm}, {margin_mm} mm")
    half_voxel = 0.0
    if isinstance(target, Volume):
        inside = np.argwhere(np.asarray(target.array) >= 0.5)[:, ::-1]
        points = target.grid.to_lps(inside)
        half_voxel = 0.5 * min(target.grid.spacing_mm)
    else:
        points = np.asarray(target, dtype=float).reshape(-1, 3)
    if not len(points):
        raise StructureError("the target is empty: no bixel sees it")
    projected = beam.project(points)

    # Draw the projection on a fine raster whose cells divide a bixel, grow it, and keep the bixels that it touches.
    fold = max(int(np.ceil(bixel_mm)), 2)
    cell = bixel_mm / fold
    reach = margin_mm + half_voxel
    lower = np.floor((projected.min(axis=0) - reach) / bixel_mm).astype(int) - 1
    upper = np.ceil((projected.max(axis=0) + reach) / bixel_mm).astype(int) + 1
    raster = np.ones(((upper[1] - lower[1]) * fold, (upper[0] - lower[0]) * fold), dtype=bool)
    index = np.floor(projected / cell).astype(int) - lower * fold
    raster[index[:, 1], index[:, 0]] = False
    near = ndimage.distance_transform_edt(raster, sampling=cell) <= max(reach, 0.0)
    seen = near.reshape(upper[1] - lower[1], fold, upper[0] - lower[0], fold).any(axis=(1, 3))
    rows, columns = np.nonzero(seen)
    return Bixels(bixel_mm, np.stack([columns + lower[0], rows + lower[1]], axis=1).astype(np.int32))
