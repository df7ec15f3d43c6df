"""Deformable Spatial Registration: a displacement field between two frames of reference.

The grid lies in the registered frame (the Frame of Reference UID of the object itself). A point of it is taken through
the matrix before the deformation, then moved by the vector of its grid point, then taken through the matrix after the
deformation; the result is the point of the source frame (DICOM PS3.3 C.20.3.1.1)::

    source = M_post · (M_pre · p + Δ(p))

Written with the planning CT as the registered frame, so that the vectors are those of
:class:`~imrt_core.patient.DisplacementField`, without matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from imrt_core.patient import (
    DicomError,
    DisplacementField,
    GeometryError,
    Grid,
    IdentityError,
    PatientIdentity,
    PatientImage,
    RigidTransform,
)

from .opening import open_dataset, tolerant_values
from .registration import rigid_matrix
from .registration_writer import registration_object
from .uids import CT_IMAGE, DEFORMABLE_REGISTRATION, with_uids
from .values import items, moment, needed, numbers, patient_identity, require_class, text
from .writing import ds, part, put, put_sequence, reference, save

#: A grid of more points is no registration (512 x 512 x 512 of float32 vectors would be 1.5 GiB).
_MOST_POINTS = 2**27


@dataclass(frozen=True, eq=False)
class DeformableRegistration:
    """A displacement field, and whose.

    Parameters
    ----------
    moving_from_fixed : DisplacementField
        Maps points of the fixed (registered) frame to the moving (source) frame, LPS mm.
    fixed_frame_uid, moving_frame_uid : str
        The two frames.
    patient : PatientIdentity
        Whose images they are.
    sop_instance_uid, created : str
        Own UID; content date and time, ISO 8601.
    """

    moving_from_fixed: DisplacementField
    fixed_frame_uid: str
    moving_frame_uid: str
    patient: PatientIdentity = field(default=PatientIdentity(""), repr=False)
    sop_instance_uid: str = ""
    created: str = ""


@tolerant_values()
def read_deformable_registration(path: Path, *, moving_frame_uid: str | None = None) -> DeformableRegistration:
    """Read a Deformable Spatial Registration; its matrices are folded into the vectors.

    Parameters
    ----------
    path : Path
        File.
    moving_frame_uid : str, optional
        Which source frame is meant, where the object holds several.

    Raises
    ------
    DicomError
        If there is no grid, more than one fits, or vectors are undefined (NaN) or do not fill the grid.
    IdentityError
        If no deformation is of ``moving_frame_uid``.
    """
    path = Path(path)
    dataset, _ = open_dataset(path)
    require_class(dataset, DEFORMABLE_REGISTRATION, path)
    registered = needed(text(dataset, "FrameOfReferenceUID", path), "FrameOfReferenceUID", path)
    found = [
        (text(item, "SourceFrameOfReferenceUID", path), item, grid)
        for item in items(dataset, "DeformableRegistrationSequence", path)
        for grid in items(item, "DeformableRegistrationGridSequence", path)
    ]
    if moving_frame_uid is not None and moving_frame_uid not in [frame for frame, _, _ in found]:
        raise IdentityError(
            "the deformation is not of the image's frame of reference",
            found=", ".join(frame for frame, _, _ in found) or "no deformation grid",
            expected=moving_frame_uid,
            where=str(path),
            code="frame-mismatch",
        )
    fitting = [entry for entry in found if moving_frame_uid in (None, entry[0])]
    if len(fitting) != 1:
        raise DicomError(
            "not a deformation of one frame of reference",
            found=f"{len(fitting)} deformation grids",
            expected="1",
            where=str(path),
            code="not-a-registration",
        )
    frame, item, grid_item = fitting[0]
    grid = _grid(grid_item, path)
    before, after = (_matrix(item, f"{when}DeformationMatrixRegistrationSequence", path) for when in ("Pre", "Post"))
    return DeformableRegistration(
        moving_from_fixed=_field(_vectors(grid_item, grid, path), grid, before, after),
        fixed_frame_uid=registered,
        moving_frame_uid=frame,
        patient=patient_identity(dataset, path),
        sop_instance_uid=text(dataset, "SOPInstanceUID", path),
        created=moment(dataset, path, ("Content", "InstanceCreation")),
    )


def _field(
    vectors: NDArray[np.float32], grid: Grid, before: RigidTransform, after: RigidTransform
) -> DisplacementField:
    """Fold the matrices into the vectors."""
    identity = np.eye(4)
    if np.array_equal(before.matrix, identity) and np.array_equal(after.matrix, identity):
        return DisplacementField(vectors, grid)
    points = grid.voxel_centres_lps()
    moved = after.apply(before.apply(points) + vectors)
    return DisplacementField((moved - points).astype(np.float32), grid)


def _grid(item: Dataset, path: Path) -> Grid:
    def values(keyword: str, count: int) -> NDArray[np.float64]:
        return np.asarray(needed(numbers(item, keyword, path, count=count), keyword, path))

    size, spacing = values("GridDimensions", 3), values("GridResolution", 3)
    if np.any(size < 1) or float(np.prod(size)) > _MOST_POINTS:
        raise DicomError(
            "a deformation grid of that size cannot be",
            found=" x ".join(f"{n:.0f}" for n in size),
            expected=f"1 to {_MOST_POINTS} points in all",
            where=str(path),
        )
    orientation = values("ImageOrientationPatient", 6)
    along, down = orientation[:3], orientation[3:]
    direction = np.stack([along, down, np.cross(along, down)], axis=1)
    nx, ny, nz = (int(n) for n in size)
    try:
        return Grid(
            (nz, ny, nx),
            (float(spacing[0]), float(spacing[1]), float(spacing[2])),
            tuple(values("ImagePositionPatient", 3)),
            tuple(map(tuple, direction)),  # type: ignore[arg-type]
        )
    except GeometryError as error:
        raise DicomError(
            f"the deformation grid: {error.message}", found=error.found, expected=error.expected, where=str(path)
        ) from error


def _vectors(item: Dataset, grid: Grid, path: Path) -> NDArray[np.float32]:
    data = needed(item.get("VectorGridData"), "VectorGridData", path)
    wanted = 12 * int(np.prod(grid.shape))
    if not isinstance(data, bytes) or len(data) != wanted:
        raise DicomError(
            "the vectors do not fill the deformation grid",
            found=f"{len(data)} bytes" if isinstance(data, bytes) else type(data).__name__,
            expected=f"{wanted} bytes",
            where=str(path),
        )
    vectors = np.frombuffer(data, dtype="<f4").reshape(*grid.shape, 3)
    undefined = int(np.count_nonzero(~np.isfinite(vectors).all(axis=-1)))
    if undefined:
        raise DicomError(
            "the deformation is undefined in a part of its grid",
            found=f"{undefined} of {vectors.size // 3} vectors are not finite",
            expected="a vector at every grid point",
            where=str(path),
            code="undefined-deformation",
        )
    return vectors


def _matrix(item: Dataset, keyword: str, path: Path) -> RigidTransform:
    found = items(item, keyword, path)
    if len(found) > 1:
        raise DicomError(
            "more than one matrix", found=f"{len(found)} items in {keyword}", expected="1", where=str(path)
        )
    return rigid_matrix(found[0], path) if found else RigidTransform.identity()


def write_deformable_registration(
    moving_from_fixed: DisplacementField,
    *,
    fixed: PatientImage,
    moving: PatientImage,
    path: Path,
    sop_instance_uid: str = "",
    created: str | None = None,
) -> Path:
    """Write the deformable match of an image of the day to the planning CT.

    Parameters
    ----------
    moving_from_fixed : DisplacementField
        Planning CT to image of the day, on a grid of the planning frame.
    fixed, moving : PatientImage
        Planning CT (its frame is the registered one) and image of the day.
    path, sop_instance_uid, created
        As for :func:`~imrt_core.dicom.write_registration`.

    Raises
    ------
    IdentityError
        If the images are of different patients.
    DicomError
        If the file cannot be written.
    """
    fixed, moving = with_uids(fixed), with_uids(moving)
    if fixed.patient.patient_id != moving.patient.patient_id:
        raise IdentityError(
            "the images are of different patients",
            found=moving.patient.patient_id,
            expected=fixed.patient.patient_id,
            code="wrong-patient",
        )
    grid = moving_from_fixed.grid
    nz, ny, nx = grid.shape
    axes = np.asarray(grid.direction)
    grid_item = part(
        ImagePositionPatient=[ds(v) for v in grid.origin_lps],
        ImageOrientationPatient=[ds(v) for v in (*axes[:, 0], *axes[:, 1])],
        GridDimensions=[nx, ny, nz],
        GridResolution=[float(v) for v in grid.spacing_mm],
        VectorGridData=np.ascontiguousarray(moving_from_fixed.vectors_mm, dtype="<f4").tobytes(),
    )
    registration = part(SourceFrameOfReferenceUID=moving.frame_of_reference_uid)
    put_sequence(registration, "ReferencedImageSequence", [reference(CT_IMAGE, uid) for uid in moving.slice_uids])
    put_sequence(registration, "RegistrationTypeCodeSequence", [])
    put_sequence(registration, "DeformableRegistrationGridSequence", [grid_item])
    item = registration_object(
        DEFORMABLE_REGISTRATION, registered=fixed, source=moving, uid=sop_instance_uid, created=created
    )
    # Enhanced General Equipment wants a serial number; software has none but its name.
    put(item, "DeviceSerialNumber", "igrt")
    put_sequence(item, "DeformableRegistrationSequence", [registration])
    return save(item, path)
