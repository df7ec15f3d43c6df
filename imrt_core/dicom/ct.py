"""CT and CBCT series: reading into a volume of HU, and writing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from imrt_core.patient import (
    PATIENT_POSITIONS,
    DicomError,
    Grid,
    IdentityError,
    PatientImage,
    Scanner,
    Volume,
)

from .header import Header, read_stored_values
from .opening import tolerant_values
from .series import scan_strictly
from .slices import distinct_slices, slice_stack, volume_slices
from .uids import CT_IMAGE, class_name, with_uids
from .values import integer, moment, needed, number, patient_identity
from .writing import NOTICE, ds, new_object, put, save_all

#: HU of pixels outside the reconstructed field of view (Pixel Padding Value), where the stored value is lower still.
PADDING_HU = -1024.0


@tolerant_values()
def read_image(path: Path, *, patient_position: str | None = None, series_uid: str | None = None) -> PatientImage:
    """Read one CT or CBCT series (CT Image Storage) into HU.

    RT objects and registrations beside the slices are passed over, localizers too. Any other object (an MR slice, an
    enhanced CT), a second series, or a file that is no DICOM is refused by name.

    Parameters
    ----------
    path : Path
        Folder (searched with its subfolders), or a single file, which is then a volume of one slice.
    patient_position : str, optional
        Where the files do not state it. A contradiction is refused.
    series_uid : str, optional
        Which series, where there are several.

    Returns
    -------
    PatientImage
        HU as float32, slices ordered along row × column of Image Orientation (Patient).

    Raises
    ------
    DicomError
        For anything but one complete, uniform, readable series.
    IdentityError
        If slices are of different patients or frames, or the patient position is unsupported or contradictory.
    """
    path = Path(path)
    slices = ct_series(scan_strictly(path), where=str(path), series_uid=series_uid)
    return load_series(slices, where=str(path), patient_position=patient_position, whole_series=path.is_dir())


def ct_series(headers: list[Header], *, where: str, series_uid: str | None = None) -> list[Header]:
    """Pick the slices of the one CT series in a folder.

    Raises
    ------
    DicomError
        If there is none, more than one, or an object that is neither CT nor RT.
    """
    if series_uid is not None:
        chosen = [header for header in headers if header.series_uid == series_uid]
        if not chosen:
            raise DicomError(
                "there is no such series",
                found=", ".join(sorted({h.series_uid for h in headers})) or "no DICOM files",
                expected=series_uid,
                where=where,
                code="no-image",
            )
        headers = chosen
    for header in headers:
        if header.sop_class != CT_IMAGE and not header.is_radiotherapy:
            raise DicomError(
                "an object that does not belong to a CT series",
                found=f"{class_name(header.sop_class)} in {header.path.name}",
                expected=class_name(CT_IMAGE),
                where=where,
                code="not-ct",
            )
    slices = volume_slices([header for header in headers if header.sop_class == CT_IMAGE])
    groups: dict[str, list[Header]] = {}
    for header in slices:
        groups.setdefault(header.series_uid, []).append(header)
    if len(groups) > 1:
        raise DicomError(
            "more than one image series",
            found="; ".join(f"{uid} ({len(group)} slices)" for uid, group in sorted(groups.items())),
            expected="one series, or a choice of series",
            where=where,
            code="several-series",
        )
    if not slices:
        kinds = sorted({class_name(header.sop_class) for header in headers})
        raise DicomError(
            "there is no CT image",
            found=", ".join(kinds) or "no DICOM files",
            expected=class_name(CT_IMAGE),
            where=where,
            code="no-image",
        )
    return slices


def load_series(
    headers: list[Header], *, where: str, patient_position: str | None = None, whole_series: bool = True
) -> PatientImage:
    """Read the pixels of one series, once, straight into the volume.

    Raises
    ------
    DicomError, IdentityError
        As :func:`read_image`.
    """
    slices, grid = slice_stack(distinct_slices(headers, where=where, whole_series=whole_series), where=where)
    first = slices[0]
    position = _position(first, patient_position, where=where)
    hu = np.empty(grid.shape, dtype=np.float32)
    for k, header in enumerate(slices):
        hu[k] = _slice_hu(header)
    prefixes = ("Acquisition", "Content", "Series", "Study", "InstanceCreation")
    stamps = [stamp for header in slices if (stamp := moment(header.dataset, header.path, prefixes))]
    return PatientImage(
        hu=Volume(hu, grid),
        patient=patient_identity(first.dataset, first.path),
        frame_of_reference_uid=first.text("FrameOfReferenceUID"),
        study_uid=first.text("StudyInstanceUID"),
        series_uid=first.series_uid,
        slice_uids=tuple(header.text("SOPInstanceUID") for header in slices),
        patient_position=position,
        acquired=min(stamps, default=""),
        scanner=Scanner(
            modality=first.text("Modality") or "CT",
            manufacturer=first.text("Manufacturer"),
            model=first.text("ManufacturerModelName"),
            station=first.text("StationName"),
            kvp=number(first.dataset, "KVP", first.path),
        ),
    )


def _position(header: Header, stated: str | None, *, where: str) -> str | None:
    found = header.text("PatientPosition").upper() or None
    for value, source in ((found, header.path.name), (stated, "the option")):
        if value is not None and value not in PATIENT_POSITIONS:
            raise IdentityError(
                "unsupported patient position",
                found=f"{value} in {source}",
                expected=" ".join(PATIENT_POSITIONS),
                where=where,
                code="patient-position",
            )
    if found and stated and found != stated:
        raise IdentityError(
            "the image contradicts the stated patient position",
            found=f"{found} in {header.path.name}",
            expected=stated,
            where=where,
            code="patient-position",
        )
    return found or stated


def _slice_hu(header: Header) -> NDArray[np.float32]:
    slope, intercept = (
        needed(number(header.dataset, keyword, header.path), keyword, header.path)
        for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    if slope == 0:
        raise DicomError("a rescale slope of zero", found="0", expected="a slope that gives HU", where=str(header.path))
    if (integer(header.dataset, "NumberOfFrames", header.path) or 1) != 1:
        raise DicomError("a CT slice with several frames", expected="one frame", where=str(header.path))
    stored = read_stored_values(header, frames=1)[0]
    hu: NDArray[np.float32] = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    low = integer(header.dataset, "PixelPaddingValue", header.path)
    if low is not None:
        high = integer(header.dataset, "PixelPaddingRangeLimit", header.path)
        low, high = sorted((low, low if high is None else high))
        # Some vendors state a padding value that is also a tissue's: only what is below air is replaced.
        hu[(stored >= low) & (stored <= high) & (hu < PADDING_HU)] = PADDING_HU
    return hu


def write_image(image: PatientImage, folder: Path) -> tuple[Path, ...]:
    """Write a CT series, one file per slice, HU rounded to whole numbers.

    Parameters
    ----------
    image : PatientImage
        UIDs that it lacks are derived from its content (:func:`with_uids`).
    folder : Path
        Made if it does not exist, and then appears whole; into an existing folder the files move one by one.

    Returns
    -------
    tuple of Path
        ``CT_0001.dcm`` … in the order of the z index.

    Raises
    ------
    DicomError
        If HU are not finite or do not fit 16 bits, or the folder cannot be written.
    """
    image = with_uids(image)
    hu = image.hu.array
    if not np.all(np.isfinite(hu)) or hu.min() < -32768 or hu.max() > 32767:
        raise DicomError(
            "HU cannot be stored",
            found=f"{np.min(hu)} to {np.max(hu)}",
            expected="finite, -32768 to 32767",
            code="invalid-image",
        )
    stored = np.rint(hu).astype("<i2")
    names = [f"CT_{k + 1:04d}.dcm" for k in range(len(stored))]
    return save_all(((name, _slice_object(image, k, stored[k])) for k, name in enumerate(names)), Path(folder))


def _slice_object(image: PatientImage, k: int, stored: NDArray[np.int16]) -> Dataset:
    item = new_object(
        CT_IMAGE,
        modality="CT",
        image=image,
        sop_uid=image.slice_uids[k],
        series_uid=image.series_uid,
        series_number=1,
        description="CT",
        equipment=image.scanner,
    )
    put(item, "ImageType", ["DERIVED", "SECONDARY", "AXIAL"])
    put(item, "DerivationDescription", f"Written by igrt. {NOTICE}")
    put(item, "AcquisitionNumber", None)
    put(item, "InstanceNumber", k + 1)
    put(item, "NumberOfSeriesRelatedInstances", len(image.slice_uids))
    put(item, "KVP", None if image.scanner.kvp is None else ds(image.scanner.kvp))
    put(item, "PatientPosition", image.patient_position or "")
    put_plane(item, image.hu.grid, k)
    put(item, "SliceThickness", ds(image.hu.grid.spacing_mm[2]))
    put(item, "RescaleIntercept", "0")
    put(item, "RescaleSlope", "1")
    put(item, "RescaleType", "HU")
    put_pixel_format(item, stored.shape, bits=16, signed=True)
    put(item, "PixelData", stored.tobytes())
    return item


def put_plane(item: Dataset, grid: Grid, k: int) -> None:
    """Write where plane k of a grid lies (Image Plane module)."""
    axes = np.asarray(grid.direction)
    put(item, "ImagePositionPatient", [ds(v) for v in grid.to_lps((0.0, 0.0, float(k)))])
    put(item, "ImageOrientationPatient", [ds(v) for v in (*axes[:, 0], *axes[:, 1])])
    put(item, "PixelSpacing", [ds(grid.spacing_mm[1]), ds(grid.spacing_mm[0])])


def put_pixel_format(item: Dataset, shape: tuple[int, ...], *, bits: int, signed: bool) -> None:
    """Write the Image Pixel module but for the pixels."""
    put(item, "SamplesPerPixel", 1)
    put(item, "PhotometricInterpretation", "MONOCHROME2")
    put(item, "Rows", shape[-2])
    put(item, "Columns", shape[-1])
    put(item, "BitsAllocated", bits)
    put(item, "BitsStored", bits)
    put(item, "HighBit", bits - 1)
    put(item, "PixelRepresentation", int(signed))
