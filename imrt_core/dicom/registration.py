"""Spatial Registration: the rigid match of two frames, and where the machine isocentre is.

Direction of the matrices (DICOM PS3.3 C.20.2.1.1): an item's matrix maps points of the item's frame of reference to the
registered frame, which is the Frame of Reference UID of the object itself. Several matrices of an item apply in order.

The machine isocentre is stated by an item whose frame of reference is the well-known *IEC 61217 Fixed Coordinate
System* (UID 1.2.840.10008.1.4.3.1, DICOM PS3.6 table A-2). The origin of that system is the machine isocentre, so the
item's matrix, applied to (0, 0, 0), gives the isocentre in the registered frame. Reading needs the origin only; what is
written holds the axes too, for table angle 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from imrt_core.geometry.iec61217 import support_from_lps
from imrt_core.patient import (
    PATIENT_POSITIONS,
    DicomError,
    GeometryError,
    IdentityError,
    PatientIdentity,
    PatientImage,
    RigidTransform,
)

from .opening import open_dataset, tolerant_values
from .uids import CT_IMAGE, IEC_FIXED_FRAME, SPATIAL_REGISTRATION, uid_from, with_uids
from .values import items, moment, needed, numbers, patient_identity, require_class, text
from .writing import NOTICE, dicom_moment, ds, new_object, part, put, put_sequence, reference, save

Point = tuple[float, float, float]


@dataclass(frozen=True)
class SpatialRegistration:
    """A rigid match between two frames of reference.

    Parameters
    ----------
    moving_from_fixed : RigidTransform
        Maps points of the fixed frame (planning CT) to the moving frame (image of the day), LPS mm.
    fixed_frame_uid, moving_frame_uid : str
        The two frames.
    machine_isocentre_lps : tuple of float or None
        Machine isocentre in the *moving* frame, where the object states it.
    patient : PatientIdentity
        Whose images they are.
    sop_instance_uid, created : str
        Own UID; content date and time, ISO 8601.
    """

    moving_from_fixed: RigidTransform
    fixed_frame_uid: str
    moving_frame_uid: str
    machine_isocentre_lps: Point | None = None
    patient: PatientIdentity = field(default=PatientIdentity(""), repr=False)
    sop_instance_uid: str = ""
    created: str = ""


@tolerant_values()
def read_registration(path: Path, *, fixed_frame_uid: str | None = None) -> SpatialRegistration:
    """Read a rigid Spatial Registration of two frames.

    Parameters
    ----------
    path : Path
        Spatial Registration object.
    fixed_frame_uid : str, optional
        Frame of the planning CT. The registered frame where absent.

    Raises
    ------
    DicomError
        If there are not two frames, or a matrix is not rigid.
    IdentityError
        If ``fixed_frame_uid`` is neither of the two.
    """
    path = Path(path)
    dataset, registered, matrices = _read(path)
    frames = sorted(set(matrices) - {registered, IEC_FIXED_FRAME})
    if len(frames) != 1:
        raise DicomError(
            "not a registration of two frames of reference",
            found=f"{len(frames) + 1} frames",
            expected="2",
            where=str(path),
            code="not-a-registration",
        )
    pair = [registered, frames[0]]
    if fixed_frame_uid is not None:
        if fixed_frame_uid not in pair:
            raise IdentityError(
                "the registration is not of the planning CT's frame of reference",
                found=" and ".join(pair),
                expected=fixed_frame_uid,
                where=str(path),
                code="frame-mismatch",
            )
        pair.sort(key=lambda uid: uid != fixed_frame_uid)
    fixed, moving = pair
    registered_from_moving = matrices.get(moving, RigidTransform.identity())
    return SpatialRegistration(
        moving_from_fixed=registered_from_moving.inverse() @ matrices.get(fixed, RigidTransform.identity()),
        fixed_frame_uid=fixed,
        moving_frame_uid=moving,
        machine_isocentre_lps=_isocentre(matrices, registered_from_moving),
        patient=patient_identity(dataset, path),
        sop_instance_uid=text(dataset, "SOPInstanceUID", path),
        created=moment(dataset, path, ("Content", "InstanceCreation")),
    )


@tolerant_values()
def read_machine_isocentre(path: Path, *, frame_of_reference_uid: str) -> Point | None:
    """Return the machine isocentre in an image's frame, if a Spatial Registration states it.

    Parameters
    ----------
    path : Path
        Spatial Registration object, of one or more frames.
    frame_of_reference_uid : str
        Frame of the setup image.

    Returns
    -------
    tuple of float or None
        LPS mm; None where the object does not state it or does not concern that frame.

    Raises
    ------
    DicomError
        If the object cannot be read.
    """
    _, registered, matrices = _read(Path(path))
    if frame_of_reference_uid != registered and frame_of_reference_uid not in matrices:
        return None
    return _isocentre(matrices, matrices.get(frame_of_reference_uid, RigidTransform.identity()))


def _isocentre(matrices: dict[str, RigidTransform], registered_from_image: RigidTransform) -> Point | None:
    if IEC_FIXED_FRAME not in matrices:
        return None
    image_from_iec = registered_from_image.inverse() @ matrices[IEC_FIXED_FRAME]
    x, y, z = image_from_iec.apply((0.0, 0.0, 0.0))
    return float(x), float(y), float(z)


def _read(path: Path) -> tuple[Dataset, str, dict[str, RigidTransform]]:
    """Return the data set, the registered frame and ``registered_from_frame`` of each item's frame."""
    dataset, _ = open_dataset(path)
    require_class(dataset, SPATIAL_REGISTRATION, path)
    registered = needed(text(dataset, "FrameOfReferenceUID", path), "FrameOfReferenceUID", path)
    matrices: dict[str, RigidTransform] = {}
    for item in items(dataset, "RegistrationSequence", path):
        frame = text(item, "FrameOfReferenceUID", path)
        steps = [
            _rigid(matrix, path)
            for registration in items(item, "MatrixRegistrationSequence", path)
            for matrix in items(registration, "MatrixSequence", path)
        ]
        total = reduce(lambda done, step: step @ done, steps, RigidTransform.identity())
        if frame in matrices and not np.allclose(matrices[frame].matrix, total.matrix, atol=1e-6):
            raise DicomError(
                "two different registrations of one frame of reference", found=frame, expected="one", where=str(path)
            )
        matrices[frame] = total
    if not matrices:
        raise DicomError("a registration without matrices", expected="a Registration Sequence", where=str(path))
    return dataset, registered, matrices


