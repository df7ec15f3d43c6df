"""From goals to a deliverable plan.

Influence matrix → fluence → leaf sequence → dose of what the leaves deliver → once more with the difference between
the two doses as a constant, ``D(w) = A·w + (forward(w_k) − A·w_k)`` → normalisation → judgement on the final dose.

Doses are course Gy unless a name says ``fraction_``; the influence matrix is Gy per MU and fraction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.raytrace import ray_volume
from imrt_core.machine import Machine
from imrt_core.patient import Goal, Grid, Plan, ProtocolError, StructureSet, Volume

from .arrangement import BeamAvoidance, BeamObstacles, refuse_blocked
from .case import build_case
from .constraints import DoseLimit
from .delivery import RESEARCH_LABEL, PlanIdentity
from .judge import Judge
from .objectives import Objective
from .plan_types import BeamDirection, PlanResult, PlanSettings
from .rounds import planned_in_rounds
from .session import PlanningSession, ProgressCallback, StageWatch
from .warm_start import warm_start_weights


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
    avoidance: BeamAvoidance | None = None,
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
    avoidance : BeamAvoidance, optional
        Sectors and structures that no beam may come through; the machine's clearance table is always heeded.
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
        If a beam has no clearance or comes from where it may not, a field cannot be delivered (leaf span, MU), or no
        factor on the dose meets the prescription.
    """
    watch = StageWatch(progress)
    session = planning_session(
        red,
        structures,
        machine,
        goals=goals,
        prescription_gy=prescription_gy,
        fractions=fractions,
        beams=beams,
        isocentre_lps=isocentre_lps,
        patient_position=patient_position,
        objectives=objectives,
        limits=limits,
        settings=settings or PlanSettings(),
        background_gy=background_gy,
        fractions_planned=fractions_planned,
        dose_grid=dose_grid,
        avoidance=avoidance,
        label=label,
        plan_uid=plan_uid,
        predecessor_uid=predecessor_uid,
        watch=watch,
    )
    initial = None if warm_start is None else fluence_of_plan(session, warm_start)
    return planned_in_rounds(session, watch, initial)


def planning_session(
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
    objectives: Sequence[Objective] | None,
    limits: Sequence[DoseLimit] | None,
    settings: PlanSettings,
    background_gy: Volume | None,
    fractions_planned: int | None,
    dose_grid: Grid | None,
    label: str,
    plan_uid: str,
    predecessor_uid: str,
    watch: StageWatch,
    avoidance: BeamAvoidance | None = None,
) -> PlanningSession:
    """Compute the influence matrix and what else all rounds share; arguments and errors as :func:`make_plan`."""
    refuse_blocked(
        beams,
        BeamObstacles(
            machine,
            avoidance or BeamAvoidance(),
            structures,
            [name for name, _ in prescription_gy],
            isocentre_lps,
            patient_position,
        ),
    )
    if fractions < 1 or not prescription_gy:
        raise ProtocolError("a plan needs a prescription and fractions", found=f"{fractions} fractions")
    planned = fractions if fractions_planned is None else fractions_planned
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
    return PlanningSession(case, red, rays, machine, settings, identity, judge)


def fluence_of_plan(session: PlanningSession, plan: Plan) -> NDArray[np.float64]:
    """Return the bixel weights that a plan with the session's beams delivers; see :func:`warm_start_weights`."""
    return warm_start_weights(
        plan,
        [(g.gantry_deg, g.collimator_deg, g.table_deg) for g in session.case.geometry],
        session.case.bixels_mm,
        size_mm=(session.settings.bixel_mm, session.settings.bixel_mm),
        transmission=session.machine.model.mlc_transmission,
    )
