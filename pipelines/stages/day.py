"""The image of the day and the couch shift: identity, patient position, machine isocentre, and what is withheld."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imrt_core.dicom import find_series, read_image, read_machine_isocentre
from imrt_core.geometry.margins import expand
from imrt_core.machine import Machine
from imrt_core.patient import IdentityError, InputRefusedError, Scanner, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure
from registration import (
    CouchShift,
    RigidMatch,
    applied_shift,
    couch_shift,
    patient_motion_lps,
    register_rigid,
    warp,
)
from registration.couch import TableLimits

from ..course_record import CourseRecord, DeliveryRecord, SetupImage
from ..privacy import without_identity
from ..protocol import Protocol
from ..results import DayImage, DayShift, Planning, Point
from ..store import FractionFolder, patient_key

#: What the names of cone-beam imagers have in common (DICOM gives cone-beam series the modality CT).
_CONE_BEAM = ("cbct", "cone beam", "cone-beam", "on-board", "obi", "xvi", "hypersight", "ethos", "halcyon")


def read_setup(fraction: FractionFolder, course: CourseRecord, planning: Planning) -> DayImage:
    """Read the governing setup image of a fraction and make sure whose it is.

    Raises
    ------
    IdentityError
        If it is of another patient, or is the planning CT itself.
    InputRefusedError
        If the series cannot be used.
    """
    setup = fraction.setup_record()
    governing = setup.governing
    folder = fraction.setup / governing.folder
    try:
        image = read_image(folder)
    except InputRefusedError as error:
        raise without_identity(error) from None
    if patient_key(image.patient) != course.patient_key:
        raise IdentityError(
            "the setup image is of another patient",
            found="another patient id",
            expected=f"the patient of course {course.course}",
            where=f"{course.course} {fraction.key}",
            code="wrong-patient",
        )
    if image.series_uid and image.series_uid == course.ct_series_uid:
        raise IdentityError(
            "the setup image is the planning CT",
            found=f"series {image.series_uid}",
            expected="an image of the day",
            where=f"{course.course} {fraction.key}",
            code="setup-is-planning",
        )
    image_position = image.patient_position
    position, source, notes = _position(image_position, planning, course, governing)
    return DayImage(
        image=replace(image, patient_position=position),
        position_source=source,
        images_in_fraction=len(setup.images),
        notes=notes,
    )


def _position(
    stated: str | None, planning: Planning, course: CourseRecord, setup: SetupImage
) -> tuple[str | None, str, tuple[str, ...]]:
    """Return the patient position of the day, its source, and what contradicts it; None where absent or contradictory.

    From the image, RTPLAN's patient setup or the option (CLINICAL); never assumed.
    """
    plan_position = planning.data.plan.patient_position if planning.data.plan else course.patient_position
    sources = {"image": stated, "option": setup.patient_position, "RTPLAN patient setup": plan_position}
    found = {source: position for source, position in sources.items() if position}
    if len(set(found.values())) > 1:
        told = ", ".join(f"{position} ({source})" for source, position in found.items())
        return None, "", (f"the patient position is contradictory: {told}",)
    if not found:
        return None, "", ("the patient position is absent: neither image, RTPLAN nor option states it",)
    source, position = next(iter(found.items()))
    return position, source, ()


def match_of_day(planning: Planning, image: DayImage, isocentre_lps: Point, protocol: Protocol) -> RigidMatch:
    """Match the planning CT to the image of the day, stated at the planned isocentre.

    Bone is matched, or what lies near the targets where the protocol says so; the target's own soft tissue besides, to
    compare: the GTV and CTV that are drawn, else the protocol's targets.
    """
    ct, structures = planning.data.ct.hu, planning.data.structures
    targets = [target.name for target in protocol.targets if target.name in structures]
    drawn = [s.name for s in structures if s.interpreted_type.upper() in ("GTV", "CTV") and not s.is_empty]
    region = None
    if protocol.registration.roi_margin_mm is not None:
        region = expand(_union(structures, targets, ct), protocol.registration.roi_margin_mm)
    return register_rigid(
        ct, image.image.hu, fixed_roi=region, target=_union(structures, drawn or targets, ct), centre_lps=isocentre_lps
    )


def _union(structures: StructureSet, names: Sequence[str], like: Volume) -> Volume:
    masks = [mask_from_structure(structures[name], like.grid).array for name in names]
    return like.with_array(np.max(masks, axis=0))


def on_planning_grid(planning: Planning, image: DayImage, match: RigidMatch) -> Volume:
    """Return the image of the day on the planning CT's voxels by the match alone."""
    return warp(image.image.hu, match.moving_from_fixed, like=planning.data.ct.hu.grid, outside=-1000.0)


def imager_of(scanner: Scanner) -> str:
    """Return ``"cbct"`` or ``"ct"``: the key of the machine's imagers and density curves."""
    text = f"{scanner.model} {scanner.station}".lower()
    return "cbct" if scanner.modality == "CBCT" or any(name in text for name in _CONE_BEAM) else "ct"


