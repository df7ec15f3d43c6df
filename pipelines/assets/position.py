"""Where the patient is: setup image, rigid match, couch shift."""

from typing import Any

from dagster import AssetExecutionContext, MetadataValue, Output

from imrt_core.machine import load_machine
from imrt_core.patient import InputRefusedError
from registration import RigidMatch

from ..intake import refuse
from ..results import (
    DayImage,
    DayShift,
    Planning,
    PlanOfRecord,
)
from ..stages import day
from ..thumbnails import axial_hu, checkerboard
from .kinds import (
    fraction_asset,
    fraction_of,
    named_three,
)


@fraction_asset("npz")
def setup_image(context: AssetExecutionContext, planning_data: Planning) -> Output[DayImage]:
    """Read the governing setup image. One that must not be used goes to quarantine, whole, and ends the run."""
    fraction = fraction_of(context)
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
    fraction = fraction_of(context)
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
            **named_three("translation", ("x mm", "y mm", "z mm"), match.translation_mm),
            **named_three("rotation", ("x deg", "y deg", "z deg"), match.rotation_deg),
            "match": checkerboard(planning_data.data.ct.hu, moved, isocentre),
        },
    )


@fraction_asset("json")
def couch_shift(
    context: AssetExecutionContext, plan_of_record: PlanOfRecord, setup_image: DayImage, rigid_match: RigidMatch
) -> Output[DayShift]:
    """Give the table motion in IEC 61217, rounded and limited; or withhold it, with the reason."""
    fraction = fraction_of(context)
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
        metadata |= named_three("shift", ("vertical mm", "longitudinal mm", "lateral mm"), shift.exact.shift_mm)
        metadata |= named_three("shift", ("pitch deg", "roll deg", "yaw deg"), shift.exact.rotation_deg)
    return Output(shift, metadata=metadata)


ASSETS = (setup_image, rigid_match, couch_shift)
