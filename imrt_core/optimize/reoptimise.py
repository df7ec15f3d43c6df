"""From the plan of record to a plan for the anatomy of the day, or for the remaining fractions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imrt_core.machine import Machine
from imrt_core.patient import Goal, Grid, Plan, PlanError, StructureSet, Volume

from .constraints import DoseLimit
from .delivery import RESEARCH_LABEL
from .objectives import Objective
from .plan_types import BeamDirection, PlanResult, PlanSettings
from .planning import make_plan
from .rounds import ProgressCallback

#: A warm start needs fewer iterations.
DAY_SETTINGS = replace(PlanSettings(), max_iterations=60)


def directions_of(plan: Plan) -> tuple[BeamDirection, ...]:
    """Return the beam directions of a plan, each once.

    Raises
    ------
    PlanError
        If a beam is an arc.
    """
    directions = []
    for beam in plan.beams:
        point = beam.control_points[0]
        if beam.is_arc:
            raise PlanError("arcs cannot be re-optimised yet", where=f"beam {beam.name}")
        directions.append(
            BeamDirection(gantry_deg=point.gantry_deg, collimator_deg=point.collimator_deg, table_deg=point.table_deg)
        )
    return tuple(dict.fromkeys(directions))


def reoptimise(
    red: Volume,
    structures: StructureSet,
    machine: Machine,
    *,
    plan_of_record: Plan,
    goals: Sequence[Goal],
    prescription_gy: Sequence[tuple[str, float]],
    fractions: int,
    isocentre_lps: tuple[float, float, float],
    patient_position: str,
    one_day: bool = True,
    objectives: Sequence[Objective] | None = None,
    limits: Sequence[DoseLimit] | None = None,
    settings: PlanSettings | None = None,
    background_gy: Volume | None = None,
    dose_grid: Grid | None = None,
    label: str = RESEARCH_LABEL,
    plan_uid: str = "",
    progress: ProgressCallback | None = None,
) -> PlanResult:
    """Re-optimise a plan for the anatomy of the day, from the plan of record's beams and fluence.

    Parameters
    ----------
    red, structures, isocentre_lps, patient_position
        Of the day, in the frame of the day, for the patient after the stated couch shift.
    machine : Machine
        As for :func:`make_plan`.
    plan_of_record : Plan
        Gives beam directions and starting fluence; becomes the predecessor.
    goals, prescription_gy
        Course scale.
    fractions : int
        For a plan of the day: the planned fractions of the course (today's dose is judged × this number). For a replan:
        the remaining fractions, with the dose delivered so far as ``background_gy``.
    one_day : bool
        Plan of the day (Number of Fractions Planned = 1) or replan of the remaining fractions.
    objectives, limits, settings, background_gy, dose_grid, label, plan_uid, progress
        As for :func:`make_plan`.

    Raises
    ------
    PlanError
        As :func:`make_plan`; also if a plan of the day comes with a background, or the plan of record is an arc.
    """
    if one_day and background_gy is not None:
        raise PlanError(
            "a plan of the day is judged on today's dose alone", found="a background dose", expected="one_day=False"
        )
    return make_plan(
        red,
        structures,
        machine,
        goals=goals,
        prescription_gy=prescription_gy,
        fractions=fractions,
        beams=directions_of(plan_of_record),
        isocentre_lps=isocentre_lps,
        patient_position=patient_position,
        objectives=objectives,
        limits=limits,
        settings=settings or DAY_SETTINGS,
        warm_start=plan_of_record,
        background_gy=background_gy,
        fractions_planned=1 if one_day else fractions,
        dose_grid=dose_grid,
        label=label,
        plan_uid=plan_uid,
        predecessor_uid=plan_of_record.sop_instance_uid,
        progress=progress,
    )
