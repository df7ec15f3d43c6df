"""Planning assets, one partition per course: planning objects, plan of record, its dose and the baseline.

Dagster looks at annotations as objects, so annotations are not postponed here.
"""

from dataclasses import replace
from typing import Any

from dagster import AssetExecutionContext, AssetOut, MetadataValue, Output, multi_asset

from imrt_core.density import density_of
from imrt_core.dose import plan_dose
from imrt_core.machine import load_machine
from imrt_core.patient import Volume

from ..partitions import course_partitions
from ..results import Baseline, Planning, PlanOfRecord
from ..stages.dose import density, dose_grid, metal_flags
from ..stages.export import write_planned
from ..stages.judging import baseline_of
from ..stages.mu_check import mu_check_of
from ..stages.planning import read_planning
from ..stages.plans import plan_of_record as take_or_make_plan
from ..store import CourseFolder
from ..thumbnails import axial_hu, dose_on_hu
from .kinds import course_asset


@course_asset("npz")
def planning_data(context: AssetExecutionContext) -> Output[Planning]:
    """Planning CT and structures as received, in the protocol's names."""
    course = CourseFolder(context.partition_key)
    planning, matched = read_planning(course.planning, course.protocol())
    ct = planning.data.ct
    return Output(
        planning,
        metadata={
            "structures": MetadataValue.json(list(planning.data.structures.names)),
            "not applicable": MetadataValue.json(list(matched.not_applicable)),
            "notes": MetadataValue.json(list(planning.notes)),
            "slices": ct.hu.grid.shape[0],
            "transverse slice": axial_hu(ct.hu, ct.hu.grid.centre_lps),
        },
    )


@course_asset("npz")
def plan_of_record(context: AssetExecutionContext, planning_data: Planning) -> Output[PlanOfRecord]:
    """RTPLAN as received, or a plan that is made here."""
    course = CourseFolder(context.partition_key)
    record = course.record()
    machine = load_machine(course.machine_file)
    data = planning_data.data
    red, _ = density(
        data.ct.hu,
        data.structures,
        machine.density_curve(data.ct.scanner),
        couch=machine.couch,
        patient_position=record.patient_position,
        isocentre_lps=data.plan.isocentre_lps if data.plan else None,
    )
    result = take_or_make_plan(planning_data, red, record, course.protocol(), machine, say=context.log.info)
    return Output(
        result,
        metadata={
            "origin": result.origin,
            "label": result.plan.label,
            "beams": len(result.plan.beams),
            "MU per fraction": float(result.plan.total_mu),
            "approval": result.plan.approval_status,
            "notes": MetadataValue.json([*result.notes, *result.objections]),
        },
    )


@multi_asset(
    outs={"planned_dose": AssetOut(io_manager_key="mha"), "baseline": AssetOut(io_manager_key="npz")},
    partitions_def=course_partitions,
    required_resource_keys={"course_lock"},
    group_name="course",
)
def planned_dose_and_baseline(
    context: AssetExecutionContext, planning_data: Planning, plan_of_record: PlanOfRecord
) -> tuple[Output[Volume], Output[Baseline]]:
    """Our dose of the plan of record on the planning CT (whole course), its goals, and the gate against the TPS."""
    course = CourseFolder(context.partition_key)
    record = course.record()
    machine = load_machine(course.machine_file)
    data, plan = planning_data.data, plan_of_record.plan
    patient = density_of(
        data.ct.hu,
        data.structures,
        machine.density_curve(data.ct.scanner),
        couch=machine.couch,
        patient_position=record.patient_position,
        isocentre_lps=plan.isocentre_lps,
    )
    dose = plan_dose(
        plan,
        patient.red,
        machine,
        dose_grid=dose_grid(data.ct.hu.grid, data.structures),
        patient_position=record.patient_position or "",
        keep_beams=True,
    )
    flags = metal_flags(patient, plan, record.patient_position or "")
    dose = replace(dose, warnings=(*patient.warnings, *flags, *dose.warnings))
    fraction_gy = dose.fraction_dose_gy
    course_gy = fraction_gy.with_array(fraction_gy.array * plan.fractions_planned)
    check = mu_check_of(
        plan,
        patient.red,
        (machine,),
        fraction_dose_gy=fraction_gy,
        computed=dose.beams,
        patient_position=record.patient_position or "",
    )
    baseline = baseline_of(data, dose, record, course.protocol(), course_gy, mu_check=check)
    write_planned(course, data, plan_of_record, course_gy)
    goals: dict[str, Any] = {str(result.goal): float(result.value) for result in baseline.goals}
    return (
        Output(
            course_gy,
            output_name="planned_dose",
            metadata={
                "course maximum Gy": float(course_gy.array.max()),
                "warnings": MetadataValue.json(list(dose.warnings)),
                "dose": dose_on_hu(data.ct.hu, course_gy, plan.isocentre_lps),
            },
        ),
        Output(
            baseline,
            output_name="baseline",
            metadata={
                **goals,
                "engine validated": "not compared" if baseline.gate_passed is None else str(baseline.gate_passed),
                "gate": MetadataValue.json(list(baseline.gate_reasons)),
                "MU check": MetadataValue.json(list(check.faults) or ["passed"]),
            },
        ),
    )


ASSETS = (planning_data, plan_of_record, planned_dose_and_baseline)
