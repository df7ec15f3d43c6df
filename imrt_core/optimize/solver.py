"""The optimiser: objectives and hard limits over non-negative bixel weights.

A scaled, bound-constrained quasi-Newton method (L-BFGS-B of scipy [1]_) inside the outer loop of an augmented
Lagrangian [2]_. The influence matrix works in Gy per MU *per fraction*; objectives and limits are in *course* Gy:
``course_dose = course_gy_per_matrix_gy · A·w + offset_gy``, with ``course_gy_per_matrix_gy`` the number of fractions.

References
----------
.. [1] R. H. Byrd, P. Lu, J. Nocedal, C. Zhu, SIAM J. Sci. Comput. 16, 1190–1208, 1995.
.. [2] J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., Springer 2006, section 17.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import Bounds, minimize, minimize_scalar

from imrt_core.patient import ProtocolError

from .constraints import DoseLimit, Multipliers
from .matrix import DoseMatrix, as_dose_matrix
from .objectives.base import FloatArray, Objective
from .smoothness import FluenceSmoothness
from .voxels import VoxelSet, as_voxel_sets

#: Iterations over which the relative decrease of the objective is judged.
_STALL_WINDOW = 10
#: The penalty of a hard limit starts at this multiple of the largest objective weight, and grows by this factor
#: whenever an outer iteration does not reduce the violation to a quarter (Nocedal & Wright, framework 17.3).
_PENALTY_START = 10.0
_PENALTY_GROWTH = 5.0
_ENOUGH_REDUCTION = 0.25


@dataclass(frozen=True)
class FluenceProgress:
    """State of a running optimisation, for a callback."""

    iteration: int
    objective: float
    worst_violation_gy: float


@dataclass(frozen=True, eq=False)
class FluenceResult:
    """What the optimiser found.

    Parameters
    ----------
    weights : ndarray, shape (bixels,)
        Fluence per fraction, ≥ 0, in the unit of the matrix's columns (MU).
    course_dose_gy : ndarray, shape (voxels,)
        Course dose of every row, offset included.
    objective : float
        Sum of the objectives and the smoothness term, limits not included.
    terms : tuple of (str, float)
        Value of each objective, in order, then of the smoothness.
    violations : tuple of (DoseLimit, float)
        Each hard limit with its violation in Gy at these voxels.
    feasible : bool
        Whether every violation is within the tolerance.
    iterations, evaluations, outer_iterations : int
        Quasi-Newton iterations, evaluations of the objective, and rounds of the augmented Lagrangian.
    kkt_residual : float
        Largest component of the projected gradient in scaled variables, relative to the objective: 0 at a minimum.
    history : tuple of float
        Objective at every iteration, limits' terms included.
    seconds : float
        Wall time.
    """

    weights: NDArray[np.float64]
    course_dose_gy: NDArray[np.float64]
    objective: float
    terms: tuple[tuple[str, float], ...]
    violations: tuple[tuple[DoseLimit, float], ...]
    feasible: bool
    iterations: int
    evaluations: int
    outer_iterations: int
    kkt_residual: float
    history: tuple[float, ...]
    seconds: float


@dataclass(eq=False)
class _Problem:
    """The scaled problem: x = weights / scale."""

    matrix: DoseMatrix
    objectives: Sequence[Objective]
    voxel_sets: dict[str, VoxelSet]
    limits: list[Multipliers]
    course_gy_per_matrix_gy: float
    offset_gy: FloatArray
    smoothness: FluenceSmoothness | None
    reference_weight: float
    scale: FloatArray
    maximum: FloatArray
    evaluations: int = 0
    latest_violation_gy: float = 0.0

    def dose(self, weights: FloatArray) -> FloatArray:
        """Course dose of every row."""
        dose = self.matrix.dose(weights).astype(np.float64)
        return dose * self.course_gy_per_matrix_gy + self.offset_gy

    def penalty(self, dose: FloatArray) -> tuple[float, FloatArray]:
        """Objectives and limits as a function of dose, with the derivative for every row."""
        total, slope = 0.0, np.zeros(dose.size)
        for objective in self.objectives:
            voxels = self.voxel_sets[objective.structure]
            value, gradient = objective.value_and_gradient(dose[voxels.rows], voxels.volume_weights)
            total += value
            slope[voxels.rows] += gradient
        for limit in self.limits:
            value, gradient = limit.value_and_gradient(dose[limit.voxels.rows])
            total += value
            slope[limit.voxels.rows] += gradient
        return total, slope

    def evaluate(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Value and gradient in scaled variables."""
        self.evaluations += 1
        weights = x * self.scale
        dose = self.dose(weights)
        self.latest_violation_gy = self.worst_violation_gy(dose)
        total, slope = self.penalty(dose)
        gradient = self.matrix.backproject(slope).astype(np.float64) * self.course_gy_per_matrix_gy
        if self.smoothness is not None:
            value, rough = self.smoothness.value_and_gradient(weights, reference=self.reference_weight)
            total += value
            gradient += rough
        return total, gradient * self.scale

    def worst_violation_gy(self, dose: FloatArray) -> float:
        """Largest violation of a hard limit, Gy."""
        return max((limit.violation_gy(dose[limit.voxels.rows]) for limit in self.limits), default=0.0)


