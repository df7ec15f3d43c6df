"""Where everything lives: the folder that ``IGRT_HOME`` names (default ``~/.igrt``)."""

from __future__ import annotations

import os
from pathlib import Path

from .files import make_folder


def home() -> Path:
    """Return the absolute folder of courses, quarantine, ledger and Dagster's own files."""
    return Path(os.environ.get("IGRT_HOME") or Path.home() / ".igrt").expanduser().resolve()


def incoming_folder() -> Path:
    """Return where images arrive, one folder or file at a time."""
    return make_folder(home() / "incoming")


def quarantine_folder() -> Path:
    """Return where refused input is kept whole."""
    return make_folder(home() / "quarantine")


def courses_folder() -> Path:
    """Return the parent folder of all courses."""
    return make_folder(home() / "courses")


def ledger_file() -> Path:
    """Return the path of the SQLite ledger (its folder exists)."""
    return make_folder(home()) / "ledger.db"


def dagster_folder() -> Path:
    """Return the folder that ``DAGSTER_HOME`` is set to."""
    return make_folder(home() / "dagster")


def check_tables_folder() -> Path:
    """Return where a clinic keeps measured tables for the independent check, ``MACHINE.toml``; it need not exist."""
    return home() / "check-tables"
