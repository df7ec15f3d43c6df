"""What the patient is like today: deformation, structures, density."""

from typing import Any

from dagster import AssetExecutionContext, MetadataValue, Output

from imrt_core.machine import load_machine
from registration import RigidMatch

from ..results import (
    DayImage,
    Planning,
    Withheld,
)
from ..stages import anatomy
from ..thumbnails import axial_hu
from .kinds import (
    MaybeDeformed,
    MaybeDensity,
    MaybeStructures,
    fraction_asset,
    fraction_of,
)
from .position import couch_shift


def _quality(result: MaybeDeformed) -> dict[str, Any]:
    if isinstance(result, Withheld):
        return {"withheld": result.reason}
    return {
        "passed": result.quality.passed,
        "reasons": MetadataValue.json(list(result.quality.reasons)),
        "seconds": float(result.seconds),
    }


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
    fraction = fraction_of(context)
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
    fraction = fraction_of(context)
    machine = load_machine(fraction.course.machine_file)
    result = anatomy.density_of_day(
        planning_data,
        setup_image,
        rigid_match,
        deformation,
        structures_of_day,
        machine,
        method=fraction.course.protocol().registration.density,
    )
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


ASSETS = (deformation, structures_of_day, density_of_day)
