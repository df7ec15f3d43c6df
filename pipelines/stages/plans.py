"""Plans that are made here: the plan of record where none came, and the plan of the day."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from imrt_core.dicom import uid_from
from imrt_core.evaluate import Decision, Verdict
from imrt_core.evaluate.accumulation import Accumulation
from imrt_core.evaluate.mu_check import MuCheck
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.machine import Machine
from imrt_core.machine.density import AIR
from imrt_core.optimize import Tier, TieredPlan, make_plan, reoptimise_in_tiers
from imrt_core.optimize.objectives import Objective
from imrt_core.optimize.regions import is_region_of
from imrt_core.patient import (
    Contour,
    GeometryError,
    Goal,
    InputRefusedError,
    Plan,
    RigidTransform,
    Structure,
    StructureSet,
    Volume,
)
from registration import DayStructures, DeformableMatch, warp, warp_structures

from ..course_record import CourseRecord
from ..planning_progress import told_to
from ..protocol import Protocol
from ..results import Baseline, DayDensity, DayShift, PlanForDay, Planning, PlanOfRecord, Withheld
from .beams import beams_for, objections_to
from .mu_check import mu_check_of

#: What is tried on the day. New weights for the old apertures are left out: they met the goals of no fraction yet and
#: take 8 to 14 s, which a patient on the table should not wait for (docs/validation.md, "The demo course").
TIERS_OF_DAY = (Tier.WARM_START, Tier.FROM_SCRATCH)
#: Label of a plan of record that is made here (DICOM SH: 16 characters).
LABEL_OF_RECORD = "IGRT RESEARCH"


def plan_of_record(
    planning: Planning,
    red: Volume,
    course: CourseRecord,
    protocol: Protocol,
    machine: Machine,
    *,
    say: Callable[[str], None] | None = None,
) -> PlanOfRecord:
    """Take the plan that came, or make one; ``say`` is told how far planning is, in words.

    Raises
    ------
    GeometryError
        If a plan must be made and the patient position is unknown.
    InputRefusedError
        If no plan can be made.
    """
    if planning.data.plan is not None:
        return _received(planning.data.plan, planning.data.structures, course, protocol, machine)
    if course.patient_position is None:
        raise GeometryError("a plan needs the patient position", found="none", expected="HFS, HFP, FFS or FFP")
    data = planning.data
    prescription = tuple(course.prescription_gy.items())
    isocentre_lps = target_isocentre_lps(data.structures)
    goals = tuple(Goal.parse(text) for text in course.goals)
    objectives = objectives_of(protocol, data.structures)
    arranged, avoidance = beams_for(
        protocol,
        red,
        data.structures,
        machine,
        goals=goals,
        prescription_gy=prescription,
        objectives=objectives,
        isocentre_lps=isocentre_lps,
        patient_position=course.patient_position,
    )
    result = make_plan(
        red,
        data.structures,
        machine,
        goals=goals,
        prescription_gy=prescription,
        fractions=course.fractions,
        beams=arranged.beams,
        avoidance=avoidance,
        isocentre_lps=isocentre_lps,
        patient_position=course.patient_position,
        objectives=objectives,
        label=LABEL_OF_RECORD,
        plan_uid=uid_from(course.course, course.input_sha256, course.protocol_sha256, "plan of record"),
        progress=say and told_to(say),
    )
    return PlanOfRecord(
        plan=result.plan,
        origin="planned here",
        objective=result.objective,
        iterations=result.iterations,
        segments=result.segments,
        stage_seconds=result.stage_seconds,
        notes=arranged.notes,
    )


def _received(
    plan: Plan, structures: StructureSet, course: CourseRecord, protocol: Protocol, machine: Machine
) -> PlanOfRecord:
    found: tuple[str, ...] = ()
    if course.patient_position is not None:
        found = objections_to(
            plan,
            protocol,
            structures,
            machine,
            targets=tuple(course.prescription_gy),
            isocentre_lps=plan.isocentre_lps,
            patient_position=course.patient_position,
        )
    return PlanOfRecord(plan=plan, origin="received", objections=found)


def objectives_of(protocol: Protocol, structures: StructureSet) -> tuple[Objective, ...] | None:
    """Return the protocol's objectives for the structures that are there; None where it leaves them to its goals."""
    drawn = [s.name for s in structures if not s.is_empty]
    return tuple(rule.objective() for rule in protocol.objectives if is_region_of(rule.structure, drawn)) or None


