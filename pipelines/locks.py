"""One worker per course at a time, whoever it is: the daemon or a command line."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import BusyError
from .files import disk_errors, make_folder
from .home import home

#: How long a second caller waits before it is refused, in seconds; ``IGRT_LOCK_WAIT_S`` overrides it.
DEFAULT_WAIT_S = 300.0


@contextmanager
def course_lock(course: str, *, holder: str, wait_s: float | None = None) -> Iterator[None]:
    """Hold the lock of a course.

    Parameters
    ----------
    course : str
        Course id.
    holder : str
        What holds it, in words ("fraction run fx03"); shown to whoever is refused.
    wait_s : float or None
        How long to wait; None takes ``IGRT_LOCK_WAIT_S`` or :data:`DEFAULT_WAIT_S`.

    Raises
    ------
    BusyError
        If another process keeps it longer than that; names the holder.
    """
    folder = make_folder(home() / "locks")
    lock = FileLock(folder / f"{course}.lock")
    note = folder / f"{course}.holder.json"
    wait = wait_s if wait_s is not None else float(os.environ.get("IGRT_LOCK_WAIT_S", DEFAULT_WAIT_S))
    with disk_errors(folder, "lock a course"):
        try:
            lock.acquire(timeout=wait)
        except Timeout as error:  # which is an OSError too
            raise BusyError(
                "another process works on this course",
                found=_holder(note),
                expected=f"the lock within {wait:g} s",
                where=course,
            ) from error
    try:
        with disk_errors(note, "write"):
            note.write_text(
                json.dumps(
                    {
                        "holder": holder,
                        "pid": os.getpid(),
                        "host": socket.gethostname(),
                        "since": datetime.now(UTC).isoformat(timespec="seconds"),
                    }
                )
            )
        yield
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _holder(note: Path) -> str:
    try:
        told = json.loads(note.read_text())
    except (OSError, ValueError):
        return "a process that has not said its name"
    return f"{told['holder']} (process {told['pid']} on {told['host']}, since {told['since']})"
