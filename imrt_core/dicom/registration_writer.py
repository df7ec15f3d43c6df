"""Spatial Registration, writing: the rigid match of two frames, and where the machine isocentre is.

How both are stated is said in :mod:`imrt_core.dicom.registration`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from imrt_core.geometry.iec61217 import support_from_lps
from imrt_core.patient import PATIENT_POSITIONS, IdentityError, PatientImage, RigidTransform

from .registration import Point
from .uids import CT_IMAGE, IEC_FIXED_FRAME, SPATIAL_REGISTRATION, uid_from, with_uids
from .writing import NOTICE, dicom_moment, ds, new_object, part, put, put_sequence, reference, save

#: Content Date must have a value; images without any date are usually anonymised.
_NO_DATE = "19000101"


def write_registration(
    moving_from_fixed: RigidTransform,
    *,
    fixed: PatientImage,
    moving: PatientImage,
    path: Path,
    machine_isocentre_lps: Point | None = None,
    sop_instance_uid: str = "",
    created: str | None = None,
) -> Path:
    """Write the rigid match of an image of the day to the planning CT.

    Parameters
    ----------
    moving_from_fixed : RigidTransform
        Maps points of the planning CT to the image of the day.
    fixed, moving : PatientImage
        Planning CT (its frame is the registered one) and image of the day.
    path : Path
        File to write.
    machine_isocentre_lps : tuple of float, optional
        In the frame of ``moving``. Left out where ``moving`` has no patient position: the machine's axes are unknown
        then, and no couch shift follows.
    sop_instance_uid : str
        Derived from the content where empty.
    created : str, optional
        ISO 8601; the acquisition of ``moving``, or else of ``fixed``, where absent. The standard wants a date: where
        there is none at all, 1900-01-01 is written, and the description says that it is unknown.

    Raises
    ------
    IdentityError
        If the images are of different patients.
    DicomError
        If the file cannot be written.

    Notes
    -----
    Images that share a frame of reference (phases of a 4-D CT) are told apart by the references to their slices only;
    :func:`read_registration` refuses such an object.
    """
    fixed, moving = with_uids(fixed), with_uids(moving)
    if fixed.patient.patient_id != moving.patient.patient_id:
        raise IdentityError(
            "the images are of different patients",
            found=moving.patient.patient_id,
            expected=fixed.patient.patient_id,
            code="wrong-patient",
        )
    fixed_from_moving = moving_from_fixed.inverse()
    parts = [
        _registered(fixed.frame_of_reference_uid, RigidTransform.identity(), fixed),
        _registered(moving.frame_of_reference_uid, fixed_from_moving, moving),
    ]
    if machine_isocentre_lps is not None and moving.patient_position is not None:
        parts.append(_registered(IEC_FIXED_FRAME, fixed_from_moving @ _image_from_iec(moving, machine_isocentre_lps)))
    item = registration_object(
        SPATIAL_REGISTRATION, registered=fixed, source=moving, uid=sop_instance_uid, created=created
    )
    put_sequence(item, "RegistrationSequence", parts)
    return save(item, path)


def write_machine_isocentre(
    machine_isocentre_lps: Point, *, image: PatientImage, path: Path, created: str | None = None
) -> Path:
    """Write a Spatial Registration that only states where the machine isocentre is in an image.

    Raises
    ------
    IdentityError
        If the image has no patient position, which gives the machine's axes.
    DicomError
        If the file cannot be written.
    """
    image = with_uids(image)
    parts = [
        _registered(image.frame_of_reference_uid, RigidTransform.identity(), image),
        _registered(IEC_FIXED_FRAME, _image_from_iec(image, machine_isocentre_lps)),
    ]
    item = registration_object(SPATIAL_REGISTRATION, registered=image, source=image, uid="", created=created)
    put_sequence(item, "RegistrationSequence", parts)
    return save(item, path)


def _image_from_iec(image: PatientImage, isocentre_lps: Point) -> RigidTransform:
    if image.patient_position is None:
        raise IdentityError(
            "the machine's axes in the image are unknown",
            found="no patient position",
            expected="one of " + " ".join(PATIENT_POSITIONS),
            code="patient-position",
        )
    matrix = np.eye(4)
    matrix[:3, :3] = support_from_lps(image.patient_position).T
    matrix[:3, 3] = isocentre_lps
    return RigidTransform.from_matrix(matrix)


def _registered(frame: str, registered_from_frame: RigidTransform, image: PatientImage | None = None) -> Dataset:
    matrix = part(
        FrameOfReferenceTransformationMatrixType="RIGID",
        FrameOfReferenceTransformationMatrix=[ds(v) for v in registered_from_frame.matrix.ravel()],
    )
    item = part(FrameOfReferenceUID=frame)
    if image is not None:
        put_sequence(item, "ReferencedImageSequence", [reference(CT_IMAGE, uid) for uid in image.slice_uids])
    registration = part(MatrixSequence=[matrix])
    put_sequence(registration, "RegistrationTypeCodeSequence", [])
    put_sequence(item, "MatrixRegistrationSequence", [registration])
    return item


def registration_object(
    sop_class: str, *, registered: PatientImage, source: PatientImage, uid: str, created: str | None
) -> Dataset:
    """Begin a spatial registration, rigid or deformable: all but the registrations themselves.

    Parameters
    ----------
    sop_class : str
        SOP Class UID.
    registered, source : PatientImage
        The image whose frame is the registered one, and the other; complete with UIDs.
    uid : str
        SOP Instance UID; derived from the bytes where empty.
    created : str or None
        ISO 8601; the acquisition of ``source``, or else of ``registered``, where absent.
    """
    created = created or source.acquired or registered.acquired
    date, time = dicom_moment(created)
    frames = (registered.frame_of_reference_uid, source.frame_of_reference_uid)
    item = new_object(
        sop_class,
        modality="REG",
        image=registered,
        sop_uid=uid,
        series_uid=uid_from("registration", uid, sop_class, source.series_uid, *frames),
        series_number=5,
        description="Registration",
        created=created,
    )
    put(item, "InstanceNumber", 1)
    put(item, "ContentDate", date or _NO_DATE)
    put(item, "ContentTime", time or "000000")
    put(item, "ContentLabel", "REGISTRATION")
    put(item, "ContentDescription", NOTICE if date else f"{NOTICE} Date unknown.")
    put(item, "ContentCreatorName", "")
    _put_instance_references(item, {image.series_uid: image for image in (registered, source)}.values())
    return item


def _put_instance_references(item: Dataset, images: Iterable[PatientImage]) -> None:
    """Write the Common Instance Reference module: images of the same study, and of others."""
    others = []
    for image in images:
        instances = [reference(CT_IMAGE, uid) for uid in image.slice_uids]
        series = part(SeriesInstanceUID=image.series_uid, ReferencedInstanceSequence=instances)
        if image.study_uid == item.StudyInstanceUID:
            put_sequence(item, "ReferencedSeriesSequence", [*item.get("ReferencedSeriesSequence", []), series])
        else:
            others.append(part(StudyInstanceUID=image.study_uid, ReferencedSeriesSequence=[series]))
    if others:
        put_sequence(item, "StudiesContainingOtherReferencedInstancesSequence", others)
