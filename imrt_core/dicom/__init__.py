"""DICOM in and out: tolerant in reading, strict in writing."""

from .course import read_course, read_patient
from .ct import read_image, write_image
from .deformable_registration import (
    DeformableRegistration,
    read_deformable_registration,
    write_deformable_registration,
)
from .phases import BreathingPhase, BreathingPhases, read_phases
from .registration import SpatialRegistration, read_machine_isocentre, read_registration
from .registration_writer import write_machine_isocentre, write_registration
from .rtdose import read_dose, write_dose
from .rtimage import read_radiograph
from .rtimage_writer import write_radiograph
from .rtplan import read_plan
from .rtplan_writer import write_plan
from .rtstruct import read_structures, write_structures
from .series import SeriesFiles, find_series
from .uids import uid_from, with_uids

__all__ = [
    "BreathingPhase",
    "BreathingPhases",
    "DeformableRegistration",
    "SeriesFiles",
    "SpatialRegistration",
    "find_series",
    "read_course",
    "read_deformable_registration",
    "read_dose",
    "read_image",
    "read_machine_isocentre",
    "read_patient",
    "read_phases",
    "read_plan",
    "read_radiograph",
    "read_registration",
    "read_structures",
    "uid_from",
    "with_uids",
    "write_deformable_registration",
    "write_dose",
    "write_image",
    "write_machine_isocentre",
    "write_plan",
    "write_radiograph",
    "write_registration",
    "write_structures",
]
