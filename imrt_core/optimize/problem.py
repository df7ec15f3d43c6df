"""Which voxels an optimisation looks at, and with what weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Grid, StructureError, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure

from .objectives import Objective
from .regions import Regions, first_structure
from .voxels import VoxelSet

#: Voxels with less than this share of a structure say nothing about it.
_LEAST_FRACTION = 0.05
#: Normal tissue is taken whole this close to a target, sampled further away, and left out beyond the targets' slices.
_NEAR_MM = 12.0
_SLICES_MM = 30.0
#: Relative electron density above which a voxel counts as patient where no EXTERNAL structure says so.
_BODY_DENSITY = 0.2


@dataclass(frozen=True, eq=False)
class PlanningVoxels:
    """Rows of the influence matrix.

    Parameters
    ----------
    grid : Grid
        Optimisation grid.
    indices : ndarray of int, shape (rows,)
        Flat voxel indices on the grid (C order of ``[z, y, x]``), ascending.
    sets : dict of str to VoxelSet
        Rows and volume weights of every region that was asked for. Sampled normal tissue stands for its neighbours.
    """

    grid: Grid
    indices: NDArray[np.int64]
    sets: dict[str, VoxelSet]

    @property
    def points_lps(self) -> NDArray[np.float64]:
        """Voxel centres, shape (rows, 3), LPS mm."""
        k, j, i = np.unravel_index(self.indices, self.grid.shape)
        return self.grid.to_lps(np.stack([i, j, k], axis=1))

    def with_voxels(self, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
        """Return the objectives whose region has voxels."""
        return tuple(o for o in objectives if o.structure in self.sets)


def covering_grid(
    structures: StructureSet,
    names: Sequence[str],
    *,
    spacing_mm: tuple[float, float, float],
    within: Grid,
    margin_mm: float = 5.0,
) -> Grid:
    """Return the axis-aligned grid that covers structures, and the body's outline in their slices.

    Parameters
    ----------
    structures : StructureSet
        Contours in LPS mm.
    names : sequence of str
        Structures that must be covered along z; the EXTERNAL structure, if there is one, sets the lateral extent.
    spacing_mm : tuple of float
        Voxel size (x, y, z).
    within : Grid
        Image that the result need not leave (its bounding box, if it is oblique).
    margin_mm : float
        Added on every side.

    Raises
    ------
    StructureError
        If a structure is absent, or none of them has contours.
    """
    nz, ny, nx = within.shape
    corners = np.array([[i, j, k] for i in (-0.5, nx - 0.5) for j in (-0.5, ny - 0.5) for k in (-0.5, nz - 0.5)])
    image = within.to_lps(corners)
    lower, upper = image.min(axis=0), image.max(axis=0)
    points = [c.points_lps for name in names for c in structures[name].contours]
    if not points:
        raise StructureError("no structure to plan on has contours", found=", ".join(names) or "no names")
    covered = np.concatenate(points)
    external = structures.external()
    if external is not None:
        outline = np.concatenate([c.points_lps for c in external.contours])
        lower[:2] = np.maximum(lower[:2], outline[:, :2].min(axis=0) - margin_mm)
        upper[:2] = np.minimum(upper[:2], outline[:, :2].max(axis=0) + margin_mm)
    lower[2] = max(lower[2], covered[:, 2].min() - margin_mm)
    upper[2] = min(upper[2], covered[:, 2].max() + margin_mm)
    spacing = np.asarray(spacing_mm, dtype=float)
    # whole voxels that cover everything, at most a voxel beyond the image
    size = np.maximum(np.ceil((upper - lower) / spacing - 1e-6), 1).astype(int)
    origin = 0.5 * (lower + upper) - 0.5 * (size - 1) * spacing
    return Grid(
        shape=(int(size[2]), int(size[1]), int(size[0])),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        origin_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
    )


def body_fraction(structures: StructureSet, red: Volume, grid: Grid) -> NDArray[np.float64]:
    """Fraction of every voxel inside the patient: the EXTERNAL structure, or where there is none, what is not air."""
    density = np.asarray(red.resampled_to(grid, outside=0.0).array, dtype=np.float64)
    external = structures.external()
    if external is None:
        return np.where(density > _BODY_DENSITY, 1.0, 0.0)
    return np.asarray(mask_from_structure(external, grid).array, dtype=np.float64)


def select_voxels(regions: Regions, names: Sequence[str], *, stride: int = 2) -> PlanningVoxels:
    """Choose the rows: every voxel of the structures, normal tissue whole near the targets and sampled elsewhere.

    Parameters
    ----------
    regions : Regions
        Rasterised structures.
    names : sequence of str
        Regions that objectives and limits name (see :mod:`imrt_core.optimize.regions`).
    stride : int
        One in stride³ voxels of remote normal tissue is taken (a regular lattice) and stands for the others.

    Returns
    -------
    PlanningVoxels
        The same input gives the same rows. Boolean regions and shells without a voxel are left out.

    Raises
    ------
    StructureError
        If a structure holds no voxel.
    """
    grid = regions.grid
    fractions = {name: regions.fraction(name) for name in dict.fromkeys(names)}
    special = np.zeros(grid.shape, dtype=bool)
    for name, fraction in fractions.items():
        if _is_part_of_structure(name, regions.structures):
            special |= fraction > _LEAST_FRACTION
    distance = regions.nearest_target_mm()
    if not np.any(distance == 0):
        raise StructureError("the targets lie outside the patient", found="no target voxel inside the body")
    z = grid.origin_lps[2] + np.arange(grid.shape[0]) * grid.spacing_mm[2]
    target_slices = np.flatnonzero((distance == 0).any(axis=(1, 2)))
    beside = (z >= z[target_slices[0]] - _SLICES_MM) & (z <= z[target_slices[-1]] + _SLICES_MM)
    normal = (regions.body > 0.5) & ~special & beside[:, None, None]
    near = normal & (distance <= _NEAR_MM)
    k, j, i = np.ogrid[: grid.shape[0], : grid.shape[1], : grid.shape[2]]
    lattice = (k % stride == 0) & (j % stride == 0) & (i % stride == 0)
    sampled = normal & ~near & lattice
    stands_for = np.where(sampled, float(stride**3), 1.0)
    chosen = special | near | sampled
    indices = np.flatnonzero(chosen)
    sets = {}
    for name, fraction in fractions.items():
        share = (fraction * stands_for).ravel()[indices]
        rows = np.flatnonzero(fraction.ravel()[indices] > _LEAST_FRACTION)
        if rows.size == 0 and name not in regions.structures.names:
            continue  # a Boolean region or a shell may be empty for this patient
        if rows.size == 0:
            raise StructureError(
                "a region that an objective names holds no voxel of the optimisation grid",
                found="no voxel",
                expected=f"voxels of {grid.spacing_mm} mm",
                where=name,
            )
        sets[name] = VoxelSet(rows, share[rows])
    return PlanningVoxels(grid, indices, sets)


def _is_part_of_structure(region: str, structures: StructureSet) -> bool:
    """Whether a region is a structure or what others leave of it, the body's own outline excepted."""
    first = first_structure(region, structures.names)
    return first is not None and structures[first].interpreted_type.upper() != "EXTERNAL"
