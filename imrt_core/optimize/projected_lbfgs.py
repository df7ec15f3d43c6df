"""Limited-memory quasi-Newton steps within bounds, for functions whose evaluation is cheap beside a general solver.

Two-metric projection [1]_ [2]_: variables that stand at a bound and are pushed against it rest; the others take the
L-BFGS direction of their own subspace (the two-loop recursion with the pairs restricted to them), and the step is
projected onto the bounds with backtracking along the projected path. For a convex function every pair has positive
curvature, so that the full step is nearly always taken: one evaluation per iteration.

References
----------
.. [1] D. P. Bertsekas, SIAM J. Control Optim. 20, 221–246, 1982, doi:10.1137/0320018.
.. [2] M. Schmidt, D. Kim, S. Sra, "Projected Newton-type methods in machine learning", in Optimization for Machine
   Learning, MIT Press 2012, chapter 11.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .objectives.base import FloatArray

#: Pairs of steps and gradient changes that are kept.
MEMORY = 20
#: Sufficient decrease, as a share of what the gradient promises along the projected step.
_ARMIJO = 1e-4
#: A step is halved at most so often; below that rounding decides.
_MOST_HALVINGS = 30
#: Pairs whose curvature is below this share of |y|² are no use.
_LEAST_CURVATURE = 1e-10

Evaluate = Callable[[FloatArray], tuple[float, FloatArray]]


@dataclass(eq=False)
class _Memory:
    """The last pairs (s, y), newest last."""

    steps: list[FloatArray] = field(default_factory=list)
    changes: list[FloatArray] = field(default_factory=list)

    def add(self, step: FloatArray, change: FloatArray) -> None:
        self.steps.append(step)
        self.changes.append(change)
        del self.steps[:-MEMORY], self.changes[:-MEMORY]

    def direction(self, gradient: FloatArray, free: FloatArray) -> FloatArray:
        """Return −H·g in the subspace of the free variables (1 where free, else 0)."""
        q = gradient * free
        used: list[tuple[FloatArray, FloatArray, float, float]] = []
        gamma = 0.0
        for step, change in zip(reversed(self.steps), reversed(self.changes), strict=True):
            s, y = step * free, change * free
            curvature, size = float(s @ y), float(y @ y)
            if not curvature > _LEAST_CURVATURE * size:
                continue
            gamma = gamma or curvature / size
            alpha = float(s @ q) / curvature
            q -= alpha * y
            used.append((s, y, curvature, alpha))
        q *= gamma or 1.0
        for s, y, curvature, alpha in reversed(used):
            q += (alpha - float(y @ q) / curvature) * s
        return -q


def minimize_within_bounds(
    evaluate: Evaluate,
    start: FloatArray,
    *,
    upper: FloatArray,
    max_iterations: int,
    after_iteration: Callable[[FloatArray, float], bool],
) -> FloatArray:
    """Minimise a smooth function over 0 ≤ x ≤ upper.

    Parameters
    ----------
    evaluate : callable
        x to value and gradient.
    start : ndarray, shape (n,)
        Clipped to the bounds.
    upper : ndarray, shape (n,)
        May be infinite.
    max_iterations : int
        At least 1.
    after_iteration : callable
        Told x and the value; true ends the run.

    Returns
    -------
    ndarray, shape (n,)
        The last point; no later one is worse than an earlier one.
    """
    x = np.clip(start, 0.0, upper)
    value, gradient = evaluate(x)
    memory = _Memory()
    for _ in range(max_iterations):
        resting = ((x <= 0.0) & (gradient > 0.0)) | ((x >= upper) & (gradient < 0.0))
        free = np.where(resting, 0.0, 1.0)
        direction = memory.direction(gradient, free)
        slope = float(gradient @ direction)
        if not slope < 0.0:
            # no curvature yet, or a direction spoilt by rounding
            direction = -gradient * free
            slope = float(gradient @ direction)
            if not slope < 0.0:
                return x
        length = 1.0 if memory.steps else min(1.0, float(np.abs(x).mean()) / max(float(np.abs(direction).max()), 1e-300))
        for _ in range(_MOST_HALVINGS):
            there = np.clip(x + length * direction, 0.0, upper)
            moved = there - x
            new_value, new_gradient = evaluate(there)
            if new_value <= value + _ARMIJO * float(gradient @ moved):
                break
            length *= 0.5
        else:
            return x
        change = new_gradient - gradient
        if float(moved @ change) > _LEAST_CURVATURE * float(change @ change):
            memory.add(moved, change)
        x, value, gradient = there, new_value, new_gradient
        if after_iteration(x, value):
            return x
    return x
