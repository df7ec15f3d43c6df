"""Files that appear whole or not at all: temporary name, flush to disk, rename."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import StorageError


@contextmanager
def disk_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn what the operating system says about a full or read-only disk into a :class:`StorageError`.

    Parameters
    ----------
    path : Path
        What was being written or read; named in the message.
    doing : str
        The verb for the message, e.g. ``"write"``.

    Raises
    ------
    StorageError
        Instead of any :class:`OSError` of the body.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"the disk refuses to {doing}",
            found=error.strerror or str(error),
            expected="a folder that can be written, with space left",
            where=str(path),
        ) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents; an existing one is fine."""
    with disk_errors(path, "create a folder"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, flush it to disk and rename it into place.

    Parameters
    ----------
    path : Path
        Final name; replaced if it exists.
    write : callable
        Called with the temporary path, which keeps the suffix of ``path``.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    StorageError
        If the disk refuses; nothing is left behind then.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part{''.join(path.suffixes[-2:])}")
    try:
        with disk_errors(path, "write"):
            write(temporary)
            _flush(temporary)
            temporary.replace(path)
            _flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes atomically."""
    return write_atomically(path, lambda temporary: temporary.write_bytes(content))


def write_text(path: Path, content: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> Path:
    """Write an object as indented JSON atomically."""
    return write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def copy_tree(source: Path, target: Path) -> Path:
    """Copy a file or folder so that ``target`` appears whole, every byte flushed, by one rename.

    Raises
    ------
    StorageError
        If the disk refuses; ``target`` does not exist then.
    """
    make_folder(target.parent)
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with disk_errors(target, "copy"):
            if source.is_dir():
                shutil.copytree(source, temporary, symlinks=False)
            else:
                shutil.copyfile(source, temporary)
            for path in [temporary, *temporary.rglob("*")]:
                _flush(path)
            temporary.rename(target)
            _flush(target.parent)
    finally:
        _remove(temporary)
    return target


def move_tree(source: Path, target: Path) -> Path:
    """Move a file or folder by rename; across devices copy it whole first, then remove the source."""
    make_folder(target.parent)
    try:
        source.rename(target)
        _flush(target.parent)
    except OSError:
        copy_tree(source, target)
        with disk_errors(source, "remove what was moved"):
            _remove(source)
    return target


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_tree(path: Path) -> str:
    """Return one SHA-256 for a file, or for all files of a folder with their relative names."""
    if path.is_file():
        return sha256_of_file(path)
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of_file(file)}\n".encode())
    return digest.hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
