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
from .matrix import DoseMatrix, as_dose_matrix
from .objective_bound import BoundMultiplier, ObjectiveBound
from .objectives.base import FloatArray, Objective
from .smoothness import FluenceSmoothness
from .voxels import VoxelSet, as_voxel_sets
from .working_rows import WorkingRows, every_row, is_outdated, needed_rows, rows_that_matter

#: The penalty of a hard limit starts at this multiple of the largest objective weight.
_PENALTY_START = 10.0


@dataclass(eq=False)
class ScaledProblem:
    """Variables are x = weights / scale.

    ``working`` holds what an evaluation computes: every row, or after :meth:`work_with` those that matter.
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
    working: WorkingRows
    evaluations: int = 0
    latest_violation_gy: float = 0.0

    def dose(self, weights: FloatArray) -> FloatArray:
        """Course dose of every row."""
        dose = self.matrix.dose(weights).astype(np.float64)
        return dose * self.course_gy_per_matrix_gy + self.offset_gy

    def penalty(self, dose: FloatArray) -> tuple[float, FloatArray]:
        """Objectives and limits as a function of the dose of every row, with the derivative for every row."""
        return self._penalty(dose, every_row(self.matrix, self.objectives, self.limits, self.voxel_sets))

    def _penalty(self, dose: FloatArray, rows: WorkingRows) -> tuple[float, FloatArray]:
        total, slope = 0.0, np.zeros(dose.size)
        for objective, members in zip(self.objectives, rows.objectives, strict=True):
            value, gradient = objective.value_and_gradient(dose[members.rows], members.volume_weights)
            total += value
            slope[members.rows] += gradient
        for limit, own in zip(self.limits, rows.limits, strict=True):
            value, gradient = limit.value_and_gradient(dose[own])
            total += value
            slope[own] += gradient
        return total, slope

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient in scaled variables, of the working rows."""
        self.evaluations += 1
        weights = x * self.scale
        dose = self.working.matrix.dose(weights).astype(np.float64) * self.course_gy_per_matrix_gy
        dose += self.offset_gy if self.working.chosen is None else self.offset_gy[self.working.chosen]
        self.latest_violation_gy = max(
            (limit.violation_gy(dose[own]) for limit, own in zip(self.limits, self.working.limits, strict=True)),
            default=0.0,
        )
        return self._from_dose(weights, dose, self.working)

    def evaluate_every_row(self, weights: FloatArray, dose: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient in scaled variables, given the course dose of every row."""
        return self._from_dose(weights, dose, every_row(self.matrix, self.objectives, self.limits, self.voxel_sets))

    def _from_dose(self, weights: FloatArray, dose: FloatArray, rows: WorkingRows) -> tuple[float, FloatArray]:
        total, slope = self._penalty(dose, rows)
        gradient = rows.matrix.backproject(slope).astype(np.float64) * self.course_gy_per_matrix_gy
        if self.smoothness is not None:
            value, rough = self.smoothness.value_and_gradient(weights, reference=self.reference_weight)
            total += value
            gradient += rough
        return total, gradient * self.scale

    def work_with(self, dose: FloatArray) -> None:
        """Choose the working rows by the present course dose of every row."""
        self.working = rows_that_matter(self.working, dose, self.matrix, self.objectives, self.limits, self.voxel_sets)

    def misses_rows(self, dose: FloatArray) -> bool:
        """Whether a row that was left out contributes at this course dose of every row."""
        if self.working.chosen is None:
            return False
        contributes = needed_rows(dose, self.objectives, self.limits, self.voxel_sets, share=1.0)
        contributes[self.working.chosen] = False
        return bool(contributes.any())

    def should_choose_anew(self, dose: FloatArray) -> bool:
        """Whether rows are missing, or many of the working rows no longer matter."""
        outdated = is_outdated(self.working, dose, self.objectives, self.limits, self.voxel_sets)
        return outdated or self.misses_rows(dose)

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
        working=every_row(dose_matrix, objectives, multipliers, voxel_sets),
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
    rows = problem.working
    if not any(members.rows.size for members in rows.objectives):
        # every objective is silent at the start, and hard limits alone keep rows
        rows = every_row(problem.matrix, problem.objectives, problem.limits, problem.voxel_sets)
    curvature = np.zeros(rows.matrix.shape[0])
    for objective, members in zip(problem.objectives, rows.objectives, strict=True):
        curvature[members.rows] += objective.weight * members.volume_weights
    response = rows.matrix.backproject(curvature).astype(np.float64)
    typical = float(response.mean())
    # columns that hardly touch anything keep a bounded scale
    relative = np.maximum(response / typical, 0.05)
    return np.asarray(float(weights.mean()) / np.sqrt(relative))
