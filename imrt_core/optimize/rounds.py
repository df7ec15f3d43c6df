"""Optimise, sequence, compute, correct, judge: the rounds that lead from a planning case to a deliverable plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from imrt_core.dose import PlanDose
from imrt_core.evaluate import GoalResult
from imrt_core.patient.contours import structure_volume_cc

from .case import PlanningCase
from .conflicts import conflicts
from .delivery import (
    SequencedBeam,
    assemble_plan,
    closed_weights,
    delivered_weights,
    sequence_beams,
)
from .fluence_result import FluenceResult
from .from_goals import limits_from_goals
from .judge import Judgement, judged_plan
from .live_goals import LiveGoals
from .plan_types import Conflict, FluenceOptimum, PlanResult
from .priorities import objective_levels, optimize_by_priority
from .refine import refined_segments
from .sequencing import Technique
from .session import PlanningSession, StageWatch
from .solver import equal_weights
from .tighten import Aims, tightened_aims, tightened_limits

#: Extra rounds while a hard goal is violated, and where other goals are just missed.
_EXTRA_ROUNDS = 2
_EXTRA_ROUNDS_SOFT = 1

#: MU of a modulated beam in units of equal fluence, before there is a sequence: for what leaks through closed leaves.
_GUESSED_BEAM_MU = 6.0


def planned_in_rounds(session: PlanningSession, watch: StageWatch, initial: NDArray[np.float64] | None) -> PlanResult:
    """Optimise, sequence, compute and correct until the rounds are used up; return the best plan that was judged.

    Parameters
    ----------
    session : PlanningSession
        The case and how it is judged.
    watch : StageWatch
        Told about stages and iterations.
    initial : ndarray, shape (bixels,), or None
        Fluence to start from; None for equal fluence.
    """
    case, judge, settings = session.case, session.judge, session.settings
    limits, objectives = case.limits, case.objectives
    watch.live = LiveGoals(
        goals=judge.goals,
        sets=case.voxels.sets,
        voxel_cc=case.voxels.grid.voxel_volume_cc,
        prescription_gy=max(dose for _, dose in judge.prescription_gy),
    )
    aims = Aims(tuple(judge.goals), tuple(judge.prescription_gy))
    best: tuple[tuple[bool, int, float], PlanResult] | None = None
    iterations = 0
    level = equal_weights(
        case.matrix,
        objectives,
        structures=case.voxels.sets,
        course_gy_per_matrix_gy=judge.fractions,
        offset_gy=case.background_gy,
    )
    # What arrives under closed leaves, by the MU of the round before: no optimiser can take it away. A warm start's
    # fluence holds it already.
    closed = np.zeros(case.matrix.shape[1])
    if initial is None:
        closed += _GUESSED_BEAM_MU * session.machine.model.mlc_transmission * level
    # Course dose beside A·w: of the fluence, what leaves and engine make of it; of the apertures, the engine alone.
    offset = case.background_gy + judge.fractions * case.matrix.dose(closed)
    weights = level
    if initial is not None:
        weights = equal_weights(
            case.matrix,
            objectives,
            structures=case.voxels.sets,
            course_gy_per_matrix_gy=judge.fractions,
            offset_gy=offset,
            shape=initial,
        )
    # Wherever the first round starts, it asks for the same smoothness.
    smoothness = case.smoothness and replace(case.smoothness, reference=float(level.mean()))
    engine_offset = case.background_gy

    while True:
        with watch.stage("optimise"):
            found = optimize_by_priority(
                case.matrix,
                objective_levels(objectives, judge.goals),
                structures=case.voxels.sets,
                limits=limits,
                course_gy_per_matrix_gy=judge.fractions,
                offset_gy=offset,
                smoothness=smoothness if watch.round == 0 else case.smoothness,
                initial_weights=weights,
                maximum_weights=settings.peak_fluence * level,
                max_iterations=settings.max_iterations if watch.round == 0 else max(settings.max_iterations // 2, 1),
                tolerance=settings.tolerance,
                progress=watch.iteration,
            )
            fluence = found.result
        iterations += found.iterations
        with watch.stage("sequence"):
            fields = sequence_beams(case, fluence.weights, session.machine, settings, closed=closed)
            if settings.technique is Technique.STEP_AND_SHOOT and settings.refine_segments:
                fields = refined_segments(
                    case,
                    fields,
                    session.machine,
                    objectives,
                    limits=limits,
                    fractions=judge.fractions,
                    offset_gy=engine_offset,
                    bixel_mm=settings.bixel_mm,
                )
            plan = assemble_plan(fields, session.machine, session.identity)
        if watch.round < settings.corrections:
            with watch.stage("final_dose"):
                delivered = session.dose_at_rows_gy(plan)
            closed, weights = _opened(case, fields, fluence.weights + closed)
            offset, engine_offset = _offsets(session, fields, weights, delivered)
            watch.round += 1
            continue
        with watch.stage("final_dose"):
            forward = session.dose(plan, case.dose_grid, keep_beams=True)
            verdict = judge.judge(forward.fraction_dose_gy)
        optimum = _optimum(session, fluence.weights, offset, verdict.scale)
        result = _result(session, fields, fluence, forward, verdict, optimum, iterations, watch)
        rank = rank_of(result)
        if best is None or rank > best[0]:
            best = (rank, result)
        extra = watch.round - settings.corrections
        tighter = tightened_aims(aims, result.goals, result.dvhs) if case.objectives_for else None
        again = extra < _EXTRA_ROUNDS if not result.feasible else tighter is not None and extra < _EXTRA_ROUNDS_SOFT
        if not again:
            found_conflicts = () if best[1].feasible else _conflicts(session, fluence.weights, offset, level, watch)
            return replace(best[1], iterations=iterations, stage_seconds=watch.seconds, conflicts=found_conflicts)
        watch.round += 1
        closed, weights = _opened(case, fields, fluence.weights + closed)
        delivered = forward.fraction_dose_gy.sample(case.voxels.points_lps, outside=0.0)
        offset, engine_offset = _offsets(session, fields, weights, delivered)
        limits = tightened_limits(limits, verdict.hard_violations)
        if tighter is not None and case.objectives_for is not None:
            aims, objectives = tighter, case.objectives_for(tighter)


def _opened(
    case: PlanningCase, fields: tuple[SequencedBeam, ...], wanted: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Part the wanted fluence into what arrives under closed leaves and what the leaves have to open for."""
    closed = closed_weights(case, fields)
    return closed, np.maximum(wanted - closed, 0.0)