def machine_isocentre(folder: Path, image: DayImage, setup: SetupImage, machine: Machine) -> tuple[Point | None, str]:
    """Find the machine isocentre in the image of the day: option, registration object, machine rule, in this order.

    Returns
    -------
    tuple
        The point (day frame, LPS mm) with its source; or None with the reason.
    """
    if setup.machine_isocentre_lps is not None:
        return setup.machine_isocentre_lps, "option"
    for series in find_series(folder):
        if series.modality == "REG":
            for path in series.files:
                point = read_machine_isocentre(path, frame_of_reference_uid=image.image.frame_of_reference_uid)
                if point is not None:
                    return point, "spatial registration object"
    imager = imager_of(image.image.scanner)
    point = machine.machine_isocentre_lps(imager) if imager in machine.imagers else None
    if point is not None:
        return point, f"machine file, rule {imager}: {machine.imagers[imager]}"
    return None, (
        f"the machine isocentre in the image is unknown: no option, no registration object that states it, and machine "
        f"{machine.name} has no rule for the imager '{imager}'"
    )


def table_limits(machine: Machine, protocol: Protocol) -> TableLimits:
    """Return the table's steps with the narrower of the machine's and the protocol's limits."""
    table, rules = machine.table, protocol.registration
    vertical, longitudinal, lateral = (min(limit, rules.max_shift_mm) for limit in table.limit_mm)
    pitch, roll, yaw = (min(limit, rules.max_rotation_deg) for limit in table.limit_deg)
    return TableLimits(
        translation_step_mm=table.translation_step_mm,
        rotation_step_deg=table.rotation_step_deg,
        rotations=table.rotations,
        limit_mm=(vertical, longitudinal, lateral),
        limit_deg=(pitch, roll, yaw),
    )


def shift_of_day(
    match: RigidMatch,
    image: DayImage,
    *,
    planned_isocentre_lps: Point,
    machine_isocentre_lps: Point | None,
    machine_isocentre_source: str,
    table: TableLimits,
    table_angle_deg: float = 0.0,
    delivery: DeliveryRecord | None = None,
) -> DayShift:
    """Turn a match into the couch shift, or say why it is withheld.

    Parameters
    ----------
    match : RigidMatch
        Also one that failed: its shift is shown, the decision will be review.
    image : DayImage
        Gives the patient position.
    planned_isocentre_lps, machine_isocentre_lps : tuple of float
        Planning and day frame.
    machine_isocentre_source : str
        Where it comes from, or why it is not known.
    table : TableLimits
        Steps and limits.
    table_angle_deg : float
        IEC patient support angle at imaging.
    delivery : DeliveryRecord or None
        The recorded shift takes the place of the proposed one in what the dose uses.
    """
    position = image.image.patient_position
    if machine_isocentre_lps is None or position is None:
        reasons = tuple(text for text in (*(image.notes if position is None else ()), machine_isocentre_source) if text)
        return DayShift(
            exact=None,
            applied=None,
            used=None,
            residual=None,
            source="none",
            motion=None,
            machine_isocentre_lps=machine_isocentre_lps,
            machine_isocentre_source=machine_isocentre_source,
            planned_isocentre_lps=planned_isocentre_lps,
            patient_position=position,
            reasons=reasons if machine_isocentre_lps is None else image.notes,
        )
    exact = couch_shift(
        match.moving_from_fixed,
        planned_isocentre_lps=planned_isocentre_lps,
        machine_isocentre_lps=machine_isocentre_lps,
        patient_position=position,
        table_angle_deg=table_angle_deg,
    )
    applied = applied_shift(exact, table)
    used, source = applied.applied, "proposed"
    if delivery is not None and delivery.applied_shift_mm is not None:
        used = CouchShift.from_lists(delivery.applied_shift_mm, delivery.applied_rotation_deg or (0.0, 0.0, 0.0))
        source = "recorded"
    motion = patient_motion_lps(
        used,
        machine_isocentre_lps=machine_isocentre_lps,
        patient_position=position,
        table_angle_deg=table_angle_deg,
    )
    # After the table has moved, the match is motion ∘ match; what it still asks for is the residual.
    residual = couch_shift(
        motion @ match.moving_from_fixed,
        planned_isocentre_lps=planned_isocentre_lps,
        machine_isocentre_lps=machine_isocentre_lps,
        patient_position=position,
        table_angle_deg=table_angle_deg,
    )
    return DayShift(
        exact=exact,
        applied=applied,
        used=used,
        residual=residual,
        source=source,
        motion=motion,
        machine_isocentre_lps=machine_isocentre_lps,
        machine_isocentre_source=machine_isocentre_source,
        planned_isocentre_lps=planned_isocentre_lps,
        patient_position=position,
        reasons=applied.reasons,
    )
