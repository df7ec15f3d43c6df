"""New weights for the apertures of a plan: shapes stay, MU change.

The quickest adaptation: leaves do what they did, so the plan looks like the one that was approved. Consecutive control
points of a beam form groups with one factor each. Group doses come from the influence matrix; what the matrix gets
wrong about the whole plan is a constant, as in :mod:`imrt_core.optimize.planning`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from imrt_core.machine import DeliveryLimits
from imrt_core.patient import Beam, Plan, PlanError

from .case import PlanningCase
from .constraints import DoseLimit
from .fluence_result import FluenceResult
from .objectives import Objective
from .solver import optimize_fluence
from .warm_start import fluence_of_beams

#: Groups per beam: one factor for about a sixth of its MU.
GROUPS_PER_BEAM = 6
#: Factors of a group. A sliding window slows down by the inverse of the smallest one: leaves keep their speed.
FACTOR_RANGE = (0.4, 2.5)


@dataclass(frozen=True, eq=False)
class ApertureGroup:
    """Intervals between control points that keep their shares.

    Parameters
    ----------
    beam : int
        Index of the beam in its plan.
    first, last : int
        Control points where the group begins and ends.
    mu : float
        Per fraction.
    """

    beam: int
    first: int
    last: int
    mu: float


def aperture_groups(plan: Plan, *, per_beam: int = GROUPS_PER_BEAM) -> tuple[ApertureGroup, ...]:
    """Divide every beam into groups of consecutive control points with about equal MU.

    Parameters
    ----------
    plan : Plan
        Beams with control points.
    per_beam : int
        Most groups of a beam; fewer where it has fewer intervals with MU.

    Raises
    ------
    PlanError
        If ``per_beam`` is below 1 or no beam delivers MU.
    """
    if per_beam < 1:
        raise PlanError("a beam needs a group of apertures", found=f"{per_beam} groups", expected=">= 1")
    groups: list[ApertureGroup] = []
    for number, beam in enumerate(plan.beams):
        cumulative = beam.mu * np.array([cp.cumulative_weight for cp in beam.control_points])
        if not cumulative[-1] > 0:
            continue
        inner = np.searchsorted(cumulative, cumulative[-1] * np.arange(1, per_beam) / per_beam)
        ends = [0, *inner.tolist(), len(cumulative) - 1]
        for first, last in pairwise(ends):
            mu = float(cumulative[last] - cumulative[first])
            if mu > 0:
                groups.append(ApertureGroup(number, first, last, mu))
    if not groups:
        raise PlanError("the plan delivers no MU", found="0 MU", where=f"plan {plan.label}")
    return tuple(groups)


def group_doses(
    plan: Plan,
    groups: Sequence[ApertureGroup],
    case: PlanningCase,
    *,
    bixel_mm: float,
    transmission: float,
) -> NDArray[np.float32]:
    """Return the dose of every group by the influence matrix, Gy per fraction, shape (rows, groups)."""
    doses = np.empty((case.matrix.shape[0], len(groups)), dtype=np.float32)
    angles = [(g.gantry_deg, g.collimator_deg, g.table_deg) for g in case.geometry]
    for column, group in enumerate(groups):
        part = replace(plan, beams=(_part(plan.beams[group.beam], group),))
        weights = fluence_of_beams(
            part, angles, case.bixels_mm, size_mm=(bixel_mm, bixel_mm), transmission=transmission
        )
        doses[:, column] = case.matrix.dose(weights)
    return doses


def _part(beam: Beam, group: ApertureGroup) -> Beam:
    """Return the group's control points as a beam."""
    points = beam.control_points[group.first : group.last + 1]
    start = points[0].cumulative_weight
    share = points[-1].cumulative_weight - start
    return replace(
        beam,
        mu=group.mu,
        control_points=tuple(
            replace(p, cumulative_weight=min((p.cumulative_weight - start) / share, 1.0)) for p in points
        ),
    )


