"""The ledger: which inputs, code, beam model and protocol made each number, and what happened when.

The files of the course store hold the results; the ledger indexes them and keeps the history. It is opened for each
piece of work and closed again, so that the daemon and the command line share one SQLite file.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import Engine, create_engine, event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from ..course_record import CourseRecord
from ..errors import StorageError
from ..files import sha256_of_file
from ..home import ledger_file
from .tables import Base, Course, Event, File, Fraction


def now() -> str:
    """Return the present time, ISO 8601 with zone, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def actor() -> str:
    """Return who acts: ``IGRT_ACTOR``, or the login name of the process."""
    if named := os.environ.get("IGRT_ACTOR"):
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@dataclass(frozen=True)
class FractionRow:
    """What a finished run says about its fraction. ``shift``: vertical_mm … yaw_deg of the shift to apply."""

    state: str
    decision: str
    reasons: Sequence[str]
    shift: Mapping[str, float] | None
    goals: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """Reads and writes within one transaction. Made by :func:`open_ledger`."""

    session: Session

    def add_course(self, record: CourseRecord) -> None:
        """Write a course; one of the same id is replaced."""
        self.session.merge(
            Course(
                course=record.course,
                protocol=f"{record.protocol} {record.protocol_sha256[:12]}",
                machine=f"{record.machine} {record.machine_sha256[:12]}",
                fractions=record.fractions,
                registered=now(),
                state="ready",
                reason="",
            )
        )
        self.add_event("course-added", course=record.course, details={"input_sha256": record.input_sha256})

    def remove_course(self, course: str) -> None:
        """Forget a course and its fractions; its events stay."""
        for row in self.session.scalars(select(Fraction).where(Fraction.course == course)):
            self.session.delete(row)
        if found := self.session.get(Course, course):
            self.session.delete(found)
        self.add_event("course-removed", course=course)

    def set_course_state(self, course: str, state: str, reason: str = "") -> None:
        """Say whether a course is ``"ready"`` or ``"needs a person"``, and why."""
        if found := self.session.get(Course, course):
            if (found.state, found.reason) != (state, reason):
                self.add_event("course-state", course=course, details={"state": state, "reason": reason})
            found.state, found.reason = state, reason

    def course_state(self, course: str) -> tuple[str, str]:
        """Return the state of a course and its reason."""
        found = self.session.get(Course, course)
        return (found.state, found.reason) if found else ("unknown", "")

    def set_fraction(self, course: str, fraction: str, row: FractionRow) -> None:
        """Write the outcome of a run."""
        self.session.merge(
            Fraction(
                course=course,
                fraction=fraction,
                state=row.state,
                decision=row.decision,
                reasons=list(row.reasons),
                shift=dict(row.shift) if row.shift else None,
                goals=[dict(goal) for goal in row.goals],
                versions=dict(row.versions),
                updated=now(),
            )
        )
        self.add_event(f"fraction-{row.state}", course=course, fraction=fraction, details={"decision": row.decision})

    def set_delivered(self, course: str, fraction: str, delivered: Mapping[str, Any]) -> None:
        """Write what was delivered."""
        row = self.session.get(Fraction, (course, fraction)) or Fraction(
            course=course, fraction=fraction, state="recorded"
        )
        row.state, row.delivered, row.updated = "recorded", dict(delivered), now()
        self.session.add(row)
        self.add_event("fraction-recorded", course=course, fraction=fraction, details=delivered)

    def sign_off(self, course: str, fraction: str, state: str, details: Mapping[str, Any]) -> None:
        """Write that a person has ``"approved"`` or ``"rejected"`` the plan of a fraction."""
        row = self.session.get(Fraction, (course, fraction))
        if row is not None:
            row.state, row.updated = state, now()
        self.add_event(f"plan-{state}", course=course, fraction=fraction, details=details)

    def fraction_state(self, course: str, fraction: str) -> str:
        """Return the state of a fraction; empty if nothing is known."""
        row = self.session.get(Fraction, (course, fraction))
        return row.state if row else ""

    def add_files(self, course: str, fraction: str, role: str, paths: Sequence[Path], *, root: Path) -> None:
        """Record the content of files, with paths relative to ``root``."""
        for path in paths:
            self.session.add(
                File(
                    course=course,
                    fraction=fraction,
                    role=role,
                    path=path.relative_to(root).as_posix(),
                    sha256=sha256_of_file(path),
                    recorded=now(),
                )
            )

    def add_event(
        self, kind: str, *, course: str = "", fraction: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        """Append an event. Never put a patient's name or id into it."""
        self.session.add(
            Event(when=now(), who=actor(), kind=kind, course=course, fraction=fraction, details=dict(details or {}))
        )

    def events(self, *, course: str, fraction: str | None = None) -> list[Event]:
        """Return the events of a course (or of one fraction), oldest first."""
        query = select(Event).where(Event.course == course).order_by(Event.id)
        if fraction is not None:
            query = query.where(Event.fraction == fraction)
        return list(self.session.scalars(query))


@contextmanager
def open_ledger() -> Iterator[Ledger]:
    """Open the ledger for one transaction: committed at the end, rolled back on an error.

    Raises
    ------
    StorageError
        If the database file cannot be written.
    """
    path = ledger_file()
    engine = _engine(path)
    try:
        with FileLock(path.with_suffix(".lock")):  # two processes must not both create the tables
            Base.metadata.create_all(engine)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield Ledger(session)
    except OperationalError as error:
        raise StorageError("the ledger cannot be used", found=str(error.orig), where=str(path)) from error
    finally:
        engine.dispose()


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
