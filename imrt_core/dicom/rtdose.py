"""RT Dose: reading, and writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from imrt_core.patient import DicomError, DoseDistribution, GeometryError, IdentityError, PatientImage, Volume

from .ct import put_pixel_format, put_plane
from .header import IMAGE_KEYWORDS, Header, read_header, read_stored_values
from .opening import tolerant_values
from .stack import orientation_axes, stack_planes
from .uids import RT_DOSE, RT_PLAN, RT_STRUCTURE_SET, uid_from, with_uids
from .values import integer, items, needed, number, numbers, require_class, text
from .writing import NOTICE, ds, new_object, part, put, put_sequence, reference, save

DOSE_KEYWORDS = (
    *IMAGE_KEYWORDS,
    "DoseUnits",
    "DoseType",
    "DoseComment",
    "DoseSummationType",
    "GridFrameOffsetVector",
    "DoseGridScaling",
    "ReferencedRTPlanSequence",
    "ReferencedStructureSetSequence",
    "ReferencedInstanceSequence",
)

#: Largest stored integer by Bits Allocated; of 32 bits only 31, so that a reader that takes them for signed is right
#: too. The dose error is half a step: 2e-10 of the maximum with 32 bits, 8e-6 with 16.
_LARGEST = {16: 2**16 - 1, 32: 2**31 - 1}

#: Dose Summation Types that this package writes: whole course, and one fraction. (DICOM's ``FRACTION`` is all
#: fractions of one fraction group.)
WRITABLE_SUMMATION_TYPES = ("PLAN", "FRACTION_SESSION")


@tolerant_values()
def read_dose(path: Path) -> DoseDistribution:
    """Read an RT Dose grid in Gy, in any orientation.

    Parameters
    ----------
    path : Path
        RT Dose file with 16 or 32 bits per voxel, Dose Units GY, Dose Type PHYSICAL.

    Returns
    -------
    DoseDistribution
        float32 Gy; Dose Summation Type as stated.

    Raises
    ------
    DicomError
        If units, type, scaling, geometry or pixels are not usable, or the file is not a whole RT Dose.
    """
    path = Path(path)
    return dose_from(read_header(path, keywords=DOSE_KEYWORDS))


@tolerant_values()
def dose_from(header: Header) -> DoseDistribution:
    """Read the dose of a file whose head was read with its dose attributes; as :func:`read_dose`."""
    path, dataset = header.path, header.dataset
    require_class(dataset, RT_DOSE, path)
    for keyword, expected in (("DoseUnits", "GY"), ("DoseType", "PHYSICAL")):
        if (found := text(dataset, keyword, path).upper()) != expected:
            raise DicomError(
                f"unsupported {keyword}",
                found=found or "no value",
                expected=expected,
                where=str(path),
                code="dose-units",
            )
    scaling = needed(number(dataset, "DoseGridScaling", path), "DoseGridScaling", path)
    if scaling <= 0:
        raise DicomError("Dose Grid Scaling must be positive", found=str(scaling), expected="> 0", where=str(path))
    if integer(dataset, "PixelRepresentation", path) == 1:
        raise DicomError("signed dose", found="Pixel Representation 1", expected="0 (unsigned)", where=str(path))
    frames = integer(dataset, "NumberOfFrames", path) or 1
    positions, cosines = _plane_positions(header, frames)
    spacing = needed(numbers(dataset, "PixelSpacing", path, count=2), "PixelSpacing", path)
    order, grid = stack_planes(
        positions,
        cosines,
        pixel_spacing_mm=(float(spacing[0]), float(spacing[1])),
        plane_shape=(
            needed(integer(dataset, "Rows", path), "Rows", path),
            needed(integer(dataset, "Columns", path), "Columns", path),
        ),
        thickness_mm=number(dataset, "SliceThickness", path),
        labels=[f"frame {n + 1}" for n in range(frames)],
        where=str(path),
    )
    stored = read_stored_values(header, frames=frames)
    dose_gy = np.empty(grid.shape, dtype=np.float32)
    for k, n in enumerate(order):
        dose_gy[k] = stored[n] * scaling  # in double precision, then rounded once
    plans = items(dataset, "ReferencedRTPlanSequence", path)
    return DoseDistribution(
        dose_gy=Volume(dose_gy, grid),
        summation_type=text(dataset, "DoseSummationType", path).upper(),
        frame_of_reference_uid=text(dataset, "FrameOfReferenceUID", path),
        sop_instance_uid=text(dataset, "SOPInstanceUID", path),
        plan_uid=text(plans[0], "ReferencedSOPInstanceUID", path) if plans else "",
        comment=text(dataset, "DoseComment", path),
    )


def _plane_positions(header: Header, frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the position of each frame's first voxel, (frames, 3) in LPS mm, and the direction cosines.

    Grid Frame Offset Vector (DICOM PS3.3 C.8.8.3.2) is either relative (it begins with zero; along row × column), or,
    for transverse planes only, the z coordinates themselves (it begins with that of Image Position (Patient)).
    """
    path, dataset = header.path, header.dataset
    first = needed(numbers(dataset, "ImagePositionPatient", path, count=3), "ImagePositionPatient", path)
    keyword = "ImageOrientationPatient"
    cosines = needed(numbers(dataset, keyword, path, count=6), keyword, path)
    if frames == 1:
        return first[None, :], cosines
    offsets = needed(numbers(dataset, "GridFrameOffsetVector", path, count=frames), "GridFrameOffsetVector", path)
    normal = orientation_axes(cosines, where=str(path))[:, 2]
    if abs(offsets[0]) < 1e-4:
        along = offsets
    elif abs(offsets[0] - first[2]) < 0.01 and abs(abs(normal[2]) - 1) < 1e-4:
        along = (offsets - offsets[0]) * np.sign(normal[2])
    else:
        raise DicomError(
            "Grid Frame Offset Vector is neither relative nor absolute",
            found=f"first value {offsets[0]:g}",
            expected=f"0, or {first[2]:g} (z of the first plane) for transverse planes",
            where=str(path),
            code="invalid-geometry",
        )
    return first + along[:, None] * normal, cosines