def optimize_fluence(
    matrix: Any,
    objectives: Sequence[Objective],
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
    max_outer_iterations: int = 8,
    violation_tolerance_gy: float = 0.05,
    progress: Callable[[FluenceProgress], None] | None = None,
) -> FluenceResult:
    """Find the bixel weights w ≥ 0 that minimise the objectives under hard limits.

    Parameters
    ----------
    matrix : InfluenceMatrix, scipy.sparse matrix or ndarray, shape (voxels, bixels)
        Dose per fraction and unit of fluence, Gy per MU. Also one that this project did not compute.
    objectives : sequence of Objective
        In course Gy; ``objective.structure`` names an entry of ``structures``.
    structures : mapping of str to VoxelSet, row indices, or mask over the rows
        Voxels of every structure that an objective or limit names.
    limits : sequence of DoseLimit
        Hard limits in course Gy, held at the voxels (the evaluated plan is judged elsewhere).
    course_gy_per_matrix_gy : float
        Factor from the matrix's dose to the objectives' dose: the number of fractions, or 1.
    offset_gy : array_like, shape (voxels,), or scalar
        Course dose that does not depend on w: background of earlier fractions, correction of the dose engine.
    smoothness : FluenceSmoothness
        Penalty on differences between neighbouring bixels.
    initial_weights : array_like, shape (bixels,)
        Warm start; otherwise equal weights, as large as suits the objectives best.
    maximum_weights : array_like, shape (bixels,), or scalar
        Upper bounds; none by default. Spikes of fluence cost MU and leakage.
    max_iterations : int
        Quasi-Newton iterations in all.
    tolerance : float
        Stop when the objective falls by less than this share over ten iterations.
    max_outer_iterations : int
        Rounds of the augmented Lagrangian (one where there is no limit).
    violation_tolerance_gy : float
        A limit counts as held within this.
    progress : callable
        Called after every iteration with a :class:`FluenceProgress`.

    Returns
    -------
    FluenceResult
        The same inputs give the same result.

    Raises
    ------
    ProtocolError
        If there is no objective, one names no structure, or a number is out of range.
    """
    start = perf_counter()
    problem = _problem(
        matrix,
        objectives,
        structures=structures,
        limits=limits,
        course_gy_per_matrix_gy=course_gy_per_matrix_gy,
        offset_gy=offset_gy,
        smoothness=smoothness,
        maximum_weights=maximum_weights,
    )
    weights = _starting_weights(problem, initial_weights)
    weights = np.minimum(weights, problem.maximum)
    problem.reference_weight = max(float(weights.mean()), np.finfo(float).tiny)
    problem.scale = _column_scale(problem, weights)
    weights, history, outer = _augmented_lagrangian(
        problem,
        weights,
        max_iterations=max_iterations,
        tolerance=tolerance,
        max_outer_iterations=max_outer_iterations if limits else 1,
        violation_tolerance_gy=violation_tolerance_gy,
        progress=progress,
    )
    return _result(problem, weights, history, outer, violation_tolerance_gy, perf_counter() - start)


