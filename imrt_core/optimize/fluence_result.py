"""What a fluence optimisation tells while it runs, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .constraints import DoseLimit
from .objective_bound import ObjectiveBound


@dataclass(frozen=True)
class FluenceProgress:
    """State of a running optimisation, for a callback.

    Parameters
    ----------
    iteration : int
        From 1.
    objective : float
        Objectives, limits and smoothness.
    worst_violation_gy : float
        Of the hard limits.
    course_dose_gy : callable
        Computes the course dose of every row of the matrix; costs a matrix product.
    """

    iteration: int
    objective: float
    worst_violation_gy: float
    course_dose_gy: Callable[[], NDArray[np.float64]]


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
    violations : tuple of (DoseLimit or ObjectiveBound, float)
        Each hard limit with its violation in Gy at these voxels.
    feasible : bool
        Whether every violation is within the tolerance.
    iterations, evaluations, outer_iterations : int
        Quasi-Newton iterations, evaluations of the objective, and rounds of the augmented Lagrangian.
    kkt_residual : float
        Largest component of the projected gradient in scaled variables, relative to the objective: 0 at a minimum.
    history : tuple of float
        Objective at every iteration, limits' terms included; of the rows worked with, so that it may lie below that
        of all rows until they are looked at again. ``objective`` is of all rows.
    seconds : float
        Wall time.
    """

    weights: NDArray[np.float64]
    course_dose_gy: NDArray[np.float64]
    objective: float
    terms: tuple[tuple[str, float], ...]
    violations: tuple[tuple[DoseLimit | ObjectiveBound, float], ...]
    feasible: bool
    iterations: int
    evaluations: int
    outer_iterations: int
    kkt_residual: float
    history: tuple[float, ...]
    seconds: float
