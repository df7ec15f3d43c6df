"""``course.json``: what is fixed when a course is registered, and what a fraction has received."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import CourseError, StorageError
from .files import disk_errors, write_text

FORMAT_VERSION: Literal[1] = 1
#: One function per step, from the version that is the key to the next one.
_MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}

MAX_FRACTIONS = 60
_COURSE_ID = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$")
_FRACTION = re.compile(r"^(?:fx)?(\d{1,2})$", re.IGNORECASE | re.ASCII)
Point = tuple[float, float, float]


class Record(BaseModel):
    """Base: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


R = TypeVar("R", bound=Record)


class CourseRecord(Record):
    """What a course is, as decided on ``course add``. Never holds a patient's name or id.

    Parameters
    ----------
    course : str
        Course id: folder name and partition key.
    created : str
        ISO 8601.
    patient_key : str
        Keyed hash of the patient id; only this installation can compute it.
    protocol, protocol_sha256, machine, machine_sha256 : str
        Names and hashes of the copies kept beside this file.
    fractions : int
        Number of fractions planned.
    prescription_gy : dict
        Course dose by target name.
    roi_names : dict
        Protocol name to the name in the RTSTRUCT.
    goals, not_applicable : tuple of str
        The goals that are judged, and those left out with the reason.
    plan_origin : str
        ``"received"`` (RTPLAN came along) or ``"planned here"``.
    patient_position : str or None
        Of the planning CT, or from RTPLAN or an option where the CT does not say.
    input_sha256 : str
        Of the DICOM folder as received.
    demo : bool
        A digital patient of ``igrt demo``; only such a course is ever replaced.
    unvalidated_model_allowed : bool
        The machine's beam model is compared with no measurement, and a person allowed it all the same.
    """

    format_version: Literal[1] = FORMAT_VERSION
    course: str
    created: str
    patient_key: str
    protocol: str
    protocol_sha256: str
    machine: str
    machine_sha256: str
    site: str
    fractions: Annotated[int, Field(ge=1, le=MAX_FRACTIONS)]
    prescription_gy: dict[str, float]
    roi_names: dict[str, str]
    goals: tuple[str, ...]
    not_applicable: tuple[str, ...] = ()
    plan_origin: Literal["received", "planned here"]
    patient_position: str | None
    frame_of_reference_uid: str
    ct_series_uid: str
    input_sha256: str
    demo: bool = False
    unvalidated_model_allowed: bool = False


class SetupImage(Record):
    """One setup image that a fraction has received.

    Parameters
    ----------
    folder : str
        Below ``fxNN/setup``.
    sha256, series_uid, acquired, received : str
        What came, when it was taken and when it came (ISO 8601).
    machine_isocentre_lps : tuple of float or None
        From the option; None leaves it to a registration object or the machine's rule.
    patient_position : str or None
        From the option, where the image does not say.
    """

    folder: str
    sha256: str
    series_uid: str
    acquired: str
    received: str
    machine_isocentre_lps: Point | None = None
    patient_position: str | None = None


class SetupRecord(Record):
    """All setup images of one fraction; the last acquired governs (CLINICAL, "Which fraction")."""

    format_version: Literal[1] = FORMAT_VERSION
    images: Annotated[tuple[SetupImage, ...], Field(min_length=1)]

    @property
    def governing(self) -> SetupImage:
        """The last image before beam-on: by acquisition time, then by arrival."""
        return max(self.images, key=lambda image: (image.acquired, image.received))


class DeliveryRecord(Record):
    """What really happened in a fraction.

    Parameters
    ----------
    applied_shift_mm, applied_rotation_deg : tuple of float or None
        [vertical, longitudinal, lateral] and [pitch, roll, yaw] that the table made; None if not stated.
    delivered : str
        ``"full"``, ``"none"`` or ``"partial"``.
    mu_by_beam : dict
        For a partial delivery: MU by beam name.
    plan_uid : str
        Which plan; empty for the plan of record.
    recorded : str
        ISO 8601.
    by : str
        Who recorded it.
    """

    format_version: Literal[1] = FORMAT_VERSION
    applied_shift_mm: Point | None
    applied_rotation_deg: Point | None
    delivered: Literal["full", "none", "partial"]
    mu_by_beam: dict[str, float] = {}
    plan_uid: str = ""
    recorded: str
    by: str


def check_course_id(course: str) -> str:
    """Return a course id that is safe as folder name, partition key and URL part.

    Raises
    ------
    CourseError
        If it is not 1–64 letters, digits, ``-`` and ``_``, beginning and ending with a letter or digit (ASCII).
    """
    if not _COURSE_ID.match(course) or "\n" in course:
        raise CourseError(
            "a course id must be a plain word",
            found=repr(course),
            expected="1 to 64 letters, digits, '-' and '_', beginning and ending with a letter or digit",
            code="course-id-invalid",
        )
    return course


def fraction_key(fraction: str | int) -> str:
    """Return ``"fx07"`` for ``7``, ``"7"``, ``"07"``, ``"fx7"`` or ``"fx07"``.

    Raises
    ------
    CourseError
        If it is no number from 1 to :data:`MAX_FRACTIONS`.
    """
    match = _FRACTION.match(str(fraction).strip())
    number = int(match[1]) if match else 0
    if not 1 <= number <= MAX_FRACTIONS:
        raise CourseError(
            "unknown fraction",
            found=repr(fraction),
            expected=f"fx01 to fx{MAX_FRACTIONS}",
            code="fraction-invalid",
        )
    return f"fx{number:02d}"


def fraction_number(key: str) -> int:
    """Return 7 for ``"fx07"``."""
    return int(fraction_key(key)[2:])


def write_record(path: Path, record: Record) -> Path:
    """Write a record as JSON, atomically."""
    return write_text(path, record.model_dump_json(indent=2) + "\n")


def read_record(path: Path, kind: type[R]) -> R:
    """Read a record, migrating older formats.

    Raises
    ------
    StorageError
        If the file cannot be read, is of a newer format, or breaks the model.
    """
    with disk_errors(path, "read"):
        text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        version = content.get("format_version")
        while isinstance(version, int) and version < FORMAT_VERSION and version in _MIGRATIONS:
            content = _MIGRATIONS[version](content)
            version = content["format_version"]
        if version != FORMAT_VERSION:
            raise StorageError(
                "unknown format of a stored record",
                found=f"format_version {version}",
                expected=f"1 to {FORMAT_VERSION}",
                where=str(path),
            )
        return kind.model_validate(content)
    except (ValidationError, ValueError, AttributeError) as error:
        raise StorageError("a stored record is damaged", found=str(error), where=str(path)) from error
