"""Strict writing: validated values, no clock, files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pydicom
from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from imrt_core.patient import DicomError, PatientIdentity, PatientImage, Scanner

from .uids import RT_STRUCTURE_SET, uid_from

#: Said in every object that this package writes.
NOTICE = "Research software, not a medical device."

_UID = re.compile(r"[0-9.]{1,64}")
_IMPLEMENTATION_UID = uid_from("igrt", "implementation")


def ds(number: float) -> str:
    """Return a DICOM decimal string: at most 16 characters, the most precise one.

    Raises
    ------
    DicomError
        If the number is not finite.
    """
    try:
        text = format_number_as_ds(float(number) + 0.0)  # + 0.0 turns -0.0 into 0.0
    except (ValueError, OverflowError) as error:
        raise DicomError("a number that DICOM cannot hold", found=str(number), expected="a finite number") from error
    # Without trailing zeros, a number that is read and written again keeps its text.
    mantissa, mark, exponent = text.partition("e")
    return (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + mark + exponent


def put(item: Dataset, keyword: str, value: Any) -> None:
    """Set an attribute; a value that breaks its VR's rules is refused.

    Raises
    ------
    DicomError
        Naming the attribute.
    """
    tag = Tag(keyword)
    vr = dictionary_VR(tag)
    if vr == "OB or OW":
        vr = "OW"
    # References must repeat the UIDs of the images received, also those with a leading zero in a component.
    mode = config.IGNORE if vr == "UI" and _UID.fullmatch(str(value)) else config.RAISE
    try:
        item[tag] = DataElement(tag, vr, value, validation_mode=mode)
    except (ValueError, TypeError, OverflowError) as error:
        raise DicomError(
            f"{keyword} cannot be written", found=repr(value)[:60], expected=f"a valid {vr} ({error})"
        ) from error


def put_sequence(item: Dataset, keyword: str, parts: Iterable[Dataset]) -> None:
    """Set a sequence."""
    item[Tag(keyword)] = DataElement(Tag(keyword), "SQ", pydicom.Sequence(parts))


def part(**values: Any) -> Dataset:
    """Return a sequence item of validated attributes."""
    item = Dataset()
    for keyword, value in values.items():
        if isinstance(value, list) and all(isinstance(v, Dataset) for v in value):
            put_sequence(item, keyword, value)
        else:
            put(item, keyword, value)
    return item


def reference(sop_class: str, sop_uid: str, **values: Any) -> Dataset:
    """Return an item that refers to another object."""
    return part(ReferencedSOPClassUID=sop_class, ReferencedSOPInstanceUID=sop_uid, **values)


def dicom_moment(iso: str) -> tuple[str, str]:
    """Split an ISO 8601 date and time into DICOM's DA and TM; empty stays empty.

    Raises
    ------
    DicomError
        If it is no such date.
    """
    if not iso:
        return "", ""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError as error:
        raise DicomError("not a date and time", found=iso, expected="ISO 8601") from error
    return f"{moment:%Y%m%d}", f"{moment:%H%M%S}" if len(iso) > len("2000-01-01") else ""


def new_object(
    sop_class: str,
    *,
    modality: str,
    image: PatientImage,
    sop_uid: str,
    series_uid: str,
    series_number: int,
    description: str,
    equipment: Scanner | None = None,
    created: str | None = None,
) -> Dataset:
    """Begin an object: patient, study, series, equipment, frame of reference, SOP common.

    Parameters
    ----------
    sop_class : str
        SOP Class UID.
    modality : str
        Modality.
    image : PatientImage
        Whose patient, study and frame it shares; complete with UIDs.
    sop_uid, series_uid : str
        Own UIDs; an empty ``sop_uid`` is derived from the object's bytes when it is saved.
    series_number : int
        Series Number.
    description : str
        Series Description.
    equipment : Scanner, optional
        What made the object; this software where absent.
    created : str, optional
        ISO 8601; the image's acquisition where absent. Never the clock: the same input gives the same bytes.
    """
    item = Dataset()
    put(item, "SpecificCharacterSet", "ISO_IR 192")
    put(item, "SOPClassUID", sop_class)
    if sop_uid:
        put(item, "SOPInstanceUID", sop_uid)
    study_date, study_time = dicom_moment(image.acquired)
    date, time = dicom_moment(image.acquired if created is None else created)
    put(item, "StudyDate", study_date)
    put(item, "StudyTime", study_time)
    if date:
        put(item, "InstanceCreationDate", date)
        put(item, "InstanceCreationTime", time)
    if equipment is not None and study_date:
        put(item, "AcquisitionDate", study_date)
        put(item, "AcquisitionTime", study_time)
    put(item, "AccessionNumber", "")
    put(item, "Modality", modality)
    put(item, "ReferringPhysicianName", "")
    put(item, "SeriesDescription", description)
    _put_equipment(item, equipment)
    _put_patient(item, image.patient)
    put(item, "StudyInstanceUID", image.study_uid)
    put(item, "SeriesInstanceUID", series_uid)
    put(item, "StudyID", "")
    put(item, "SeriesNumber", series_number)
    put(item, "FrameOfReferenceUID", image.frame_of_reference_uid)
    put(item, "PositionReferenceIndicator", "")
    if modality.startswith("RT"):
        put(item, "OperatorsName", "")
    else:
        put(item, "Laterality", "")
    return item


def _put_equipment(item: Dataset, equipment: Scanner | None) -> None:
    if equipment is None:
        put(item, "Manufacturer", "igrt")
        put(item, "ManufacturerModelName", "igrt")
        put(item, "SoftwareVersions", version("igrt"))
        return
    put(item, "Manufacturer", equipment.manufacturer[:64])
    if equipment.model:
        put(item, "ManufacturerModelName", equipment.model[:64])
    if equipment.station:
        put(item, "StationName", equipment.station[:16])


def _put_patient(item: Dataset, patient: PatientIdentity) -> None:
    """Write who the patient is; a sex or birth date that DICOM does not allow was no statement, and stays empty."""
    put(item, "PatientName", patient.name)
    put(item, "PatientID", patient.patient_id)
    put(item, "PatientBirthDate", patient.birth_date if re.fullmatch(r"\d{8}", patient.birth_date) else "")
    put(item, "PatientSex", patient.sex if patient.sex in ("M", "F", "O") else "")


def save(item: Dataset, path: Path) -> Path:
    """Write one object: temporary file, fsync, rename.

    Raises
    ------
    DicomError
        Code ``cannot-write``, with the system's reason.
    """
    data = encoded(item)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_whole(data, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(error, path) from error
    return path


def save_all(objects: Iterable[tuple[str, Dataset]], folder: Path) -> tuple[Path, ...]:
    """Write several objects into a folder, which appears whole where it did not exist.

    Raises
    ------
    DicomError
        Code ``cannot-write``; nothing of a new folder is then left behind.
    """
    staging = (folder if folder.exists() else folder.parent) / _hidden_name()
    names = []
    try:
        staging.mkdir(parents=True)
        for name, item in objects:
            _write_whole(encoded(item), staging / name)
            names.append(name)
        if folder.exists():
            for name in names:
                (staging / name).replace(folder / name)
        else:
            staging.rename(folder)
        _sync_folder(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        raise _cannot_write(error, folder) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return tuple(folder / name for name in names)


def encoded(item: Dataset) -> bytes:
    """Return the object as a DICOM file's bytes; its UID is derived from them where it has none."""
    if "SOPInstanceUID" not in item:
        put(item, "SOPInstanceUID", uid_from("object", hashlib.sha256(_file_bytes(item, uid_from("none"))).hexdigest()))
    return _file_bytes(item, str(item.SOPInstanceUID))


