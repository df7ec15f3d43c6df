"""Dose of the plan of record: on the planning CT (baseline) and on today's anatomy after the shift."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from imrt_core.density import DensityResult, beams_through_metal, density_of
from imrt_core.dose import PlanDose, dose_grid_for, plan_dose
from imrt_core.evaluate import DVH, dvh
from imrt_core.machine import Couch, DensityCurve, Machine
from imrt_core.patient import Grid, InputRefusedError, Plan, StructureError, StructureSet, Volume
from registration import DayStructures

from ..course_record import DeliveryRecord
from ..results import DayDensity, DayDose, DayShift, Withheld

#: Voxels of every dose that goals are judged on.
DOSE_SPACING_MM = 3.0


def density(
    hu: Volume,
    structures: StructureSet,
    curve: DensityCurve,
    *,
    couch: Couch | None = None,
    patient_position: str | None = None,
    isocentre_lps: tuple[float, float, float] | None = None,
) -> tuple[Volume, tuple[str, ...]]:
    """Return electron density relative to water, air outside EXTERNAL, with warnings.

    Arguments and errors are those of :func:`imrt_core.density.density_of`; EXTERNAL is contoured where it is missing.
    """
    result = density_of(
        hu, structures, curve, couch=couch, patient_position=patient_position, isocentre_lps=isocentre_lps
    )
    return result.red, result.warnings


def metal_flags(result: DensityResult, plan: Plan, patient_position: str) -> tuple[str, ...]:
    """Return a warning for every beam that goes through metal."""
    if result.metal_mask is None:
        return ()
    paths = beams_through_metal(plan, result.metal_mask, patient_position=patient_position)
    return tuple(path.warning() for path in paths)


def dose_grid(around: Grid, structures: StructureSet) -> Grid:
    """Return the dose grid that covers EXTERNAL within an image.

    Raises
    ------
    StructureError
        If there is no EXTERNAL.
    """
    external = structures.external()
    if external is None:
        raise StructureError("a dose grid needs EXTERNAL", found=", ".join(structures.names), expected="EXTERNAL")
    # Slices of the dose divide the image's height evenly: organs that run through it must not end half a slice outside.
    height_mm = around.shape[0] * around.spacing_mm[2]
    slice_mm = height_mm / np.ceil(height_mm / DOSE_SPACING_MM)
    return dose_grid_for(around, external, spacing_mm=(DOSE_SPACING_MM, DOSE_SPACING_MM, float(slice_mm)))


def with_isocentre(plan: Plan, isocentre_lps: tuple[float, float, float]) -> Plan:
    """Return the plan with another isocentre: the same machine motions, another frame."""
    beams = tuple(
        replace(
            beam,
            control_points=tuple(replace(cp, isocentre_lps=isocentre_lps) for cp in beam.control_points),
            beam_dose_point_lps=None,
        )
        for beam in plan.beams
    )
    return replace(plan, beams=beams)


def as_delivered(plan: Plan, delivery: DeliveryRecord | None) -> Plan | None:
    """Return the plan with the MU that were recorded for each beam of a partial delivery; None where it was not one."""
    if delivery is None or delivery.delivered != "partial":
        return None
    if delivery.plan_uid and delivery.plan_uid != plan.sop_instance_uid:
        return None
    recorded = delivery.mu_by_beam
    beams = tuple(replace(b, mu=recorded[b.name]) for b in plan.beams if recorded.get(b.name, 0.0) > 0)
    return replace(plan, beams=beams)


def dose_of_day(
    plan: Plan,
    day: DayDensity | Withheld,
    structures: DayStructures | Withheld,
    shift: DayShift,
    machine: Machine,
    *,
    delivery: DeliveryRecord | None = None,
) -> DayDose | Withheld:
    """Compute one fraction of the plan of record on today's anatomy as it lies after the shift.

    The plan's isocentre becomes the machine isocentre of the day; the patient's grid is carried along by the table's
    motion (no resampling), so that what the table cannot do stays in the dose; the result is carried back.

    Parameters
    ----------
    plan : Plan
        Plan of record.
    day : DayDensity
        Electron density, day frame as acquired.
    structures : DayStructures
        EXTERNAL of the day bounds the dose grid.
    shift : DayShift
        Gives machine isocentre, motion and patient position.
    machine : Machine
        Beam model.
    delivery : DeliveryRecord or None
        Recorded MU of a partial delivery.
    """
    if isinstance(day, Withheld):
        return day
    if isinstance(structures, Withheld):
        return structures
    if shift.motion is None or shift.machine_isocentre_lps is None or shift.patient_position is None:
        return Withheld("beam dose needs the machine isocentre and the patient position: " + "; ".join(shift.reasons))
    started = time.perf_counter()
    moved = day.red.with_grid(day.red.grid.transformed(shift.motion))
    isocentre, position = shift.machine_isocentre_lps, shift.patient_position
    try:
        grid = dose_grid(day.red.grid, structures.structures)

        def dose(of: Plan) -> PlanDose:
            return plan_dose(
                with_isocentre(of, isocentre),
                moved,
                machine,
                dose_grid=grid.transformed(moved_by),
                patient_position=position,
            )

        moved_by = shift.motion
        result = dose(plan)
        partial = as_delivered(plan, delivery)
        delivered = None if partial is None else dose(partial).fraction_dose_gy.with_grid(grid)
    except InputRefusedError as error:
        return Withheld(str(error))
    return DayDose(
        fraction_dose_gy=result.fraction_dose_gy.with_grid(grid),
        beams=result.beams,
        warnings=(*day.warnings, *result.warnings),
        seconds=time.perf_counter() - started,
        delivered_fraction_dose_gy=delivered,
    )


def course_dvhs(
    names: tuple[str, ...], structures: StructureSet, dose_gy: Volume, *, factor: float, prescription_gy: float
) -> dict[str, DVH]:
    """Return DVHs in course scale.

    Parameters
    ----------
    names : tuple of str
        Structures to look at.
    structures : StructureSet
        In the frame of the dose.
    dose_gy : Volume
        Of one fraction, or of the course.
    factor : float
        To course scale: planned fractions, or 1.
    prescription_gy : float
        100 % of metrics in percent.
    """
    found = {}
    for name in names:
        if name in structures and not structures[name].is_empty:
            scaled = dose_gy.with_array(dose_gy.array * np.float32(factor)) if factor != 1.0 else dose_gy
            found[name] = dvh(structures[name], scaled, prescription_gy=prescription_gy)
    return found
