"""The columns of one beam in the influence matrix: stored entries, and operators for wide kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from imrt_core.geometry import BeamGeometry
from imrt_core.geometry.raytrace import RayVolume
from imrt_core.machine import BeamModel
from imrt_core.patient import GeometryError, PlanError

from . import _influence_kernels as kernels
from .beam_state import ELECTRON_WIDTH_MM, BeamState, beam_state
from .bixels import Bixels
from .gaussian_maps import GaussianMaps, add_map, gather_map, gaussian_maps

#: Narrow components are stored out to this many widths: 0.2 % of the component lies beyond.
STORED_WIDTHS = 3.5
#: Blocks of voxels with a partial sum of their own in Aᵀ·g; fixed, so that sums do not depend on threads.
_BLOCKS = 16


@dataclass(frozen=True, eq=False)
class WideComponents:
    """Components that are applied through maps: the operator, and width scale and amplitude of every voxel."""

    maps: GaussianMaps
    log_scale: NDArray[np.float32]
    amplitude: NDArray[np.float32]


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
    run_pointer, entry_pointer : ndarray of int64, shape (voxels + 1,)
        Where the runs and the entries of each voxel begin.
    run_start, run_length : ndarray of int32
        Each run's first cell in the flattened lattice, and its number of cells.
    values : ndarray of float32
        Stored entries, Gy per MU.
    wide : tuple of WideComponents
        What is not stored.
    state : BeamState
        Voxels as this beam sees them.
    """

    beam: BeamGeometry
    bixels: Bixels
    fluence: NDArray[np.float32]
    run_pointer: NDArray[np.int64]
    entry_pointer: NDArray[np.int64]
    run_start: NDArray[np.int32]
    run_length: NDArray[np.int32]
    values: NDArray[np.float32]
    wide: tuple[WideComponents, ...]
    state: BeamState

    @property
    def entries(self) -> int:
        """Number of stored entries."""
        return len(self.values)

    @property
    def nbytes(self) -> int:
        """Bytes of everything that products with this block read."""
        arrays: list[NDArray[Any]] = [self.run_pointer, self.entry_pointer, self.run_start, self.run_length]
        arrays += [self.values, self.state.u_mm, self.state.v_mm]
        for part in self.wide:
            arrays += [part.log_scale, part.amplitude, *part.maps.across_u, *part.maps.across_v]
        return sum(array.nbytes for array in arrays)

    def add_dose(self, weights: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add this beam's part of A·w."""
        lattice = self.bixels.to_lattice(weights)
        kernels.runs_times_weights(
            self.run_pointer, self.entry_pointer, self.run_start, self.run_length, self.values, lattice.ravel(), dose
        )
        self.add_wide_dose(lattice, dose)

    def add_wide_dose(self, lattice: NDArray[np.float32], dose: NDArray[np.float32]) -> None:
        """Add what the wide components give for weights on the lattice."""
        state = self.state
        for part in self.wide:
            maps, spread = part.maps, part.maps.spread(lattice * self.fluence)
            add_map(spread, maps.levels, maps.scale, state.u_mm, state.v_mm, part.log_scale, part.amplitude, dose)

    def backproject(self, voxel_values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return this beam's part of Aᵀ·g, one value per bixel."""
        nv, nu = self.fluence.shape
        partial = np.zeros((_BLOCKS, nv * nu))
        kernels.runs_transposed(
            self.run_pointer,
            self.entry_pointer,
            self.run_start,
            self.run_length,
            self.values,
            voxel_values,
            partial,
        )
        lattice = partial.sum(axis=0).reshape(nv, nu)
        state = self.state
        for part in self.wide:
            maps, spread = part.maps, np.zeros((_BLOCKS, *part.maps.shape))
            seen = (state.u_mm, state.v_mm, part.log_scale, part.amplitude)
            gather_map(voxel_values, maps.levels, maps.scale, *seen, spread)
            lattice += maps.gather(spread.sum(axis=0)) * self.fluence
        return np.asarray(lattice.ravel()[self.bixels.lattice_position])


def beam_block(
    rays: RayVolume,
    beam: BeamGeometry,
    model: BeamModel,
    bixels: Bixels,
    points: NDArray[np.float64],
    cutoff_mm: float,
) -> BeamBlock:
    """Compute the block of one beam; arguments and errors as :func:`imrt_core.dose.influence_matrix`."""
    if abs(beam.sad_mm - model.sad_mm) > 1.0:
        raise PlanError("source-axis distance is not the model's", found=f"{beam.sad_mm}", expected=f"{model.sad_mm}")
    body = beam.project(rays.body_lps)
    centres = bixels.centres_mm
    if np.any(centres.max(axis=0) < body.min(axis=0)) or np.any(centres.min(axis=0) > body.max(axis=0)):
        raise GeometryError("the beam misses the patient", where=f"gantry {beam.gantry_deg:g}°")
    state = beam_state(rays, beam, points)
    fluence = bixels.to_lattice(model.off_axis_fluence(np.linalg.norm(centres, axis=1)))
    first_u, first_v = bixels.lower
    nu, nv = bixels.size
    stored = [n for n, width in enumerate(model.kernel_width_mm) if width <= cutoff_mm / 4]
    wide = [n for n in range(model.components) if n not in stored]

    widths = [
        np.hypot(model.source_sigma_mm, np.exp(state.log_scale(model, n)) * model.kernel_width_mm[n]).astype(np.float32)
        for n in stored
    ]
    sigma = np.stack(widths) if stored else np.empty((0, len(points)), np.float32)
    amplitude = np.ascontiguousarray(state.amplitude(model, tuple(stored)).T) if stored else sigma
    # Half a bixel's diagonal more: a bixel counts by its centre.
    reach = np.minimum(STORED_WIDTHS * sigma.max(axis=0, initial=0.0) + 0.71 * bixels.width_mm, cutoff_mm)
    reach = reach.astype(np.float32)
    occupied = fluence > 0
    row_span = np.stack([occupied.argmax(axis=1), nu - occupied[:, ::-1].argmax(axis=1)], axis=1).astype(np.int64)
    row_span[~occupied.any(axis=1)] = 0
    runs = np.empty(len(points), dtype=np.int64)
    entries = np.empty(len(points), dtype=np.int64)
    lattice = (row_span, bixels.width_mm, first_u, first_v)
    kernels.count_runs(state.u_mm, state.v_mm, reach, *lattice, runs, entries)
    run_pointer = np.concatenate([[0], np.cumsum(runs)])
    entry_pointer = np.concatenate([[0], np.cumsum(entries)])
    run_start = np.empty(int(run_pointer[-1]), dtype=np.int32)
    run_length = np.empty_like(run_start)
    values = np.empty(int(entry_pointer[-1]), dtype=np.float32)
    cdf = ndtr(np.arange(-kernels.CDF_LIMIT, kernels.CDF_LIMIT + 2 * kernels.CDF_STEP, kernels.CDF_STEP))
    kernels.fill_runs(
        state.u_mm,
        state.v_mm,
        reach,
        *lattice,
        sigma,
        amplitude,
        fluence,
        cdf.astype(np.float32),
        run_pointer,
        entry_pointer,
        run_start,
        run_length,
        values,
    )
    operators = tuple(
        WideComponents(
            gaussian_maps(
                model,
                group,
                edges_u_mm=(first_u + np.arange(nu + 1)) * bixels.width_mm,
                edges_v_mm=(first_v + np.arange(nv + 1)) * bixels.width_mm,
                state=state,
            ),
            state.log_scale(model, group[0]),
            state.amplitude(model, group),
        )
        for group in _groups(model, wide)
    )
    return BeamBlock(beam, bixels, fluence, run_pointer, entry_pointer, run_start, run_length, values, operators, state)


def _groups(model: BeamModel, wide: list[int]) -> list[tuple[int, ...]]:
    """Components that are not stored, together where they scale with the same density."""
    electrons = tuple(n for n in wide if model.kernel_width_mm[n] <= ELECTRON_WIDTH_MM)
    photons = tuple(n for n in wide if n not in electrons)
    return [group for group in (electrons, photons) if group]