def _rigid(item: Dataset, path: Path) -> RigidTransform:
    keyword = "FrameOfReferenceTransformationMatrix"
    values: NDArray[np.float64] = needed(numbers(item, keyword, path, count=16), keyword, path)
    try:
        return RigidTransform.from_matrix(values.reshape(4, 4))
    except GeometryError as error:
        raise DicomError(
            "the registration is not rigid",
            found=f"{text(item, 'FrameOfReferenceTransformationMatrixType', path) or 'no type'}: {error.found}",
            expected="RIGID",
            where=str(path),
            code="not-rigid",
        ) from error


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
        In the frame of ``moving``; then ``moving`` needs a patient position, which gives the machine's axes.
    sop_instance_uid : str
        Derived from the content where empty.
    created : str, optional
        ISO 8601; the acquisition of ``moving`` where absent.

    Raises
    ------
    IdentityError
        If the images are of different patients or share a frame, or the isocentre comes without patient position.
    DicomError
        If there is no date at all (the standard wants one), or the file cannot be written.
    """
    fixed, moving = with_uids(fixed), with_uids(moving)
    if fixed.patient.patient_id != moving.patient.patient_id:
        raise IdentityError(
            "the images are of different patients",
            found=moving.patient.patient_id,
            expected=fixed.patient.patient_id,
            code="wrong-patient",
        )
    if fixed.frame_of_reference_uid == moving.frame_of_reference_uid:
        raise IdentityError(
            "a registration needs two frames of reference",
            found=f"{moving.frame_of_reference_uid} for both images",
            expected="a frame of its own for the image of the day",
            code="frame-mismatch",
        )
    fixed_from_moving = moving_from_fixed.inverse()
    parts = [
        _registered(fixed.frame_of_reference_uid, RigidTransform.identity(), fixed),
        _registered(moving.frame_of_reference_uid, fixed_from_moving, moving),
    ]
    if machine_isocentre_lps is not None:
        parts.append(_registered(IEC_FIXED_FRAME, fixed_from_moving @ _image_from_iec(moving, machine_isocentre_lps)))
    return _save(parts, registered=fixed, source=moving, path=path, uid=sop_instance_uid, created=created)


def write_machine_isocentre(
    machine_isocentre_lps: Point, *, image: PatientImage, path: Path, created: str | None = None
) -> Path:
    """Write a Spatial Registration that only states where the machine isocentre is in an image.

    Raises
    ------
    IdentityError
        If the image has no patient position, which gives the machine's axes.
    DicomError
        If there is no date at all, or the file cannot be written.
    """
    image = with_uids(image)
    parts = [
        _registered(image.frame_of_reference_uid, RigidTransform.identity(), image),
        _registered(IEC_FIXED_FRAME, _image_from_iec(image, machine_isocentre_lps)),
    ]
    return _save(parts, registered=image, source=image, path=path, uid="", created=created)


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


def _save(
    parts: list[Dataset], *, registered: PatientImage, source: PatientImage, path: Path, uid: str, created: str | None
) -> Path:
    created = created or source.acquired or registered.acquired
    date, time = dicom_moment(created)
    if not date:
        raise DicomError("a registration needs a date", found="none in the images", expected="created (ISO 8601)")
    frames = (registered.frame_of_reference_uid, source.frame_of_reference_uid)
    item = new_object(
        SPATIAL_REGISTRATION,
        modality="REG",
        image=registered,
        sop_uid=uid,
        series_uid=uid_from("registration", uid, source.series_uid, *frames),
        series_number=5,
        description="Registration",
        created=created,
    )
    put(item, "InstanceNumber", 1)
    put(item, "ContentDate", date)
    put(item, "ContentTime", time or "000000")
    put(item, "ContentLabel", "REGISTRATION")
    put(item, "ContentDescription", NOTICE)
    put(item, "ContentCreatorName", "")
    put_sequence(item, "RegistrationSequence", parts)
    return save(item, path)
