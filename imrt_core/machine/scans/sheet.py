"""Rows, columns and keys of a plain table, with their units."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MachineError

from .text import at, number

Array = NDArray[np.float64]

#: A name of a quantity is short; matching stops here so that no line can make it slow.
_LONGEST_NAME = 80
_MM_PER = {"mm": 1.0, "cm": 10.0}
_UNIT = re.compile(r"(.+?)[\s_]*[\[(]?(mm|cm|percent|%)[\])]?", re.ASCII)
_KEY_LINE = re.compile(r"#\s*([A-Za-z_][\w \[\]()%]{0,60}?)\s{0,9}:\s*(.*)")


def length_mm(value: float, unit: str) -> float:
    """Return a length in mm; the tenfold rounds away what a decimal number has beyond 1e-9 mm."""
    return value if unit == "mm" else round(value * _MM_PER[unit], 9)


#: Other names that departments use for the same quantity.
_ALIASES = {
    **dict.fromkeys(("crossline", "crossplane"), "x"),
    **dict.fromkeys(("inline", "inplane"), "y"),
    **dict.fromkeys(("off_axis", "off_axis_distance"), "position"),
    **dict.fromkeys(("relative_dose", "percent_dose", "depth_dose"), "dose"),
    **dict.fromkeys(("factor", "output", "scp"), "output_factor"),
    "field_size": "field",
    "z": "depth",
    "energy": "energy_mv",
}


def split_unit(cell: str) -> tuple[str, str]:
    """Split ``depth_mm``, ``depth [mm]`` or ``dose (%)`` into name and unit, lower case, unit empty if none."""
    name, unit = _split(cell)
    if name == "pdd":
        return "dose", "percent"
    return _ALIASES.get(name, name), unit


def _split(cell: str) -> tuple[str, str]:
    text = re.sub(r"\s+", "_", cell.strip().lower())
    match = _UNIT.fullmatch(text) if len(text) <= _LONGEST_NAME else None
    if match is None:
        return text, ""
    return match[1].rstrip("_"), "percent" if match[2] == "%" else match[2]


def split_cells(line: str, delimiter: str) -> list[str]:
    """Split a line at the delimiter; an empty delimiter is white space."""
    return [cell.strip() for cell in (line.split(delimiter) if delimiter else line.split())]


def delimiter_of(line: str) -> str:
    """Return the delimiter of a header line: ``;``, tab, ``,`` or white space (an empty text)."""
    return next((mark for mark in (";", "\t", ",") if mark in line), "")


def _split_value(text: str) -> tuple[str, str]:
    """Split ``900 mm`` into number and unit, the unit empty if none."""
    match = re.fullmatch(r"(.+?)\s{0,9}(mm|cm)", text.strip()[:_LONGEST_NAME])
    return (match[1], match[2]) if match else (text, "")


@dataclass(frozen=True)
class Key:
    """A line ``# name_unit: value``."""

    name: str
    unit: str
    value: str
    line: int


