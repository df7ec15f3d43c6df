"""Spatial Registration, reading: the rigid match of two frames, and where the machine isocentre is.

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

from imrt_core.patient import (
    DicomError,
    GeometryError,
    IdentityError,
    PatientIdentity,
    RigidTransform,
)

from .opening import open_dataset, tolerant_values
from .uids import IEC_FIXED_FRAME, SPATIAL_REGISTRATION
from .values import items, moment, needed, numbers, patient_identity, require_class, text

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
            rigid_matrix(matrix, path)
            for registration in items(item, "MatrixRegistrationSequence", path)
            for matrix in items(registration, "MatrixSequence", path)
        ]
        total = reduce(lambda done, step: step @ done, steps, RigidTransform.identity())
        if frame in matrices and not np.allclose(matrices[frame].matrix, total.matrix, atol=1e-6):
            raise DicomError(
                "two different registrations of one frame of reference",
                found=frame,
                expected="a frame of its own for each image",
                where=str(path),
                code="not-a-registration",
            )
        matrices[frame] = total
    if not matrices:
        raise DicomError("a registration without matrices", expected="a Registration Sequence", where=str(path))
    return dataset, registered, matrices


def rigid_matrix(item: Dataset, path: Path) -> RigidTransform:
    """Return the transformation matrix of an item.

    Raises
    ------
    DicomError
        If it is absent or not rigid.
    """
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