def _offsets(
    session: PlanningSession,
    fields: tuple[SequencedBeam, ...],
    weights: NDArray[np.float64],
    delivered_gy: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the course dose of the engine beside that of the matrix, for the fluence and for the leaves' apertures."""
    case, fractions = session.case, session.judge.fractions
    beside_fluence = delivered_gy - case.matrix.dose(weights)
    beside_apertures = delivered_gy - case.matrix.dose(delivered_weights(case, fields))
    return case.background_gy + fractions * beside_fluence, case.background_gy + fractions * beside_apertures


def _result(
    session: PlanningSession,
    fields: tuple[SequencedBeam, ...],
    fluence: FluenceResult,
    forward: PlanDose,
    verdict: Judgement,
    optimum: FluenceOptimum,
    iterations: int,
    watch: StageWatch,
) -> PlanResult:
    return judged_plan(
        assemble_plan(fields, session.machine, session.identity, scale=verdict.scale, dose=forward),
        verdict,
        forward,
        segments=sum(f.sequence.segments for f in fields),
        delivery_seconds=sum(f.sequence.seconds for f in fields) * max(verdict.scale, 1.0),
        objective=fluence.objective,
        iterations=iterations,
        kkt_residual=fluence.kkt_residual,
        stage_seconds=watch.seconds,
        optimum=optimum,
    )


def _optimum(
    session: PlanningSession, weights: NDArray[np.float64], offset_gy: NDArray[np.float64], scale: float
) -> FluenceOptimum:
    """Return what the fluence gives with the correction of its round, normalised as the plan is."""
    case, background = session.case, session.case.background_gy
    dose = offset_gy - background + session.judge.fractions * case.matrix.dose(weights)
    return FluenceOptimum(case.voxels.points_lps, background + scale * dose)


def _conflicts(
    session: PlanningSession,
    weights: NDArray[np.float64],
    offset_gy: NDArray[np.float64],
    level: NDArray[np.float64],
    watch: StageWatch,
) -> tuple[Conflict, ...]:
    """Return which hard goals cannot hold and why, with the engine's correction of the last round."""
    judge = session.judge
    hard = [goal for goal in judge.goals if goal.hard]
    limits = limits_from_goals(
        hard,
        prescribed_gy=max(dose for _, dose in judge.prescription_gy),
        volumes_cc={goal.structure: structure_volume_cc(judge.structures[goal.structure]) for goal in hard},
        margin=False,
    )
    with watch.stage("optimise"):
        return conflicts(
            session.case,
            tuple(zip(hard, limits, strict=True)),
            prescription_gy=judge.prescription_gy,
            fractions=judge.fractions,
            offset_gy=offset_gy,
            initial_weights=weights,
            maximum_weights=session.settings.peak_fluence * level,
        )


def rank_of(result: PlanResult) -> tuple[bool, int, float]:
    """Return what makes one plan better than another: hard goals, number of goals met, what the others lack."""
    return result.feasible, sum(g.ok for g in result.goals), -sum(_excess(g) for g in result.goals)


def _excess(result: GoalResult) -> float:
    """Return what a goal lacks, as a share of its limit."""
    return 0.0 if result.ok else abs(result.value - result.goal.limit) / max(abs(result.goal.limit), 1e-6)
