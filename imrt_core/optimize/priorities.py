"""Objectives in order of priority: what a higher level reached is given up for no lower one.

Level after level is minimised while the levels above are held at what they reached, a little slack aside [1]_ [2]_.
Protocols give goals a priority (1 first); objectives take that of their structure.

References
----------
.. [1] K.-W. Jee, D. L. McShan, B. A. Fraass, Phys. Med. Biol. 52, 1845–1861, 2007, doi:10.1088/0031-9155/52/7/006.
.. [2] S. Breedveld, P. R. M. Storchi, B. J. M. Heijmen, Phys. Med. Biol. 54, 7199–7209, 2009,
   doi:10.1088/0031-9155/54/23/011.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from imrt_core.patient import Goal, ProtocolError

from .constraints import DoseLimit
from .fluence_result import FluenceProgress, FluenceResult
from .objective_bound import ObjectiveBound
from .objectives import Objective
from .regions import first_structure
from .smoothness import FluenceSmoothness
from .solver import equal_weights, optimize_fluence
from .voxels import VoxelSet

#: A level may become worse by this share, and by a root mean square of this much, for the levels below.
SLACK = 0.02
SLACK_GY = 0.05


@dataclass(frozen=True, eq=False)
class PrioritisedResult:
    """What the last level found, and what every level reached.

    Parameters
    ----------
    result : FluenceResult
        Of the last level: the fluence to use. Its objective is that of the last level alone.
    reached : tuple of float
        Sum of each level's objectives when it was its turn.
    kept : tuple of float
        The same sums at the end.
    iterations : int
        Of all levels.
    """

    result: FluenceResult
    reached: tuple[float, ...]
    kept: tuple[float, ...]
    iterations: int


def objective_levels(objectives: Sequence[Objective], goals: Sequence[Goal]) -> tuple[tuple[Objective, ...], ...]:
    """Group objectives by the priority of their structure's goals, most important first.

    A region such as ``PTV63 - PTV70`` has the priority of its first structure. Objectives of structures without a
    priority, normal tissue among them, come last. One level where no goal has a priority.
    """
    given = {g.priority for g in goals if g.priority is not None}
    last = max(given, default=0) + 1
    of_structure: dict[str, int] = {}
    for goal in goals:
        level = last if goal.priority is None else goal.priority
        of_structure[goal.structure] = min(level, of_structure.get(goal.structure, last))
    levels: dict[int, list[Objective]] = {}
    for objective in objectives:
        name = first_structure(objective.structure, of_structure)
        levels.setdefault(last if name is None else of_structure[name], []).append(objective)
    return tuple(tuple(levels[level]) for level in sorted(levels))


def optimize_by_priority(
    matrix: Any,
    levels: Sequence[Sequence[Objective]],
    *,
    structures: Mapping[str, VoxelSet | ArrayLike],
    limits: Sequence[DoseLimit] = (),
    course_gy_per_matrix_gy: float = 1.0,
    offset_gy: ArrayLike | None = None,
    smoothness: FluenceSmoothness | None = None,
    initial_weights: ArrayLike | None = None,
    maximum_weights: ArrayLike | None = None,
    max_iterations: int = 300,
    tolerance: float = 1e-4,
    progress: Callable[[FluenceProgress], None] | None = None,
) -> PrioritisedResult:
    """Minimise level after level, holding those above.

    Parameters
    ----------
    levels : sequence of sequence of Objective
        Most important first.
    max_iterations : int
        Of each level.
    matrix, structures, limits, course_gy_per_matrix_gy, offset_gy, smoothness, initial_weights, maximum_weights,
    tolerance, progress
        As for :func:`~imrt_core.optimize.optimize_fluence`. Dose limits are held at every level.

    Raises
    ------
    ProtocolError
        If there is no level or one is empty; and as :func:`~imrt_core.optimize.optimize_fluence`.
    """
    if not levels or any(not level for level in levels):
        raise ProtocolError("every priority needs an objective", found=f"{[len(level) for level in levels]} per level")
    held: list[ObjectiveBound] = []
    reached: list[float] = []
    weights: ArrayLike | None = initial_weights
    iterations = 0
    everywhere = equal_weights(
        matrix,
        [objective for level in levels for objective in level],
        structures=structures,
        course_gy_per_matrix_gy=course_gy_per_matrix_gy,
        offset_gy=offset_gy,
    )
    for level in levels:
        result = optimize_fluence(
            matrix,
            level,
            structures=structures,
            limits=[*limits, *held],
            course_gy_per_matrix_gy=course_gy_per_matrix_gy,
            offset_gy=offset_gy,
            smoothness=smoothness,
            initial_weights=weights,
            maximum_weights=maximum_weights,
            max_iterations=max_iterations,
            tolerance=tolerance,
            progress=progress,
        )
        weights = result.weights
        iterations += result.iterations
        value = _sum(result, level)
        reached.append(value)
        slack_gy = np.sqrt(value / _weight(level)) * np.sqrt(1.0 + SLACK) + SLACK_GY
        held.append(ObjectiveBound(tuple(level), float(slack_gy**2) * _weight(level)))
        # A level may want no dose at all: the next one starts from some fluence everywhere all the same.
        weights = np.maximum(weights, 0.1 * everywhere)
    sets = {name: s if isinstance(s, VoxelSet) else VoxelSet.from_rows(s) for name, s in structures.items()}
    kept = tuple(
        sum(
            o.value_and_gradient(result.course_dose_gy[sets[o.structure].rows], sets[o.structure].volume_weights)[0]
            for o in level
        )
        for level in levels
    )
    return PrioritisedResult(result, tuple(reached), kept, iterations)


def _weight(level: Sequence[Objective]) -> float:
    return sum(o.weight for o in level)


def _sum(result: FluenceResult, level: Sequence[Objective]) -> float:
    """Objectives of a level, smoothness left out."""
    return sum(value for _, value in result.terms[: len(level)])
