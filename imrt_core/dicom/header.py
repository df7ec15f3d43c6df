"""The head of a DICOM file: what it is and where its pixels lie, without reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from imrt_core.patient import DicomError

from .opening import PARSE_ERRORS, open_dataset, tolerant_values, truncated
from .uids import REGISTRATION_FAMILY, RT_FAMILY
from .values import integer, needed, text

IMAGE_KEYWORDS = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "StudyTime",
    "SeriesDate",
    "SeriesTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "ContentDate",
    "ContentTime",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "Modality",
    "Manufacturer",
    "StationName",
    "SeriesDescription",
    "ManufacturerModelName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "SliceThickness",
    "KVP",
    "PatientPosition",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "NumberOfSeriesRelatedInstances",
    "TemporalPositionIdentifier",
    "NumberOfTemporalPositions",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
)

#: What tells whose and which object it is: unreadable values of these make a file unreadable.
_IDENTITY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "PatientID",
    "ImageType",
)

_UNDEFINED_LENGTH = 0xFFFFFFFF


@dataclass(frozen=True, eq=False)
class Header:
    """A file's attributes and the place of its pixel data.

    Parameters
    ----------
    path : Path
        The file.
    dataset : FileDataset
        Attributes in front of the pixel data.
    pixel_offset, pixel_bytes : int
        Where native (uncompressed) pixel data lie in the file; 0 bytes where there are none or they are compressed.
    compressed : bool
        Whether the pixel data must be decoded by pydicom.
    problem : str
        Why the file is not whole; empty if it is.
    """

    path: Path
    dataset: FileDataset
    pixel_offset: int = 0
    pixel_bytes: int = 0
    compressed: bool = False
    problem: str = ""

    def text(self, keyword: str) -> str:
        """Return an attribute as text, empty where absent."""
        return text(self.dataset, keyword, self.path)

    @property
    def sop_class(self) -> str:
        """SOP Class UID, from the file meta information where the object lacks it."""
        return self.text("SOPClassUID") or str(self.dataset.file_meta.get("MediaStorageSOPClassUID", ""))

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return self.text("SeriesInstanceUID")

    @property
    def is_radiotherapy(self) -> bool:
        """Whether it is an RT object, a registration or fiducials: company that an image series may have."""
        return self.sop_class.startswith((RT_FAMILY, REGISTRATION_FAMILY))


@tolerant_values()
def read_header(path: Path, *, keywords: Sequence[str] = IMAGE_KEYWORDS) -> Header:
    """Read a file up to its pixel data and see whether these are complete.

    Raises
    ------
    DicomError
        If the file is not DICOM, ends within the header, or does not say readably what it is.
    """
    dataset, position = open_dataset(path, before_pixels=True, keywords=keywords)
    for keyword in _IDENTITY:
        text(dataset, keyword, path)
    syntax = _transfer_syntax(dataset)
    if syntax is not None and syntax.is_deflated:
        return Header(path, dataset, compressed=True)
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(position)
        head = file.read(12)
    implicit, little = dataset.original_encoding
    order = "little" if little else "big"
    if len(head) < 8:
        return Header(path, dataset)
    length_at = 4 if implicit else 8
    length = int.from_bytes(head[length_at : length_at + 4], order)  # type: ignore[arg-type]
    start = position + length_at + 4
    if length == _UNDEFINED_LENGTH or (syntax is not None and syntax.is_encapsulated):
        # The last bytes of encapsulated pixel data are a delimiter; padding may follow it.
        return Header(path, dataset, compressed=True)
    missing = start + length - size
    problem = f"{missing} of {length} bytes of pixel data are missing" if missing > 0 else ""
    return Header(path, dataset, pixel_offset=start, pixel_bytes=length, problem=problem)


def _transfer_syntax(dataset: FileDataset) -> UID | None:
    found = dataset.file_meta.get("TransferSyntaxUID", None) if hasattr(dataset, "file_meta") else None
    uid = UID(str(found)) if found else None
    return uid if uid is not None and uid.is_transfer_syntax and not uid.is_private else None


def read_stored_values(header: Header, *, frames: int) -> NDArray[np.generic]:
    """Read the stored pixel values, once.

    Parameters
    ----------
    header : Header
        Of an image or dose, 16 or 32 bits allocated, one sample per pixel.
    frames : int
        Number of frames.

    Returns
    -------
    ndarray, shape (frames, rows, columns)
        Integers, in the sign that Pixel Representation says, of the bits stored.

    Raises
    ------
    DicomError
        If the pixel data are missing, truncated, compressed in a way that pydicom cannot decode, or do not fit the
        dimensions.
    """
    path, dataset = header.path, header.dataset
    rows, columns, allocated, stored = (
        needed(integer(dataset, keyword, path), keyword, path)
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored")
    )
    signed = integer(dataset, "PixelRepresentation", path) == 1
    if integer(dataset, "SamplesPerPixel", path) not in (None, 1):
        raise DicomError("colour pixels", found="several samples per pixel", expected="1", where=str(path))
    if allocated not in (16, 32) or not 1 <= stored <= allocated:
        raise DicomError(
            "unsupported pixel depth", found=f"{stored} of {allocated} bits", expected="16 or 32 bits", where=str(path)
        )
    if header.problem:
        raise truncated(path, found=header.problem, expected="complete pixel data")
    shape = (frames, rows, columns)
    if header.compressed:
        return _decoded(header, shape)
    expected = frames * rows * columns * allocated // 8
    if not expected <= header.pixel_bytes <= expected + 1:
        raise DicomError(
            "the pixel data do not fit the dimensions" if header.pixel_bytes else "the object has no pixel data",
            found=f"{header.pixel_bytes} bytes",
            expected=f"{expected} bytes for {frames} × {rows} × {columns} pixels of {allocated} bits",
            where=str(path),
            code="truncated-file" if header.pixel_bytes < expected else "invalid-dicom",
        )
    order = "<" if dataset.original_encoding[1] else ">"
    raw = np.fromfile(
        path, dtype=f"{order}u{allocated // 8}", count=frames * rows * columns, offset=header.pixel_offset
    )
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)
    # Bits above those stored may hold anything (old overlays): shift them out, with the sign where there is one.
    spare = allocated - stored
    values = raw.view(f"i{allocated // 8}") if signed else raw
    if spare:
        values = (values << spare) >> spare
    return values.reshape(shape)


def _decoded(header: Header, shape: tuple[int, int, int]) -> NDArray[np.generic]:
    syntax = _transfer_syntax(header.dataset)
    try:
        with tolerant_values():
            pixels = pydicom.dcmread(header.path).pixel_array
    except (RuntimeError, OSError, *PARSE_ERRORS) as error:
        raise DicomError(
            "the pixel data are compressed and cannot be decoded",
            found=syntax.name if syntax is not None else "an unknown transfer syntax",
            expected="an uncompressed transfer syntax, or one that pydicom can decode here",
            where=str(header.path),
            code="compressed-pixels",
        ) from error
    if pixels.size != shape[0] * shape[1] * shape[2]:
        raise truncated(header.path, found=f"{pixels.size} pixels", expected=f"{shape}")
    return pixels.reshape(shape)


def file_digest(path: Path) -> str:
    """Return a hash of the file's bytes, to tell a copy from a second version."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
