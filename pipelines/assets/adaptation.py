"""What to do about it: decision, plan of the day, report."""

from typing import Any

from dagster import AssetExecutionContext, MetadataValue, Output

from imrt_core.evaluate import Decision
from imrt_core.machine import load_machine
from imrt_core.patient import Volume
from registration import RigidMatch

from ..reporting import write_fraction_report
from ..results import (
    Baseline,
    DayImage,
    DayShift,
    PlanForDay,
    Planning,
    PlanOfRecord,
)
from ..serve import report_url
from ..stages import history, judging, plans
from .anatomy import density_of_day, structures_of_day
from .dose import accumulated_dose, goals_of_day
from .kinds import (
    MaybeDeformed,
    MaybeDensity,
    MaybeGoals,
    MaybeStructures,
    MaybeSummed,
    fraction_asset,
    fraction_of,
)


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
    fraction = fraction_of(context)
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
    baseline: Baseline,
    setup_image: DayImage,
    couch_shift: DayShift,
    deformation: MaybeDeformed,
    structures_of_day: MaybeStructures,
    density_of_day: MaybeDensity,
    accumulated_dose: MaybeSummed,
    decision: Decision,
) -> Output[PlanForDay]:
    """Keep the plan of record, or make the one that today's anatomy asks for; always UNAPPROVED."""
    fraction = fraction_of(context)
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
        baseline=baseline,
        say=context.log.info,
    )
    metadata: dict[str, Any] = {"outcome": result.outcome, "reason": result.reason}
    if result.plan is not None:
        metadata |= {"MU": float(result.plan.total_mu), "seconds": float(result.seconds or 0.0)}
        metadata |= {str(goal.goal): float(goal.value) for goal in result.goals}
    if result.tiers:
        metadata["tiers"] = result.tier_reason
    if result.mu_check is not None:
        metadata["MU check"] = MetadataValue.json(list(result.mu_check.faults) or ["passed"])
    return Output(result, metadata=metadata)


@fraction_asset(
    "json", after=[structures_of_day, density_of_day, accumulated_dose, goals_of_day, decision, plan_of_day]
)
def fraction_report(context: AssetExecutionContext) -> Output[dict[str, str]]:
    """Write the report (HTML, PDF, JSON) and the DICOM of the day from what the stages left in the store."""
    fraction = fraction_of(context)
    stats = context.instance.get_run_step_stats(context.run.run_id)
    seconds = {s.step_key: s.end_time - s.start_time for s in stats if s.start_time and s.end_time}
    files = write_fraction_report(fraction, stage_seconds=seconds)
    link = report_url(fraction.course.course, fraction.key, files.html.name)
    return Output(
        {"html": files.html.name, "pdf": files.pdf.name},
        metadata={"report": MetadataValue.url(link), "decision": files.decision},
    )


ASSETS = (decision, plan_of_day, fraction_report)
