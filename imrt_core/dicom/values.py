"""Values of DICOM attributes, with errors that name the attribute and the file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from imrt_core.patient import DicomError, PatientIdentity

from .opening import PARSE_ERRORS
from .uids import class_name

_T = TypeVar("_T")


def require_class(dataset: Dataset, sop_class: str, path: Path) -> None:
    """Refuse an object of another class, by name.

    Raises
    ------
    DicomError
        Code ``wrong-object``.
    """
    found = text(dataset, "SOPClassUID", path)
    if found != sop_class:
        raise DicomError(
            "not the object that was asked for",
            found=class_name(found),
            expected=class_name(sop_class),
            where=str(path),
            code="wrong-object",
        )


def value(dataset: Dataset, keyword: str, path: Path) -> Any:
    """Return an attribute's value, None where it is absent or empty.

    Raises
    ------
    DicomError
        If the value cannot be decoded.
    """
    try:
        found = dataset.get(keyword)
    except PARSE_ERRORS as error:
        raise _unreadable(dataset, keyword, path) from error
    if found is None or (isinstance(found, str) and not found.strip()):
        return None
    return found


def text(dataset: Dataset, keyword: str, path: Path) -> str:
    """Return an attribute as stripped text, empty where it is absent."""
    found = value(dataset, keyword, path)
    return "" if found is None else str(found).strip(" \0\t\r\n")


def number(dataset: Dataset, keyword: str, path: Path) -> float | None:
    """Return a finite number, None where the attribute is absent or empty.

    Raises
    ------
    DicomError
        If it is not one finite number.
    """
    found = value(dataset, keyword, path)
    if found is None:
        return None
    try:
        result = float(found)
    except (TypeError, ValueError) as error:
        raise _unreadable(dataset, keyword, path) from error
    if not np.isfinite(result):
        raise _unreadable(dataset, keyword, path)
    return result


def integer(dataset: Dataset, keyword: str, path: Path) -> int | None:
    """Return a whole number, None where the attribute is absent or empty."""
    found = number(dataset, keyword, path)
    if found is not None and found != int(found):
        raise _unreadable(dataset, keyword, path)
    return None if found is None else int(found)


def numbers(dataset: Dataset, keyword: str, path: Path, *, count: int | None = None) -> NDArray[np.float64] | None:
    """Return a multi-valued decimal attribute as an array, None where it is absent or empty.

    Works on the stored text where it can: one pydicom object per number is too slow for contours.

    Raises
    ------
    DicomError
        If a value is not a finite number, or there are not ``count``.
    """
    tag = Tag(keyword)
    if tag not in dataset:
        return None
    try:
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and element.VR in (None, "DS", "UN") and element.value is not None:
            stored = bytes(element.value).decode("ascii").strip(" \0")
            result = np.array([float(part) for part in stored.split("\\")] if stored else [])
        else:
            found = dataset[tag].value
            parts = [] if found is None else [found] if isinstance(found, str | float | int) else list(found)
            result = np.array([float(part) for part in parts])
    except PARSE_ERRORS as error:
        raise _unreadable(dataset, keyword, path) from error
    if result.size == 0:
        return None
    if not np.all(np.isfinite(result)):
        raise _unreadable(dataset, keyword, path)
    if count is not None and result.size != count:
        raise DicomError(
            f"{keyword} has the wrong number of values", found=str(result.size), expected=str(count), where=str(path)
        )
    return result


def items(dataset: Dataset, keyword: str, path: Path) -> list[Dataset]:
    """Return the items of a sequence, none where it is absent."""
    found = value(dataset, keyword, path)
    if found is None:
        return []
    if not isinstance(found, pydicom.Sequence):
        raise _unreadable(dataset, keyword, path)
    return list(found)


def needed(found: _T | None, keyword: str, path: Path) -> _T:
    """Return the value, refusing its absence.

    Raises
    ------
    DicomError
        Code ``missing-attribute``.
    """
    if found is None or (isinstance(found, str) and not found):
        raise DicomError(
            f"the object lacks {keyword}", found="no value", expected=keyword, where=str(path), code="missing-attribute"
        )
    return found


def _unreadable(dataset: Dataset, keyword: str, path: Path) -> DicomError:
    try:
        found = repr(getattr(dataset.get_item(Tag(keyword)), "value", None))[:60]
    except PARSE_ERRORS:
        found = "bytes that cannot be decoded"
    return DicomError(f"unreadable value of {keyword}", found=found, expected="a valid value", where=str(path))


def patient_identity(dataset: Dataset, path: Path) -> PatientIdentity:
    """Return who the object belongs to; attributes that are absent are empty."""
    return PatientIdentity(
        patient_id=text(dataset, "PatientID", path),
        name=text(dataset, "PatientName", path),
        birth_date=text(dataset, "PatientBirthDate", path),
        sex=text(dataset, "PatientSex", path),
    )


def moment(dataset: Dataset, path: Path, prefixes: Sequence[str]) -> str:
    """Return the first date and time that is stated, ISO 8601, empty if none is.

    Parameters
    ----------
    dataset : Dataset
        Object.
    path : Path
        For messages.
    prefixes : sequence of str
        Attributes without their ``Date`` and ``Time``, in order of preference.
    """
    for prefix in prefixes:
        date = text(dataset, f"{prefix}Date", path)
        time = text(dataset, f"{prefix}Time", path).partition(".")[0]
        try:
            day = datetime.strptime(date, "%Y%m%d")
        except ValueError:
            continue
        try:
            return (
                datetime.strptime(date + time.ljust(6, "0"), "%Y%m%d%H%M%S").isoformat() if time else f"{day:%Y-%m-%d}"
            )
        except ValueError:
            return f"{day:%Y-%m-%d}"
    return ""
