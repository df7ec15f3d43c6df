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
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, minimize

from .constraints import DoseLimit
from .fluence_result import FluenceProgress, FluenceResult
from .objective_bound import ObjectiveBound
from .objectives.base import FloatArray, Objective
from .scaled_problem import (
    ScaledProblem,
    best_equal_weights,
    best_on_ray,
    column_scale,
    scaled_problem,
    starting_weights,
)
from .smoothness import FluenceSmoothness
from .voxels import VoxelSet

#: Iterations over which the relative decrease of the objective is judged.
_STALL_WINDOW = 10
#: After so many iterations in all every row and column is looked at: large steps come first.
_LOOK_AT_THE_WHOLE = frozenset({40, 100, 200, 400})
#: So much of the objective may be in rows that are left out while a run goes on.
_MAY_BE_MISSING = 1e-3
#: The penalty of hard limits grows by this factor whenever an outer iteration does not reduce the violation to a
#: quarter (Nocedal & Wright, framework 17.3).
_PENALTY_GROWTH = 5.0
_ENOUGH_REDUCTION = 0.25


def optimize_fluence(
    matrix: Any,
    objectives: Sequence[Objective],
    *,
    structures: Mapping[str, VoxelSet | ArrayLike],
    limits: Sequence[DoseLimit | ObjectiveBound] = (),
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
    limits : sequence of DoseLimit or ObjectiveBound
        Hard limits in course Gy, and bounds on sums of objectives, held at the voxels (the evaluated plan is judged
        elsewhere).
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
    problem = scaled_problem(
        matrix,
        objectives,
        structures=structures,
        limits=limits,
        course_gy_per_matrix_gy=course_gy_per_matrix_gy,
        offset_gy=offset_gy,
        smoothness=smoothness,
        maximum_weights=maximum_weights,
    )
    weights = starting_weights(problem, initial_weights)
    weights = np.minimum(weights, problem.maximum)
    stated = None if smoothness is None else smoothness.reference
    problem.reference_weight = stated or max(float(weights.mean()), np.finfo(float).tiny)
    problem.work_with(weights)
    problem.scale = column_scale(problem, weights)
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
    shape: ArrayLike | None = None,
) -> FloatArray:
    """Return the equal bixel weights that suit the objectives best: where a cold start begins.

    Parameters and errors as for :func:`optimize_fluence`. Their size is a natural unit of fluence, for example for
    upper bounds. With ``shape``, shape (bixels,), the best multiple of these weights instead: for a warm start on a
    patient to whom the same MU give another dose.
    """
    problem = scaled_problem(
        matrix,
        objectives,
        structures=structures,
        limits=(),
        course_gy_per_matrix_gy=course_gy_per_matrix_gy,
        offset_gy=offset_gy,
        smoothness=None,
        maximum_weights=None,
    )
    return best_equal_weights(problem) if shape is None else best_on_ray(problem, np.asarray(shape, dtype=np.float64))


def _augmented_lagrangian(
    problem: ScaledProblem,
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
        weights = _with_what_matters(problem, weights, history, max_iterations, inner_tolerance, progress)
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


def _with_what_matters(
    problem: ScaledProblem,
    weights: FloatArray,
    history: list[float],
    max_iterations: int,
    tolerance: float,
    progress: Callable[[FluenceProgress], None] | None,
) -> FloatArray:
    """Quasi-Newton runs until one ends and nothing that it left out matters; appends to ``history``."""
    while True:
        left = max_iterations - len(history)
        weights, value, outdated = _quasi_newton(problem, weights, history, left, tolerance, progress)
        if len(history) >= max_iterations:
            return weights
        if not outdated and not problem.should_choose_anew(weights, value, tolerance=tolerance):
            return weights
        problem.work_with(weights)


def _quasi_newton(
    problem: ScaledProblem,
    weights: FloatArray,
    history: list[float],
    iterations_left: int,
    tolerance: float,
    progress: Callable[[FluenceProgress], None] | None,
) -> tuple[FloatArray, float, bool]:
    """One L-BFGS-B run; appends to ``history``. Ends early where the working part is outdated.

    Returns weights, the objective of the working part, and whether that is outdated.
    """
    first, outdated = len(history), False

    def after_iteration(intermediate_result: Any) -> None:
        value = float(intermediate_result.fun)
        history.append(value)
        if progress is not None:
            x = np.asarray(intermediate_result.x, dtype=np.float64)
            progress(
                FluenceProgress(
                    iteration=len(history),
                    objective=value,
                    worst_violation_gy=problem.latest_violation_gy,
                    course_dose_gy=lambda: problem.dose(problem.weights_of(x)),
                )
            )
        done = len(history) - first
        if done > _STALL_WINDOW:
            earlier = history[-1 - _STALL_WINDOW]
            if earlier - value <= tolerance * max(abs(value), np.finfo(float).tiny):
                raise StopIteration
        if len(history) in _LOOK_AT_THE_WHOLE:
            x = np.asarray(intermediate_result.x, dtype=np.float64)
            nonlocal outdated
            outdated = problem.should_choose_anew(problem.weights_of(x), value, tolerance=_MAY_BE_MISSING)
            if outdated:
                raise StopIteration

    found = minimize(
        problem.evaluate,
        problem.variables(weights),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(0.0, problem.variables(problem.maximum)),
        callback=after_iteration,
        options={"maxiter": max(iterations_left, 1), "maxcor": 20, "ftol": 1e-12, "gtol": 1e-12, "maxfun": 10**6},
    )
    weights = np.clip(problem.weights_of(np.asarray(found.x, dtype=np.float64)), 0.0, problem.maximum)
    return weights, float(found.fun), outdated


def _result(
    problem: ScaledProblem,
    weights: FloatArray,
    history: list[float],
    outer: int,
    violation_tolerance_gy: float,
    seconds: float,
) -> FluenceResult:
    dose = problem.dose(weights)
    total, gradient = problem.evaluate_whole(weights, dose)
    x = weights / problem.scale
    residual = float(np.max(np.abs(x - np.clip(x - gradient, 0.0, problem.maximum / problem.scale)))) / max(
        abs(total), np.finfo(float).tiny
    )
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
