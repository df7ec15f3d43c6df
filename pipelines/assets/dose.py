"""What today did to the plan: dose of the day, dose so far, goals."""

from typing import Any

from dagster import AssetExecutionContext, MetadataValue, Output

from imrt_core.machine import load_machine
from imrt_core.patient import Volume
from registration import RigidMatch

from ..results import (
    Baseline,
    DayShift,
    Planning,
    PlanOfRecord,
    Withheld,
)
from ..stages import dose, history, judging
from ..thumbnails import dose_on_hu
from .kinds import (
    MaybeDeformed,
    MaybeDensity,
    MaybeDose,
    MaybeGoals,
    MaybeStructures,
    MaybeSummed,
    fraction_asset,
    fraction_of,
)


@fraction_asset("npz")
def dose_of_day(
    context: AssetExecutionContext,
    plan_of_record: PlanOfRecord,
    couch_shift: DayShift,
    density_of_day: MaybeDensity,
    structures_of_day: MaybeStructures,
) -> Output[MaybeDose]:
    """Compute one fraction of the plan of record on today's anatomy after the shift, residual included."""
    fraction = fraction_of(context)
    result = dose.dose_of_day(
        plan_of_record.plan,
        density_of_day,
        structures_of_day,
        couch_shift,
        load_machine(fraction.course.machine_file),
        delivery=fraction.delivery(),
    )
    if isinstance(result, Withheld) or isinstance(density_of_day, Withheld):
        return Output(result, metadata={"withheld": getattr(result, "reason", "")})
    point = couch_shift.machine_isocentre_lps or density_of_day.hu.grid.centre_lps
    return Output(
        result,
        metadata={
            "fraction maximum Gy": float(result.fraction_dose_gy.array.max()),
            "seconds": result.seconds,
            "warnings": MetadataValue.json(list(result.warnings)),
            "dose": dose_on_hu(density_of_day.hu, result.fraction_dose_gy, point),
        },
    )


@fraction_asset("npz")
def accumulated_dose(
    context: AssetExecutionContext,
    planned_dose: Volume,
    plan_of_record: PlanOfRecord,
    rigid_match: RigidMatch,
    deformation: MaybeDeformed,
    dose_of_day: MaybeDose,
) -> Output[MaybeSummed]:
    """Sum the dose delivered so far and projected, on the planning grid, from the store (no edge to itself)."""
    result, notes = history.accumulate_store(
        fraction_of(context), planned_dose, plan_of_record, rigid_match, deformation, dose_of_day
    )
    if isinstance(result, Withheld):
        return Output(result, metadata={"withheld": result.reason})
    return Output(
        result,
        metadata={
            "delivered": result.delivered,
            "assumed": result.assumed,
            "remaining": result.remaining,
            "accumulated maximum Gy": float(result.accumulated_gy.array.max()),
            "notes": MetadataValue.json(list(notes)),
        },
    )


@fraction_asset("npz")
def goals_of_day(
    context: AssetExecutionContext,
    planning_data: Planning,
    baseline: Baseline,
    structures_of_day: MaybeStructures,
    dose_of_day: MaybeDose,
    accumulated_dose: MaybeSummed,
) -> Output[MaybeGoals]:
    """Build the goals table in course scale: planned, today, accumulated, projected."""
    fraction = fraction_of(context)
    result = judging.goals_of_day(
        fraction.course.record(),
        fraction.course.protocol(),
        planning_data,
        baseline,
        structures_of_day,
        dose_of_day,
        accumulated_dose,
    )
    if isinstance(result, Withheld):
        return Output(result, metadata={"withheld": result.reason})
    metadata: dict[str, Any] = {}
    for row in result.rows:
        metadata[f"{row.goal} today"] = float(row.today)
        if row.projected is not None:
            metadata[f"{row.goal} projected"] = float(row.projected)
    return Output(result, metadata=metadata)


ASSETS = (dose_of_day, accumulated_dose, goals_of_day)