def plan_of_day(
    decision: Decision,
    record: Plan,
    density: DayDensity | Withheld,
    structures: DayStructures | Withheld,
    shift: DayShift,
    course: CourseRecord,
    protocol: Protocol,
    machine: Machine,
    *,
    fraction: int,
    image_uid: str,
    accumulated: Accumulation | Withheld,
    deformation: DeformableMatch | Withheld,
    baseline: Baseline,
    say: Callable[[str], None] | None = None,
) -> PlanForDay:
    """Keep the plan of record, or make the plan that the decision asks for.

    The new plan is for the patient *after* the shift: density and structures are carried along by the table's motion,
    the isocentre is the machine isocentre. A one-day plan is judged as if every fraction were like it; a replan covers
    the remaining fractions, with what was delivered as background. The plan of record changes as little as the goals
    that it met when it was planned allow (:mod:`imrt_core.optimize.tiers`).

    Parameters
    ----------
    decision : Decision
        No plan is computed while a person must look.
    record : Plan
        Plan of record.
    density, structures : DayDensity, DayStructures
        Day frame as acquired.
    shift : DayShift
        Machine isocentre, motion, position.
    course, protocol, machine
        Goals, prescription, objectives, limits.
    fraction : int
        Today's number.
    image_uid : str
        Series of the day, for the new plan's UID.
    accumulated : Accumulation
        Delivered so far, planning frame; background of a replan.
    deformation : DeformableMatch
        Brings that dose to today's anatomy.
    baseline : Baseline
        Which goals the plan of record met on the planning CT.
    say : callable, optional
        Told how far planning is, in words.
    """
    if not decision.plan_wanted:
        reason = (
            "no plan of day is computed while a person must look"
            if decision.decision is Verdict.REVIEW
            else "no goal asks for a new plan"
        )
        return PlanForDay("not-computed" if decision.decision is Verdict.REVIEW else "kept", reason)
    if (
        isinstance(density, Withheld)
        or isinstance(structures, Withheld)
        or shift.motion is None
        or shift.machine_isocentre_lps is None
        or shift.patient_position is None
    ):
        return PlanForDay("not-computed", "the patient after the shift is not known")
    started = time.perf_counter()
    replan = decision.decision is Verdict.REPLAN
    remaining = course.fractions - fraction + 1
    red, after = moved_patient(density.red, structures.structures, shift.motion)
    background = None
    if replan and not isinstance(accumulated, Withheld) and not isinstance(deformation, Withheld):
        on_day = warp(accumulated.accumulated_gy, deformation.fixed_from_moving, like=density.red.grid)
        background = moved_volume(on_day, shift.motion, outside=0.0)
    try:
        found = reoptimise_in_tiers(
            red,
            after,
            machine,
            plan_of_record=record,
            goals=[Goal.parse(text) for text in course.goals],
            prescription_gy=tuple(course.prescription_gy.items()),
            fractions=remaining if replan else course.fractions,
            isocentre_lps=shift.machine_isocentre_lps,
            patient_position=shift.patient_position,
            one_day=not replan,
            tiers=TIERS_OF_DAY,
            required={result.goal for result in baseline.goals if result.ok},
            objectives=objectives_of(protocol, after),
            background_gy=background,
            # A label that cannot be mistaken for the plan of record.
            label=f"RSRCH {'REPL' if replan else 'DAY'} FX{fraction:02d}",
            plan_uid=uid_from(record.sop_instance_uid, image_uid, str(fraction), decision.decision.value),
            progress=say and told_to(say),
        )
    except InputRefusedError as error:
        return PlanForDay("not-computed", f"no plan of day could be made: {error}")
    result = found.result
    check = mu_check_of(
        result.plan,
        red,
        (machine,),
        fraction_dose_gy=result.fraction_dose_gy,
        computed=result.beams,
        patient_position=shift.patient_position,
    )
    against = objections_to(
        result.plan,
        protocol,
        after,
        machine,
        targets=tuple(course.prescription_gy),
        isocentre_lps=shift.machine_isocentre_lps,
        patient_position=shift.patient_position,
    )
    return _adapted(found, after, shift.motion, decision, check, against, seconds=time.perf_counter() - started)


def _adapted(
    found: TieredPlan,
    structures: StructureSet,
    motion: RigidTransform,
    decision: Decision,
    check: MuCheck,
    objections: tuple[str, ...],
    *,
    seconds: float,
) -> PlanForDay:
    result = found.result
    reason = decision.reasons[0] if decision.reasons else ""
    if not result.feasible:
        broken = ", ".join(str(goal.goal) for goal, _ in result.hard_violations)
        reason = " ".join([f"{reason} The new plan does not meet: {broken}.", *map(str, result.conflicts)])
    dose = result.fraction_dose_gy
    return PlanForDay(
        outcome="reoptimised",
        reason=reason,
        plan=result.plan,
        fraction_dose_gy=dose.with_grid(dose.grid.transformed(motion.inverse())),
        goals=result.goals,
        dvhs=result.dvhs,
        structures=structures,
        objective=result.objective,
        iterations=result.iterations,
        segments=result.segments,
        seconds=seconds,
        mu_check=check,
        tiers=found.tiers,
        tier_reason=found.reason,
        objections=objections,
    )


def moved_patient(red: Volume, structures: StructureSet, motion: RigidTransform) -> tuple[Volume, StructureSet]:
    """Return density and structures as they lie after the table has moved, on grids along the LPS axes.

    A pure translation moves the grid and the points; with a rotation both are resampled (contours must be planar).
    """
    if np.allclose(motion.rotation, np.eye(3), atol=1e-9):
        moved = tuple(_translated(structure, motion) for structure in structures)
        return red.with_grid(red.grid.transformed(motion)), replace(structures, structures=moved)
    grid = red.grid
    return (
        moved_volume(red, motion, outside=AIR),
        warp_structures(
            structures,
            motion.inverse(),
            like=grid,
            frame_of_reference_uid=structures.frame_of_reference_uid,
            referenced_series_uid=structures.referenced_series_uid,
        ),
    )


def moved_volume(volume: Volume, motion: RigidTransform, *, outside: float) -> Volume:
    """Return a volume after a motion, on a grid along the LPS axes; resampled only where the motion turns it."""
    if np.allclose(motion.rotation, np.eye(3), atol=1e-9):
        return volume.with_grid(volume.grid.transformed(motion))
    return warp(volume, motion.inverse(), like=volume.grid, outside=outside)


def _translated(structure: Structure, motion: RigidTransform) -> Structure:
    return replace(structure, contours=tuple(Contour(motion.apply(c.points_lps)) for c in structure.contours))
