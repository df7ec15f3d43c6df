"""The lattice of one beam: rays from the source, and planes at equal steps of 1/r.

Cell [k, j, i] lies at (u_i, v_j) on the isocentre plane and at a distance r_k from the source along the beam axis, with
1/r_k = 1/r_0 − k·δ. This is a projective map of space: straight lines are straight in the lattice, and the lines that
start at one angle to the rays of one plane are shifted copies of each other. Kernels are so tilted with the rays.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numba import prange
from numpy.typing import NDArray

from imrt_core._numba import kernel
from imrt_core.geometry import BeamGeometry
from imrt_core.geometry._ray_kernels import inside, look_up, sample
from imrt_core.geometry.raytrace import RayVolume
from imrt_core.patient import GeometryError

#: Density of a cell is at least this: transport divides by it.
LEAST_DENSITY = 1e-3
#: Memory for lattices that are kept with a patient, for the next plan with the same beams.
KEPT_BYTES = 512 * 2**20


@dataclass(frozen=True, eq=False)
class Fan:
    """Cells of one beam and what is in them.

    Parameters
    ----------
    beam : BeamGeometry
        Whose rays.
    cell_mm : float
        Side of a cell at the isocentre.
    first_mm : tuple of float
        Centres u, v of cell [·, 0, 0] on the isocentre plane.
    nearest_mm, middle_mm : float
        Distance from the source, along the beam axis, of plane 0, and of the plane where cells are cubes.
    density : ndarray, shape (planes, rows, columns)
        Relative electron density, at least :data:`LEAST_DENSITY`.
    depth_mm : ndarray, same shape
        Radiological depth of cell centres along their rays.
    """

    beam: BeamGeometry
    cell_mm: float
    first_mm: tuple[float, float]
    nearest_mm: float
    middle_mm: float
    density: NDArray[np.float32]
    depth_mm: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """Memory of the cells."""
        return self.density.nbytes + self.depth_mm.nbytes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows (v), columns (u)."""
        return self.density.shape

    @cached_property
    def distance_mm(self) -> NDArray[np.float64]:
        """Distance of each plane from the source along the beam axis."""
        step = self.cell_mm / (self.beam.sad_mm * self.middle_mm)
        return np.asarray(1.0 / (1.0 / self.nearest_mm - step * np.arange(self.shape[0])))

    @property
    def middle_cell_mm(self) -> float:
        """Side of a cell where cells are cubes."""
        return self.cell_mm * self.middle_mm / self.beam.sad_mm

    @property
    def u_mm(self) -> NDArray[np.float64]:
        """Centres of columns."""
        return np.asarray(self.first_mm[0] + self.cell_mm * np.arange(self.shape[2]))

    @property
    def v_mm(self) -> NDArray[np.float64]:
        """Centres of rows."""
        return np.asarray(self.first_mm[1] + self.cell_mm * np.arange(self.shape[1]))

    def edges_mm(self, axis: int) -> NDArray[np.float64]:
        """Edges of columns (axis 0) or rows (axis 1)."""
        centres = self.u_mm if axis == 0 else self.v_mm
        return np.append(centres, centres[-1] + self.cell_mm) - 0.5 * self.cell_mm

    def look_up(self, array: NDArray[np.float32], points_lps: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return a cell array's values at (n, 3) points, trilinear; 0 outside."""
        found = np.empty(len(points_lps), dtype=np.float32)
        geometry = np.array([self.beam.sad_mm, *self.first_mm, self.cell_mm, self.nearest_mm, self.middle_mm])
        _look_up(points_lps, np.array(self.beam.isocentre_lps), self.beam.bld_from_lps, geometry, array, found)
        return found

    def covers(self, points_lps: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which of (n, 3) points lie between the outermost rays."""
        u, v = self.beam.project(points_lps).T
        inside = (u >= self.u_mm[0]) & (u <= self.u_mm[-1]) & (v >= self.v_mm[0]) & (v <= self.v_mm[-1])
        return np.asarray(inside)


#: What identifies a lattice of one patient: beam, cell, first and last cells.
_Place = tuple[BeamGeometry, float, tuple[int, ...], tuple[int, ...]]
#: Lattices of every patient that is still in use, those used last at the end.
_KEPT: WeakKeyDictionary[RayVolume, OrderedDict[_Place, Fan]] = WeakKeyDictionary()


def fan_of(
    rays: RayVolume, beam: BeamGeometry, *, cell_mm: float, lower_mm: NDArray[np.float64], upper_mm: NDArray[np.float64]
) -> Fan:
    """Lay a lattice over the patient between two corners on the isocentre plane.

    Cell edges lie at whole multiples of the cell. The lattice covers the patient's whole length along the beam. It is
    kept as long as ``rays`` is, within :data:`KEPT_BYTES`: the rounds of planning use the same beams again.

    Raises
    ------
    GeometryError
        If the source is inside the patient.
    """
    first = np.floor(lower_mm / cell_mm + 1e-6).astype(int)
    last = np.maximum(np.ceil(upper_mm / cell_mm - 1e-6).astype(int), first + 1)
    place: _Place = (beam, cell_mm, tuple(first.tolist()), tuple(last.tolist()))
    kept = _KEPT.setdefault(rays, OrderedDict())
    fan = kept.pop(place, None) or _laid(rays, beam, cell_mm, first, last)
    kept[place] = fan
    while len(kept) > 1 and sum(f.nbytes for f in kept.values()) > KEPT_BYTES:
        kept.popitem(last=False)
    return fan


def _laid(rays: RayVolume, beam: BeamGeometry, cell_mm: float, first: NDArray[np.int_], last: NDArray[np.int_]) -> Fan:
    along = beam.sad_mm - beam.to_bld(rays.body_lps)[:, 2]
    if along.min() <= 2 * cell_mm:
        raise GeometryError("the source is inside the patient", found=f"patient {along.min():.0f} mm from the source")
    nearest, farthest = float(along.min()), float(along.max())
    middle = 2.0 / (1.0 / nearest + 1.0 / farthest)
    step = cell_mm / (beam.sad_mm * middle)
    planes = max(int(np.ceil((1.0 / nearest - 1.0 / farthest) / step)), 1) + 2
    columns, rows = (int(n) for n in last - first)
    origin = (first + 0.5) * cell_mm
    # A cell above the patient's nearest corner.
    start = 1.0 / (1.0 / nearest + step)
    density = np.empty((planes, rows, columns), dtype=np.float32)
    geometry = np.array([beam.sad_mm, origin[0], origin[1], cell_mm, start, middle, rays.finest_mm])
    lps_from_bld = np.eye(4)
    lps_from_bld[:3, :3] = beam.bld_from_lps.T
    lps_from_bld[:3, 3] = beam.isocentre_lps
    _fill(rays.array, rays.index_from_lps @ lps_from_bld, geometry, density)
    depth = np.empty_like(density)
    _accumulate(density, geometry, depth)
    return Fan(beam, cell_mm, (float(origin[0]), float(origin[1])), start, middle, density, depth)


@kernel(parallel=True)
def _fill(array: Any, index_from_bld: Any, geometry: Any, density: Any) -> None:
    """Average the density in each cell over samples at most a voxel apart."""
    sad, u0, v0, cell, nearest, middle, finest = geometry
    planes, rows, columns = density.shape
    flat = array.reshape(array.size)
    below_k, below_j = np.int32(array.shape[1] * array.shape[2]), np.int32(array.shape[2])
    top_k, top_j, top_i = array.shape[0] - 1.0, array.shape[1] - 1.0, array.shape[2] - 1.0
    a = index_from_bld
    fold = min(max(int(np.ceil(cell / finest - 0.25)), 1), 3)
    share, least = np.float32(1.0 / (fold * fold * fold)), np.float32(LEAST_DENSITY)
    for plane in prange(planes):
        for row in range(rows):
            line = density[plane, row]
            line[:] = 0.0
            for dk in range(fold):
                r = 1.0 / (1.0 / nearest - (plane + (dk + 0.5) / fold - 0.5) * cell / (sad * middle))
                z = sad - r
                for dj in range(fold):
                    y = (v0 + (row + (dj + 0.5) / fold - 0.5) * cell) * r / sad
                    # Index (k, j, i) along the row: start + n·slope, n counting samples.
                    x = (u0 + (0.5 / fold - 0.5) * cell) * r / sad
                    dx = cell / fold * r / sad
                    k, step_k = a[2, 0] * x + a[2, 1] * y + a[2, 2] * z + a[2, 3], a[2, 0] * dx
                    j, step_j = a[1, 0] * x + a[1, 1] * y + a[1, 2] * z + a[1, 3], a[1, 0] * dx
                    i, step_i = a[0, 0] * x + a[0, 1] * y + a[0, 2] * z + a[0, 3], a[0, 0] * dx
                    begin, end = inside(k, step_k, top_k, 0, columns * fold)
                    begin, end = inside(j, step_j, top_j, begin, end)
                    begin, end = inside(i, step_i, top_i, begin, end)
                    for n in range(begin, end):
                        line[n // fold] += share * sample(
                            flat,
                            below_k,
                            below_j,
                            np.float32(k + n * step_k),
                            np.float32(j + n * step_j),
                            np.float32(i + n * step_i),
                        )
            for column in range(columns):
                line[column] = max(line[column], least)


@kernel(parallel=True)
def _accumulate(density: Any, geometry: Any, depth: Any) -> None:
    """Integrate density along each ray to cell centres; air counts nothing."""
    sad, u0, v0, cell, nearest, middle, _ = geometry
    planes, rows, columns = density.shape
    for row in prange(rows):
        v = v0 + row * cell
        for column in range(columns):
            u = u0 + column * cell
            slant = np.sqrt(1.0 + (u * u + v * v) / (sad * sad))
            total = 0.0
            for plane in range(planes):
                r = 1.0 / (1.0 / nearest - plane * cell / (sad * middle))
                rho = density[plane, row, column]
                if rho <= LEAST_DENSITY * 1.001:
                    rho = np.float32(0.0)
                half = 0.5 * rho * slant * r * r * cell / (sad * middle)
                depth[plane, row, column] = total + half
                total += 2.0 * half


@kernel(parallel=True)
def _look_up(points: Any, isocentre: Any, rotation: Any, geometry: Any, array: Any, found: Any) -> None:
    sad, u0, v0, cell, nearest, middle = geometry
    for n in prange(points.shape[0]):
        dx, dy, dz = points[n, 0] - isocentre[0], points[n, 1] - isocentre[1], points[n, 2] - isocentre[2]
        x = rotation[0, 0] * dx + rotation[0, 1] * dy + rotation[0, 2] * dz
        y = rotation[1, 0] * dx + rotation[1, 1] * dy + rotation[1, 2] * dz
        r = sad - (rotation[2, 0] * dx + rotation[2, 1] * dy + rotation[2, 2] * dz)
        column, row = (x * sad / r - u0) / cell, (y * sad / r - v0) / cell
        found[n] = look_up(array, (1.0 / nearest - 1.0 / r) * sad * middle / cell, row, column)
