"""Tables as departments write them: a row for each energy, columns labelled with field, or depth and SSD.

Output factors and absolute dose, for example::

    ,05x05,10x10                        10 x 10 fields,dmax @ 100 SSD,d10 @ 90 SSD
    6 MV,0.906,1                        6 MV,1,0.812

Lengths without a unit are in cm and doses in cGy/MU, the custom of such tables; each assumption is a warning.
``dmax`` is the depth of the dose maximum. A column "A / B" repeats a ratio of two others and must agree with them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imrt_core.patient import MachineError

from .measurements import FileContents
from .sheet import delimiter_of, length_mm, split_cells
from .text import at, number
from .types import AbsoluteDose, OutputFactors

FORMAT = "labelled table"

_N = r"(\d+(?:\.\d+)?)"
_FIELD = re.compile(rf"{_N}\s*x\s*{_N}\s*(mm|cm)?(?:\s*fields?)?", re.IGNORECASE | re.ASCII)
_POINT = re.compile(rf"d\s*(max|{_N}\s*(mm|cm)?)\s*@\s*{_N}\s*(mm|cm)?\s*ssd", re.IGNORECASE | re.ASCII)
_ENERGY = re.compile(rf"{_N}\s*MV", re.IGNORECASE | re.ASCII)
#: A ratio is written with three or four digits.
_RATIO_TOLERANCE = 0.005


def recognise(lines: list[str]) -> bool:
    """Whether the header is labelled with fields or with depths and SSD, and the rows with energies."""
    table = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if len(table) < 2:
        return False
    delimiter = delimiter_of(table[0])
    cells, first = split_cells(table[0], delimiter), split_cells(table[1], delimiter)
    labelled = [cell for cell in cells[1:] if _FIELD.fullmatch(cell) or _POINT.match(cell)]
    return bool(labelled) and bool(first) and _ENERGY.fullmatch(first[0]) is not None


@dataclass(frozen=True)
class _Point:
    """Depth (None: at the maximum) and SSD of a column, in mm."""

    depth_mm: float | None
    ssd_mm: float


def read_labelled(path: Path, lines: list[str]) -> FileContents:
    """Read output factors or absolute doses of one energy.

    Raises
    ------
    MachineError
        If a cell is no number or label, or there are several energies.
    """
    table = [(n, line) for n, line in enumerate(lines, start=1) if line.strip() and not line.lstrip().startswith("#")]
    delimiter = delimiter_of(table[0][1])
    header = split_cells(table[0][1], delimiter)
    if len(table) != 2:
        raise MachineError(
            "a labelled table has several energies", found=f"{len(table) - 1} rows",
            expected="one row: a model is fitted to one energy", where=str(path),
        )  # fmt: skip
    line_number, line = table[1]
    cells = split_cells(line, delimiter)
    where = at(path, line_number)
    energy = _ENERGY.fullmatch(cells[0])
    if energy is None or len(cells) != len(header):
        raise MachineError(
            "a row does not fit its header", found=f"{cells[0]!r}, {len(cells)} cells",
            expected=f"an energy such as '6 MV' and {len(header) - 1} numbers", where=where,
        )  # fmt: skip
    values = [number(cell, where, decimal_comma=delimiter != ",") for cell in cells[1:]]
    energy_mv = float(energy[1])
    fields = [_FIELD.fullmatch(cell) for cell in header[1:]]
    if all(fields):
        sizes = [_field_mm(match) for match in fields if match is not None]
        return _factors(path, energy_mv, sizes, values, [match for match in fields if match is not None])
    return _doses(path, energy_mv, header, values)


def _field_mm(match: re.Match[str]) -> tuple[float, float]:
    unit = (match[3] or "cm").lower()
    return length_mm(float(match[1]), unit), length_mm(float(match[2]), unit)


def _factors(
    path: Path, energy_mv: float, sizes: list[tuple[float, float]], values: list[float], labels: list[re.Match[str]]
) -> FileContents:
    ones = [size for size, value in zip(sizes, values, strict=True) if value == 1]
    if len(ones) != 1:
        raise MachineError(
            "no single field has output factor 1", found=f"{len(ones)} such fields", expected="one", where=str(path)
        )
    warnings = [f"{path.name}: depth and SSD of the output factors are not stated"]
    if not all(label[3] for label in labels):
        warnings.append(f"{path.name}: field sizes without unit taken as cm")
    factors = OutputFactors(
        field_x_mm=np.array([size[0] for size in sizes]),
        field_y_mm=np.array([size[1] for size in sizes]),
        factor=np.array(values),
        depth_mm=None,
        ssd_mm=None,
        normalised_x_mm=ones[0][0],
        normalised_y_mm=ones[0][1],
        energy_mv=energy_mv,
        source_file=path.name,
    )
    return FileContents(FORMAT, path.name, output_factors=(factors,), energy_mv=energy_mv, warnings=tuple(warnings))


def _doses(path: Path, energy_mv: float, header: list[str], values: list[float]) -> FileContents:
    field = _FIELD.fullmatch(header[0])
    if field is None:
        raise MachineError(
            "absolute doses name no field", found=repr(header[0]), expected="first cell such as '10 x 10 fields'",
            where=str(path),
        )  # fmt: skip
    size = _field_mm(field)
    points: dict[_Point, float] = {}
    for label, value in zip(header[1:], values, strict=True):
        if "/" in label:
            continue
        point = _point(label, path)
        if point in points:
            raise MachineError("two columns have one label", found=repr(label), where=str(path))
        points[point] = value
    doses = tuple(
        AbsoluteDose(value / 100, size[0], size[1], point.depth_mm, point.ssd_mm, energy_mv, path.name)
        for point, value in points.items()
    )
    # Doses are above 0 from here on.
    for label, value in zip(header[1:], values, strict=True):
        if "/" in label:
            _check_ratio(label, value, points, path)
    warnings = (f"{path.name}: doses without unit taken as cGy/MU, lengths without unit as cm",)
    return FileContents(FORMAT, path.name, absolute_doses=doses, energy_mv=energy_mv, warnings=warnings)


def _point(label: str, path: Path) -> _Point:
    match = _POINT.fullmatch(label.strip())
    if match is None:
        raise MachineError(
            "a column is not known", found=repr(label), expected="a label such as 'd10 @ 90 SSD'", where=str(path)
        )
    at_maximum = match[1].lower() == "max"
    depth = None if at_maximum else length_mm(float(match[2]), (match[3] or "cm").lower())
    return _Point(depth, length_mm(float(match[4]), (match[5] or "cm").lower()))


def _check_ratio(label: str, value: float, points: dict[_Point, float], path: Path) -> None:
    sides = [_point(side, path) for side in label.split("/")]
    if len(sides) != 2 or not all(side in points for side in sides):
        raise MachineError("a ratio names no two columns", found=repr(label), where=str(path))
    expected = points[sides[0]] / points[sides[1]]
    if not abs(value / expected - 1) <= _RATIO_TOLERANCE:
        raise MachineError(
            "a ratio does not agree with its columns", found=f"{label!r} {value:g}", expected=f"{expected:.4g}",
            where=str(path),
        )  # fmt: skip
