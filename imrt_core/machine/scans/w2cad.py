"""Scans in the W2CAD exchange format of Varian planning systems (``.asc``).

A file is ``$NUMS n``, measurements ``$STOM`` … ``$ENOM`` and ``$ENOF``. A measurement has lines ``%KEY value``:

======== ==========================================================================================
%TYPE    OPD open depth dose, OPP open profile, DPR diagonal profile (open); WDD, WDP, WLP: wedges
%BMTY    PHO photons, ELE electrons
%DETY    CHA chamber, DIO diode, DIA diamond
%FLSZ    field size ``X*Y`` at the isocentre in mm
%AXIS    X, Y (IEC), Z depth, D diagonal
%PNTS    number of points
%STEP    distance of points in 0.1 mm
%SSD     source-surface distance in mm
%DPTH    depth of a profile in mm
======== ==========================================================================================

and its points ``<x y z dose>``, positions in mm, dose in % of a normalisation the format does not state. Lines with
``#`` are comments; ``# Detector:`` names the detector. No keyword states the energy: it comes from the file's name or
from the other files of the folder. Source: public readers and writers of the format, which refer to appendix C of
Varian's Eclipse Algorithms Reference Guide; the guide itself was not at hand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MachineError

from .measurements import FileContents
from .text import at, number, ordered, read_lines, repeats_warning
from .types import Detector, DetectorShape, Kind, Scan

Array = NDArray[np.float64]

FORMAT = "W2CAD"

_AXES = {"OPD": "Z", "OPP": "XY", "DPR": "D"}
_LONG_NAMES = {"MeasuredDepthDosesForOpenBeam": "OPD", "MeasuredProfileForOpenBeam": "OPP"}
_SHAPES: dict[str, DetectorShape] = {"DIO": "diode", "DIA": "diamond"}
_DETECTORS = {"CHA": "ionisation chamber", "DIO": "diode", "DIA": "diamond"}
_KIND: dict[str, Kind] = {"X": "crossline", "Y": "inline", "Z": "pdd", "D": "diagonal"}
_FIELD = re.compile(r"(\d+(?:\.\d+)?)\s*\*\s*(\d+(?:\.\d+)?)", re.ASCII)
_KEY = re.compile(r"%\s*([A-Z]+)\s*(.*)")
#: Positions are rounded to 0.1 mm, so neighbours' distances vary by that.
_STEP_ROUNDING_MM = 0.11


def recognise(lines: list[str]) -> bool:
    """Whether the first line that is neither blank nor a comment opens a W2CAD file."""
    first = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
    return bool(re.match(r"\$\s*(NUMS|STOM)\b", first))


def read_w2cad(path: Path) -> FileContents:
    """Read all measurements of a W2CAD file.

    Raises
    ------
    MachineError
        Naming the line where the file is broken, and the measurement with a wedge or of electrons. Nothing is
        returned in part.
    """
    blocks = _blocks(path, read_lines(path))
    if not blocks:
        raise MachineError("a file has no measurements", expected="$STOM", where=str(path))
    scans, warnings = [], []
    for block in blocks:
        scan, notes = _scan(block, path)
        scans.append(scan)
        warnings += notes
    return FileContents(FORMAT, path.name, scans=tuple(scans), warnings=tuple(warnings))


@dataclass
class _Block:
    """One measurement as it stands in the file."""

    line: int
    keys: dict[str, tuple[str, int]] = field(default_factory=dict)
    points: list[tuple[float, ...]] = field(default_factory=list)
    detector: str = ""

    def text(self, key: str, path: Path) -> str:
        if not self.keys.get(key, ("", 0))[0]:
            raise MachineError("a measurement lacks a keyword", expected=f"%{key}", where=at(path, self.line))
        return self.keys[key][0]

    def number(self, key: str, path: Path) -> float:
        return number(self.text(key, path), f"{at(path, self.keys[key][1])} (%{key})")


def _blocks(path: Path, lines: list[str]) -> list[_Block]:
    blocks: list[_Block] = []
    block: _Block | None = None
    stated: float | None = None
    ended, last = False, 0
    for line_number, raw in enumerate(lines, start=1):
        line, where = raw.strip(), at(path, line_number)
        if not line:
            continue
        last = line_number
        command = re.match(r"\$\s*([A-Z]+)\b\s*(.*)", line)
        key = _KEY.match(line)
        if ended:
            raise MachineError("text after the end", found=repr(line[:60]), expected="nothing after $ENOF", where=where)
        if line.startswith("#"):
            if block is not None and (name := re.match(r"#\s*Detector:\s*(.+)", line)):
                block.detector = name[1].strip()
        elif command:
            word = command[1]
            if word in ("NUMS", "STOM", "ENOF") and block is not None:
                raise MachineError("a measurement does not end", found=line[:60], expected="$ENOM", where=where)
            if word == "NUMS":
                stated = number(command[2], where)
            elif word == "STOM":
                block = _Block(line_number)
            elif word == "ENOM" and block is not None:
                blocks.append(block)
                block = None
            elif word == "ENOF":
                ended = True
            else:
                raise MachineError(
                    "a command where it must not be",
                    found=line[:60],
                    expected="$NUMS, $STOM, $ENOM, $ENOF",
                    where=where,
                )
        elif block is None:
            raise MachineError("text outside a measurement", found=repr(line[:60]), expected="$STOM", where=where)
        elif key:
            block.keys[key[1]] = (key[2].split("#")[0].strip(), line_number)
        else:
            words = line[1:-1].split()
            if not (line.startswith("<") and line.endswith(">")) or len(words) != 4:
                raise MachineError(
                    "a line is no point", found=repr(line[:60]), expected="<x y z dose> in mm and %", where=where
                )
            block.points.append(tuple(number(word, where) for word in words))
    if block is not None or (not ended and stated is None):
        expected = "$ENOM" if block is not None else "$ENOF"
        raise MachineError("a file is cut off", found="end of file", expected=expected, where=at(path, last))
    if stated is not None and stated != len(blocks):
        raise MachineError(
            "a file is cut off", found=f"{len(blocks)} measurements", expected=f"{stated:g} by $NUMS", where=str(path)
        )
    return blocks


def _scan(block: _Block, path: Path) -> tuple[Scan, list[str]]:
    where = at(path, block.line)
    name = block.text("TYPE", path)
    curve = _LONG_NAMES.get(name, name)
    wedge = block.keys.get("WDGL", ("", 0))[0]
    if curve.startswith(("WDD", "WDP", "WLP")) or wedge:
        raise MachineError(
            "a measurement is of a wedge, which is not modelled", found=f"%TYPE {name} %WDGL {wedge}".strip(),
            expected=", ".join(_AXES), where=where,
        )  # fmt: skip
    if curve not in _AXES or block.text("BMTY", path) != "PHO":
        raise MachineError(
            "a measurement is of a kind that is not read", found=f"%TYPE {name}, %BMTY {block.text('BMTY', path)}",
            expected=f"one of {', '.join(_AXES)} with PHO", where=where,
        )  # fmt: skip
    axis = block.text("AXIS", path)
    if axis not in tuple(_AXES[curve]):
        raise MachineError(
            "axis and type do not fit", found=f"%TYPE {name}, %AXIS {axis}", expected=_AXES[curve], where=where
        )
    if not block.points or len(block.points) != block.number("PNTS", path):
        raise MachineError(
            "a measurement is not complete", found=f"{len(block.points)} points",
            expected=f"{block.text('PNTS', path)} by %PNTS", where=where,
        )  # fmt: skip
    size = _FIELD.fullmatch(block.text("FLSZ", path))
    if size is None:
        raise MachineError("not a field size", found=block.text("FLSZ", path), expected="%FLSZ X*Y", where=where)
    x, y, z, dose = np.array(block.points, dtype=np.float64).reshape(-1, 4).T
    if z.max() <= 0:
        z = -z  # written with the Z axis up
    signed = np.where(x != 0, np.sign(x), np.sign(y)) * np.hypot(x, y)
    along = {"X": x, "Y": y, "Z": z, "D": signed}[axis]
    _refuse_off_axis(axis, x, y, where)
    points = ordered(along.tolist(), dose.tolist())
    code = block.keys.get("DETY", ("", 0))[0]
    scan = Scan(
        kind=_KIND[axis],
        field_x_mm=float(size[1]),
        field_y_mm=float(size[2]),
        ssd_mm=block.number("SSD", path),
        depth_mm=None if axis == "Z" else _depth(block, z, path),
        position_mm=points.position_mm,
        value=points.value,
        relative_to="per cent, normalisation not stated",
        detector=Detector(block.detector or _DETECTORS.get(code, ""), _SHAPES.get(code, "")),
        source_file=path.name,
    )
    return scan, [*repeats_warning(points, scan.label), *_step_warning(block, scan, path)]


def _refuse_off_axis(axis: str, x: Array, y: Array, where: str) -> None:
    across = {"X": [y], "Y": [x], "Z": [x, y], "D": []}[axis]
    if any(np.abs(values).max(initial=0.0) > 1.0 for values in across):
        raise MachineError(
            "a scan runs beside the axis", found=f"%AXIS {axis} with another coordinate beyond 1 mm",
            expected="0 mm", where=where,
        )  # fmt: skip


def _depth(block: _Block, z: Array, path: Path) -> float:
    """Return the depth that %DPTH and the points state; they must agree (both are rounded)."""
    where = at(path, block.line)
    depths = [block.number("DPTH", path)] if "DPTH" in block.keys else []
    if not depths and np.ptp(z) == 0 and z[0] > 0:
        return float(z[0])
    if not depths or (np.any(z != 0) and np.abs(z - depths[0]).max() > 0.6):
        raise MachineError(
            "the depth of a profile is not clear", found=f"%DPTH {depths}, points at {z.min():g} to {z.max():g} mm",
            expected="one depth", where=where,
        )  # fmt: skip
    return depths[0]


def _step_warning(block: _Block, scan: Scan, path: Path) -> list[str]:
    step_mm = block.number("STEP", path) / 10 if "STEP" in block.keys else 0.0
    found = float(np.median(np.diff(scan.position_mm)))
    if step_mm > 0 and abs(found - step_mm) > _STEP_ROUNDING_MM:
        return [f"{scan.label}: points lie {found:g} mm apart, %STEP says {step_mm:g} mm"]
    return []
