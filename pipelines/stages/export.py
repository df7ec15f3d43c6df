"""DICOM that the chain writes: plan and dose of record, and the objects of the day."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imrt_core.dicom import (
    uid_from,
    write_dose,
    write_image,
    write_plan,
    write_registration,
    write_structures,
)
from imrt_core.patient import DoseDistribution, PatientImage, PlanningData, StructureSet, Volume

from ..files import disk_errors, make_folder
from ..results import PlanOfRecord, Withheld
from ..store import CourseFolder, FractionFolder
from .plans import moved_volume

if TYPE_CHECKING:
    from ..reporting import FractionOutputs


def commented(comment: str, *, validated: bool) -> str:
    """Return the comment of a dose, first that its beam model is not validated: DICOM cuts it after 64 characters."""
    return comment if validated else f"Beam model not validated. {comment}"


def _of_course(course: CourseFolder, comment: str) -> str:
    return commented(comment, validated=not course.record().unvalidated_model_allowed)


def write_planned(course: CourseFolder, data: PlanningData, plan: PlanOfRecord, course_gy: Volume) -> tuple[Path, ...]:
    """Write our dose of the plan of record, and the plan where it was made here, into ``plan/``."""
    written = []
    if plan.origin != "received":
        written.append(write_plan(plan.plan, image=data.ct, path=course.plan / "RP.dcm"))
    dose = DoseDistribution(
        course_gy,
        summation_type="PLAN",
        frame_of_reference_uid=data.ct.frame_of_reference_uid,
        sop_instance_uid=uid_from(course.course, plan.plan.sop_instance_uid, "planned dose"),
        plan_uid=plan.plan.sop_instance_uid,
        comment=_of_course(course, "igrt dose of the plan of record on the planning CT"),
    )
    structures_uid = data.structures.sop_instance_uid
    written.append(write_dose(dose, image=data.ct, path=course.plan / "RD.dcm", structures_uid=structures_uid))
    return tuple(written)


def write_day(fraction: FractionFolder, outputs: FractionOutputs) -> tuple[Path, ...]:
    """Write the objects of the day into ``fxNN/dicom``: registration, synthetic CT, structures, dose, plan of day.

    The synthetic CT is the HU of the day on the day grid, in the frame of the image of the day; structures and dose
    refer to it. The plan of the day is for the patient after the shift and comes with the CT, structures and dose of
    that patient, in a frame of their own that a second registration links to the image as acquired.

    Returns
    -------
    tuple of Path
        Every file written. Earlier ones are replaced by one rename of the whole folder.
    """
    building = fraction.path / f".dicom-{uuid.uuid4().hex}.part"
    try:
        _write_day(building, fraction, outputs)
        make_folder(fraction.path)
        earlier = fraction.path / f".dicom-{uuid.uuid4().hex}.old"
        with disk_errors(fraction.dicom, "write"):
            if fraction.dicom.exists():
                fraction.dicom.rename(earlier)
            building.rename(fraction.dicom)
            shutil.rmtree(earlier, ignore_errors=True)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return tuple(sorted(p for p in fraction.dicom.rglob("*") if p.is_file()))


def _write_day(folder: Path, fraction: FractionFolder, outputs: FractionOutputs) -> None:
    key = (fraction.course.course, fraction.key, outputs.image.image.series_uid)
    planning_ct, day = outputs.planning.data.ct, outputs.image.image
    write_registration(
        outputs.match.moving_from_fixed,
        fixed=planning_ct,
        moving=day,
        path=folder / "REG.dcm",
        machine_isocentre_lps=outputs.shift.machine_isocentre_lps,
        sop_instance_uid=uid_from(*key, "registration"),
    )
    if isinstance(outputs.density, Withheld) or isinstance(outputs.structures, Withheld):
        return
    synthetic = _synthetic(day, outputs.density.hu, frame=day.frame_of_reference_uid, key=(*key, "synthetic CT"))
    write_image(synthetic, folder / "CT")
    drawn = _drawn_on(outputs.structures.structures, synthetic, uid=uid_from(*key, "structures"))
    write_structures(drawn, image=synthetic, path=folder / "RS.dcm", unreviewed=True)
    if not isinstance(outputs.dose, Withheld):
        dose = DoseDistribution(
            outputs.dose.fraction_dose_gy,
            summation_type="FRACTION_SESSION",
            frame_of_reference_uid=synthetic.frame_of_reference_uid,
            sop_instance_uid=uid_from(*key, "dose of the day"),
            plan_uid=outputs.plan_of_record.plan.sop_instance_uid,
            comment=_of_course(
                fraction.course,
                f"igrt dose of {fraction.key} on the anatomy of the day, shift {outputs.shift.source}",
            ),
        )
        write_dose(dose, image=synthetic, path=folder / "RD.dcm", structures_uid=drawn.sop_instance_uid)
    comment = _of_course(fraction.course, "igrt dose of the plan of the day")
    _write_plan_of_day(folder / "plan_of_day", (*key, "plan of day"), synthetic, outputs, comment)


def _write_plan_of_day(
    folder: Path, key: tuple[str, ...], synthetic: PatientImage, outputs: FractionOutputs, comment: str
) -> None:
    made, motion = outputs.plan, outputs.shift.motion
    if made.plan is None or made.fraction_dose_gy is None or made.structures is None or motion is None:
        return
    hu = moved_volume(synthetic.hu, motion, outside=-1000.0)
    shifted = _synthetic(synthetic, hu, frame=uid_from(*key, "frame"), key=key)
    write_image(shifted, folder / "CT")
    drawn = _drawn_on(made.structures, shifted, uid=uid_from(*key, "structures"))
    write_structures(drawn, image=shifted, path=folder / "RS.dcm", unreviewed=True)
    plan = replace(
        made.plan, frame_of_reference_uid=shifted.frame_of_reference_uid, structure_set_uid=drawn.sop_instance_uid
    )
    write_plan(plan, image=shifted, path=folder / "RP.dcm")
    dose_gy = made.fraction_dose_gy
    dose = DoseDistribution(
        dose_gy.with_grid(dose_gy.grid.transformed(motion)).with_array(dose_gy.array * plan.fractions_planned),
        summation_type="PLAN",
        frame_of_reference_uid=shifted.frame_of_reference_uid,
        sop_instance_uid=uid_from(*key, "dose"),
        plan_uid=plan.sop_instance_uid,
        comment=comment,
    )
    write_dose(dose, image=shifted, path=folder / "RD.dcm", structures_uid=drawn.sop_instance_uid)
    write_registration(
        motion,
        fixed=synthetic,
        moving=shifted,
        path=folder / "REG.dcm",
        machine_isocentre_lps=outputs.shift.machine_isocentre_lps,
        sop_instance_uid=uid_from(*key, "registration"),
    )


def _synthetic(image: PatientImage, hu: Volume, *, frame: str, key: tuple[str, ...]) -> PatientImage:
    slices = hu.grid.shape[0]
    return replace(
        image,
        hu=hu.with_array(np.clip(hu.array, -1024.0, 30000.0)),
        frame_of_reference_uid=frame,
        series_uid=uid_from(*key, "series"),
        slice_uids=tuple(uid_from(*key, "slice", str(k)) for k in range(slices)),
    )


def _drawn_on(structures: StructureSet, image: PatientImage, *, uid: str) -> StructureSet:
    return replace(
        structures,
        frame_of_reference_uid=image.frame_of_reference_uid,
        referenced_series_uid=image.series_uid,
        sop_instance_uid=uid,
        label="igrt day",
        approval_status="UNAPPROVED",
    )
