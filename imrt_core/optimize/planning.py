"""From goals to a deliverable plan.

Influence matrix → fluence → leaf sequence → dose of what the leaves deliver → once more with the difference between
the two doses as a constant, ``D(w) = A·w + (forward(w_k) − A·w_k)`` → normalisation → judgement on the final dose.

Doses are course Gy unless a name says ``fraction_``; the influence matrix is Gy per MU and fraction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose import PlanDose, plan_dose
from imrt_core.evaluate import GoalResult
from imrt_core.geometry.raytrace import RayVolume, ray_volume
from imrt_core.machine import Machine
from imrt_core.patient import Goal, Grid, Plan, ProtocolError, StructureSet, Volume

from .case import PlanningCase, build_case
from .constraints import DoseLimit
from .delivery import RESEARCH_LABEL, PlanIdentity, assemble_plan, sequence_beams
from .judge import Judge
from .objectives import Objective
from .plan_types import BeamDirection, FluenceOptimum, PlanProgress, PlanResult, PlanSettings
from .solver import FluenceProgress, equal_weights, optimize_fluence
from .tighten import Aims, tightened_aims, tightened_limits
from .warm_start import warm_start_weights

#: Extra rounds while a hard goal is violated, and where other goals are just missed.
_EXTRA_ROUNDS = 2
_EXTRA_ROUNDS_SOFT = 1

ProgressCallback = Callable[[PlanProgress], None]


def make_plan(
    red: Volume,
    structures: StructureSet,
    machine: Machine,
    *,
    goals: Sequence[Goal],
    prescription_gy: Sequence[tuple[str, float]],
    fractions: int,
    beams: Sequence[BeamDirection],
    isocentre_lps: tuple[float, float, float],
    patient_position: str,
    objectives: Sequence[Objective] | None = None,
    limits: Sequence[DoseLimit] | None = None,
    settings: PlanSettings | None = None,
    warm_start: Plan | None = None,
    background_gy: Volume | None = None,
    fractions_planned: int | None = None,
    dose_grid: Grid | None = None,
    label: str = RESEARCH_LABEL,
    plan_uid: str = "",
    predecessor_uid: str = "",
    progress: ProgressCallback | None = None,
) -> PlanResult:
    """Plan a treatment.

    Parameters
    ----------
    red : Volume
        Relative electron density of the patient, air outside.
    structures : StructureSet
        In the frame of ``red``. An EXTERNAL structure bounds the patient.
    machine : Machine
        Beam model, collimator and limits.
    goals : sequence of Goal
        Course scale; hard ones become constraints and decide on feasibility.
    prescription_gy : sequence of (str, float)
        Course dose of every target.
    fractions : int
        Fractions that the course scale of goals and objectives stands for.
    beams : sequence of BeamDirection
        Static-gantry beams; also anything with these three attributes.
    isocentre_lps : tuple of float
        In the frame of ``red``.
    patient_position : str
        Of the image.
    objectives : sequence of Objective, optional
        Default: :func:`~imrt_core.optimize.from_goals.objectives_from_goals`.
    limits : sequence of DoseLimit, optional
        Default: the hard goals, a little stricter.
    settings : PlanSettings, optional
        Grids, bixels, technique, iterations.
    warm_start : Plan, optional
        Start from the fluence of this plan's beams.
    background_gy : Volume, optional
        Course dose that was delivered already, on any grid of the frame; counts in objectives and goals.
    fractions_planned : int, optional
        Number of Fractions Planned of the plan, if not ``fractions``: 1 for a plan of the day, judged as if all
        ``fractions`` were like it.
    dose_grid : Grid, optional
        Grid of the final dose; by default it covers all structures of goals and prescription.
    label, plan_uid, predecessor_uid : str
        RT Plan Label, SOP Instance UID, and UID of the plan that this one was adapted from.
    progress : callable, optional
        Called with :class:`PlanProgress` at every stage and iteration.

    Returns
    -------
    PlanResult
        Judged on the final dose; ``feasible`` says whether every hard goal holds there.

    Raises
    ------
    ProtocolError
        If goals, objectives or prescription name structures that are absent.
    PlanError
        If a field cannot be delivered (leaf span, MU), or no factor on the dose meets the prescription.
    """
    settings = settings or PlanSettings()
    if fractions < 1 or not prescription_gy:
        raise ProtocolError("a plan needs a prescription and fractions", found=f"{fractions} fractions")
    planned = fractions if fractions_planned is None else fractions_planned
    watch = _Watch(progress)
    rays = ray_volume(red)
    with watch.stage("influence"):
        case = build_case(
            red,
            rays,
            structures,
            machine,
            goals=goals,
            objectives=objectives,
            limits=limits,
            prescription_gy=prescription_gy,
            beams=beams,
            isocentre_lps=isocentre_lps,
            patient_position=patient_position,
            settings=settings,
            dose_grid=dose_grid,
            background_gy=background_gy,
        )
        initial = None
        if warm_start is not None:
            initial = warm_start_weights(
                warm_start,
                [(g.gantry_deg, g.collimator_deg, g.table_deg) for g in case.geometry],
                case.bixels_mm,
                size_mm=(settings.bixel_mm, settings.bixel_mm),
                transmission=machine.model.mlc_transmission,
            )
    identity = PlanIdentity(
        label=label,
        plan_uid=plan_uid,
        fractions_planned=planned,
        prescription_gy=tuple((name, dose * planned / fractions) for name, dose in prescription_gy),
        frame_of_reference_uid=structures.frame_of_reference_uid,
        structure_set_uid=structures.sop_instance_uid,
        patient_position=patient_position,
        predecessor_uid=predecessor_uid,
    )
    judge = Judge(structures, goals, prescription_gy, fractions, background_gy, case.dose_grid)
    return _rounds(case, red, rays, machine, settings, identity, judge, initial, watch)


@dataclass(eq=False)
class _Watch:
    """Wall time of the stages, and progress for the caller."""

    progress: ProgressCallback | None
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("influence", "optimise", "sequence", "final_dose"), 0.0)
    )
    round: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(PlanProgress(name, self.round))
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += perf_counter() - start

    def iteration(self, state: FluenceProgress) -> None:
        if self.progress is not None:
            self.progress(PlanProgress("optimise", self.round, state.iteration, state.objective))


def _rounds(
    case: PlanningCase,
    red: Volume,
    rays: RayVolume,
    machine: Machine,
    settings: PlanSettings,
    identity: PlanIdentity,
    judge: Judge,
    initial: NDArray[np.float64] | None,
    watch: _Watch,
) -> PlanResult:
    """Optimise, sequence, compute and correct until the rounds are used up; return the best plan that was judged."""
    weights, limits, offset = initial, case.limits, case.background_gy
    objectives = case.objectives
    aims = Aims(tuple(judge.goals), tuple(judge.prescription_gy))
    best: tuple[tuple[bool, int, float], PlanResult] | None = None
    iterations = 0
    level: NDArray[np.float64] | None = None

    def compute(plan: Plan, grid: Grid, *, keep_beams: bool = False) -> PlanDose:
        return plan_dose(
            plan,
            red,
            machine,
            dose_grid=grid,
            patient_position=identity.patient_position,
            engine=settings.engine,
            rays=rays,
            keep_beams=keep_beams,
        )

    while True:
        with watch.stage("optimise"):
            if level is None:
                level = equal_weights(
                    case.matrix,
                    case.objectives,
                    structures=case.voxels.sets,
                    course_gy_per_matrix_gy=judge.fractions,
                    offset_gy=case.background_gy,
                )
            fluence = optimize_fluence(
                case.matrix,
                objectives,
                structures=case.voxels.sets,
                limits=limits,
                course_gy_per_matrix_gy=judge.fractions,
                offset_gy=offset,
                smoothness=case.smoothness,
                initial_weights=level if weights is None else weights,
                maximum_weights=settings.peak_fluence * level,
                max_iterations=settings.max_iterations if watch.round == 0 else max(settings.max_iterations // 2, 1),
                tolerance=settings.tolerance,
                progress=watch.iteration,
            )
        iterations += fluence.iterations
        with watch.stage("sequence"):
            fields = sequence_beams(case, fluence.weights, machine, settings)
            plan = assemble_plan(fields, machine, identity)
        if watch.round < settings.corrections:
            # what matters for the correction is the dose at the rows: the coarser optimisation grid will do
            with watch.stage("final_dose"):
                delivered = compute(plan, case.voxels.grid).fraction_dose_gy.array.ravel()[case.voxels.indices]
            weights = fluence.weights
            offset = case.background_gy + judge.fractions * (delivered - case.matrix.dose(weights))
            watch.round += 1
            continue
        with watch.stage("final_dose"):
            forward = compute(plan, case.dose_grid, keep_beams=True)
            verdict = judge.judge(forward.fraction_dose_gy)
        result = PlanResult(
            plan=assemble_plan(fields, machine, identity, scale=verdict.scale, dose=forward),
            fraction_dose_gy=verdict.fraction_dose_gy,
            course_dose_gy=verdict.course_dose_gy,
            goals=verdict.goals,
            dvhs=verdict.dvhs,
            feasible=not verdict.hard_violations,
            hard_violations=verdict.hard_violations,
            objective=fluence.objective,
            iterations=iterations,
            kkt_residual=fluence.kkt_residual,
            scale=verdict.scale,
            mu=sum(f.sequence.mu for f in fields) * verdict.scale,
            segments=sum(f.sequence.segments for f in fields),
            delivery_seconds=sum(f.sequence.seconds for f in fields) * max(verdict.scale, 1.0),
            stage_seconds=watch.seconds,
            beams=tuple(beam.scaled(verdict.scale) for beam in forward.beams),
            warnings=forward.warnings,
            optimum=FluenceOptimum(
                case.voxels.points_lps,
                case.background_gy
                + verdict.scale * (offset - case.background_gy + judge.fractions * case.matrix.dose(fluence.weights)),
            ),
        )
        rank = (result.feasible, sum(g.ok for g in result.goals), -sum(_excess(g) for g in result.goals))
        if best is None or rank > best[0]:
            best = (rank, result)
        extra = watch.round - settings.corrections
        tighter = tightened_aims(aims, result.goals, result.dvhs) if case.objectives_for else None
        again = extra < _EXTRA_ROUNDS if not result.feasible else tighter is not None and extra < _EXTRA_ROUNDS_SOFT
        if not again:
            return replace(best[1], iterations=iterations, stage_seconds=watch.seconds)
        watch.round += 1
        weights = fluence.weights
        delivered = forward.fraction_dose_gy.sample(case.voxels.points_lps, outside=0.0)
        offset = case.background_gy + judge.fractions * (delivered - case.matrix.dose(weights))
        limits = tightened_limits(limits, verdict.hard_violations)
        if tighter is not None and case.objectives_for is not None:
            aims, objectives = tighter, case.objectives_for(tighter)


def _excess(result: GoalResult) -> float:
    """Return what a goal lacks, as a share of its limit."""
    return 0.0 if result.ok else abs(result.value - result.goal.limit) / max(abs(result.goal.limit), 1e-6)
