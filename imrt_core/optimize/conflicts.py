"""Why hard goals cannot hold: the least violation with the targets covered, and which goals stand against one another.

The search minimises the squared violations of the hard limits, nothing else, while every target keeps its coverage. At
its end the pull of a violated limit on the fluence is balanced by the pulls of the others (the stationarity condition
[1]_), and the share of each in that balance says who is in the way.

References
----------
.. [1] J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., Springer 2006, section 12.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Goal

from .case import PlanningCase
from .constraints import DoseLimit, LimitKind
from .objective_bound import ObjectiveBound
from .objectives import MaxDvh, MeanDose, MinDvh, Objective, SquaredOverdose, SquaredUnderdose
from .plan_types import Conflict
from .solver import optimize_fluence

#: Coverage that targets keep: this share of the volume at the prescription, within a root mean square of this much.
_COVERED_PERCENT = 95.0
_COVERED_GY = 0.3
#: Pulls below this share of a violated limit's own are not named.
_LEAST_SHARE = 0.1
#: A violation below this is none (Gy).
_NONE_GY = 0.1
_MAX_ITERATIONS = 150


def conflicts(
    case: PlanningCase,
    limits: Sequence[tuple[Goal, DoseLimit]],
    *,
    prescription_gy: Sequence[tuple[str, float]],
    fractions: int,
    offset_gy: NDArray[np.float64],
    initial_weights: NDArray[np.float64],
    maximum_weights: NDArray[np.float64],
) -> tuple[Conflict, ...]:
    """Find the least violation of hard goals and what stands against each.

    Parameters
    ----------
    case : PlanningCase
        Voxels and matrix.
    limits : sequence of (Goal, DoseLimit)
        Hard goals as limits.
    prescription_gy : sequence of (str, float)
        Course dose of every target, to be kept for 95 % of its volume.
    fractions : int
        Course scale.
    offset_gy : ndarray, shape (rows,)
        Course dose that does not depend on the fluence.
    initial_weights, maximum_weights : ndarray, shape (bixels,)
        Fluence to start from; its upper bounds.

    Returns
    -------
    tuple of Conflict
        One per hard limit that is broken by more than 0.1 Gy even so; none if the hard goals can hold together with the
        coverage (the plan is then not the best, or its leaves cannot deliver it).
    """
    named = [(str(goal), limit) for goal, limit in limits if limit.structure in case.voxels.sets]
    if not named:
        return ()
    pulls = [(name, _squared(limit)) for name, limit in named]
    coverage = [
        (f"coverage of {name}", MinDvh(structure=name, dose_gy=dose, volume_percent=_COVERED_PERCENT, weight=1.0))
        for name, dose in prescription_gy
        if name in case.voxels.sets
    ]
    found = optimize_fluence(
        case.matrix,
        [objective for _, objective in pulls],
        structures=case.voxels.sets,
        limits=[ObjectiveBound((objective,), _COVERED_GY**2) for _, objective in coverage],
        course_gy_per_matrix_gy=fractions,
        offset_gy=offset_gy,
        initial_weights=initial_weights,
        maximum_weights=maximum_weights,
        max_iterations=_MAX_ITERATIONS,
        tolerance=1e-3,
    )
    free = (found.weights > 0) & (found.weights < maximum_weights)

    def pull_of(objective: Objective) -> NDArray[np.float64]:
        voxels = case.voxels.sets[objective.structure]
        slope = np.zeros(case.matrix.shape[0])
        slope[voxels.rows] = objective.value_and_gradient(found.course_dose_gy[voxels.rows], voxels.volume_weights)[1]
        return np.where(free, case.matrix.backproject(slope), 0.0)

    at_end = {name: pull_of(objective) for name, objective in [*pulls, *coverage]}
    result = []
    for name, limit in named:
        voxels = case.voxels.sets[limit.structure]
        violation = limit.violation_gy(found.course_dose_gy[voxels.rows], voxels.volume_weights)
        if violation <= _NONE_GY:
            continue
        against = _balance(at_end[name], {other: pull for other, pull in at_end.items() if other != name})
        result.append(Conflict(name, violation, against))
    return tuple(sorted(result, key=lambda c: -c.least_violation_gy))


def _squared(limit: DoseLimit) -> Objective:
    """Violation of a limit as an objective."""
    if limit.kind is LimitKind.MEAN:
        return MeanDose(structure=limit.structure, dose_gy=limit.dose_gy, weight=1.0)
    if limit.kind is LimitKind.MAX:
        if limit.exempt_percent:
            return MaxDvh(
                structure=limit.structure, dose_gy=limit.dose_gy, volume_percent=limit.exempt_percent, weight=1.0
            )
        return SquaredOverdose(structure=limit.structure, dose_gy=limit.dose_gy, weight=1.0)
    if limit.exempt_percent:
        share = 100.0 - limit.exempt_percent
        return MinDvh(structure=limit.structure, dose_gy=limit.dose_gy, volume_percent=share, weight=1.0)
    return SquaredUnderdose(structure=limit.structure, dose_gy=limit.dose_gy, weight=1.0)


def _balance(own: NDArray[np.float64], others: dict[str, NDArray[np.float64]]) -> tuple[tuple[str, float], ...]:
    """Return the share of each opposing pull: its part against the direction of a limit's own."""
    length = float(np.linalg.norm(own))
    opposing = {name: max(-float(own @ pull) / length, 0.0) for name, pull in others.items()} if length > 0 else {}
    total = sum(opposing.values())
    if not total > 0:
        return ()
    shares = [(name, value / total) for name, value in opposing.items() if value / total >= _LEAST_SHARE]
    return tuple(sorted(shares, key=lambda item: -item[1]))
