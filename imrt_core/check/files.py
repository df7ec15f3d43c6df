"""Files of measured tables: TOML that a person can read, checked on the way in."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from imrt_core.patient import MachineError

from .tables import CheckTables

FORMAT_VERSION = 1

_ADAPTER: TypeAdapter[CheckTables] = TypeAdapter(CheckTables)


def shipped_tables() -> tuple[str, ...]:
    """Names of the tables that come with the package."""
    folder = resources.files("imrt_core.check") / "data"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def load_tables(name_or_path: str | Path) -> CheckTables:
    """Read tables by the name of a shipped file or the path of a ``.toml`` file.

    Raises
    ------
    MachineError
        If there are none, the file is not TOML, its format version is unknown, a field is missing, unknown or of the
        wrong type, or a table is not physical.
    """
    name = str(name_or_path)
    if name in shipped_tables():
        return parse_tables((resources.files("imrt_core.check") / "data" / f"{name}.toml").read_text("utf-8"), name)
    path = Path(name_or_path)
    if not path.is_file():
        raise MachineError(
            "there are no such check tables",
            found=name,
            expected=f"one of {', '.join(shipped_tables())}, or the path of a .toml file",
            code="unknown-check-tables",
        )
    try:
        return parse_tables(path.read_text("utf-8"), name)
    except UnicodeDecodeError as error:
        raise MachineError("check tables must be UTF-8 text", where=name) from error


def parse_tables(text: str, where: str = "check tables") -> CheckTables:
    """Build tables from the text of their file; errors as :func:`load_tables`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MachineError("the check tables are not TOML", found=str(error), where=where) from error
    version = content.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise MachineError(
            "unknown format of check tables",
            found=f"format_version {version}",
            expected=f"format_version {FORMAT_VERSION}",
            where=where,
        )
    try:
        return _ADAPTER.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise MachineError(
            f"the check tables are not valid ({error.error_count()} problems)",
            found=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=where,
        ) from error
    except MachineError as error:
        raise MachineError(error.message, found=error.found, expected=error.expected, where=where) from error
