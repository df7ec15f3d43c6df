"""Tables of the ledger. Events are append-only: the database itself refuses to change or delete one."""

from __future__ import annotations

from sqlalchemy import DDL, JSON, ForeignKeyConstraint, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of all tables."""


class Course(Base):
    """A registered course and whether it needs a person."""

    __tablename__ = "courses"

    course: Mapped[str] = mapped_column(primary_key=True)
    protocol: Mapped[str]
    machine: Mapped[str]
    fractions: Mapped[int]
    registered: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")


class Fraction(Base):
    """What is known about one fraction; the latest run and the delivery record."""

    __tablename__ = "fractions"

    course: Mapped[str] = mapped_column(primary_key=True)
    fraction: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    decision: Mapped[str] = mapped_column(default="")
    reasons: Mapped[list[str]] = mapped_column(JSON, default=list)
    shift: Mapped[dict[str, float] | None] = mapped_column(JSON, default=None)
    goals: Mapped[list[dict[str, object]]] = mapped_column(JSON, default=list)
    delivered: Mapped[dict[str, object] | None] = mapped_column(JSON, default=None)
    versions: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    updated: Mapped[str]

    __table_args__ = (ForeignKeyConstraint(["course"], ["courses.course"], ondelete="CASCADE"),)


class File(Base):
    """A file that went in or came out, by content."""

    __tablename__ = "files"

    id: Mapped[int] = mapped_column(primary_key=True)
    course: Mapped[str] = mapped_column(index=True)
    fraction: Mapped[str] = mapped_column(default="")
    role: Mapped[str]
    path: Mapped[str]
    sha256: Mapped[str]
    recorded: Mapped[str]


class Event(Base):
    """Something that happened; never changed, never deleted."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    when: Mapped[str]
    who: Mapped[str]
    kind: Mapped[str]
    course: Mapped[str] = mapped_column(default="", index=True)
    fraction: Mapped[str] = mapped_column(default="")
    details: Mapped[dict[str, object]] = mapped_column(JSON, default=dict)


for _verb in ("UPDATE", "DELETE"):
    event.listen(
        Event.__table__,
        "after_create",
        DDL(
            f"CREATE TRIGGER events_no_{_verb.lower()} BEFORE {_verb} ON events "
            "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END"
        ).execute_if(dialect="sqlite"),  # type: ignore[no-untyped-call]
    )
