"""The dose-influence matrix: Gy per MU of every bixel at every voxel.

For a voxel at radiological depth d, seen at (u, v) on the isocentre plane, an entry is the beam model's dose of an
open bixel, every Gaussian component integrated exactly over the square::

    A = (SAD/r)² · Σ_k A_k(d) · G_k(u) · G_k(v) · (primary fluence at the bixel's centre)

*Density correction.* Depth is radiological, traced from the source through the density volume along the voxel's own
ray (attenuation, and all that depends on depth). Laterally, kernel widths grow as 1/ρ (O'Connor's theorem with a local
density [1]_), ρ being the mean relative electron density upstream, limited to 0.25 … 1.6: over 20 mm for the narrow
components (secondary electrons), over 100 mm for the wide ones (scattered photons). Structures beside the ray are not
seen and backscatter does not change: in and behind lung expect errors of several percent (``docs/physics.md``).

*Storage.* A choice of what is kept entry by entry; whatever is not comes from operators on coarse maps. Both parts
enter ``dose`` and ``backproject`` from the same copy, so nothing of the open field's scatter is lost.

========================  ==============================================================================================
``"hybrid"`` (default)    narrow components, float32, within a reach of 3.5 widths of each voxel, never beyond
                          ``cutoff_mm``; wide ones (phantom and head scatter), whose entries hardly change from bixel to
                          bixel, on maps without a cutoff (:mod:`imrt_core.dose.gaussian_maps`)
``"hybrid-uint16"``       the same in 16 bits: the smallest
``"float32"``             every component of every bixel within ``cutoff_mm`` of the voxel on the isocentre plane; what
                          lies beyond on coarse tail maps (:mod:`imrt_core.dose.tail_maps`)
``"uint16"``              the same in 16 bits, with a scale per voxel
========================  ==============================================================================================

References
----------
.. [1] O'Connor JE. The variation of scattered x-rays with density in an irradiated body. Phys Med Biol 1 (1957) 352.
.. [2] Bortfeld T, Schlegel W, Rhein B. Decomposition of pencil beam kernels for fast dose calculations in
   three-dimensional treatment planning. Med Phys 20 (1993) 311-318.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from imrt_core.geometry import BeamGeometry
from imrt_core.geometry.raytrace import RayVolume, box_corners, rays_of
from imrt_core.machine import Machine
from imrt_core.patient import Grid, PlanError, Volume

from ._influence_kernels import voxel_points
from .bixels import Bixels
from .influence_block import STORAGES, BeamBlock, Storage, beam_block
from .influence_store import read_matrix, write_matrix


@dataclass(frozen=True, eq=False)
class InfluenceMatrix:
    """Dose influence of all beams: rows are voxels, columns bixels, beam after beam. Gy per MU, per fraction.

    Parameters
    ----------
    blocks : tuple of BeamBlock
        One per beam.
    voxels : ndarray of int64, shape (n,)
        Flat index of each row in ``dose_grid`` (C order).
    dose_grid : Grid
        Where the voxels lie.
    model_name : str
        Name and version of the beam model.
    """

    blocks: tuple[BeamBlock, ...]
    voxels: NDArray[np.int64]
    dose_grid: Grid
    model_name: str

    @property
    def shape(self) -> tuple[int, int]:
        """(voxels, bixels)."""
        return len(self.voxels), sum(len(b.bixels) for b in self.blocks)

    @property
    def entries(self) -> int:
        """Number of stored entries."""
        return sum(b.entries for b in self.blocks)

    @property
    def nbytes(self) -> int:
        """Memory of the matrix."""
        return sum(b.nbytes for b in self.blocks)

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """Columns of each beam."""
        ends = np.cumsum([0, *(len(b.bixels) for b in self.blocks)])
        return tuple(slice(int(a), int(b)) for a, b in pairwise(ends))

    def dose(self, weights: ArrayLike) -> NDArray[np.float32]:
        """Return A·w.

        Parameters
        ----------
        weights : array_like, shape (bixels,)
            MU of each bixel per fraction.

        Returns
        -------
        ndarray of float32, shape (voxels,)
            Gy per fraction.

        Raises
        ------
        PlanError
            If the number of weights is wrong or one is NaN or infinite.
        """
        values = self._checked(weights, self.shape[1], "weights")
        dose = np.zeros(self.shape[0], dtype=np.float32)
        for block, columns in zip(self.blocks, self.columns, strict=True):
            block.add_dose(values[columns], dose)
        return dose

    def backproject(self, voxel_values: ArrayLike) -> NDArray[np.float64]:
        """Return Aᵀ·g, the adjoint of :meth:`dose`.

        Parameters
        ----------
        voxel_values : array_like, shape (voxels,)
            g, for example the gradient of an objective by voxel dose.

        Returns
        -------
        ndarray of float64, shape (bixels,)
            One value per bixel.

        Raises
        ------
        PlanError
            If the number of values is wrong or one is NaN or infinite.
        """
        values = self._checked(voxel_values, self.shape[0], "voxel values")
        return np.concatenate([block.backproject(values) for block in self.blocks])

    def as_scipy(self) -> sparse.csr_array:
        """Return A explicitly, with what is not stored: nearly dense, for tests and small cases."""
        return sparse.csr_array(np.concatenate([block.explicit(self.shape[0]) for block in self.blocks], axis=1))

    def save(self, path: str | Path) -> None:
        """Write the matrix to one file, which appears whole or not at all (:mod:`imrt_core.dose.influence_store`)."""
        write_matrix(
            Path(path),
            blocks=self.blocks,
            voxels=self.voxels,
            dose_grid=self.dose_grid,
            model_name=self.model_name,
        )

    @classmethod
    def load(cls, path: str | Path, *, model_name: str | None = None) -> InfluenceMatrix:
        """Map a saved matrix into memory.

        Parameters
        ----------
        path : str or Path
            File of :meth:`save`.
        model_name : str or None
            Name and version of the beam model that it must be of, for example
            ``f"{machine.model.name} {machine.model.version}"``; None takes any.

        Raises
        ------
        PlanError
            If the file is not an influence matrix, is of another version or beam model, or is not complete.
        """
        return cls(**read_matrix(Path(path), model_name=model_name))

    def _checked(self, values: ArrayLike, count: int, what: str) -> NDArray[np.float32]:
        array = np.ascontiguousarray(values, dtype=np.float32)
        if array.shape != (count,):
            raise PlanError(f"the number of {what} is wrong", found=str(array.shape), expected=f"({count},)")
        if not np.all(np.isfinite(array)):
            raise PlanError(f"{what} must be finite", found="NaN or infinite values")
        return array


def influence_matrix(
    red: Volume,
    beams: Sequence[BeamGeometry],
    machine: Machine,
    *,
    bixels: Sequence[Bixels],
    voxels: ArrayLike,
    dose_grid: Grid,
    cutoff_mm: float = 50.0,
    storage: Storage = "hybrid",
    rays: RayVolume | None = None,
) -> InfluenceMatrix:
    """Compute the dose-influence matrix.

    Parameters
    ----------
    red : Volume
        Electron density relative to water; its grid may have any direction.
    beams : sequence of BeamGeometry
        Directions.
    machine : Machine
        Whose beam model is used.
    bixels : sequence of Bixels
        One set per beam (:func:`imrt_core.dose.bixel_grid`).
    voxels : array_like of int, shape (n,)
        Flat C-order indices into ``dose_grid`` of the rows wanted. Keep them in ascending order: memory access follows.
    dose_grid : Grid
        Dose grid, any direction.
    cutoff_mm : float
        Stored entries end at this distance on the isocentre plane, whatever the density; the rest is on maps (see the
        module's text). In the hybrid storages, components wider than a quarter of it are on maps entirely.
    storage : str
        ``"hybrid"``, ``"hybrid-uint16"``, ``"float32"`` or ``"uint16"``, see the module's text.
    rays : RayVolume or None
        ``ray_volume(red)`` where it is there already.

    Returns
    -------
    InfluenceMatrix
        With ``dose(w)`` = A·w and ``backproject(g)`` = Aᵀ·g.

    Raises
    ------
    PlanError
        If beams and bixels do not pair up, voxels are outside the grid, a beam's distance is not the model's, or the
        cutoff or the storage is not valid.
    GeometryError
        If a beam's bixels miss the patient.
    MachineError
        If a density is NaN, infinite or negative.
    """
    if len(beams) != len(bixels) or not beams:
        raise PlanError("every beam needs its bixels", found=f"{len(beams)} beams, {len(bixels)} bixel sets")
    rows = np.ascontiguousarray(voxels, dtype=np.int64)
    size = int(np.prod(dose_grid.shape))
    if rows.ndim != 1 or not len(rows) or rows.min() < 0 or rows.max() >= size:
        raise PlanError("voxels must be indices into the dose grid", expected=f"0 … {size - 1}, at least one")
    if not np.isfinite(cutoff_mm) or cutoff_mm <= 0:
        raise PlanError("the cutoff must be positive", found=f"{cutoff_mm} mm")
    if storage not in STORAGES:
        raise PlanError("no such storage of an influence matrix", found=str(storage), expected=", ".join(STORAGES))
    rays = rays_of(red, rays)
    points = np.empty((len(rows), 3))
    voxel_points(rows, dose_grid.shape[1], dose_grid.shape[2], np.array(dose_grid.lps_from_index), points)
    box_lps = box_corners(points)
    blocks = tuple(
        beam_block(rays, beam, machine.model, squares, points, box_lps, cutoff_mm, storage)
        for beam, squares in zip(beams, bixels, strict=True)
    )
    return InfluenceMatrix(blocks, rows, dose_grid, f"{machine.model.name} {machine.model.version}")
