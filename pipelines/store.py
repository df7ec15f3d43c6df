"""The course store: folders, records and received images under ``IGRT_HOME``."""

from __future__ import annotations

import hmac
import json
import secrets
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imrt_core.patient import PatientIdentity

from .course_record import (
    CourseRecord,
    DeliveryRecord,
    SetupRecord,
    check_course_id,
    fraction_key,
    fraction_number,
    read_record,
    write_record,
)
from .errors import CourseError
from .files import copy_tree, disk_errors, make_folder, write_text
from .home import courses_folder, home
from .protocol import Protocol, parse_protocol


@dataclass(frozen=True)
class CourseFolder:
    """Paths of one course; nothing is created by asking.

    Parameters
    ----------
    course : str
        A valid course id.
    """

    course: str

    def __post_init__(self) -> None:
        check_course_id(self.course)

    @property
    def path(self) -> Path:
        """``courses/<id>``."""
        return courses_folder() / self.course

    @property
    def record_file(self) -> Path:
        """``course.json``."""
        return self.path / "course.json"

    @property
    def planning(self) -> Path:
        """DICOM as received."""
        return self.path / "planning"

    @property
    def plan(self) -> Path:
        """DICOM of the plan that was made here."""
        return self.path / "plan"

    @property
    def protocol_file(self) -> Path:
        """The protocol as it was when the course was registered."""
        return self.path / "protocol.yaml"

    @property
    def machine_file(self) -> Path:
        """The machine file as it was when the course was registered."""
        return self.path / "machine.toml"

    @property
    def report(self) -> Path:
        """Folder of the course report."""
        return self.path / "report"

    def fraction(self, fraction: str | int) -> FractionFolder:
        """Return the paths of one fraction."""
        return FractionFolder(self, fraction_key(fraction))

    @property
    def exists(self) -> bool:
        """Whether the course is registered."""
        return self.record_file.is_file()

    def record(self) -> CourseRecord:
        """Read ``course.json``.

        Raises
        ------
        CourseError
            If there is no such course.
        """
        if not self.exists:
            raise CourseError(
                "there is no such course",
                found=self.course,
                expected=", ".join(course_ids()) or "igrt course add first",
                where=str(courses_folder()),
                code="course-not-found",
            )
        return read_record(self.record_file, CourseRecord)

    def protocol(self) -> Protocol:
        """Read the course's own copy of its protocol."""
        with disk_errors(self.protocol_file, "read"):
            text = self.protocol_file.read_text(encoding="utf-8")
        return parse_protocol(text, where=str(self.protocol_file))

    def fractions(self) -> tuple[FractionFolder, ...]:
        """Return the fractions that have received an image, in order."""
        found = (p.name for p in self.path.glob("fx[0-9][0-9]") if (p / "setup.json").is_file())
        return tuple(self.fraction(name) for name in sorted(found))


@dataclass(frozen=True)
class FractionFolder:
    """Paths of one fraction."""

    course: CourseFolder
    key: str

    @property
    def number(self) -> int:
        """7 for fx07."""
        return fraction_number(self.key)

    @property
    def path(self) -> Path:
        """``courses/<id>/fxNN``."""
        return self.course.path / self.key

    @property
    def setup(self) -> Path:
        """Received images, one folder each."""
        return self.path / "setup"

    @property
    def setup_file(self) -> Path:
        """``setup.json``."""
        return self.path / "setup.json"

    @property
    def delivery_file(self) -> Path:
        """``delivered.json``."""
        return self.path / "delivered.json"

    @property
    def dicom(self) -> Path:
        """DICOM that we write for this fraction."""
        return self.path / "dicom"

    @property
    def report(self) -> Path:
        """Folder of the fraction's report."""
        return self.path / "report"

    def output(self, asset: str, suffix: str) -> Path:
        """Return where the output of a stage lies."""
        return self.path / "stages" / f"{asset}{suffix}"

    def setup_record(self) -> SetupRecord:
        """Read ``setup.json``.

        Raises
        ------
        CourseError
            If the fraction has no image yet.
        """
        if not self.setup_file.is_file():
            raise CourseError(
                "the fraction has no setup image",
                found="nothing",
                expected="an image (igrt fraction run --setup)",
                where=f"{self.course.course} {self.key}",
                code="setup-image-missing",
            )
        return read_record(self.setup_file, SetupRecord)

    def delivery(self) -> DeliveryRecord | None:
        """Read what was recorded as delivered; None if nothing was."""
        return read_record(self.delivery_file, DeliveryRecord) if self.delivery_file.is_file() else None

    @property
    def is_complete(self) -> bool:
        """Whether the chain has run to its end on the governing image."""
        return self.output("fraction_report", ".json").is_file()


