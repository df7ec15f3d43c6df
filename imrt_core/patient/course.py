"""What a course of treatment starts from: planning CT, structures and, where given, plan and dose."""

from __future__ import annotations

from dataclasses import dataclass

from .image import PatientImage
from .plan import Plan
from .structures import StructureSet
from .volume import Volume


@dataclass(frozen=True, eq=False)
class DoseDistribution:
    """A dose grid with its scale and origin.

    Parameters
    ----------
    dose_gy : Volume
        Gy.
    summation_type : str
        Dose Summation Type in DICOM's words: ``"PLAN"`` is the whole course, ``"FRACTION_SESSION"`` one fraction,
        ``"FRACTION"`` all fractions of one fraction group, ``"BEAM"`` one beam.
    frame_of_reference_uid, sop_instance_uid, plan_uid : str
        Frame, own UID and Referenced RT Plan (empty if none).
    comment : str
        Dose Comment.
    """

    dose_gy: Volume
    summation_type: str = "PLAN"
    frame_of_reference_uid: str = ""
    sop_instance_uid: str = ""
    plan_uid: str = ""
    comment: str = ""


@dataclass(frozen=True, eq=False)
class PlanningData:
    """The consistent planning objects of one course, as read from a DICOM folder.

    Parameters
    ----------
    ct : PatientImage
        Planning CT.
    structures : StructureSet
        Drawn on ``ct``.
    plan : Plan or None
        Plan of record; None where the course is to be planned.
    course_dose : DoseDistribution or None
        Dose of the treatment-planning system, whole course, as a reference.
    """

    ct: PatientImage
    structures: StructureSet
    plan: Plan | None = None
    course_dose: DoseDistribution | None = None