@dataclass(frozen=True, eq=False)
class Sheet:
    """A table as it stands in the file.

    Parameters
    ----------
    header : tuple of str
        Cells of the first row that is no comment.
    rows : tuple of tuple
        Line number and cells of each further row.
    keys : tuple of Key
        The key lines.
    decimal_comma : bool
        Whether ``12,5`` is a number: only where the comma does not part cells.
    warnings : tuple of str
        Key lines that are not known.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    keys: tuple[Key, ...]
    decimal_comma: bool
    warnings: tuple[str, ...]

    @property
    def where(self) -> str:
        """The file."""
        return str(self.path)

    def _key(self, name: str) -> Key | None:
        found = [key for key in self.keys if key.name == name]
        if len(found) > 1:
            raise MachineError("a key is given twice", found=name, where=at(self.path, found[1].line))
        return found[0] if found else None

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return self._key(name) is not None

    def text(self, name: str) -> str:
        """Return the text of a key, empty if it is not there."""
        key = self._key(name)
        return key.value if key else ""

    def required(self, name: str) -> str:
        """Return the text of a key that must be there."""
        if not self.text(name):
            raise MachineError("a table lacks a key", expected=f"a line '# {name}: …'", where=self.where)
        return self.text(name)

    def optional_number(self, name: str) -> float | None:
        """Return a number without unit, or None."""
        key = self._key(name)
        if key is None:
            return None
        word = re.sub(r"\s*MV$", "", key.value[:_LONGEST_NAME]) if name == "energy_mv" else key.value
        return number(word, at(self.path, key.line), decimal_comma=True)

    def optional_length(self, name: str) -> float | None:
        """Return a length in mm, or None."""
        key = self._key(name)
        if key is None:
            return None
        word, unit = (key.value, key.unit) if key.unit else _split_value(key.value)
        if unit not in _MM_PER:
            raise MachineError(
                "a length has no unit", found=name, expected=f"{name}_mm or {name}_cm", where=at(self.path, key.line)
            )
        return length_mm(number(word, at(self.path, key.line), decimal_comma=True), unit)

    def required_length(self, name: str) -> float:
        """Return a length in mm that must be there."""
        value = self.optional_length(name)
        if value is None:
            raise MachineError("a table lacks a key", expected=f"a line '# {name}_mm: …'", where=self.where)
        return value

    def field_mm(self) -> tuple[float, float]:
        """Return the field size of keys ``field`` (a side, or ``X x Y``) or ``field_x`` and ``field_y``."""
        key = self._key("field")
        if key is not None and "x" in key.value.lower():
            text, unit = (key.value, key.unit) if key.unit else _split_value(key.value)
            sides = text.lower().split("x")
            if len(sides) != 2 or unit not in _MM_PER:
                raise MachineError(
                    "not a field size",
                    found=key.value[:60],
                    expected="X x Y with mm or cm",
                    where=at(self.path, key.line),
                )
            x, y = (length_mm(number(s, at(self.path, key.line), decimal_comma=True), unit) for s in sides)
            return x, y
        square = self.optional_length("field")
        if square is not None and (self.has("field_x") or self.has("field_y")):
            raise MachineError(
                "a table states its field twice", expected="field, or field_x and field_y", where=self.where
            )
        if square is not None:
            return square, square
        if not self.has("field_x") and not self.has("field_y"):
            raise MachineError("a table lacks a key", expected="a line '# field_mm: …' (or field_x_mm and field_y_mm)",
                               where=self.where)  # fmt: skip
        return self.required_length("field_x"), self.required_length("field_y")

    def column_at(self, index: int) -> Array:
        """Return the numbers of a column, shape (rows,)."""
        return np.array(
            [number(cells[index], at(self.path, line), decimal_comma=self.decimal_comma) for line, cells in self.rows]
        )

    def _index(self, name: str) -> int | None:
        found = [index for index, cell in enumerate(self.header) if split_unit(cell)[0] == name]
        if len(found) > 1:
            raise MachineError("two columns have one name", found=name, where=self.where)
        return found[0] if found else None

    def column(self, name: str) -> Array:
        """Return a column of numbers without length unit."""
        index = self._index(name)
        if index is None:
            raise MachineError("a table lacks a column", found=", ".join(self.header), expected=name, where=self.where)
        return self.column_at(index)

    def length(self, name: str) -> Array:
        """Return a column of lengths in mm."""
        values = self.column(name)
        cell = self.header[self._index(name) or 0]
        unit = split_unit(cell)[1]
        if unit not in _MM_PER:
            raise MachineError("a length has no unit", found=cell, expected=f"{name}_mm or {name}_cm", where=self.where)
        return np.array([length_mm(float(value), unit) for value in values])

    def column_or_key(self, name: str) -> Array:
        """Return a column of lengths in mm, or the key's value in every row."""
        if self._index(name) is not None:
            return self.length(name)
        return np.full(len(self.rows), self.required_length(name))

    def field_columns(self) -> tuple[Array, Array]:
        """Return field sizes X and Y in mm for each row, from columns or keys."""
        if self._index("field") is not None:
            side = self.length("field")
            return side, side
        if self._index("field_x") is not None:
            return self.length("field_x"), self.length("field_y")
        x, y = self.field_mm()
        return np.full(len(self.rows), x), np.full(len(self.rows), y)


def outline(lines: list[str]) -> tuple[tuple[str, ...], set[str]]:
    """Return the header's cells and the names of the keys of a text that may be no table at all."""
    keys = {split_unit(match[1])[0] for line in lines if (match := _KEY_LINE.match(line.strip()))}
    header = next((line for line in lines if line.strip() and not line.lstrip().startswith("#")), "")
    return tuple(split_cells(header, delimiter_of(header))), keys


def read_sheet(path: Path, lines: list[str], known: list[str]) -> Sheet:
    """Split a text into keys, header and rows.

    Raises
    ------
    MachineError
        If a row has more or fewer cells than the header, or there is no row.
    """
    header: tuple[str, ...] = ()
    delimiter = ""
    rows: list[tuple[int, tuple[str, ...]]] = []
    keys: list[Key] = []
    warnings: list[str] = []
    for line_number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if line.lstrip().startswith("#"):
            match = _KEY_LINE.match(line.strip())
            if match is None:
                continue
            # energy_mv is the one key whose unit is part of its name.
            name, unit = split_unit(match[1])
            if name in known:
                keys.append(Key(name, unit, match[2].strip(), line_number))
            else:
                warnings.append(f"{at(path, line_number)}: the key {match[1]!r} is not known")
            continue
        if not header:
            delimiter = delimiter_of(line)
            header = tuple(split_cells(line, delimiter))
            continue
        cells = tuple(split_cells(line, delimiter))
        if len(cells) != len(header):
            raise MachineError(
                "a row has the wrong number of cells", found=f"{len(cells)}", expected=f"{len(header)} as the header",
                where=at(path, line_number),
            )  # fmt: skip
        rows.append((line_number, cells))
    if not header or not rows:
        raise MachineError("a table has no rows", expected="a header and rows of numbers", where=str(path))
    return Sheet(path, header, tuple(rows), tuple(keys), delimiter != ",", tuple(warnings))