def write_dose(
    dose: DoseDistribution,
    *,
    image: PatientImage,
    path: Path,
    structures_uid: str = "",
    created: str | None = None,
    bits: int = 16,
) -> Path:
    """Write an RT Dose: unsigned integers of dose to water in Gy.

    Parameters
    ----------
    dose : DoseDistribution
        Finite, not negative. ``PLAN`` is the whole course, ``FRACTION_SESSION`` one fraction. Where it names no plan
        (a reference dose whose plan was not exported), a UID that stands for that plan is derived from the dose's
        content: the standard wants the reference.
    image : PatientImage
        Whose patient, study and frame it shares.
    path : Path
        File to write.
    structures_uid : str
        Structure set that it was calculated with, if any.
    created : str, optional
        ISO 8601; the image's acquisition where absent.
    bits : int
        16, or 32 where half a step of 8e-6 of the maximum (0.6 mGy in 77 Gy) is too coarse. 16 is the default because
        every reader takes it; the validator dciodvfy aborts on any 32-bit pixels.

    Raises
    ------
    IdentityError
        If the dose is not in the image's frame of reference.
    DicomError
        If the summation type or the values cannot be written.
    """
    image = with_uids(image)
    if dose.frame_of_reference_uid not in ("", image.frame_of_reference_uid):
        raise IdentityError(
            "the dose is not in the image's frame of reference",
            found=dose.frame_of_reference_uid,
            expected=image.frame_of_reference_uid,
            code="frame-mismatch",
        )
    if dose.summation_type not in WRITABLE_SUMMATION_TYPES:
        raise DicomError(
            "this Dose Summation Type is not written",
            found=dose.summation_type,
            expected=" or ".join(WRITABLE_SUMMATION_TYPES),
        )
    if bits not in _LARGEST:
        raise DicomError("dose is written with 16 or 32 bits", found=str(bits), expected="16 or 32")
    values = np.asarray(dose.dose_gy.array, dtype=np.float64)
    if not np.all(np.isfinite(values)) or values.min() < 0:
        raise GeometryError("dose must be finite and not negative", found=f"{values.min()} to {values.max()} Gy")
    scaling = ds(values.max() / _LARGEST[bits] * (1 + 1e-9)) if values.max() > 0 else "1e-6"
    stored = np.rint(values / float(scaling)).astype(f"<u{bits // 8}")
    grid = dose.dose_gy.grid
    item = new_object(
        RT_DOSE,
        modality="RTDOSE",
        image=image,
        sop_uid=dose.sop_instance_uid,
        series_uid=uid_from("dose", dose.sop_instance_uid, dose.plan_uid, image.series_uid),
        series_number=4,
        description="Dose",
        created=created,
    )
    put_plane(item, grid, 0)
    put(item, "SliceThickness", ds(grid.spacing_mm[2]))
    put(item, "InstanceNumber", None)
    put(item, "NumberOfFrames", grid.shape[0])
    put(item, "FrameIncrementPointer", 0x3004000C)
    put(item, "GridFrameOffsetVector", [ds(k * grid.spacing_mm[2]) for k in range(grid.shape[0])])
    put_pixel_format(item, grid.shape, bits=bits, signed=False)
    put(item, "ImageComments", f"{NOTICE} Dose to water. {dose.comment}".strip())
    put(item, "DoseUnits", "GY")
    put(item, "DoseType", "PHYSICAL")
    put(item, "DoseComment", _comment(dose.comment))
    put(item, "DoseSummationType", dose.summation_type)
    put(item, "DoseGridScaling", scaling)
    plan = reference(RT_PLAN, dose.plan_uid or uid_from("plan not exported", image.series_uid, dose.sop_instance_uid))
    if dose.summation_type == "FRACTION_SESSION":
        put_sequence(plan, "ReferencedFractionGroupSequence", [part(ReferencedFractionGroupNumber=1)])
    put_sequence(item, "ReferencedRTPlanSequence", [plan])
    if structures_uid:
        put_sequence(item, "ReferencedInstanceSequence", [_structure_set_reference(structures_uid)])
    put(item, "PixelData", stored.tobytes())
    return save(item, path)


def _structure_set_reference(uid: str) -> Dataset:
    """Refer to the structure set in the General Reference module: the RT DVH module's way demands a DVH."""
    purpose = part(
        CodeValue="130042", CodingSchemeDesignator="DCM", CodeMeaning="RT Dose Calculation Structure"
    )  # DICOM PS3.16 annex D
    return reference(RT_STRUCTURE_SET, uid, PurposeOfReferenceCodeSequence=[purpose])


@tolerant_values()
def structure_set_uid_of(header: Header) -> str:
    """Return the structure set that a dose was calculated with; empty if it does not say."""
    for keyword in ("ReferencedStructureSetSequence", "ReferencedInstanceSequence"):
        for item in items(header.dataset, keyword, header.path):
            if text(item, "ReferencedSOPClassUID", header.path) == RT_STRUCTURE_SET:
                return text(item, "ReferencedSOPInstanceUID", header.path)
    return ""


def _comment(comment: str) -> str:
    """Say dose to water and research in the 64 characters of Dose Comment; Image Comments holds the whole."""
    notice = "Dose to water; research software, not a medical device"
    if comment.startswith("Dose to water; research"):
        return comment[:64]
    return f"Dose to water; research software. {comment}"[:64] if comment else notice
