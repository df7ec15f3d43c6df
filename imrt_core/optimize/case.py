"""A planning case: everything that stays the same while fluence is optimised, sequenced and corrected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose import bixel_grid, influence_matrix
from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.geometry.raytrace import RayVolume
from imrt_core.machine import Machine
from imrt_core.patient import Goal, Grid, ProtocolError, StructureSet, Volume
from imrt_core.patient.contours import structure_volume_cc

from .constraints import DoseLimit
from .from_goals import limits_from_goals, objectives_from_goals
from .matrix import DoseMatrix
from .objectives import Objective
from .plan_types import BeamDirection, PlanSettings
from .problem import PlanningVoxels, body_fraction, covering_grid, select_voxels
from .regions import Regions
from .smoothness import FluenceSmoothness
from .tighten import Aims


@dataclass(frozen=True, eq=False)
class PlanningCase:
    """Inputs of the optimisation, built once.

    Parameters
    ----------
    voxels : PlanningVoxels
        Rows of the matrix.
    dose_grid : Grid
        Grid of the final dose.
    geometry : tuple of BeamGeometry
        One per beam.
    bixels_mm : tuple of ndarray, shape (n, 2)
        Bixel centres (x, y) of each beam, in the order of the matrix's columns.
    matrix : DoseMatrix
        Gy per fraction and MU.
    objectives : tuple of Objective
        Those whose region has voxels.
    objectives_for : callable or None
        The objectives of other aims at the same structures; None where objectives were given, not made from goals.
    limits : tuple of DoseLimit
        From hard goals.
    smoothness : FluenceSmoothness or None
        Over all beams.
    background_gy : ndarray, shape (rows,)
        Course dose of earlier fractions at the rows.
    """

    voxels: PlanningVoxels
    dose_grid: Grid
    geometry: tuple[BeamGeometry, ...]
    bixels_mm: tuple[NDArray[np.float64], ...]
    matrix: DoseMatrix
    objectives: tuple[Objective, ...]
    objectives_for: Callable[[Aims], tuple[Objective, ...]] | None
    limits: tuple[DoseLimit, ...]
    smoothness: FluenceSmoothness | None
    background_gy: NDArray[np.float64]

    def split(self, weights: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """Weights of each beam."""
        return np.split(weights, np.cumsum([len(b) for b in self.bixels_mm])[:-1])


def build_case(
    red: Volume,
    rays: RayVolume,
    structures: StructureSet,
    machine: Machine,
    *,
    goals: Sequence[Goal],
    objectives: Sequence[Objective] | None,
    limits: Sequence[DoseLimit] | None,
    prescription_gy: Sequence[tuple[str, float]],
    beams: Sequence[BeamDirection],
    isocentre_lps: tuple[float, float, float],
    patient_position: str,
    settings: PlanSettings,
    dose_grid: Grid | None,
    background_gy: Volume | None,
) -> PlanningCase:
    """Choose voxels and bixels and compute the influence matrix.

    Raises
    ------
    ProtocolError
        If there is no beam, or a goal or objective names no structure.
    """
    if not beams:
        raise ProtocolError("a plan needs a beam", found="no beam direction")
    names = [*dict.fromkeys([name for name, _ in prescription_gy] + [goal.structure for goal in goals])]
    absent = [name for name in names if name not in structures or structures[name].is_empty]
    if absent:
        raise ProtocolError(
            "goals or prescription name structures without contours",
            found=", ".join(structures.names),
            expected=", ".join(absent),
        )
    volumes = {name: structure_volume_cc(structures[name]) for name in names}
    spacing = settings.optimisation_grid_mm
    grid = covering_grid(structures, names, spacing_mm=(spacing,) * 3, within=red.grid, margin_mm=20.0)
    regions = Regions(structures, grid, prescription_gy, body_fraction(structures, red, grid))
    organs = [name for name in names if name not in dict(prescription_gy)]
    overlap = {name: regions.target_overlap(name) for name in organs}

    def from_aims(aims: Aims) -> tuple[Objective, ...]:
        return objectives_from_goals(aims.goals, aims.prescription_gy, volumes_cc=volumes, target_overlap=overlap)

    if limits is None:
        highest_gy = max(dose for _, dose in prescription_gy)
        limits = limits_from_goals(goals, prescribed_gy=highest_gy, volumes_cc=volumes)
    wanted = from_aims(Aims(tuple(goals), tuple(prescription_gy))) if objectives is None else tuple(objectives)
    voxels = select_voxels(regions, [o.structure for o in wanted] + [limit.structure for limit in limits])
    geometry = tuple(
        BeamGeometry(b.gantry_deg, isocentre_lps, patient_position, b.collimator_deg, b.table_deg, machine.model.sad_mm)
        for b in beams
    )
    target = Volume(np.max([regions.structure(name) for name, _ in prescription_gy], axis=0).astype(np.float32), grid)
    bixels = [bixel_grid(g, target, bixel_mm=settings.bixel_mm, margin_mm=settings.target_margin_mm) for g in geometry]
    matrix = influence_matrix(
        red,
        geometry,
        machine,
        bixels=bixels,
        voxels=voxels.indices,
        dose_grid=grid,
        cutoff_mm=settings.cutoff_mm,
        rays=rays,
    )
    centres = tuple(b.centres_mm for b in bixels)
    smoothness = None
    if settings.smoothness > 0:
        smoothness = FluenceSmoothness(neighbour_pairs(centres, settings.bixel_mm), settings.smoothness)
    background = np.zeros(voxels.indices.size)
    if background_gy is not None:
        background = background_gy.sample(voxels.points_lps, outside=0.0)
    final_spacing = (settings.dose_grid_mm,) * 3
    if dose_grid is None:
        dose_grid = covering_grid(structures, names, spacing_mm=final_spacing, within=red.grid, margin_mm=10.0)
    return PlanningCase(
        voxels=voxels,
        dose_grid=dose_grid,
        geometry=geometry,
        bixels_mm=centres,
        matrix=matrix,
        objectives=voxels.with_voxels(wanted),
        objectives_for=(lambda aims: voxels.with_voxels(from_aims(aims))) if objectives is None else None,
        limits=tuple(limits),
        smoothness=smoothness,
        background_gy=background,
    )


def neighbour_pairs(bixels_mm: Sequence[NDArray[np.float64]], size_mm: float) -> NDArray[np.int64]:
    """Pairs of columns that are neighbours along x, the leaves' travel, in their beam.

    The MU of a sweep grow with the rises of fluence along the travel, and with them what leaks through closed leaves;
    differences between leaf pairs cost nothing.
    """
    pairs: list[NDArray[np.int64]] = []
    first = 0
    for centres in bixels_mm:
        place = np.rint((centres - centres.min(axis=0)) / size_mm).astype(np.int64)
        lookup = np.full(place.max(axis=0) + 2, -1, dtype=np.int64)
        lookup[place[:, 0], place[:, 1]] = np.arange(len(place)) + first
        other = lookup[place[:, 0] + 1, place[:, 1]]
        own = np.arange(len(place)) + first
        pairs.append(np.stack([own[other >= 0], other[other >= 0]], axis=1))
        first += len(place)
    return np.concatenate(pairs)