def best_factors(
    doses: NDArray[np.float32],
    objectives: Sequence[Objective],
    case: PlanningCase,
    *,
    limits: Sequence[DoseLimit],
    fractions: int,
    offset_gy: NDArray[np.float64],
    lowest: NDArray[np.float64],
) -> tuple[NDArray[np.float64], FluenceResult]:
    """Return the factor of every group that suits the objectives best, and how the optimiser found them.

    Parameters
    ----------
    doses : ndarray, shape (rows, groups)
        From :func:`group_doses`.
    objectives, limits
        Course Gy.
    case : PlanningCase
        Voxel sets.
    fractions : int
        Course scale.
    offset_gy : ndarray, shape (rows,)
        Course dose that does not depend on the factors.
    lowest : ndarray, shape (groups,)
        Smallest factor that the machine can deliver; factors also stay within :data:`FACTOR_RANGE`.
    """
    low = np.minimum(np.maximum(lowest, FACTOR_RANGE[0]), 1.0)
    # The solver's variables begin at 0: what the lowest factors give is a constant.
    base = np.asarray(doses @ low.astype(np.float32), dtype=np.float64)
    found = optimize_fluence(
        doses,
        objectives,
        structures=case.voxels.sets,
        limits=limits,
        course_gy_per_matrix_gy=fractions,
        offset_gy=offset_gy + fractions * base,
        initial_weights=1.0 - low + 1e-6,
        maximum_weights=FACTOR_RANGE[1] - low,
        max_iterations=100,
        tolerance=1e-3,
    )
    return np.asarray(low + found.weights), found


def lowest_factors(plan: Plan, groups: Sequence[ApertureGroup], limits: DeliveryLimits) -> NDArray[np.float64]:
    """Return the smallest factor of each group that leaves static segments their minimum MU; 0 for moving leaves."""
    lowest = np.zeros(len(groups))
    for number, group in enumerate(groups):
        beam = plan.beams[group.beam]
        points = beam.control_points[group.first : group.last + 1]
        mu = beam.mu * np.diff([p.cumulative_weight for p in points])
        static = np.array(
            [
                a.leaves_mm is not None and b.leaves_mm is not None and np.array_equal(a.leaves_mm, b.leaves_mm)
                for a, b in pairwise(points)
            ]
        )
        smallest = mu[static & (mu > 1e-9)]
        if smallest.size:
            lowest[number] = min(limits.minimum_segment_mu / float(smallest.min()), 1.0)
    return lowest


def reweighted(plan: Plan, groups: Sequence[ApertureGroup], factors: NDArray[np.float64]) -> Plan:
    """Return the plan with the MU of each group times its factor.

    Where moving leaves get fewer MU, the beam's dose rate falls by the smallest factor: leaves keep their speed.

    Raises
    ------
    PlanError
        If a factor is negative or not finite, or factors and groups do not pair up.
    """
    values = np.asarray(factors, dtype=np.float64)
    if values.shape != (len(groups),) or not np.all(np.isfinite(values)) or np.any(values < 0):
        raise PlanError("every group of apertures needs a factor >= 0", found=f"{values.shape} for {len(groups)}")
    beams = []
    for number, beam in enumerate(plan.beams):
        steps = beam.mu * np.diff([cp.cumulative_weight for cp in beam.control_points])
        slowest = 1.0
        for group, factor in zip(groups, values, strict=True):
            if group.beam == number:
                steps[group.first : group.last] *= factor
                slowest = min(slowest, float(factor))
        cumulative = np.concatenate([[0.0], np.cumsum(steps)])
        if not cumulative[-1] > 0:
            continue
        points = tuple(
            replace(
                point,
                cumulative_weight=min(float(mu / cumulative[-1]), 1.0),
                dose_rate_mu_per_min=None
                if point.dose_rate_mu_per_min is None
                else point.dose_rate_mu_per_min * slowest,
            )
            for point, mu in zip(beam.control_points, cumulative, strict=True)
        )
        beams.append(
            replace(
                beam,
                mu=float(cumulative[-1]),
                control_points=points,
                beam_dose_gy=None,
                beam_dose_point_lps=None,
            )
        )
    return replace(plan, beams=tuple(beams))