def equal_weights(
    matrix: Any,
    objectives: Sequence[Objective],
    *,
    structures: Mapping[str, VoxelSet | ArrayLike],
    course_gy_per_matrix_gy: float = 1.0,
    offset_gy: ArrayLike | None = None,
) -> FloatArray:
    """Return the equal bixel weights that suit the objectives best: where a cold start begins.

    Parameters and errors as for :func:`optimize_fluence`. Their size is a natural unit of fluence, for example for
    upper bounds.
    """
    return _equal_weights(
        _problem(
            matrix,
            objectives,
            structures=structures,
            limits=(),
            course_gy_per_matrix_gy=course_gy_per_matrix_gy,
            offset_gy=offset_gy,
            smoothness=None,
            maximum_weights=None,
        )
    )


def _problem(
    matrix: Any,
    objectives: Sequence[Objective],
    *,
    structures: Mapping[str, VoxelSet | ArrayLike],
    limits: Sequence[DoseLimit],
    course_gy_per_matrix_gy: float,
    offset_gy: ArrayLike | None,
    smoothness: FluenceSmoothness | None,
    maximum_weights: ArrayLike | None,
) -> _Problem:
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
    return _Problem(
        matrix=dose_matrix,
        objectives=objectives,
        voxel_sets=voxel_sets,
        limits=[Multipliers(limit, voxel_sets[limit.structure], penalty) for limit in limits],
        course_gy_per_matrix_gy=course_gy_per_matrix_gy,
        offset_gy=offset,
        smoothness=smoothness,
        reference_weight=1.0,
        scale=np.ones(column_count),
        maximum=_upper_bounds(maximum_weights, column_count),
    )


def _check_names(
    objectives: Sequence[Objective], limits: Sequence[DoseLimit], voxel_sets: Mapping[str, VoxelSet]
) -> None:
    if not objectives:
        raise ProtocolError("an optimisation needs at least one objective", found="none")
    for name in [o.structure for o in objectives] + [limit.structure for limit in limits]:
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


def _starting_weights(problem: _Problem, initial_weights: ArrayLike | None) -> FloatArray:
    """Return the warm start, or equal weights."""
    columns = problem.matrix.shape[1]
    if initial_weights is None:
        return _equal_weights(problem)
    weights = np.array(initial_weights, dtype=np.float64)
    if weights.shape != (columns,) or not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise ProtocolError(
            "starting weights must be finite and not negative, one per bixel",
            found=f"shape {weights.shape}",
            expected=f"({columns},)",
        )
    return weights if np.any(weights > 0) else _equal_weights(problem)


def _equal_weights(problem: _Problem) -> FloatArray:
    """Return equal weights at the best point of their ray, which takes one product with the matrix."""
    columns = problem.matrix.shape[1]
    unit = problem.matrix.dose(np.ones(columns)).astype(np.float64) * problem.course_gy_per_matrix_gy
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
    return np.full(columns, float(np.exp(best.x)) / largest)


def _column_scale(problem: _Problem, weights: FloatArray) -> FloatArray:
    """Return the scale of each variable: columns that give much dose where it counts take smaller steps.

    The diagonal of the Hessian would need the squares of the matrix; the product of Aᵀ with the curvature of the
    penalty (volume weight × weight, summed over objectives) needs ``backproject`` only and orders the columns alike.
    """
    curvature = np.zeros(problem.matrix.shape[0])
    for item in problem.objectives:
        voxels = problem.voxel_sets[item.structure]
        curvature[voxels.rows] += item.weight * voxels.volume_weights
    response = problem.matrix.backproject(curvature).astype(np.float64)
    typical = float(response.mean())
    # columns that hardly touch anything keep a bounded scale
    relative = np.maximum(response / typical, 0.05)
    return np.asarray(float(weights.mean()) / np.sqrt(relative))


