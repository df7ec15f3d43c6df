"""Assets of one fraction: from the setup image to the report. Names and edges as in the design's figure.

A stage that cannot be carried out hands on a :class:`~pipelines.results.Withheld` with its reason, so that the decision
("review") and the report always come to be; only an image that must not be used ends a run.
"""

from typing import TYPE_CHECKING, Any

from dagster import AssetExecutionContext, MetadataValue, Output

from imrt_core.evaluate import Decision
from imrt_core.evaluate.accumulation import Accumulation
from imrt_core.machine import load_machine
from imrt_core.patient import InputRefusedError, Volume
from registration import DayStructures, DeformableMatch, RigidMatch

from ..intake import refuse
from ..reporting import write_fraction_report
from ..results import (
    Baseline,
    DayDensity,
    DayDose,
    DayImage,
    DayShift,
    GoalsOfDay,
    PlanForDay,
    Planning,
    PlanOfRecord,
    Withheld,
)
from ..serve import report_url
from ..stages import anatomy, day, dose, history, judging, plans
from ..store import CourseFolder, FractionFolder
from ..thumbnails import axial_hu, checkerboard, dose_on_hu
from .kinds import fraction_asset

if TYPE_CHECKING:
    MaybeDeformed = DeformableMatch | Withheld
    MaybeStructures = DayStructures | Withheld
    MaybeDensity = DayDensity | Withheld
    MaybeDose = DayDose | Withheld
    MaybeSummed = Accumulation | Withheld
    MaybeGoals = GoalsOfDay | Withheld
else:  # Dagster has no types for unions
    MaybeDeformed = MaybeStructures = MaybeDensity = MaybeDose = MaybeSummed = MaybeGoals = Any


def _fraction(context: AssetExecutionContext) -> FractionFolder:
    keys = context.partition_key.keys_by_dimension
    return CourseFolder(keys["course"]).fraction(keys["fraction"])


@fraction_asset("npz")
def setup_image(context: AssetExecutionContext, planning_data: Planning) -> Output[DayImage]:
    """Read the governing setup image. One that must not be used goes to quarantine, whole, and ends the run."""
    fraction = _fraction(context)
    governing = fraction.setup_record().governing
    try:
        result = day.read_setup(fraction, fraction.course.record(), planning_data)
    except InputRefusedError as error:
        refuse(fraction, governing, error)
        raise
    image = result.image
    return Output(
        result,
        metadata={
            "acquired": image.acquired or "unknown",
            "patient position": image.patient_position or "unknown",
            "slices": image.hu.grid.shape[0],
            "transverse slice": axial_hu(image.hu, image.hu.grid.centre_lps),
        },
    )


@fraction_asset("npz")
def rigid_match(
    context: AssetExecutionContext, planning_data: Planning, plan_of_record: PlanOfRecord, setup_image: DayImage
) -> Output[RigidMatch]:
    """Match the planning CT to the image of the day, six degrees of freedom; refuse what has nothing in common."""
    fraction = _fraction(context)
    governing = fraction.setup_record().governing
    isocentre = plan_of_record.plan.isocentre_lps
    try:
        match = day.match_of_day(planning_data, setup_image, isocentre, fraction.course.protocol())
    except InputRefusedError as error:
        refuse(fraction, governing, error)
        raise
    moved = day.on_planning_grid(planning_data, setup_image, match)
    return Output(
        match,
        metadata={
            "metric": float(match.metric),
            "passed": match.quality.passed,
            "reasons": MetadataValue.json(list(match.quality.reasons)),
            **_three("translation", ("x mm", "y mm", "z mm"), match.translation_mm),
            **_three("rotation", ("x deg", "y deg", "z deg"), match.rotation_deg),
            "match": checkerboard(planning_data.data.ct.hu, moved, isocentre),
        },
    )


@fraction_asset("json")
def couch_shift(
    context: AssetExecutionContext, plan_of_record: PlanOfRecord, setup_image: DayImage, rigid_match: RigidMatch
) -> Output[DayShift]:
    """Give the table motion in IEC 61217, rounded and limited; or withhold it, with the reason."""
    fraction = _fraction(context)
    machine = load_machine(fraction.course.machine_file)
    setup = fraction.setup_record().governing
    point, source = day.machine_isocentre(fraction.setup / setup.folder, setup_image, setup, machine)
    shift = day.shift_of_day(
        rigid_match,
        setup_image,
        planned_isocentre_lps=plan_of_record.plan.isocentre_lps,
        machine_isocentre_lps=point,
        machine_isocentre_source=source,
        table=day.table_limits(machine, fraction.course.protocol()),
        delivery=fraction.delivery(),
    )
    metadata: dict[str, Any] = {"reasons": MetadataValue.json(list(shift.reasons)), "source": shift.source}
    if shift.exact is not None:
        metadata |= _three("shift", ("vertical mm", "longitudinal mm", "lateral mm"), shift.exact.shift_mm)
        metadata |= _three("shift", ("pitch deg", "roll deg", "yaw deg"), shift.exact.rotation_deg)
    return Output(shift, metadata=metadata)


@fraction_asset("npz", after=[couch_shift])
def deformation(planning_data: Planning, setup_image: DayImage, rigid_match: RigidMatch) -> Output[MaybeDeformed]:
    """Register deformably, starting from the rigid match."""
    result = anatomy.deformation_of_day(planning_data, setup_image, rigid_match)
    return Output(result, metadata=_quality(result))


