"""Machine files: TOML that a person can read, checked on the way in."""

from __future__ import annotations

import os
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from imrt_core.patient import MachineError

from .machine import Machine

#: Rule for migration: a reader accepts its own version and those it knows how to convert; anything else is refused.
#: A new version comes with a converter from the one before it, here.
FORMAT_VERSION = 1

_LINE = 110


def shipped_machines() -> tuple[str, ...]:
    """Names of the machines that come with the package."""
    folder = resources.files("imrt_core.machine") / "data"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def load_machine(name_or_path: str | Path) -> Machine:
    """Read a machine file.

    Parameters
    ----------
    name_or_path : str or Path
        Name of a shipped machine (``"generic_6mv"``) or path of a ``.toml`` file.

    Raises
    ------
    MachineError
        If there is no such machine, the file is not TOML, its format version is unknown, a field is missing, unknown
        or of the wrong type, or a value is not physical.
    """
    name = str(name_or_path)
    if name in shipped_machines():
        text = (resources.files("imrt_core.machine") / "data" / f"{name}.toml").read_text("utf-8")
        return parse_machine(text, where=f"{name}.toml")
    path = Path(name_or_path)
    if not path.is_file():
        raise MachineError(
            "there is no such machine",
            found=name,
            expected=f"one of {', '.join(shipped_machines())}, or the path of a .toml file",
            code="unknown-machine",
        )
    try:
        return parse_machine(path.read_text("utf-8"), where=str(path))
    except UnicodeDecodeError as error:
        raise MachineError("a machine file must be UTF-8 text", where=str(path)) from error


def parse_machine(text: str, *, where: str = "machine file") -> Machine:
    """Build a machine from the text of its file; errors as :func:`load_machine`."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MachineError("the machine file is not TOML", found=str(error), where=where) from error
    version = content.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise MachineError(
            "unknown format of a machine file",
            found=f"format_version {version}",
            expected=f"format_version {FORMAT_VERSION}",
            where=where,
        )
    adapter: TypeAdapter[Machine] = TypeAdapter(Machine)
    try:
        _refuse_unknown_keys(content, Machine, (), where)
        return adapter.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise MachineError(
            f"the machine file is not valid ({error.error_count()} problems)",
            found=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            where=where,
        ) from error


def _refuse_unknown_keys(content: Any, kind: Any, path: tuple[str, ...], where: str) -> None:
    """Refuse keys that no field takes: a misspelt limit must not silently fall back to its default."""
    if isinstance(content, dict) and not is_dataclass(kind):  # an optional table: "Couch | None"
        kind = next((t for t in get_args(kind) if is_dataclass(t)), kind)
    if isinstance(content, list):
        inner = next((t for t in get_args(kind) if is_dataclass(t)), None)
        for item in content if inner is not None else ():
            _refuse_unknown_keys(item, inner, path, where)
    elif isinstance(content, dict) and not is_dataclass(kind):
        inner = next((t for t in get_args(kind) if is_dataclass(t)), None)  # an optional table
        if inner is not None:
            _refuse_unknown_keys(content, inner, path, where)
    elif isinstance(content, dict):
        hints = get_type_hints(kind)
        for key, value in content.items():
            if key not in hints:
                raise MachineError(
                    "unknown key in the machine file",
                    found=".".join((*path, key)),
                    expected=", ".join(sorted(f.name for f in fields(kind))),
                    where=where,
                )
            _refuse_unknown_keys(value, hints[key], (*path, key), where)


def write_machine(machine: Machine, path: Path) -> Path:
    """Write a machine file; it appears whole or not at all. Reading it back gives an equal machine."""
    content = {"format_version": FORMAT_VERSION, **asdict(machine)}
    text = "\n".join(_table(content, ())).strip() + "\n"
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def _table(content: Mapping[str, Any], prefix: tuple[str, ...]) -> list[str]:
    lines: list[str] = []
    inner: list[str] = []
    for key, value in content.items():
        if value is None:
            continue
        name = (*prefix, key)
        if isinstance(value, Mapping):
            inner += ["", f"[{'.'.join(name)}]", *_table(value, name)]
        elif isinstance(value, Sequence) and value and isinstance(value[0], Mapping):
            for item in value:
                inner += ["", f"[[{'.'.join(name)}]]", *_table(item, name)]
        else:
            lines.append(f"{key} = {_value(value)}")
    return lines + inner


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(float(value)) if isinstance(value, float) else str(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    items = [_value(v) for v in value]
    flat = f"[{', '.join(items)}]"
    if len(flat) <= _LINE:
        return flat
    lines, line = [], ""
    for item in items:
        if line and (len(line) + len(item) > _LINE or item.startswith("[")):
            lines.append(line.rstrip())
            line = ""
        line += f"{item}, "
    lines.append(line.rstrip())
    return "[\n" + "".join(f"  {part}\n" for part in lines) + "]"
