"""What the rounds of planning share: the case of one patient, and a watch over the stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose import PlanDose, plan_dose
from imrt_core.geometry.raytrace import RayVolume
from imrt_core.machine import Machine
from imrt_core.patient import Grid, Plan, Volume

from .case import PlanningCase
from .delivery import PlanIdentity
from .fluence_result import FluenceProgress
from .judge import Judge
from .live_goals import LiveGoals
from .plan_types import PlanProgress, PlanSettings

ProgressCallback = Callable[[PlanProgress], None]
#: Iterations between counts of the goals met: a count costs about as much as an iteration.
_GOALS_EVERY = 20


@dataclass(frozen=True, eq=False)
class PlanningSession:
    """What stays the same while one patient is planned.

    Parameters
    ----------
    case : PlanningCase
        Voxels, influence matrix, objectives, limits.
    red : Volume
        Relative electron density.
    rays : RayVolume
        The same, for the engines.
    machine : Machine
        Beam model, collimator and limits.
    settings : PlanSettings
        How plans are computed.
    identity : PlanIdentity
        What plans say about themselves.
    judge : Judge
        Goals and their evaluation.
    """

    case: PlanningCase
    red: Volume
    rays: RayVolume
    machine: Machine
    settings: PlanSettings
    identity: PlanIdentity
    judge: Judge

    def dose(self, plan: Plan, grid: Grid, *, keep_beams: bool = False) -> PlanDose:
        """Return the dose of one fraction of a plan by the engine of the settings."""
        return plan_dose(
            plan,
            self.red,
            self.machine,
            dose_grid=grid,
            patient_position=self.identity.patient_position,
            engine=self.settings.engine,
            rays=self.rays,
            keep_beams=keep_beams,
        )

    def dose_at_rows_gy(self, plan: Plan) -> NDArray[np.float64]:
        """Fraction dose of a plan at the rows of the influence matrix; the coarser optimisation grid will do."""
        voxels = self.case.voxels
        dose = self.dose(plan, voxels.grid).fraction_dose_gy.array.ravel()[voxels.indices]
        return np.asarray(dose, dtype=np.float64)


@dataclass(eq=False)
class StageWatch:
    """Wall time of the stages, and progress for the caller."""

    progress: ProgressCallback | None
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("influence", "optimise", "sequence", "final_dose"), 0.0)
    )
    round: int = 0
    live: LiveGoals | None = None
    _goals_met: int | None = field(default=None, init=False)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and tell the caller that it begins."""
        if self.progress is not None:
            self.progress(PlanProgress(name, self.round))
        self._goals_met = None
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start

    def iteration(self, state: FluenceProgress) -> None:
        """Tell the caller about an iteration."""
        if self.progress is None:
            return
        if self.live is not None and state.iteration % _GOALS_EVERY == 0:
            self._goals_met = self.live.met(state.course_dose_gy())
        self.progress(
            PlanProgress(
                stage="optimise",
                round=self.round,
                iteration=state.iteration,
                objective=state.objective,
                worst_violation_gy=state.worst_violation_gy,
                goals_met=self._goals_met,
                goals=None if self.live is None else len(self.live.goals),
            )
        )