@fraction_asset("npz")
def structures_of_day(
    context: AssetExecutionContext,
    planning_data: Planning,
    setup_image: DayImage,
    rigid_match: RigidMatch,
    deformation: MaybeDeformed,
) -> Output[MaybeStructures]:
    """Carry the structures to today's anatomy: CTV rigid, PTV = CTV of day + margin, organs deformable; unreviewed."""
    fraction = _fraction(context)
    result = anatomy.structures_of_day(planning_data, setup_image, rigid_match, deformation, fraction.course.protocol())
    volumes = {} if isinstance(result, Withheld) else anatomy.volumes_cc(result)
    return Output(result, metadata={f"{name} cc": value for name, value in volumes.items()})


@fraction_asset("npz")
def density_of_day(
    context: AssetExecutionContext,
    planning_data: Planning,
    setup_image: DayImage,
    rigid_match: RigidMatch,
    deformation: MaybeDeformed,
    structures_of_day: MaybeStructures,
) -> Output[MaybeDensity]:
    """Put the HU of the day on the planning CT's scale and turn them into electron density."""
    fraction = _fraction(context)
    machine = load_machine(fraction.course.machine_file)
    result = anatomy.density_of_day(planning_data, setup_image, rigid_match, deformation, structures_of_day, machine)
    if isinstance(result, Withheld):
        return Output(result, metadata={"withheld": result.reason})
    return Output(
        result,
        metadata={
            "method": result.method,
            "passed": result.passed,
            **{name: float(value) for name, value in result.figures.items()},
            "transverse slice": axial_hu(result.hu, result.hu.grid.centre_lps),
        },
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
    fraction = _fraction(context)
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
        _fraction(context), planned_dose, plan_of_record, rigid_match, deformation, dose_of_day
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
    fraction = _fraction(context)
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


@fraction_asset("json")
def decision(
    context: AssetExecutionContext,
    planning_data: Planning,
    planned_dose: Volume,
    baseline: Baseline,
    setup_image: DayImage,
    rigid_match: RigidMatch,
    couch_shift: DayShift,
    deformation: MaybeDeformed,
    structures_of_day: MaybeStructures,
    density_of_day: MaybeDensity,
    goals_of_day: MaybeGoals,
) -> Output[Decision]:
    """Decide: treat, shift, reoptimise, replan or review, with reasons."""
    fraction = _fraction(context)
    result = judging.decision_of_day(
        fraction.course.record(),
        fraction.course.protocol(),
        planning_data,
        baseline,
        setup_image,
        rigid_match,
        couch_shift,
        deformation,
        structures_of_day,
        density_of_day,
        goals_of_day,
        number=fraction.number,
        planned_course_gy=planned_dose,
        previous=history.earlier_findings(fraction),
    )
    return Output(
        result, metadata={"decision": result.decision.value, "reasons": MetadataValue.json(list(result.reasons))}
    )


@fraction_asset("npz")
def plan_of_day(
    context: AssetExecutionContext,
    plan_of_record: PlanOfRecord,
    setup_image: DayImage,
    couch_shift: DayShift,
    deformation: MaybeDeformed,
    structures_of_day: MaybeStructures,
    density_of_day: MaybeDensity,
    accumulated_dose: MaybeSummed,
    decision: Decision,
) -> Output[PlanForDay]:
    """Keep the plan of record, or make the one that today's anatomy asks for; always UNAPPROVED."""
    fraction = _fraction(context)
    result = plans.plan_of_day(
        decision,
        plan_of_record.plan,
        density_of_day,
        structures_of_day,
        couch_shift,
        fraction.course.record(),
        fraction.course.protocol(),
        load_machine(fraction.course.machine_file),
        fraction=fraction.number,
        image_uid=setup_image.image.series_uid,
        accumulated=accumulated_dose,
        deformation=deformation,
    )
    metadata: dict[str, Any] = {"outcome": result.outcome, "reason": result.reason}
    if result.plan is not None:
        metadata |= {"MU": float(result.plan.total_mu), "seconds": float(result.seconds or 0.0)}
        metadata |= {str(goal.goal): float(goal.value) for goal in result.goals}
    return Output(result, metadata=metadata)


@fraction_asset(
    "json", after=[structures_of_day, density_of_day, accumulated_dose, goals_of_day, decision, plan_of_day]
)
def fraction_report(context: AssetExecutionContext) -> Output[dict[str, str]]:
    """Write the report (HTML, PDF, JSON) and the DICOM of the day from what the stages left in the store."""
    fraction = _fraction(context)
    stats = context.instance.get_run_step_stats(context.run.run_id)
    seconds = {s.step_key: s.end_time - s.start_time for s in stats if s.start_time and s.end_time}
    files = write_fraction_report(fraction, stage_seconds=seconds)
    link = report_url(fraction.course.course, fraction.key, files.html.name)
    return Output(
        {"html": files.html.name, "pdf": files.pdf.name},
        metadata={"report": MetadataValue.url(link), "decision": files.decision},
    )


def _three(what: str, names: tuple[str, str, str], values: tuple[float, float, float]) -> dict[str, float]:
    return {f"{what} {name}": float(value) for name, value in zip(names, values, strict=True)}


def _quality(result: MaybeDeformed) -> dict[str, Any]:
    if isinstance(result, Withheld):
        return {"withheld": result.reason}
    return {
        "passed": result.quality.passed,
        "reasons": MetadataValue.json(list(result.quality.reasons)),
        "seconds": float(result.seconds),
    }


ASSETS = (
    setup_image,
    rigid_match,
    couch_shift,
    deformation,
    structures_of_day,
    density_of_day,
    dose_of_day,
    accumulated_dose,
    goals_of_day,
    decision,
    plan_of_day,
    fraction_report,
)