def course_ids() -> tuple[str, ...]:
    """Return the ids of all registered courses."""
    return tuple(sorted(p.parent.name for p in courses_folder().glob("*/course.json") if p.parent.name[0] != "."))


def courses() -> tuple[CourseFolder, ...]:
    """Return all registered courses."""
    return tuple(CourseFolder(course) for course in course_ids())


def patient_key(patient: PatientIdentity) -> str:
    """Return a keyed hash of the patient id, the same within this installation and useless outside it."""
    text = patient.patient_id.strip().encode()
    return hmac.new(_installation_key(), text, "sha256").hexdigest()[:32]


def default_course_id(patient: PatientIdentity, *, frame_of_reference_uid: str) -> str:
    """Return a pseudonym: the same patient and planning CT give the same id."""
    text = f"{patient_key(patient)} {frame_of_reference_uid}".encode()
    return f"c-{hmac.new(_installation_key(), text, 'sha256').hexdigest()[:10]}"


def create_course(
    record: CourseRecord, *, dicom: Path, protocol_text: str, machine_text: str, replace: bool = False
) -> CourseFolder:
    """Register a course: its whole folder appears by one rename.

    Parameters
    ----------
    record : CourseRecord
        What ``course.json`` will say.
    dicom : Path
        Folder of the planning DICOM, copied as received.
    protocol_text, machine_text : str
        Kept beside the record.
    replace : bool
        Replace an existing course of this id.

    Raises
    ------
    CourseError
        If the course exists already and ``replace`` is False.
    StorageError
        If the disk refuses; nothing is left behind.
    """
    folder = CourseFolder(record.course)
    if folder.path.exists() and not replace:
        raise CourseError(
            "the course exists already",
            found=record.course,
            expected="another --id, or --force to replace it",
            where=str(folder.path),
            code="course-exists",
        )
    building = courses_folder() / f".{uuid.uuid4().hex}.part"
    try:
        copy_tree(dicom, building / "planning")
        write_text(building / "protocol.yaml", protocol_text)
        write_text(building / "machine.toml", machine_text)
        write_record(building / "course.json", record)
        with disk_errors(folder.path, "register the course"):
            if folder.path.exists():
                remove_course(folder)
            building.rename(folder.path)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return folder


def remove_course(folder: CourseFolder) -> None:
    """Remove a course's folder: first out of sight by one rename, then for good."""
    doomed = courses_folder() / f".{uuid.uuid4().hex}.removed"
    with disk_errors(folder.path, "remove"):
        folder.path.rename(doomed)
        shutil.rmtree(doomed)


def read_json(path: Path) -> Any:
    """Read plain JSON."""
    with disk_errors(path, "read"):
        return json.loads(path.read_text(encoding="utf-8"))


def _installation_key() -> bytes:
    path = make_folder(home()) / "pseudonym.key"
    if not path.is_file():
        with disk_errors(path, "write"):
            temporary = path.with_name(f".{uuid.uuid4().hex}.part")
            temporary.touch(mode=0o600)
            temporary.write_bytes(secrets.token_bytes(32))
            try:
                path.hardlink_to(temporary)  # the first of two processes wins
            except FileExistsError:
                pass
            finally:
                temporary.unlink()
    with disk_errors(path, "read"):
        return path.read_bytes()
