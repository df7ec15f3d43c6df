"""The optimiser's problem in scaled variables: value and gradient, starting point, scales.

The influence matrix works in Gy per MU *per fraction*; objectives and limits are in *course* Gy:
``course_dose = course_gy_per_matrix_gy · A·w + offset_gy``, with ``course_gy_per_matrix_gy`` the number of fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from imrt_core.patient import ProtocolError

from .constraints import DoseLimit, Multipliers
from .matrix import DoseMatrix, SelectableMatrix, as_dose_matrix
from .objective_bound import BoundMultiplier, ObjectiveBound
from .objectives.base import FloatArray, Objective
from .smoothness import FluenceSmoothness
from .voxels import VoxelSet, as_voxel_sets
from .working_part import WorkingPart, choose_part, is_outdated, needed_rows, whole

#: The penalty of a hard limit starts at this multiple of the largest objective weight.
_PENALTY_START = 10.0
#: A column that was left out is missing where the objective falls with x by more than this multiple of the tolerance.
_MISSING_SLOPE = 10.0


@dataclass(eq=False)
class ScaledProblem:
    """Variables are x = weights / scale of the working columns.

    ``working`` holds what an evaluation computes: everything, or after :meth:`work_with` the part that matters.
    """

    matrix: DoseMatrix
    objectives: Sequence[Objective]
    voxel_sets: dict[str, VoxelSet]
    limits: list[Multipliers | BoundMultiplier]
    course_gy_per_matrix_gy: float
    offset_gy: FloatArray
    smoothness: FluenceSmoothness | None
    reference_weight: float
    scale: FloatArray
    maximum: FloatArray
    working: WorkingPart
    evaluations: int = 0
    latest_violation_gy: float = 0.0
    _latest: tuple[FloatArray, FloatArray] | None = None

    def dose(self, weights: FloatArray) -> FloatArray:
        """Course dose of every row; that of the latest weights is kept."""
        if self._latest is None or not np.array_equal(self._latest[0], weights):
            dose = self.matrix.dose(weights).astype(np.float64) * self.course_gy_per_matrix_gy + self.offset_gy
            dose.setflags(write=False)
            self._latest = weights.copy(), dose
        return self._latest[1]

    def weights_of(self, x: FloatArray) -> FloatArray:
        """Bixel weights of the working variables; columns that were left out are zero."""
        weights = np.zeros(self.scale.size)
        weights[self.working.columns] = x * self.scale[self.working.columns]
        return weights

    def variables(self, weights: FloatArray) -> FloatArray:
        """Working variables of bixel weights."""
        return np.asarray((weights / self.scale)[self.working.columns])

    def penalty(self, dose: FloatArray) -> tuple[float, FloatArray]:
        """Objectives and limits as a function of the dose of every row, with the derivative for every row."""
        return self._penalty(dose, whole(self.matrix, self.objectives, self.limits, self.voxel_sets))

    def _penalty(self, dose: FloatArray, part: WorkingPart) -> tuple[float, FloatArray]:
        total, slope = 0.0, np.zeros(dose.size)
        for objective, members in zip(self.objectives, part.objectives, strict=True):
            value, gradient = objective.value_and_gradient(dose[members.rows], members.volume_weights)
            total += value
            slope[members.rows] += gradient
        for limit, own in zip(self.limits, part.limits, strict=True):
            value, gradient = limit.value_and_gradient(dose[own])
            total += value
            slope[own] += gradient
        return total, slope

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient in the working variables, of the working rows."""
        self.evaluations += 1
        part = self.working
        dose = part.matrix.dose(x * self.scale[part.columns]).astype(np.float64) * self.course_gy_per_matrix_gy
        dose += self.offset_gy if part.rows is None else self.offset_gy[part.rows]
        self.latest_violation_gy = max(
            (limit.violation_gy(dose[own]) for limit, own in zip(self.limits, part.limits, strict=True)), default=0.0
        )
        return self._from_dose(self.weights_of(x), dose, part)

    def evaluate_whole(self, weights: FloatArray, dose: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient in scaled variables of all columns, given the course dose of every row."""
        return self._from_dose(weights, dose, whole(self.matrix, self.objectives, self.limits, self.voxel_sets))

    def _from_dose(self, weights: FloatArray, dose: FloatArray, part: WorkingPart) -> tuple[float, FloatArray]:
        total, slope = self._penalty(dose, part)
        gradient = part.matrix.backproject(slope).astype(np.float64) * self.course_gy_per_matrix_gy
        if self.smoothness is not None:
            value, rough = self.smoothness.value_and_gradient(weights, reference=self.reference_weight)
            total += value
            gradient += rough[part.columns]
        return total, gradient * self.scale[part.columns]

    def work_with(self, weights: FloatArray) -> None:
        """Choose the working part by the dose and gradient at these weights."""
        if not isinstance(self.matrix, SelectableMatrix):
            return
        dose = self.dose(weights)
        _, gradient = self.evaluate_whole(weights, dose)
        columns = (weights > 0) | (gradient < 0)
        kinds = self.matrix, self.objectives, self.limits, self.voxel_sets
        self.working = choose_part(self.working, dose, columns, *kinds)

    def should_choose_anew(self, weights: FloatArray, value: float, *, tolerance: float) -> bool:
        """Whether much is missing, or many of the working rows or columns no longer matter.

        ``value`` is that of the working rows; ``tolerance`` the share of the whole's that may be missing.
        """
        part = self.working
        if part.rows is None:
            return False
        dose = self.dose(weights)
        total, gradient = self.evaluate_whole(weights, dose)
        contributes = needed_rows(dose, self.objectives, self.limits, self.voxel_sets, share=1.0)
        contributes[part.rows] = False
        if contributes.any() and total - value > tolerance * abs(total):
            return True
        if is_outdated(part, dose, (weights > 0) | (gradient < 0), self.objectives, self.limits, self.voxel_sets):
            return True
        gradient[part.columns] = 0.0
        return bool(gradient.min() < -_MISSING_SLOPE * tolerance * abs(total))

    def worst_violation_gy(self, dose: FloatArray) -> float:
        """Largest violation of a hard limit, Gy."""
        return max((limit.violation_gy(dose[limit.voxels.rows]) for limit in self.limits), default=0.0)


def scaled_problem(
    matrix: Any,
    objectives: Sequence[Objective],
    *,
    structures: Mapping[str, VoxelSet | ArrayLike],
    limits: Sequence[DoseLimit | ObjectiveBound],
    course_gy_per_matrix_gy: float,
    offset_gy: ArrayLike | None,
    smoothness: FluenceSmoothness | None,
    maximum_weights: ArrayLike | None,
) -> ScaledProblem:
    """Check the arguments; scale and reference fluence come later."""
    dose_matrix = as_dose_matrix(matrix)
    row_count, column_count = dose_matrix.shape
    voxel_sets = as_voxel_sets(structures, row_count=row_count)
    _check_names(objectives, limits, voxel_sets)
    offset = np.zeros(row_count) if offset_gy is None else np.broadcast_to(np.asarray(offset_gy, float), (row_count,))
    if not np.all(np.isfinite(offset)) or not course_gy_per_matrix_gy > 0:
        raise ProtocolError(
            "dose offset and scale must be finite, the scale positive", found=f"scale {course_gy_per_matrix_gy}"
        )
    penalty = _PENALTY_START * max(objective.weight for objective in objectives)
    multipliers = [
        BoundMultiplier(limit, voxel_sets)
        if isinstance(limit, ObjectiveBound)
        else Multipliers(limit, voxel_sets[limit.structure], penalty)
        for limit in limits
    ]
    return ScaledProblem(
        matrix=dose_matrix,
        objectives=objectives,
        voxel_sets=voxel_sets,
        limits=multipliers,
        course_gy_per_matrix_gy=course_gy_per_matrix_gy,
        offset_gy=offset,
        smoothness=smoothness,
        reference_weight=1.0,
        scale=np.ones(column_count),
        maximum=_upper_bounds(maximum_weights, column_count),
        working=whole(dose_matrix, objectives, multipliers, voxel_sets),
    )


def _check_names(
    objectives: Sequence[Objective], limits: Sequence[DoseLimit | ObjectiveBound], voxel_sets: Mapping[str, VoxelSet]
) -> None:
    if not objectives:
        raise ProtocolError("an optimisation needs at least one objective", found="none")
    bounded = [o.structure for limit in limits if isinstance(limit, ObjectiveBound) for o in limit.objectives]
    limited = [limit.structure for limit in limits if isinstance(limit, DoseLimit)]
    for name in [*(o.structure for o in objectives), *limited, *bounded]:
        if name not in voxel_sets:
            raise ProtocolError(
                "an objective names no structure", found=name, expected=", ".join(voxel_sets) or "structures"
            )


def _upper_bounds(maximum_weights: ArrayLike | None, columns: int) -> FloatArray:
    if maximum_weights is None:
        return np.full(columns, np.inf)
    maximum = np.array(np.broadcast_to(np.asarray(maximum_weights, dtype=np.float64), (columns,)))
    if not np.all(maximum > 0):
        raise ProtocolError("upper bounds of the fluence must be positive", found=f"minimum {maximum.min()}")
    return maximum


def starting_weights(problem: ScaledProblem, initial_weights: ArrayLike | None) -> FloatArray:
    """Return the warm start, or equal weights."""
    columns = problem.matrix.shape[1]
    if initial_weights is None:
        return best_equal_weights(problem)
    weights = np.array(initial_weights, dtype=np.float64)
    if weights.shape != (columns,) or not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise ProtocolError(
            "starting weights must be finite and not negative, one per bixel",
            found=f"shape {weights.shape}",
            expected=f"({columns},)",
        )
    return weights if np.any(weights > 0) else best_equal_weights(problem)


def best_equal_weights(problem: ScaledProblem) -> FloatArray:
    """Return equal weights at the best point of their ray."""
    return best_on_ray(problem, np.ones(problem.matrix.shape[1]))


def best_on_ray(problem: ScaledProblem, weights: FloatArray) -> FloatArray:
    """Return the multiple of these weights that suits the objectives best; it takes one product with the matrix."""
    unit = problem.matrix.dose(weights).astype(np.float64) * problem.course_gy_per_matrix_gy
    largest = float(unit.max(initial=0.0))
    if not largest > 0:
        raise ProtocolError("the influence matrix gives no dose", found=f"largest dose {largest} Gy")
    # the dose levels of clinical objectives lie within 1e-2 … 1e3 Gy
    best = minimize_scalar(
        lambda log_dose: problem.penalty(unit * (np.exp(log_dose) / largest) + problem.offset_gy)[0],
        bounds=(np.log(1e-2), np.log(1e3)),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return np.asarray(weights * (float(np.exp(best.x)) / largest), dtype=np.float64)


def column_scale(problem: ScaledProblem, weights: FloatArray) -> FloatArray:
    """Return the scale of each variable: columns that give much dose where it counts take smaller steps.

    The diagonal of the Hessian would need the squares of the matrix; the product of Aᵀ with the curvature of the
    penalty (volume weight × weight, summed over objectives) needs ``backproject`` only and orders the columns alike.
    """
    part = problem.working
    if not any(members.rows.size for members in part.objectives):
        # every objective is silent at the start, and hard limits alone keep rows
        part = whole(problem.matrix, problem.objectives, problem.limits, problem.voxel_sets)
    curvature = np.zeros(part.matrix.shape[0])
    for objective, members in zip(problem.objectives, part.objectives, strict=True):
        curvature[members.rows] += objective.weight * members.volume_weights
    everywhere = curvature
    if part.rows is not None:
        everywhere = np.zeros(problem.matrix.shape[0])
        everywhere[part.rows] = curvature
    response = problem.matrix.backproject(everywhere).astype(np.float64)
    typical = float(response.mean())
    # columns that hardly touch anything keep a bounded scale
    relative = np.maximum(response / typical, 0.05)
    return np.asarray(float(weights.mean()) / np.sqrt(relative))
