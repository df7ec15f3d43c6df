"""The columns of one beam in the influence matrix: stored entries, and operators for what is not stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry import BeamGeometry
from imrt_core.geometry.raytrace import RayVolume
from imrt_core.machine import BeamModel
from imrt_core.patient import GeometryError, PlanError

from ._influence_kernels import kernel_widths
from .beam_state import ELECTRON_WIDTH_MM, BeamState, beam_state
from .bixels import Bixels
from .gaussian_maps import GaussianMaps, gaussian_maps
from .influence_groups import (
    StoredGroups,
    reach_of_cutoff,
    reach_of_voxels,
    stored_groups,
    stored_radius_mm,
)
from .lattice import Lattice
from .map_groups import MapGroups, map_groups, seen_voxels
from .tail_maps import TailMaps, tail_maps

#: How entries are kept; see :mod:`imrt_core.dose.influence`.
Storage = Literal["hybrid", "hybrid-uint16", "float32", "uint16"]
STORAGES: tuple[Storage, ...] = get_args(Storage)
#: Narrow components are stored out to this many widths: 0.2 % of the component lies beyond.
STORED_WIDTHS = 3.5


@dataclass(frozen=True, eq=False)
class WideComponents:
    """Components that are applied through maps: the operator, and the voxels that read it."""

    maps: GaussianMaps | TailMaps
    voxels: MapGroups

    @property
    def nbytes(self) -> int:
        """Bytes of everything that products read."""
        return self.maps.nbytes + self.voxels.nbytes

    def add_dose(self, lattice: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add what fluence on the lattice gives to voxels."""
        self.voxels.add_dose(self.maps.spread(lattice), dose)

    def backproject(self, voxel_values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the transpose of :meth:`add_dose`: values on the lattice."""
        return self.maps.gather(self.voxels.gather(voxel_values, self.maps.shape))


@dataclass(frozen=True, eq=False)
class BeamBlock:
    """Columns of one beam.

    Parameters
    ----------
    beam : BeamGeometry
        Direction.
    bixels : Bixels
        Its columns, in order.
    fluence : ndarray, shape (nv, nu)
        Primary fluence on the bixel lattice, zero where there is no bixel.
    stored : StoredGroups
        Entries.
    wide : tuple of WideComponents
        What is not stored.
    """

    beam: BeamGeometry
    bixels: Bixels
    fluence: NDArray[np.float32]
    stored: StoredGroups
    wide: tuple[WideComponents, ...]

    @property
    def entries(self) -> int:
        """Number of stored entries."""
        return self.stored.entries

    @property
    def nbytes(self) -> int:
        """Bytes of everything that products with this block read."""
        return self.stored.nbytes + sum(part.nbytes for part in self.wide)

    def add_dose(self, weights: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add this beam's part of A·w."""
        lattice = self.bixels.to_lattice(weights)
        self.stored.add_dose(lattice.ravel(), dose)
        self.add_wide_dose(lattice, dose)

    def add_wide_dose(self, lattice: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add what the wide components give for weights on the lattice."""
        weights = np.asarray(lattice * self.fluence, dtype=np.float32)
        for part in self.wide:
            part.add_dose(weights, dose)

    def backproject(self, voxel_values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return this beam's part of Aᵀ·g, one value per bixel."""
        lattice = self.stored.backproject(voxel_values, self.fluence.size).reshape(self.fluence.shape)
        for part in self.wide:
            lattice += part.backproject(voxel_values) * self.fluence
        return np.asarray(lattice.ravel()[self.bixels.lattice_position])

    def explicit(self, voxels: int) -> NDArray[np.float32]:
        """Return all entries, what is not stored included, as a dense array (voxels, bixels)."""
        cells = self.fluence.size
        found = self.stored.explicit(voxels, cells)
        for cell in self.bixels.lattice_position:
            one = np.zeros(cells, dtype=np.float32)
            one[cell] = 1
            column = np.zeros(voxels, dtype=np.float32)
            self.add_wide_dose(one.reshape(self.fluence.shape), column)
            found[:, cell] += column
        return np.asarray(found[:, self.bixels.lattice_position])


def beam_block(
    rays: RayVolume,
    beam: BeamGeometry,
    model: BeamModel,
    bixels: Bixels,
    points: NDArray[np.float64],
    box_lps: NDArray[np.float64],
    cutoff_mm: float,
    storage: Storage,
) -> BeamBlock:
    """Compute the block of one beam; arguments and errors as :func:`imrt_core.dose.influence_matrix`.

    ``points`` (voxels, 3), LPS mm; ``box_lps`` (8, 3): corners of their box.
    """
    if abs(beam.sad_mm - model.sad_mm) > 1.0:
        raise PlanError("source-axis distance is not the model's", found=f"{beam.sad_mm}", expected=f"{model.sad_mm}")
    body = beam.project(rays.body_lps)
    centres = bixels.centres_mm
    if np.any(centres.max(axis=0) < body.min(axis=0)) or np.any(centres.min(axis=0) > body.max(axis=0)):
        raise GeometryError("the beam misses the patient", where=f"gantry {beam.gantry_deg:g}°")
    state = beam_state(rays, beam, points, box_lps=box_lps)
    fluence = bixels.to_lattice(model.off_axis_fluence(np.linalg.norm(centres, axis=1)))
    lattice = Lattice(np.array(bixels.lower, dtype=np.int64), bixels.width_mm, fluence)
    quantise = storage in ("hybrid-uint16", "uint16")
    if storage in ("float32", "uint16"):
        stored, wide = _explicit(state, model, bixels, lattice, cutoff_mm, quantise)
    else:
        stored, wide = _hybrid(state, model, bixels, lattice, cutoff_mm, quantise)
    return BeamBlock(beam, bixels, fluence, stored, wide)


def _explicit(
    state: BeamState, model: BeamModel, bixels: Bixels, lattice: Lattice, cutoff_mm: float, quantise: bool
) -> tuple[StoredGroups, tuple[WideComponents, ...]]:
    """Every component within the cutoff, and the tail of those that reach beyond."""
    components = tuple(range(model.components))
    sigma = _sigma(state, model, components)
    seen = *_projection(state, bixels), sigma, state.amplitude(model, components)
    reach = reach_of_cutoff(cutoff_mm, len(sigma), lattice)
    stored = stored_groups(*seen, lattice, reach=reach, quantise=quantise)
    edges = _edges(bixels)
    radius = stored_radius_mm(cutoff_mm, bixels.width_mm)
    reaching = [n for n in components if STORED_WIDTHS * float(sigma[:, n].max(initial=0.0)) > radius]
    tails = tuple(
        _wide(
            tail_maps(model, group, edges_u_mm=edges[0], edges_v_mm=edges[1], state=state, stored_mm=radius),
            state,
            model,
        )
        for group in _groups(model, reaching)
    )
    return stored, tails


def _hybrid(
    state: BeamState, model: BeamModel, bixels: Bixels, lattice: Lattice, cutoff_mm: float, quantise: bool
) -> tuple[StoredGroups, tuple[WideComponents, ...]]:
    """Narrow components within their reach, wide ones as operators without a cutoff."""
    narrow = tuple(n for n, width in enumerate(model.kernel_width_mm) if width <= cutoff_mm / 4)
    wide = [n for n in range(model.components) if n not in narrow]
    sigma = _sigma(state, model, narrow)
    # Half a bixel's diagonal more: a bixel counts by its centre.
    reach_mm = np.minimum(STORED_WIDTHS * sigma.max(axis=1, initial=0.0) + 0.71 * bixels.width_mm, cutoff_mm)
    projection = _projection(state, bixels)
    reach, entries = reach_of_voxels(reach_mm.astype(np.float32), *projection, lattice)
    amplitude = state.amplitude(model, narrow)
    stored = stored_groups(*projection, sigma, amplitude, lattice, reach=reach, quantise=quantise, entries=entries)
    edges = _edges(bixels)
    operators = tuple(
        _wide(gaussian_maps(model, group, edges_u_mm=edges[0], edges_v_mm=edges[1], state=state), state, model)
        for group in _groups(model, wide)
    )
    return stored, operators


def _wide(maps: GaussianMaps | TailMaps, state: BeamState, model: BeamModel) -> WideComponents:
    """Join maps with the voxels that read them."""
    return WideComponents(maps, map_groups(maps, seen_voxels(state, model, maps.components)))


def _sigma(state: BeamState, model: BeamModel, components: tuple[int, ...]) -> NDArray[np.float32]:
    """Widths on the isocentre plane, shape (voxels, components)."""
    found = np.empty((len(state.u_mm), len(components)), dtype=np.float32)
    widths = np.array([model.kernel_width_mm[n] for n in components], dtype=np.float32)
    near = widths <= ELECTRON_WIDTH_MM
    kernel_widths(state.scale_near, state.scale_far, widths, near, np.float32(model.source_sigma_mm), found)
    return found


def _projection(state: BeamState, bixels: Bixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Where voxels project, from the zero of the bixels' numbering."""
    u, v = (np.float32(offset) for offset in bixels.offset_mm)
    return (state.u_mm - u if u else state.u_mm), (state.v_mm - v if v else state.v_mm)


def _edges(bixels: Bixels) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Edges of the lattice in BLD X and Y."""
    u, v = (
        (first + np.arange(count + 1)) * bixels.width_mm + offset
        for first, count, offset in zip(bixels.lower, bixels.size, bixels.offset_mm, strict=True)
    )
    return u, v


def _groups(model: BeamModel, wide: list[int]) -> list[tuple[int, ...]]:
    """Components that are not stored, together where they scale with the same density."""
    electrons = tuple(n for n in wide if model.kernel_width_mm[n] <= ELECTRON_WIDTH_MM)
    photons = tuple(n for n in wide if n not in electrons)
    return [group for group in (electrons, photons) if group]
