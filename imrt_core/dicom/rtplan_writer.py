"""RT Plan: writing research plans that nobody has approved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from imrt_core.patient import Beam, ControlPoint, IdentityError, PatientImage, Plan, PlanError

from .uids import RT_PLAN, RT_STRUCTURE_SET, uid_from, with_uids
from .writing import NOTICE, dicom_moment, ds, limited, new_object, part, put, put_sequence, reference, save


def write_plan(plan: Plan, *, image: PatientImage, path: Path, created: str | None = None) -> Path:
    """Write an RT Plan: Plan Intent RESEARCH, UNAPPROVED, the predecessor referenced.

    Values that change within a beam are written at each of its control points, the others at the first.

    Parameters
    ----------
    plan : Plan
        Label of at most 16 characters; must name its structure set.
    image : PatientImage
        CT whose frame of reference it is in; states the patient position where the plan does not.
    path : Path
        File to write.
    created : str, optional
        ISO 8601; the image's acquisition where absent.

    Raises
    ------
    PlanError
        If the plan is approved or of another intent, has no structure set, devices that are not modelled, or no
        patient position.
    IdentityError
        If frame or patient position contradict the image's.
    DicomError
        If a text is too long or the file cannot be written.
    """
    image = with_uids(image)
    where = f"plan {plan.label}"
    position = _checked_position(plan, image, where)
    item = new_object(
        RT_PLAN,
        modality="RTPLAN",
        image=image,
        sop_uid=plan.sop_instance_uid,
        series_uid=uid_from("plan", plan.sop_instance_uid, plan.label, image.series_uid),
        series_number=3,
        description="Plan, unapproved, research",
        created=created,
    )
    date, time = dicom_moment(image.acquired if created is None else created)
    put(item, "RTPlanLabel", limited(plan.label, 16, keyword="RT Plan Label"))
    put(item, "RTPlanDescription", _description(plan))
    put(item, "RTPlanDate", date)
    put(item, "RTPlanTime", time)
    put(item, "RTPlanGeometry", "PATIENT")
    put(item, "PlanIntent", "RESEARCH")
    put_sequence(item, "ReferencedStructureSetSequence", [reference(RT_STRUCTURE_SET, plan.structure_set_uid)])
    if plan.predecessor_uid:
        predecessor = reference(RT_PLAN, plan.predecessor_uid, RTPlanRelationship="PREDECESSOR")
        put_sequence(item, "ReferencedRTPlanSequence", [predecessor])
    if plan.prescription_gy:
        put_sequence(
            item, "DoseReferenceSequence", [_dose_reference(n, plan) for n in range(len(plan.prescription_gy))]
        )
    setup = part(PatientSetupNumber=1, PatientPosition=position, SetupTechnique="ISOCENTRIC")
    put_sequence(item, "PatientSetupSequence", [setup])
    put_sequence(item, "FractionGroupSequence", [_fraction_group(plan)])
    put_sequence(item, "BeamSequence", [_beam(beam) for beam in plan.beams])
    put(item, "ApprovalStatus", "UNAPPROVED")
    return save(item, path)


def _checked_position(plan: Plan, image: PatientImage, where: str) -> str:
    if plan.approval_status != "UNAPPROVED" or plan.intent != "RESEARCH":
        raise PlanError(
            "only unapproved research plans are written",
            found=f"{plan.approval_status}, intent {plan.intent or 'none'}",
            expected="UNAPPROVED, intent RESEARCH",
            where=where,
        )
    if not plan.structure_set_uid:
        raise PlanError("the plan names no structure set", expected="its SOP Instance UID", where=where)
    if plan.frame_of_reference_uid not in ("", image.frame_of_reference_uid):
        raise IdentityError(
            "the plan is not in the image's frame of reference",
            found=plan.frame_of_reference_uid,
            expected=image.frame_of_reference_uid,
            where=where,
            code="frame-mismatch",
        )
    position = plan.patient_position or image.patient_position
    if position is None:
        raise PlanError("the patient position is unknown", found="none in plan or image", where=where)
    if image.patient_position not in (None, position):
        raise IdentityError(
            "the plan contradicts the image's patient position",
            found=position,
            expected=str(image.patient_position),
            where=where,
            code="patient-position",
        )
    return position


def _description(plan: Plan) -> str:
    text = plan.description if plan.description.startswith(NOTICE) else f"{NOTICE} {plan.description}".strip()
    return limited(text, 1024, keyword="RT Plan Description")


def _dose_reference(index: int, plan: Plan) -> Dataset:
    name, dose_gy = plan.prescription_gy[index]
    item = part(
        DoseReferenceNumber=index + 1,
        DoseReferenceUID=uid_from("prescription", plan.sop_instance_uid, plan.label, str(index), name),
        DoseReferenceStructureType="SITE",
        DoseReferenceType="TARGET",
        TargetPrescriptionDose=ds(dose_gy),
    )
    if name:
        put(item, "DoseReferenceDescription", limited(name, 64, keyword="target name"))
    return item


def _fraction_group(plan: Plan) -> Dataset:
    shares = []
    for beam in plan.beams:
        share = part(ReferencedBeamNumber=beam.number, BeamMeterset=ds(beam.mu))
        if beam.beam_dose_gy is not None:
            put(share, "BeamDose", ds(beam.beam_dose_gy))
        if beam.beam_dose_point_lps is not None:
            put(share, "BeamDoseSpecificationPoint", [ds(v) for v in beam.beam_dose_point_lps])
        shares.append(share)
    return part(
        FractionGroupNumber=1,
        NumberOfFractionsPlanned=plan.fractions_planned,
        NumberOfBeams=len(plan.beams),
        NumberOfBrachyApplicationSetups=0,
        ReferencedBeamSequence=shares,
    )


def _beam(beam: Beam) -> Dataset:
    if beam.unsupported:
        raise PlanError(
            "a beam with devices that are not modelled is not written",
            found=", ".join(beam.unsupported),
            where=f"beam {beam.name}",
        )
    devices = []
    first = beam.control_points[0]
    for kind, jaw in (("ASYMX", first.jaw_x_mm), ("ASYMY", first.jaw_y_mm)):
        if jaw is not None:
            devices.append(part(RTBeamLimitingDeviceType=kind, NumberOfLeafJawPairs=1))
    if beam.mlc is not None:
        devices.append(
            part(
                RTBeamLimitingDeviceType=f"MLC{beam.mlc.axis}",
                NumberOfLeafJawPairs=beam.mlc.pairs,
                LeafPositionBoundaries=[ds(b) for b in beam.mlc.boundaries_mm],
            )
        )
    states = [_state(point, beam) for point in beam.control_points]
    changing = {name for state in states for name, value in state.items() if value != states[0].get(name)}
    item = part(
        BeamNumber=beam.number,
        BeamName=limited(beam.name, 64, keyword="Beam Name"),
        BeamType="DYNAMIC" if changing - {"dose_rate"} else "STATIC",
        RadiationType=beam.radiation_type,
        TreatmentMachineName=limited(beam.machine_name, 16, keyword="Treatment Machine Name"),
        PrimaryDosimeterUnit="MU",
        SourceAxisDistance=ds(beam.sad_mm),
        BeamLimitingDeviceSequence=devices,
        ReferencedPatientSetupNumber=1,
        TreatmentDeliveryType="TREATMENT",
        NumberOfWedges=0,
        NumberOfCompensators=0,
        NumberOfBoli=0,
        NumberOfBlocks=0,
        FinalCumulativeMetersetWeight="1",
        NumberOfControlPoints=len(beam.control_points),
    )
    if beam.fluence_mode != "STANDARD":
        mode = part(FluenceMode="NON_STANDARD")
        if beam.fluence_mode != "NON_STANDARD":
            put(mode, "FluenceModeID", limited(beam.fluence_mode, 16, keyword="Fluence Mode ID"))
        put_sequence(item, "PrimaryFluenceModeSequence", [mode])
    points = [
        _control_point(n, point.cumulative_weight, state, beam, changing)
        for n, (point, state) in enumerate(zip(beam.control_points, states, strict=True))
    ]
    put_sequence(item, "ControlPointSequence", points)
    return item


def _state(point: ControlPoint, beam: Beam) -> dict[str, list[str]]:
    """Everything of a control point that may stay the same, as it will be written."""
    state = {
        "gantry": [ds(point.gantry_deg), point.gantry_direction],
        "collimator": [ds(point.collimator_deg)],
        "table": [ds(point.table_deg)],
        "isocentre": [ds(v) for v in point.isocentre_lps],
        "dose_rate": [] if point.dose_rate_mu_per_min is None else [ds(point.dose_rate_mu_per_min)],
    }
    if point.jaw_x_mm is not None:
        state["ASYMX"] = [ds(v) for v in point.jaw_x_mm]
    if point.jaw_y_mm is not None:
        state["ASYMY"] = [ds(v) for v in point.jaw_y_mm]
    if point.leaves_mm is not None and beam.mlc is not None:
        state[f"MLC{beam.mlc.axis}"] = [ds(v) for v in np.ravel(point.leaves_mm)]
    return state


def _control_point(index: int, weight: float, state: dict[str, list[str]], beam: Beam, changing: set[str]) -> Dataset:
    item = part(ControlPointIndex=index, CumulativeMetersetWeight=ds(min(max(weight, 0.0), 1.0)))
    stated = set(state) if index == 0 else set(state) & changing
    if index == 0:
        put(item, "NominalBeamEnergy", ds(beam.nominal_energy_mv))
    if "dose_rate" in stated and state["dose_rate"]:
        put(item, "DoseRateSet", state["dose_rate"])
    positions = [
        part(RTBeamLimitingDeviceType=kind, LeafJawPositions=state[kind])
        for kind in ("ASYMX", "ASYMY", "MLCX", "MLCY")
        if kind in stated
    ]
    if positions:
        put_sequence(item, "BeamLimitingDevicePositionSequence", positions)
    if "gantry" in stated:
        put(item, "GantryAngle", state["gantry"][0])
        put(item, "GantryRotationDirection", state["gantry"][1])
    if "collimator" in stated:
        put(item, "BeamLimitingDeviceAngle", state["collimator"][0])
        put(item, "BeamLimitingDeviceRotationDirection", "NONE")
    if "table" in stated:
        put(item, "PatientSupportAngle", state["table"][0])
        put(item, "PatientSupportRotationDirection", "NONE")
    if index == 0:
        put(item, "TableTopEccentricAngle", "0")
        put(item, "TableTopEccentricRotationDirection", "NONE")
        for keyword in ("TableTopVerticalPosition", "TableTopLongitudinalPosition", "TableTopLateralPosition"):
            put(item, keyword, None)
    if "isocentre" in stated:
        put(item, "IsocenterPosition", state["isocentre"])
    return item
