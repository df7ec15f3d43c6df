"""What planning takes and gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose import BeamDose
from imrt_core.evaluate import DVH, GoalResult
from imrt_core.patient import Plan, ProtocolError, Volume

from .sequencing import Technique


@dataclass(frozen=True, kw_only=True)
class BeamDirection:
    """Direction of one static-gantry beam, IEC 61217 degrees."""

    gantry_deg: float
    collimator_deg: float = 0.0
    table_deg: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """How a plan is computed.

    Parameters
    ----------
    optimisation_grid_mm, dose_grid_mm : float
        Voxel size of the optimisation and of the final dose.
    bixel_mm : float
        Bixel size in the isocentre plane.
    target_margin_mm : float
        Bixels this far around the projection of the targets are used.
    cutoff_mm : float
        Lateral reach of a bixel in the influence matrix; what lies beyond enters by the correction.
    technique : Technique
        Sliding window or step and shoot.
    control_points, levels : int
        Of a sliding window; of step and shoot.
    refine_segments : bool
        Whether MU and leaf positions of static segments are optimised after the sweep.
    dose_rate_mu_per_min : float
        Dose rate of the delivery, lowered to the machine's highest.
    smoothness : float
        Weight of fluence smoothness along the leaves' travel in the objective (Gy²).
    peak_fluence : float
        Largest fluence of a bixel, relative to the equal fluence that gives the targets their dose: spikes cost MU, and
        every MU leaks through closed leaves.
    max_iterations : int
        Of the first optimisation; each correction gets half of them.
    corrections : int
        Rounds of re-optimisation with the difference between delivered and optimised dose as a constant. Up to two more
        are added while a hard goal is violated, one where other goals are just missed; their aims are moved by what
        is lacking.
    tolerance : float
        See :func:`imrt_core.optimize.optimize_fluence`.
    engine : str
        Dose engine of the final dose.
    """

    optimisation_grid_mm: float = 4.0
    dose_grid_mm: float = 3.0
    bixel_mm: float = 5.0
    target_margin_mm: float = 5.0
    cutoff_mm: float = 25.0
    technique: Technique = Technique.SLIDING_WINDOW
    control_points: int = 120
    levels: int = 12
    refine_segments: bool = True
    dose_rate_mu_per_min: float = 300.0
    smoothness: float = 3000.0
    peak_fluence: float = 8.0
    max_iterations: int = 100
    corrections: int = 1
    tolerance: float = 5e-3
    engine: str = "collapsed-cone"

    def __post_init__(self) -> None:
        for name in (
            "optimisation_grid_mm",
            "dose_grid_mm",
            "bixel_mm",
            "cutoff_mm",
            "peak_fluence",
            "dose_rate_mu_per_min",
        ):
            if not getattr(self, name) > 0:
                raise ProtocolError("a planning setting must be positive", found=f"{name} = {getattr(self, name)}")
        if self.corrections < 0 or self.max_iterations < 1 or self.control_points < 2 or self.smoothness < 0:
            raise ProtocolError("planning settings out of range", found=str(self))


@dataclass(frozen=True)
class PlanProgress:
    """Where planning is.

    Parameters
    ----------
    stage : str
        As in ``stage_seconds``.
    round, iteration : int
        Correction round, and iteration of the optimiser.
    objective, worst_violation_gy : float
        Of the optimiser: objective, and by how much the hard limits are broken.
    goals_met, goals : int or None
        How many goals the fluence meets on the optimiser's voxels, counted every twentieth iteration, and of how many.
    """

    stage: str
    round: int = 0
    iteration: int = 0
    objective: float = float("nan")
    worst_violation_gy: float = 0.0
    goals_met: int | None = None
    goals: int | None = None


@dataclass(frozen=True)
class Conflict:
    """A hard goal that cannot hold.

    Parameters
    ----------
    goal : str
        The hard goal.
    least_violation_gy : float
        By how much the optimiser's voxels break it at least, with every target covered.
    against : tuple of (str, float)
        What stands against it (coverage of a target, another hard goal), with its share in the balance, largest first.
    """

    goal: str
    least_violation_gy: float
    against: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        others = ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in self.against) or "nothing else"
        return f"{self.goal}: broken by at least {self.least_violation_gy:.1f} Gy; against it stand {others}."


@dataclass(frozen=True, eq=False)
class FluenceOptimum:
    """Dose that the last optimisation was content with, before its fluence was turned into leaf positions.

    Parameters
    ----------
    points_lps : ndarray, shape (n, 3)
        Voxel centres of the optimisation, mm.
    course_dose_gy : ndarray, shape (n,)
        ``A·w`` with the correction of the round, with the plan's ``scale`` and the background.
    """

    points_lps: NDArray[np.float64]
    course_dose_gy: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlanResult:
    """A deliverable plan with its dose and how it was judged.

    Parameters
    ----------
    plan : Plan
        UNAPPROVED, intent RESEARCH.
    fraction_dose_gy, course_dose_gy : Volume
        Dose of one fraction, and background + fraction dose × fractions of the scale that was planned in.
    goals : tuple of GoalResult
        Every goal, on ``course_dose_gy``.
    dvhs : dict of str to DVH
        Of every structure that a goal or the prescription names, on ``course_dose_gy``.
    feasible : bool
        Whether every hard goal is met in this evaluation.
    hard_violations : tuple of (GoalResult, float)
        Hard goals that are not met, with the excess in the goal's unit, largest first.
    objective : float
        Of the last optimisation.
    iterations : int
        Quasi-Newton iterations of all rounds.
    kkt_residual : float
        Of the last optimisation.
    scale : float
        Factor on all MU by the normalisation.
    mu : float
        Per fraction.
    segments : int
        Of all beams; see :class:`imrt_core.optimize.sequencing.LeafSequence`.
    delivery_seconds : float
        Beam-on and leaf-travel time, without gantry motion.
    stage_seconds : dict of str to float
        ``influence``, ``optimise``, ``sequence``, ``final_dose``.
    beams : tuple of BeamDose
        What each beam of the plan does, with its part of ``fraction_dose_gy``.
    warnings : tuple of str
        From the dose engine and from planning.
    conflicts : tuple of Conflict
        Where the plan is not feasible: hard goals that cannot hold with the targets covered, and what stands against
        them.
    optimum : FluenceOptimum or None
        What the leaves should deliver, to compare with what they do.
    """

    plan: Plan
    fraction_dose_gy: Volume
    course_dose_gy: Volume
    goals: tuple[GoalResult, ...]
    dvhs: dict[str, DVH]
    feasible: bool
    hard_violations: tuple[tuple[GoalResult, float], ...]
    objective: float
    iterations: int
    kkt_residual: float
    scale: float
    mu: float
    segments: int
    delivery_seconds: float
    stage_seconds: dict[str, float]
    beams: tuple[BeamDose, ...] = ()
    warnings: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    optimum: FluenceOptimum | None = None
