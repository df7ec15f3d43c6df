"""Weights of conformal apertures by non-negative least squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from imrt_core.machine import DeliveryLimits
from imrt_core.patient import PlanError, StructureSet, Volume

from .plan_types import PlanSettings
from .problem import PlanningVoxels, body_fraction, covering_grid, select_voxels
from .regions import Regions

FloatArray = NDArray[np.float64]

#: Weight of an organ's squared mean (as a share of the highest prescription) against a target's mean squared deviation.
ORGAN_WEIGHT = 0.003
#: Segments are made a little longer than the minimum, so that normalisation does not push them below it.
_RESERVE = 1.1


@dataclass(frozen=True)
class LeastSquaresTerm:
    """A region of the least squares.

    Parameters
    ----------
    region : str
        As in :mod:`imrt_core.optimize.regions`.
    dose_gy : float
        Course dose that every voxel of a target is to have; 0 for an organ, whose mean is pulled down.
    weight : float
        Of the region's mean squared deviation, relative to the dose.
    """

    region: str
    dose_gy: float
    weight: float


def least_squares_rows(
    red: Volume,
    structures: StructureSet,
    targets: Sequence[tuple[str, float]],
    names: Sequence[str],
    settings: PlanSettings,
) -> tuple[PlanningVoxels, tuple[LeastSquaresTerm, ...]]:
    """Choose voxels and terms; every voxel of a target belongs to its highest dose level.

    Parameters
    ----------
    red : Volume
        Relative electron density.
    structures : StructureSet
        In its frame.
    targets : sequence of (str, float)
        Course dose in Gy of every target.
    names : sequence of str
        Targets and organs.
    settings : PlanSettings
        Gives the optimisation grid.
    """
    spacing = (settings.optimisation_grid_mm,) * 3
    grid = covering_grid(structures, names, spacing_mm=spacing, within=red.grid, margin_mm=10.0)
    regions = Regions(structures, grid, targets, body_fraction(structures, red, grid))
    prescribed = [name for name, _ in targets]
    wanted = [
        LeastSquaresTerm(" - ".join([name, *(other for other, higher in targets if higher > dose)]), dose, 1.0)
        for name, dose in targets
    ]
    wanted += [
        LeastSquaresTerm(" - ".join([name, *prescribed]), 0.0, ORGAN_WEIGHT)
        for name in names
        if name not in prescribed and structures[name].interpreted_type.upper() != "EXTERNAL"
    ]
    voxels = select_voxels(regions, [term.region for term in wanted])
    return voxels, tuple(term for term in wanted if term.region in voxels.sets)


@dataclass(frozen=True, eq=False)
class ApertureWeights:
    """Solution of the least squares.

    Parameters
    ----------
    mu : ndarray, shape (apertures,)
        Per fraction; 0 where an aperture is not used.
    objective : float
        Weighted squared deviations.
    kkt_residual : float
        Largest violation of the optimality conditions among the apertures kept, relative to the gradient at zero.
    solved : int
        How often the problem was solved.
    """

    mu: FloatArray
    objective: float
    kkt_residual: float
    solved: int


def aperture_mu(
    course_gy_per_mu: FloatArray,
    voxels: PlanningVoxels,
    terms: Sequence[LeastSquaresTerm],
    beam_of: Sequence[int],
    limits: DeliveryLimits,
) -> ApertureWeights:
    """Solve for the MU of every aperture.

    Segments and beams below the machine's minimum are left out one after the other, the furthest below first.

    Parameters
    ----------
    course_gy_per_mu : ndarray, shape (rows, apertures)
        Course dose for each MU per fraction.
    voxels : PlanningVoxels
        The rows.
    terms : sequence of LeastSquaresTerm
        At least one target.
    beam_of : sequence of int
        Beam number of every aperture.
    limits : DeliveryLimits
        Minimum MU.

    Raises
    ------
    PlanError
        If no aperture is left.
    """
    highest_gy = max(term.dose_gy for term in terms)
    rows, wanted = [], []
    for term in terms:
        region = voxels.sets[term.region]
        dose = course_gy_per_mu[region.rows]
        if term.dose_gy > 0:
            share = np.sqrt(term.weight * region.volume_weights)[:, None] / term.dose_gy
            rows.append(share * dose)
            wanted.append(share[:, 0] * term.dose_gy)
        else:
            rows.append(np.sqrt(term.weight) / highest_gy * (region.volume_weights @ dose)[None])
            wanted.append(np.zeros(1))
    system, aim = np.concatenate(rows), np.concatenate(wanted)
    beams = np.asarray(beam_of)
    kept = np.ones(system.shape[1], dtype=bool)
    solved = 0
    while kept.any():
        mu = np.zeros(system.shape[1])
        mu[kept], _ = nnls(system[:, kept], aim)
        solved += 1
        of_beam = np.bincount(beams, weights=mu)[beams]
        short = np.maximum(limits.minimum_segment_mu / np.where(mu > 0, mu, np.inf), 0.0)
        short = np.maximum(short, np.where(mu > 0, limits.minimum_beam_mu / np.where(of_beam > 0, of_beam, np.inf), 0))
        if short.max() * _RESERVE <= 1.0:
            break
        kept[int(np.argmax(short))] = False
    else:
        raise PlanError("no field is left that the machine could deliver", found="MU below the minimum of a segment")
    gradient = system.T @ (system @ mu - aim)
    residual = np.where(mu > 0, np.abs(gradient), np.maximum(-gradient, 0.0))[kept]
    scale = float(np.abs(system.T @ aim).max())
    return ApertureWeights(mu, float(np.sum((system @ mu - aim) ** 2)), float(residual.max()) / scale, solved)
