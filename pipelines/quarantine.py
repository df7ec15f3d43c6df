"""Refused input is kept whole, with the reason beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from imrt_core.patient import InputRefusedError

from .files import copy_tree, disk_errors, move_tree, sha256_of_tree, write_json
from .home import home, quarantine_folder

REASON_FILE = "reason.json"


def quarantine(source: Path, error: InputRefusedError, *, course: str = "", fraction: str = "") -> Path:
    """Put a refused file or folder into quarantine.

    What lies under ``IGRT_HOME`` is moved there by one rename; a folder of somebody else's is copied, never taken away.
    The place is named by the content, so the same input refused twice is kept once, with both reasons.

    Parameters
    ----------
    source : Path
        The input, whole.
    error : InputRefusedError
        Why; its five fields are stored.
    course, fraction : str
        What it was meant for, where known.

    Returns
    -------
    Path
        ``quarantine/<hash>``, holding ``input/…`` (or the one file in it) and ``reason.json``.

    Raises
    ------
    StorageError
        If the disk refuses that too; the input is then where it was.
    """
    with disk_errors(source, "read"):
        place = quarantine_folder() / sha256_of_tree(source)[:16]
        inside = home() in source.resolve().parents
    kept = place / "input" if source.is_dir() else place / "input" / source.name
    if not kept.exists():
        (move_tree if inside else copy_tree)(source, kept)
    note = place / REASON_FILE
    reasons = json.loads(note.read_text()) if note.is_file() else []
    entry = {
        **error.as_dict(),
        "course": course,
        "fraction": fraction,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(note, [*reasons, entry])
    return place
