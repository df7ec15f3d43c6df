"""Lines and numbers of measurement files, refused early where they cannot be measurements."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MachineError

Array = NDArray[np.float64]

#: A department's whole set of scans is below 10 MB.
MAX_BYTES = 32 * 2**20
MAX_LINE_CHARACTERS = 100_000
_MAX_NUMBER_CHARACTERS = 40

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d{1,3})?", re.ASCII)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file (UTF-8, UTF-16 with its mark, or else Windows-1252), without line ends.

    Keywords and numbers of all formats are ASCII, so that the encoding matters for names only.

    Raises
    ------
    MachineError
        If the file cannot be read, is too large, is binary, or has a line no measurement has.
    """
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_BYTES:
            raise MachineError(
                "a file of measurements is too large or no file",
                found=f"{size / 2**20:.1f} MiB" if path.is_file() else "no regular file",
                expected=f"at most {MAX_BYTES // 2**20} MiB",
                where=str(path),
            )
        data = path.read_bytes()
    except OSError as error:
        raise MachineError("a file of measurements cannot be read", found=str(error), where=str(path)) from error
    lines = re.split(r"\r\n|\r|\n", _decoded(data, path))
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise MachineError(
                "a line of a file of measurements is too long",
                found=f"{len(line)} characters",
                expected=f"at most {MAX_LINE_CHARACTERS}",
                where=at(path, number),
            )
    return lines


def _decoded(data: bytes, path: Path) -> str:
    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return data.decode("utf-16")
        zero = data.find(b"\0")
        if zero < 0:
            return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" not in data:
            return data.decode("cp1252", errors="replace")
        zero = data.find(b"\0")
    raise MachineError(
        "a file of measurements is binary",
        found=f"a zero byte at {zero}",
        expected="text",
        where=at(path, data.count(b"\n", 0, zero) + 1),
    )


def at(path: Path, line: int) -> str:
    """Return the place of a line for the field *where* of an error."""
    return f"{path}, line {line}"


def number(word: str, where: str, *, decimal_comma: bool = False) -> float:
    """Return a finite number; ``decimal_comma`` allows ``12,5`` too.

    Raises
    ------
    MachineError
        If the word is no number or overflows.
    """
    text = word.strip()[:_MAX_NUMBER_CHARACTERS]
    if decimal_comma and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if len(word.strip()) > len(text) or not _NUMBER.fullmatch(text) or not np.isfinite(float(text)):
        raise MachineError("not a finite number", found=repr(word[:40]), expected="a number", where=where)
    return float(text)


@dataclass(frozen=True, eq=False)
class Ordered:
    """Points in ascending order, repeated positions averaged.

    Parameters
    ----------
    position_mm, value : ndarray, shape (n,)
        The points.
    repeated : int
        Number of readings beyond the first at their position.
    spread : float
        Largest difference of readings at one position, as a part of the largest value.
    """

    position_mm: Array
    value: Array
    repeated: int
    spread: float


def ordered(position_mm: list[float], value: list[float]) -> Ordered:
    """Sort points by position and average those at the same position."""
    unique, index = np.unique(np.asarray(position_mm, dtype=np.float64), return_inverse=True)
    values = np.asarray(value, dtype=np.float64)
    if len(unique) == 0:
        return Ordered(unique, values, 0, 0.0)
    count = np.bincount(index, minlength=len(unique))
    mean = np.bincount(index, weights=values, minlength=len(unique)) / count
    largest = float(np.abs(values).max())
    low, high = np.full(len(unique), np.inf), np.full(len(unique), -np.inf)
    np.minimum.at(low, index, values)
    np.maximum.at(high, index, values)
    spread = float((high - low).max()) / largest if largest > 0 else 0.0
    # A single reading stays the number in the file, free of rounding by the average.
    first = np.zeros(len(unique))
    first[index] = values
    return Ordered(unique, np.where(count == 1, first, mean), len(values) - len(unique), spread)


def repeats_warning(points: Ordered, where: str) -> tuple[str, ...]:
    """Return a warning where readings were averaged, else nothing."""
    if not points.repeated:
        return ()
    return (
        f"{where}: {points.repeated} repeated positions averaged, readings differ by up to {100 * points.spread:.2f} %"
        " of the largest",
    )
