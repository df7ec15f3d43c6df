"""Opening DICOM files: tolerant of odd encodings, never of a file that is not whole."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import config
from pydicom.dataset import FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from imrt_core.patient import DicomError

#: What pydicom raises on bytes that are no DICOM, or no longer.
PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    LookupError,
    RecursionError,
    struct.error,
    zlib.error,
)

_lock = threading.RLock()
_depth = 0
_saved_mode: int | None = None


@contextmanager
def tolerant_values() -> Iterator[None]:
    """Let pydicom hand out values that break a VR's rules (too long, odd characters) without complaint.

    Vendors' files hold many, and pydicom's warnings quote them, patient names included. pydicom's switch is global:
    the first reader of the process turns it, the last one turns it back.
    """
    global _depth, _saved_mode
    with _lock:
        if _depth == 0:
            _saved_mode = config.settings._reading_validation_mode
            config.settings.reading_validation_mode = config.IGNORE
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                config.settings._reading_validation_mode = _saved_mode


class _WatchedFile:
    """A binary file that remembers whether anything was asked for that is not there.

    pydicom hands out a shortened value without a word; a truncated file must be noticed.
    """

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file = file
        self._size = size
        self.name = name
        self.ended_early = False

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        # Nothing left where the next element's 8-byte head is expected is the normal end of a file.
        if 0 <= size != len(data) and (data or size != 8):
            self.ended_early = True
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        position = self._file.seek(offset, whence)
        if position > self._size:
            self.ended_early = True
        return position

    def tell(self) -> int:
        return self._file.tell()


def has_dicom_prefix(path: Path) -> bool:
    """Whether the file has the 128-byte preamble and ``DICM`` (files without can still be DICOM)."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def open_dataset(
    path: Path, *, before_pixels: bool = False, keywords: Sequence[str] | None = None
) -> tuple[FileDataset, int]:
    """Read a DICOM file, with or without preamble and file meta information, in any uncompressed encoding.

    Parameters
    ----------
    path : Path
        The file.
    before_pixels : bool
        Stop in front of the pixel data.
    keywords : sequence of str, optional
        Only these attributes.

    Returns
    -------
    FileDataset
        What was read.
    int
        File position where reading stopped: the pixel data's element, or the end.

    Raises
    ------
    DicomError
        If the file is not there, not DICOM (code ``not-dicom``), or truncated (code ``truncated-file``).
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file, _lock, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            has_prefix = file.read(132)[128:] == b"DICM"
            file.seek(0)
            watched = _WatchedFile(file, size, path.name)
            dataset = pydicom.dcmread(
                watched,  # a file, as far as pydicom reads one
                force=not has_prefix,
                stop_before_pixels=before_pixels,
                specific_tags=None if keywords is None else list(keywords),
            )
            position = file.tell()
            uid = dataset.get("SOPClassUID")
            # pydicom only warns of a sequence without an end.
            broken = watched.ended_early or any("in file" in str(w.message) for w in caught)
    except OSError as error:
        if error.errno is None:  # pydicom's own, about bytes that end within a sequence
            raise not_dicom(path, size=size, has_prefix=has_prefix) from error
        raise DicomError(
            "the file cannot be read", found=error.strerror or str(error), where=str(path), code="unreadable-file"
        ) from error
    except PARSE_ERRORS as error:
        raise not_dicom(path, size=size, has_prefix=has_prefix) from error
    if not uid and not (has_prefix and "MediaStorageSOPClassUID" in dataset.file_meta):
        raise not_dicom(path, size=size, has_prefix=has_prefix)
    if broken:
        raise truncated(path, found=f"the file ends after {size} bytes, within an element")
    return dataset, position


def not_dicom(path: Path, *, size: int, has_prefix: bool) -> DicomError:
    """Return the refusal of a file that holds no DICOM object (or only the beginning of one)."""
    if has_prefix:
        return truncated(path, found=f"{size} bytes without a readable object")
    found = "an empty file" if size == 0 else f"{size} bytes that are not DICOM"
    return DicomError("not a DICOM file", found=found, expected="a DICOM object", where=str(path), code="not-dicom")


def truncated(path: Path, *, found: str, expected: str = "a whole object") -> DicomError:
    """Return the refusal of a file that ends too early."""
    return DicomError("the file is truncated", found=found, expected=expected, where=str(path), code="truncated-file")
