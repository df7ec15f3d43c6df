"""Judging a planned dose with the clinical evaluator, after normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from imrt_core.dose import PlanDose
from imrt_core.evaluate import DVH, GoalResult, dvh, judge_goals
from imrt_core.patient import Goal, Grid, Plan, StructureSet, Volume

from .normalise import normalising_scale
from .plan_types import FluenceOptimum, PlanResult


@dataclass(frozen=True, eq=False)
class Judgement:
    """A normalised dose and what the goals say about it; fields as in ``PlanResult``."""

    scale: float
    fraction_dose_gy: Volume
    course_dose_gy: Volume
    dvhs: dict[str, DVH]
    goals: tuple[GoalResult, ...]
    hard_violations: tuple[tuple[GoalResult, float], ...]


@dataclass(eq=False)
class Judge:
    """What stays the same between judgements.

    Parameters
    ----------
    structures : StructureSet
        Contours, judged at sub-voxels.
    goals : sequence of Goal
        Course scale.
    prescription_gy : sequence of (str, float)
        Course dose of every target.
    fractions : int
        Course scale of the fraction dose.
    background_gy : Volume or None
        Course dose delivered already.
    dose_grid : Grid
        Grid of the final dose.
    """

    structures: StructureSet
    goals: Sequence[Goal]
    prescription_gy: Sequence[tuple[str, float]]
    fractions: int
    background_gy: Volume | None
    dose_grid: Grid
    _background: Volume | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.background_gy is not None:
            self._background = self.background_gy.resampled_to(self.dose_grid, outside=0.0)

    def judge(self, fraction_dose_gy: Volume) -> Judgement:
        """Normalise a plan's fraction dose and judge every goal on it."""
        highest_gy = max(dose for _, dose in self.prescription_gy)
        names = dict.fromkeys([name for name, _ in self.prescription_gy] + [goal.structure for goal in self.goals])
        unscaled: dict[str, DVH] = {}

        def course(scale: float) -> Volume:
            dose = fraction_dose_gy.array * (scale * self.fractions)
            if self._background is not None:
                dose = dose + self._background.array
            return fraction_dose_gy.with_array(dose)

        def dvh_of(name: str, scale: float) -> DVH:
            if self._background is not None:
                return dvh(self.structures[name], course(scale), prescription_gy=highest_gy)
            if name not in unscaled:
                unscaled[name] = dvh(self.structures[name], course(1.0), prescription_gy=highest_gy)
            return unscaled[name].scaled(scale)

        scale = normalising_scale(dvh_of, self.goals, self.prescription_gy)
        dvhs = {name: dvh_of(name, scale) for name in names}
        results = judge_goals(self.goals, dvhs)
        violations = [(r, abs(r.value - r.goal.limit)) for r in results if r.goal.hard and not r.ok]
        return Judgement(
            scale=scale,
            fraction_dose_gy=fraction_dose_gy.with_array(fraction_dose_gy.array * scale),
            course_dose_gy=course(scale),
            dvhs=dvhs,
            goals=results,
            hard_violations=tuple(sorted(violations, key=lambda item: -item[1])),
        )


def judged_plan(
    plan: Plan,
    verdict: Judgement,
    forward: PlanDose,
    *,
    segments: int,
    delivery_seconds: float,
    objective: float,
    iterations: int,
    kkt_residual: float,
    stage_seconds: dict[str, float],
    optimum: FluenceOptimum | None = None,
) -> PlanResult:
    """Join a normalised plan with the judgement of its dose.

    Parameters
    ----------
    plan : Plan
        With ``verdict.scale`` in its MU.
    verdict : Judgement
        Of ``forward``.
    forward : PlanDose
        Dose of the plan before normalisation, beams kept.
    segments, delivery_seconds, objective, iterations, kkt_residual, stage_seconds, optimum
        As in :class:`~imrt_core.optimize.PlanResult`.
    """
    return PlanResult(
        plan=plan,
        fraction_dose_gy=verdict.fraction_dose_gy,
        course_dose_gy=verdict.course_dose_gy,
        goals=verdict.goals,
        dvhs=verdict.dvhs,
        feasible=not verdict.hard_violations,
        hard_violations=verdict.hard_violations,
        objective=objective,
        iterations=iterations,
        kkt_residual=kkt_residual,
        scale=verdict.scale,
        mu=plan.total_mu,
        segments=segments,
        delivery_seconds=delivery_seconds,
        stage_seconds=stage_seconds,
        beams=tuple(beam.scaled(verdict.scale) for beam in forward.beams),
        warnings=forward.warnings,
        optimum=optimum,
    )
