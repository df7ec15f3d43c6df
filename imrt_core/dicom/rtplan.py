"""RT Plan: reading external photon plans."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from imrt_core.patient import PATIENT_POSITIONS, IdentityError, Plan, PlanError

from .opening import open_dataset, tolerant_values
from .rtbeam import read_beam
from .uids import RT_PLAN
from .values import integer, items, needed, number, require_class, text

#: Treatment Delivery Types that irradiate to treat; set-up fields and portal images are left out.
_TREATING = ("TREATMENT", "CONTINUATION", "")


@tolerant_values()
def read_plan(path: Path) -> Plan:
    """Read an RT Plan of one fraction group: static, step-and-shoot, dynamic MLC and arcs.

    Control points are resolved: what DICOM leaves out because it does not change is filled in. Devices that the dose
    engines cannot model are named in ``Beam.unsupported``. Set-up beams are left out. The prescription is that of the
    TARGET dose references, by their description; :func:`imrt_core.dicom.read_course` resolves ROI numbers.

    Raises
    ------
    DicomError
        If the file is not a whole RT Plan.
    PlanError
        If it has several fraction groups, brachytherapy, no metersets, or control points that cannot be resolved.
    """
    path = Path(path)
    dataset, _ = open_dataset(path)
    return plan_from(dataset, path)


def plan_from(dataset: Dataset, path: Path) -> Plan:
    """Convert a data set that was read; as :func:`read_plan`."""
    require_class(dataset, RT_PLAN, path)
    where = str(path)
    groups = items(dataset, "FractionGroupSequence", path)
    if len(groups) != 1:
        raise PlanError(
            "only plans of one fraction group (one phase) are supported",
            found=f"{len(groups)} fraction groups",
            expected="1",
            where=where,
            code="several-phases",
        )
    group = groups[0]
    if integer(group, "NumberOfBrachyApplicationSetups", path):
        raise PlanError("a brachytherapy plan", expected="an external-beam plan", where=where)
    delivered = {
        integer(item, "ReferencedBeamNumber", path): item for item in items(group, "ReferencedBeamSequence", path)
    }
    beam_items = items(dataset, "BeamSequence", path)
    announced = integer(group, "NumberOfBeams", path)
    if len(delivered) != announced or len(beam_items) < len(delivered):
        raise PlanError(
            "the plan's beams are not complete",
            found=f"{len(beam_items)} beams, {len(delivered)} of them in the fraction group",
            expected=f"{announced} beams",
            where=where,
        )
    treating = [b for b in beam_items if text(b, "TreatmentDeliveryType", path).upper() in _TREATING]
    structure_sets = items(dataset, "ReferencedStructureSetSequence", path)
    predecessors = [
        text(item, "ReferencedSOPInstanceUID", path)
        for item in items(dataset, "ReferencedRTPlanSequence", path)
        if text(item, "RTPlanRelationship", path).upper() == "PREDECESSOR"
    ]
    if not treating:
        raise PlanError("a plan needs a treatment beam", found=f"{len(beam_items)} set-up beams", where=where)
    return Plan(
        beams=tuple(read_beam(item, delivered, path) for item in treating),
        label=text(dataset, "RTPlanLabel", path),
        fractions_planned=needed(integer(group, "NumberOfFractionsPlanned", path), "NumberOfFractionsPlanned", path),
        prescription_gy=prescriptions(dataset, path),
        sop_instance_uid=text(dataset, "SOPInstanceUID", path),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID", path),
        structure_set_uid=text(structure_sets[0], "ReferencedSOPInstanceUID", path) if structure_sets else "",
        approval_status=text(dataset, "ApprovalStatus", path) or "UNAPPROVED",
        intent=text(dataset, "PlanIntent", path),
        patient_position=_patient_position(dataset, treating, path),
        predecessor_uid=predecessors[0] if predecessors else "",
        description=text(dataset, "RTPlanDescription", path),
    )


def prescriptions(
    dataset: Dataset, path: Path, *, roi_names: dict[int, str] | None = None
) -> tuple[tuple[str, float], ...]:
    """Return (target, course dose in Gy) of each TARGET dose reference with a prescription.

    Doses at points count only where no volume or site has one. The target is the ROI's name where ``roi_names``
    (by ROI number) is given and knows it, else the description; with ``roi_names``, a description that is no ROI's
    name becomes empty.
    """
    found, at_points = [], []
    for item in items(dataset, "DoseReferenceSequence", path):
        dose_gy = number(item, "TargetPrescriptionDose", path)
        if text(item, "DoseReferenceType", path).upper() != "TARGET" or not dose_gy:
            continue
        if text(item, "DoseReferenceStructureType", path).upper() in ("COORDINATES", "POINT"):
            at_points.append(("", dose_gy))
            continue
        name = text(item, "DoseReferenceDescription", path)
        if roi_names is not None:
            known = {stated.casefold(): stated for stated in roi_names.values()}
            roi = integer(item, "ReferencedROINumber", path)
            name = roi_names.get(roi, "") if roi is not None else known.get(name.casefold(), "")
        found.append((name, dose_gy))
    return tuple(found or at_points)


def _patient_position(dataset: Dataset, beams: list[Dataset], path: Path) -> str | None:
    setups = {integer(s, "PatientSetupNumber", path): s for s in items(dataset, "PatientSetupSequence", path)}
    used = {integer(beam, "ReferencedPatientSetupNumber", path) for beam in beams}
    chosen = [setups[n] for n in sorted(used & set(setups), key=str)] or list(setups.values())
    found = {text(setup, "PatientPosition", path).upper() for setup in chosen} - {""}
    if len(found) > 1 or found - set(PATIENT_POSITIONS):
        raise IdentityError(
            "unsupported patient position in the plan",
            found=", ".join(sorted(found)),
            expected=f"one of {' '.join(PATIENT_POSITIONS)} for all beams",
            where=str(path),
            code="patient-position",
        )
    return found.pop() if found else None