def _augmented_lagrangian(
    problem: _Problem,
    weights: FloatArray,
    *,
    max_iterations: int,
    tolerance: float,
    max_outer_iterations: int,
    violation_tolerance_gy: float,
    progress: Callable[[FluenceProgress], None] | None,
) -> tuple[FloatArray, list[float], int]:
    """Run the outer loop; without limits that is one quasi-Newton run."""
    history: list[float] = []
    previous = np.inf
    for outer in range(1, max_outer_iterations + 1):
        dose = problem.dose(weights)
        for limit in problem.limits:
            limit.choose_exempt(dose[limit.voxels.rows])
        # multipliers are only as good as the inner solution: later rounds are solved more exactly
        inner_tolerance = tolerance * 0.3 ** (outer - 1)
        weights = _quasi_newton(problem, weights, history, max_iterations - len(history), inner_tolerance, progress)
        dose = problem.dose(weights)
        violation = problem.worst_violation_gy(dose)
        if violation <= violation_tolerance_gy or len(history) >= max_iterations:
            return weights, history, outer
        for limit in problem.limits:
            limit.update(dose[limit.voxels.rows])
            if violation > _ENOUGH_REDUCTION * previous:
                limit.penalty *= _PENALTY_GROWTH
        previous = violation
    return weights, history, max_outer_iterations


def _quasi_newton(
    problem: _Problem,
    weights: FloatArray,
    history: list[float],
    iterations_left: int,
    tolerance: float,
    progress: Callable[[FluenceProgress], None] | None,
) -> FloatArray:
    """One L-BFGS-B run; appends to ``history``."""
    first = len(history)

    def after_iteration(intermediate_result: Any) -> None:
        value = float(intermediate_result.fun)
        history.append(value)
        if progress is not None:
            progress(FluenceProgress(len(history), value, problem.latest_violation_gy))
        if len(history) - first > _STALL_WINDOW:
            earlier = history[-1 - _STALL_WINDOW]
            if earlier - value <= tolerance * max(abs(value), np.finfo(float).tiny):
                raise StopIteration

    found = minimize(
        problem.evaluate,
        weights / problem.scale,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(0.0, problem.maximum / problem.scale),
        callback=after_iteration,
        options={"maxiter": max(iterations_left, 1), "maxcor": 20, "ftol": 1e-12, "gtol": 1e-12, "maxfun": 10**6},
    )
    return np.clip(np.asarray(found.x, dtype=np.float64) * problem.scale, 0.0, problem.maximum)


def _result(
    problem: _Problem,
    weights: FloatArray,
    history: list[float],
    outer: int,
    violation_tolerance_gy: float,
    seconds: float,
) -> FluenceResult:
    total, gradient = problem.evaluate(weights / problem.scale)
    x = weights / problem.scale
    residual = float(np.max(np.abs(x - np.clip(x - gradient, 0.0, problem.maximum / problem.scale)))) / max(
        abs(total), np.finfo(float).tiny
    )
    dose = problem.dose(weights)
    terms = []
    for objective in problem.objectives:
        voxels = problem.voxel_sets[objective.structure]
        value, _ = objective.value_and_gradient(dose[voxels.rows], voxels.volume_weights)
        terms.append((f"{type(objective).__name__} {objective.structure}", value))
    if problem.smoothness is not None:
        value, _ = problem.smoothness.value_and_gradient(weights, reference=problem.reference_weight)
        terms.append(("FluenceSmoothness", value))
    violations = tuple((m.limit, m.violation_gy(dose[m.voxels.rows])) for m in problem.limits)
    return FluenceResult(
        weights=weights,
        course_dose_gy=dose,
        objective=sum(value for _, value in terms),
        terms=tuple(terms),
        violations=violations,
        feasible=all(v <= violation_tolerance_gy for _, v in violations),
        iterations=len(history),
        evaluations=problem.evaluations,
        outer_iterations=outer,
        kkt_residual=residual,
        history=tuple(history),
        seconds=seconds,
    )
