"""PTW MEPHYSTO scans (``.mcc``, the "CC-Export" text format).

A file is ``BEGIN_SCAN_DATA``, scans ``BEGIN_SCAN n`` … ``END_SCAN n`` and ``END_SCAN_DATA``; a scan has lines
``KEY=value`` and, between ``BEGIN_DATA`` and ``END_DATA``, rows of position in mm, reading, and possibly the reading
of the reference detector or a detector number ``#n``, which are left out: the reading is already corrected by it.
Field sizes and distances are in mm. ``…_AXIS_DIR`` names where an axis starts and ends: positions are turned so that
crossline + is IEC X (LEFT_RIGHT, as seen facing the gantry) and inline + is IEC Y (TARGET_GUN, towards the gantry).
Files written by other programs may lack the directions; positions then stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from imrt_core.patient import MachineError

from .measurements import FileContents
from .text import at, number, ordered, read_lines, repeats_warning
from .types import Detector, DetectorShape, Kind, Scan

FORMAT = "PTW mcc"

_SHAPES: tuple[tuple[str, DetectorShape], ...] = (
    ("THIMBLE_CHAMBER", "cylindrical chamber"),
    ("PLANE_PARALLEL", "plane-parallel chamber"),
    ("DIAMOND", "diamond"),
    ("DIODE", "diode"),
)
_KINDS: dict[str, Kind] = {"PDD": "pdd", "CROSSPLANE_PROFILE": "crossline", "INPLANE_PROFILE": "inline"}
_DIRECTION_KEY = {"pdd": "DEPTH_AXIS_DIR", "crossline": "CROSSPLANE_AXIS_DIR", "inline": "INPLANE_AXIS_DIR"}
_SIGN = {
    ("pdd", "UP_DOWN"): 1.0,
    ("pdd", "DOWN_UP"): -1.0,
    ("crossline", "LEFT_RIGHT"): 1.0,
    ("crossline", "RIGHT_LEFT"): -1.0,
    ("inline", "TARGET_GUN"): 1.0,
    ("inline", "GUN_TARGET"): -1.0,
}


def recognise(lines: list[str]) -> bool:
    """Whether the first line that is not blank opens an mcc file."""
    return next((line.strip() for line in lines if line.strip()), "") == "BEGIN_SCAN_DATA"


def read_mcc(path: Path) -> FileContents:
    """Read all scans of an mcc file.

    Raises
    ------
    MachineError
        Naming the line where the file is broken, or the scan that is no open photon beam in water on the axis.
        Nothing is returned in part.
    """
    blocks = _blocks(path, read_lines(path))
    if not blocks:
        raise MachineError("a file has no scans", expected="BEGIN_SCAN", where=str(path))
    scans = [_scan(block, path) for block in blocks]
    sads = {value for block in blocks if (value := block.number("ISOCENTER", path)) is not None}
    energies = {scan.energy_mv for scan in scans}
    for what, values in (("energies", energies), ("source-axis distances", sads)):
        if len(values) > 1:
            raise MachineError(f"a file mixes {what}", found=", ".join(f"{v:g}" for v in values), where=str(path))
    warnings = [
        warning
        for block, scan in zip(blocks, scans, strict=True)
        for warning in repeats_warning(ordered(block.position, block.reading), scan.label)
    ]
    return FileContents(
        format=FORMAT,
        source_file=path.name,
        scans=tuple(scans),
        energy_mv=scans[0].energy_mv,
        sad_mm=next(iter(sads), None),
        warnings=tuple(warnings),
    )


@dataclass
class _Block:
    """One scan as it stands in the file."""

    label: str
    line: int
    keys: dict[str, tuple[str, int]] = field(default_factory=dict)
    position: list[float] = field(default_factory=list)
    reading: list[float] = field(default_factory=list)
    has_data: bool = False

    def text(self, key: str) -> str:
        return self.keys.get(key, ("", 0))[0]

    def number(self, key: str, path: Path) -> float | None:
        word, line = self.keys.get(key, ("", 0))
        return number(word, f"{at(path, line)} ({key})") if word else None

    def required(self, key: str, path: Path) -> float:
        value = self.number(key, path)
        if value is None:
            raise MachineError("a scan lacks a keyword", expected=key, where=at(path, self.line))
        return value


def _blocks(path: Path, lines: list[str]) -> list[_Block]:
    """Split the file; every BEGIN must meet its END."""
    blocks: list[_Block] = []
    block: _Block | None = None
    opened, in_data, last = False, False, 0

    def refuse(message: str, line: int, found: str, expected: str) -> MachineError:
        return MachineError(message, found=repr(found[:60]), expected=expected, where=at(path, line))

    for line_number, raw in enumerate(lines, start=1):
        line = raw.strip()
        if not line:
            continue
        last = line_number
        word, _, label = line.partition(" ")
        if line == "BEGIN_SCAN_DATA":
            if opened:
                raise refuse("a scan file opens twice", line_number, line, "END_SCAN_DATA before")
            opened = True
        elif not opened:
            raise refuse("text outside BEGIN_SCAN_DATA", line_number, line, "BEGIN_SCAN_DATA")
        elif line == "END_SCAN_DATA":
            if block is not None:
                raise refuse("a scan does not end", line_number, line, f"END_SCAN {block.label}")
            opened = False
        elif word == "BEGIN_SCAN":
            if block is not None:
                raise refuse("a scan does not end", line_number, line, f"END_SCAN {block.label}")
            block = _Block(label.strip(), line_number)
        elif word == "END_SCAN":
            if block is None or in_data or not block.has_data or label.strip() != block.label:
                expected = "BEGIN_SCAN" if block is None else "END_DATA" if in_data else f"data, END_SCAN {block.label}"
                raise refuse("a scan ends where it must not", line_number, line, expected)
            blocks.append(block)
            block = None
        elif block is None:
            if "=" not in line:
                raise refuse("text outside a scan", line_number, line, "BEGIN_SCAN or KEY=value")
        elif line == "BEGIN_DATA":
            if in_data or block.has_data:
                raise refuse("the data of a scan begin twice", line_number, line, "one BEGIN_DATA")
            in_data = True
        elif line == "END_DATA":
            if not in_data or not block.position:
                raise refuse("a scan has no data", line_number, line, "rows of position and reading")
            in_data, block.has_data = False, True
        elif in_data:
            words = line.split()
            # A third column is the reference reading or "#n"; both are left out, neither may be garbage.
            if len(words) not in (2, 3) or (len(words) == 3 and not _is_extra(words[2], at(path, line_number))):
                raise refuse("a row of data has the wrong columns", line_number, line, "position, reading, reference")
            block.position.append(number(words[0], at(path, line_number)))
            block.reading.append(number(words[1], at(path, line_number)))
        else:
            key, equals, value = line.partition("=")
            if not equals:
                raise refuse("a line of a scan is no keyword", line_number, line, "KEY=value")
            block.keys[key.strip()] = (value.strip(), line_number)
    if opened:
        expected = "END_DATA" if in_data else "END_SCAN" if block is not None else "END_SCAN_DATA"
        raise MachineError("a scan file is cut off", found="end of file", expected=expected, where=at(path, last))
    return blocks


def _is_extra(word: str, where: str) -> bool:
    return word[1:].isdigit() if word.startswith("#") else number(word, where) is not None


def _scan(block: _Block, path: Path) -> Scan:
    where = f"{path}, scan {block.label}"
    curve = block.text("SCAN_CURVETYPE")
    if curve not in _KINDS:
        raise MachineError("a scan is of a kind that is not read", found=curve, expected=", ".join(_KINDS), where=where)
    kind = _KINDS[curve]
    _refuse_other_beams(block, path, where)
    diagonal = block.text("SCAN_DIAGONAL") not in ("", "NOT_DIAGONAL")
    sign = 1.0
    if not diagonal:
        direction = block.text(_DIRECTION_KEY[kind])
        if direction and (kind, direction) not in _SIGN:
            expected = ", ".join(name for of, name in _SIGN if of == kind)
            raise MachineError(
                "the direction of an axis is not known", found=direction, expected=expected, where=f"{where} ({kind})"
            )
        sign = _SIGN.get((kind, direction), 1.0)
    points = ordered([sign * position for position in block.position], block.reading)
    comment = [f"{key} {block.text(key)}" for key in ("SCAN_DIAGONAL", "SCAN_CURVETYPE") if diagonal]
    if block.text("CORRECTIONS"):
        comment.append(f"corrections {block.text('CORRECTIONS').strip(';')}")
    filters = {"FF": True, "FFF": False}
    return Scan(
        kind="diagonal" if diagonal else kind,
        field_x_mm=block.required("FIELD_CROSSPLANE", path),
        field_y_mm=block.required("FIELD_INPLANE", path),
        ssd_mm=block.required("SSD", path),
        depth_mm=None if kind == "pdd" else block.required("SCAN_DEPTH", path),
        position_mm=points.position_mm,
        value=points.value,
        relative_to=f"signal of this scan, the file says {block.text('MEAS_UNIT') or 'no unit'}",
        energy_mv=block.required("ENERGY", path),
        flattened=filters.get(block.text("FILTER")),
        detector=_detector(block, path),
        machine=block.text("LINAC"),
        comment=", ".join(comment),
        source_file=path.name,
    )


def _refuse_other_beams(block: _Block, path: Path, where: str) -> None:
    """Raise unless the scan is of an open, centred, rectangular photon field in water, through the axis."""
    allowed = {"MODALITY": "X", "MEAS_MEDIUM": "WATER", "FIELD_TYPE": "RECTANGULAR"}
    for key, value in allowed.items():
        if block.text(key) not in ("", value):
            raise MachineError(
                "a scan is of a beam that is not read", found=f"{key}={block.text(key)}", expected=value, where=where
            )
    diagonal = block.text("SCAN_DIAGONAL") not in ("", "NOT_DIAGONAL")
    zero = ["WEDGE_ANGLE", "BLOCK", "COLL_OFFSET_INPLANE", "COLL_OFFSET_CROSSPLANE"]
    zero += ["SCAN_OFFAXIS_INPLANE", "SCAN_OFFAXIS_CROSSPLANE", "INCLINATION_ANGLE"]
    if not diagonal:
        zero.append("SCAN_ANGLE")
    for key in zero:
        value_found = block.number(key, path)
        if value_found:
            raise MachineError(
                "a scan is of a beam that is not read",
                found=f"{key}={value_found:g}",
                expected="0 (open field on the axis)",
                where=where,
            )


def _detector(block: _Block, path: Path) -> Detector:
    code = block.text("DETECTOR")
    shape: DetectorShape = next((shape for key, shape in _SHAPES if key in code), "")
    radius = block.number("DETECTOR_RADIUS", path)
    # 0 stands for "not stated": the program asks for it at thimble chambers only.
    return Detector(block.text("DETECTOR_NAME") or code, shape, 2 * radius if radius else None)
