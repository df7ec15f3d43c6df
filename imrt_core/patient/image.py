"""A patient image with the identity that tells whose it is and where it was taken."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import IdentityError
from .volume import Volume

#: Patient positions of IEC 61217 / DICOM that are supported.
PATIENT_POSITIONS = ("HFS", "HFP", "FFS", "FFP")


@dataclass(frozen=True)
class PatientIdentity:
    """Who the patient is. Never goes into logs, paths, partition keys or metadata."""

    patient_id: str
    name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True)
class Scanner:
    """What took the image: keys of the density curve."""

    modality: str = "CT"
    manufacturer: str = ""
    model: str = ""
    station: str = ""
    kvp: float | None = None


@dataclass(frozen=True, eq=False)
class PatientImage:
    """A CT or CBCT in HU.

    Parameters
    ----------
    hu : Volume
        Hounsfield units.
    patient : PatientIdentity
        Whose image it is.
    frame_of_reference_uid, study_uid, series_uid : str
        DICOM UIDs; empty for images that are not DICOM.
    slice_uids : tuple of str
        SOP Instance UIDs in the order of the array's z index.
    patient_position : str or None
        One of :data:`PATIENT_POSITIONS`; None where the file does not say. Never assumed.
    acquired : str
        Acquisition date and time, ISO 8601, empty if unknown.
    scanner : Scanner
        Device and tube voltage.
    """

    hu: Volume
    patient: PatientIdentity
    frame_of_reference_uid: str = ""
    study_uid: str = ""
    series_uid: str = ""
    slice_uids: tuple[str, ...] = ()
    patient_position: str | None = None
    acquired: str = ""
    scanner: Scanner = Scanner()

    def __post_init__(self) -> None:
        if self.patient_position is not None and self.patient_position not in PATIENT_POSITIONS:
            raise IdentityError(
                "unsupported patient position",
                found=self.patient_position,
                expected=" ".join(PATIENT_POSITIONS),
            )
