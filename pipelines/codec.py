"""Frozen dataclasses as ``.npz`` or ``.json`` without pickle.

A file holds one JSON document that names the types by module and class, and the arrays it refers to. Only dataclasses
and enumerations of this project's own packages are built again, by their constructors, which check them.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import zipfile
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import StorageError
from .files import disk_errors, write_atomically, write_text

#: Layout of the files; a file of another version is refused (stage outputs are recomputed, never migrated).
CODEC_VERSION = 1
_PACKAGES = ("imrt_core", "registration", "pipelines")
_DOCUMENT = "document"


def to_document(value: Any, arrays: dict[str, NDArray[Any]] | None = None) -> Any:
    """Return a JSON-ready tree of ``value``; arrays go into ``arrays`` and are referred to by key.

    Raises
    ------
    TypeError
        For an object that is neither plain data nor a dataclass or enumeration of this project, or for an array where
        ``arrays`` is None.
    """
    if isinstance(value, Enum):  # before str and int: a StrEnum is both
        return {"$enum": _name_of(type(value)), "value": value.value}
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray):
        if arrays is None:
            raise TypeError("an array cannot be kept in a .json file; use .npz")
        key = f"a{len(arrays)}"
        arrays[key] = value
        return {"$array": key}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": repr(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_document(getattr(value, f.name), arrays) for f in dataclasses.fields(value) if f.init}
        return {"$type": _name_of(type(value)), "fields": fields}
    if isinstance(value, tuple | list):
        return [to_document(item, arrays) for item in value]
    if isinstance(value, Mapping):
        return {"$map": [[to_document(k, arrays), to_document(v, arrays)] for k, v in value.items()]}
    if isinstance(value, Path):
        return {"$path": str(value)}
    raise TypeError(f"{type(value).__name__} cannot be stored")


def from_document(document: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Build the value of :func:`to_document` again; sequences come back as tuples."""
    if isinstance(document, list):
        return tuple(from_document(item, arrays) for item in document)
    if not isinstance(document, dict):
        return document
    if "$array" in document:
        return arrays[document["$array"]]
    if "$float" in document:
        return float(document["$float"])
    if "$path" in document:
        return Path(document["$path"])
    if "$map" in document:
        return {from_document(k, arrays): from_document(v, arrays) for k, v in document["$map"]}
    if "$enum" in document:
        return _class_of(document["$enum"])(document["value"])
    cls = _class_of(document["$type"])
    return cls(**{name: from_document(value, arrays) for name, value in document["fields"].items()})


def write_npz(path: Path, value: Any) -> Path:
    """Store a value with its arrays in an uncompressed ``.npz``, atomically."""
    arrays: dict[str, NDArray[Any]] = {}
    document = {"codec_version": CODEC_VERSION, "value": to_document(value, arrays)}
    text = np.frombuffer(json.dumps(document, allow_nan=False).encode(), dtype=np.uint8)

    def save(temporary: Path) -> None:
        with temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{_DOCUMENT: text}, **arrays)

    return write_atomically(path, save)


def read_npz(path: Path) -> Any:
    """Read what :func:`write_npz` stored.

    The stages of a fraction read the same files again and again: the latest ones are kept, known by what the file
    system says of them (a file is replaced, never changed in place). Arrays are read-only for that.

    Raises
    ------
    StorageError
        If the file is missing, damaged or of another version.
    """
    with disk_errors(path, "read"):
        state = path.stat()
    return _read_npz(path, (state.st_dev, state.st_ino, state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=16)
def _read_npz(path: Path, _identity: tuple[int, ...]) -> Any:
    with disk_errors(path, "read"):
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
        except (ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise StorageError("a stored file is damaged", found=str(error), where=str(path)) from error
    for array in arrays.values():
        array.flags.writeable = False
    return _decoded(json.loads(arrays.pop(_DOCUMENT).tobytes()), arrays, path)


def write_value_json(path: Path, value: Any) -> Path:
    """Store a value without arrays as readable JSON, atomically."""
    document = {"codec_version": CODEC_VERSION, "value": to_document(value)}
    return write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def read_value_json(path: Path) -> Any:
    """Read what :func:`write_value_json` stored."""
    with disk_errors(path, "read"):
        text = path.read_text(encoding="utf-8")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise StorageError("a stored file is damaged", found=str(error), where=str(path)) from error
    return _decoded(document, {}, path)


def _decoded(document: Any, arrays: Mapping[str, NDArray[Any]], path: Path) -> Any:
    version = document.get("codec_version")
    if version != CODEC_VERSION:
        raise StorageError(
            "a stored file has another layout; run the stage again",
            found=f"version {version}",
            expected=f"version {CODEC_VERSION}",
            where=str(path),
        )
    return from_document(document["value"], arrays)


def _name_of(cls: type) -> str:
    if cls.__module__.split(".")[0] not in _PACKAGES:
        raise TypeError(f"{cls.__module__}.{cls.__qualname__} is not a type of this project")
    return f"{cls.__module__}:{cls.__qualname__}"


def _class_of(name: str) -> Any:
    module, _, qualname = name.partition(":")
    if module.split(".")[0] not in _PACKAGES:
        raise StorageError("a stored file names a foreign type", found=name, expected=", ".join(_PACKAGES))
    cls = getattr(importlib.import_module(module), qualname, None)
    if not (isinstance(cls, type) and (dataclasses.is_dataclass(cls) or issubclass(cls, Enum))):
        raise StorageError("a stored file names an unknown type; run the stage again", found=name)
    return cls