def _file_bytes(item: Dataset, sop_uid: str) -> bytes:
    # Explicit VR cannot hold a contour of more than 64 KiB of text.
    implicit = item.SOPClassUID == RT_STRUCTURE_SET
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = item.SOPClassUID
    meta.MediaStorageSOPInstanceUID = UID(sop_uid)
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_IMPLEMENTATION_UID)
    meta.ImplementationVersionName = f"IGRT {version('igrt')}"[:16]
    item.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, item, enforce_file_format="SOPInstanceUID" in item)
    return buffer.getvalue()


def _write_whole(data: bytes, path: Path) -> None:
    temporary = path.parent / _hidden_name()
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _hidden_name() -> str:
    # Hidden, so that no reader takes something half-written for a whole object or series.
    return f".igrt-{uuid.uuid4().hex}"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cannot_write(error: OSError, path: Path) -> DicomError:
    return DicomError(
        "the output cannot be written",
        found=error.strerror or str(error),
        expected="a folder that takes files",
        where=str(path),
        code="cannot-write",
    )


def limited(text: str, length: int, *, keyword: str) -> str:
    """Return the text if it fits a DICOM attribute.

    Raises
    ------
    DicomError
        If it is longer than ``length`` characters.
    """
    if len(text) > length:
        raise DicomError(f"{keyword} is too long", found=f"{len(text)} characters: {text}", expected=f"{length}")
    return text
