"""RT Plans as different vendors shape them, written with pydicom alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from imrt_core.dicom.uids import RT_PLAN

from .objects import save_vendor

Device = tuple[str, Sequence[float] | None, int]

MILLENNIUM = [*range(-200, -100, 10), *range(-100, 101, 5), *range(110, 201, 10)]
HD = [*range(-110, -40, 5), *(-40 + 2.5 * n for n in range(33)), *range(45, 111, 5)]
AGILITY = list(range(-200, 201, 5))

#: Devices of each shape: type, leaf boundaries, pairs.
SHAPES: dict[str, list[Device]] = {
    "millennium-120": [("ASYMX", None, 1), ("ASYMY", None, 1), ("MLCX", MILLENNIUM, 60)],
    "hd-120": [("ASYMX", None, 1), ("ASYMY", None, 1), ("MLCX", HD, 60)],
    "agility-160": [("ASYMY", None, 1), ("MLCX", AGILITY, 80)],
    "symmetric jaws": [("X", None, 1), ("Y", None, 1), ("MLCX", list(range(-200, 201, 10)), 40)],
    "leaves along Y": [("ASYMX", None, 1), ("ASYMY", None, 1), ("MLCY", list(range(-200, 201, 10)), 40)],
    "jaws alone": [("ASYMX", None, 1), ("ASYMY", None, 1)],
}


def device(kind: str, boundaries: Sequence[float] | None, pairs: int) -> Dataset:
    ds = Dataset()
    ds.RTBeamLimitingDeviceType = kind
    ds.NumberOfLeafJawPairs = pairs
    if boundaries is not None:
        ds.LeafPositionBoundaries = [str(v) for v in boundaries]
    return ds


def positions(kind: str, pairs: int, half_mm: float) -> Dataset:
    ds = Dataset()
    ds.RTBeamLimitingDeviceType = kind
    ds.LeafJawPositions = [str(-half_mm)] * pairs + [str(half_mm)] * pairs
    return ds


def vendor_plan(path: Path, shape: str, *, half_mm: float = 40.0) -> Path:
    """A static beam with everything open by ``half_mm`` to each side."""
    devices = SHAPES[shape]
    beam = Dataset()
    beam.BeamNumber, beam.BeamName, beam.BeamType, beam.RadiationType = 1, "A", "STATIC", "PHOTON"
    beam.TreatmentMachineName, beam.PrimaryDosimeterUnit = "LINAC", "MU"
    beam.SourceAxisDistance, beam.TreatmentDeliveryType = "1000", "TREATMENT"
    beam.NumberOfWedges = beam.NumberOfCompensators = beam.NumberOfBoli = beam.NumberOfBlocks = 0
    beam.FinalCumulativeMetersetWeight, beam.NumberOfControlPoints = "1", 2
    beam.BeamLimitingDeviceSequence = [device(*d) for d in devices]
    first, last = Dataset(), Dataset()
    first.ControlPointIndex, last.ControlPointIndex = 0, 1
    first.CumulativeMetersetWeight, last.CumulativeMetersetWeight = "0", "1"
    first.NominalBeamEnergy, first.GantryAngle, first.GantryRotationDirection = "6", "0", "NONE"
    first.BeamLimitingDeviceAngle, first.PatientSupportAngle = "0", "0"
    first.IsocenterPosition = ["0", "0", "0"]
    first.BeamLimitingDevicePositionSequence = [positions(kind, pairs, half_mm) for kind, _, pairs in devices]
    beam.ControlPointSequence = [first, last]
    share = Dataset()
    share.ReferencedBeamNumber, share.BeamMeterset = 1, "100"
    group = Dataset()
    group.FractionGroupNumber, group.NumberOfFractionsPlanned, group.NumberOfBeams = 1, 20, 1
    group.NumberOfBrachyApplicationSetups = 0
    group.ReferencedBeamSequence = [share]
    setup = Dataset()
    setup.PatientSetupNumber, setup.PatientPosition = 1, "HFS"
    plan = Dataset()
    plan.SOPClassUID, plan.SOPInstanceUID, plan.Modality = RT_PLAN, "1.2.3.9", "RTPLAN"
    plan.RTPlanLabel, plan.RTPlanGeometry = shape[:16], "PATIENT"
    plan.FrameOfReferenceUID, plan.PatientID = "1.2.3.3", "P1"
    plan.FractionGroupSequence, plan.BeamSequence, plan.PatientSetupSequence = [group], [beam], [setup]
    return save_vendor(plan, path)
