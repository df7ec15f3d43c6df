"""Plain tables: a header row that names quantities with their units, and ``# key: value`` lines.

The header says what the table is:

=============================================== ==============================================
columns                                         table
=============================================== ==============================================
``depth``, ``dose``                             PDD
``depth``, ``tpr``                              TPR (``ssd`` is then the source-detector distance)
``x`` | ``y`` | ``diagonal``, ``dose``          crossline, inline or diagonal profile
``depth`` | ``x`` | ``y`` | ``diagonal``,       several of these, a column for each field; the key
``50x50_mm``, ``100x100_mm``, …                 ``columns`` says ``dose``, ``dose_percent`` or ``tpr``
``field`` | ``field_x``, ``field_y``;           output factors
``output_factor``
``field`` | ``field_x``, ``field_y``;           absolute dose; field, depth and SSD as columns or keys
``depth``; ``ssd``; ``gy_per_mu``
``radius``, ``fluence``                         primary fluence at the isocentre plane
=============================================== ==============================================

Lengths carry ``_mm`` or ``_cm``, as in ``depth_mm``, ``field_cm`` (``depth [mm]`` and ``# ssd: 900 mm`` are read too).
``position`` stands for ``x``, ``y`` or ``diagonal`` where the key ``kind`` says which; elsewhere ``kind`` may repeat
what the table is, and must then be right. ``docs/commissioning.md`` shows an example of each.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from imrt_core.patient import MachineError

from .measurements import FileContents
from .sheet import Sheet, length_mm, outline, read_sheet, split_unit
from .text import ordered, repeats_warning
from .types import AbsoluteDose, Detector, DetectorShape, Kind, OutputFactors, PrimaryFluence, Scan

FORMAT = "plain table"

_PROFILES: dict[str, Kind] = {"x": "crossline", "y": "inline", "diagonal": "diagonal"}
_FIELD_LABEL = re.compile(r"(\d+(?:\.\d+)?)\s*x\s*(\d+(?:\.\d+)?)[\s_]*(mm|cm)", re.ASCII)
_RELATIVE = {"dose_percent": "per cent", "dose": "relative", "tpr": "tissue-phantom ratio"}
KEYS = [
    *("kind", "columns", "energy_mv", "sad", "field", "field_x", "field_y", "ssd", "depth", "machine", "relative_to"),
    *("normalised_at", "flattened", "detector", "detector_shape", "detector_diameter"),
]


def recognise(lines: list[str]) -> bool:
    """Whether a text has our keys or a header that names a quantity of ours."""
    header, keys = outline(lines)
    first = {split_unit(cell)[0] for cell in header}
    known = {"depth", "position", *_PROFILES, "radius", "field", "field_x"}
    return bool(keys & set(KEYS)) or (len(header) > 1 and bool(first & known))


def read_table(path: Path, lines: list[str]) -> FileContents:
    """Read one table.

    Raises
    ------
    MachineError
        Naming the key or column that is missing, or the line that is broken.
    """
    sheet = read_sheet(path, lines, KEYS)
    names = [split_unit(cell)[0] for cell in sheet.header]
    contents = None
    if "output_factor" in names:
        contents = FileContents(FORMAT, path.name, output_factors=(_output_factors(sheet),))
    elif "gy_per_mu" in names or "cgy_per_mu" in names:
        contents = FileContents(FORMAT, path.name, absolute_doses=_absolute(sheet))
    elif "fluence" in names:
        fluence = PrimaryFluence(sheet.length("radius"), sheet.column("fluence"), path.name)
        contents = FileContents(FORMAT, path.name, primary_fluence=fluence)
    elif names and names[0] in ("depth", "position", *_PROFILES):
        scans, notes = _scans(sheet, names[0])
        contents = FileContents(FORMAT, path.name, scans=scans, warnings=notes)
    if contents is None:
        raise MachineError(
            "the header names no table that is known",
            found=", ".join(sheet.header),
            expected="for example depth_mm, dose_percent; see docs/commissioning.md",
            where=sheet.where,
        )
    _check_kind(sheet, contents)
    return FileContents(
        format=FORMAT,
        source_file=path.name,
        scans=contents.scans,
        output_factors=contents.output_factors,
        absolute_doses=contents.absolute_doses,
        primary_fluence=contents.primary_fluence,
        energy_mv=sheet.optional_number("energy_mv"),
        sad_mm=sheet.optional_length("sad"),
        warnings=(*contents.warnings, *sheet.warnings),
    )


def _check_kind(sheet: Sheet, contents: FileContents) -> None:
    kind = sheet.text("kind").lower()
    is_a: set[str] = {scan.kind for scan in contents.scans}
    is_a |= {"output factors"} if contents.output_factors else set()
    is_a |= {"absolute dose"} if contents.absolute_doses else set()
    is_a |= {"primary fluence"} if contents.primary_fluence else set()
    if kind and kind not in is_a:
        raise MachineError(
            "the kind is not what the header says", found=f"kind: {kind}", expected=", ".join(is_a), where=sheet.where
        )


def _scans(sheet: Sheet, along: str) -> tuple[tuple[Scan, ...], tuple[str, ...]]:
    """Return a scan for each column of values."""
    first = along
    if along == "position":
        kinds: dict[str, str] = {kind: name for name, kind in _PROFILES.items()}
        along = kinds.get(sheet.required("kind").lower(), "")
        if not along:
            raise MachineError(
                "positions need to know along what they run", found=f"kind: {sheet.text('kind')}",
                expected=f"kind: {', '.join(_PROFILES.values())}", where=sheet.where,
            )  # fmt: skip
    labels = [_FIELD_LABEL.fullmatch(cell.strip().lower()) for cell in sheet.header[1:]]
    if labels and all(labels):
        quantity = sheet.required("columns").lower()
        fields = [(_mm(m[1], m[3]), _mm(m[2], m[3])) for m in labels if m is not None]
        columns = [sheet.column_at(index) for index in range(1, len(sheet.header))]
    else:
        if len(sheet.header) != 2:
            raise MachineError(
                "a scan has two columns, or a field such as 50x50_mm over each further one",
                found=", ".join(sheet.header), where=sheet.where,
            )  # fmt: skip
        quantity = "_".join(part for part in split_unit(sheet.header[1]) if part)
        fields = [sheet.field_mm()]
        columns = [sheet.column_at(1)]
    if quantity not in _RELATIVE or (quantity == "tpr" and along != "depth"):
        raise MachineError(
            "the values of a table are not known",
            found=quantity,
            expected=f"{', '.join(_RELATIVE)}, or fields with unit such as 50x50_mm",
            where=sheet.where,
        )
    kind: Kind = _PROFILES.get(along, "tpr" if quantity == "tpr" else "pdd")
    position = sheet.length(first)
    scans: list[Scan] = []
    notes: list[str] = []
    for (field_x_mm, field_y_mm), column in zip(fields, columns, strict=True):
        points = ordered(position.tolist(), column.tolist())
        scan = Scan(
            kind=kind,
            field_x_mm=field_x_mm,
            field_y_mm=field_y_mm,
            ssd_mm=sheet.required_length("ssd"),
            depth_mm=sheet.required_length("depth") if along in _PROFILES else None,
            position_mm=points.position_mm,
            value=points.value,
            relative_to=sheet.text("relative_to") or f"{_RELATIVE[quantity]}, normalisation not stated",
            energy_mv=sheet.optional_number("energy_mv"),
            flattened=_flattened(sheet),
            detector=_detector(sheet),
            machine=sheet.text("machine"),
            source_file=sheet.path.name,
        )
        scans.append(scan)
        notes += repeats_warning(points, scan.label)
    return tuple(scans), tuple(notes)


def _mm(word: str, unit: str) -> float:
    return length_mm(float(word), unit)


def _flattened(sheet: Sheet) -> bool | None:
    text = sheet.text("flattened").lower()
    if text not in ("", "yes", "no"):
        raise MachineError("flattened is yes or no", found=text, where=sheet.where)
    return {"": None, "yes": True, "no": False}[text]


def _detector(sheet: Sheet) -> Detector:
    shapes: dict[str, DetectorShape] = {
        "": "",
        "cylindrical chamber": "cylindrical chamber",
        "plane-parallel chamber": "plane-parallel chamber",
        "diode": "diode",
        "diamond": "diamond",
    }
    shape = sheet.text("detector_shape").lower()
    if shape not in shapes:
        raise MachineError(
            "a detector has an unknown shape", found=shape, expected=", ".join(shapes)[2:], where=sheet.where
        )
    return Detector(sheet.text("detector"), shapes[shape], sheet.optional_length("detector_diameter"))


def _output_factors(sheet: Sheet) -> OutputFactors:
    field_x, field_y = sheet.field_columns()
    factor = sheet.column("output_factor")
    if sheet.has("normalised_at"):
        unit_x = unit_y = sheet.required_length("normalised_at")
    else:
        ones = np.flatnonzero(factor == 1)
        if len(ones) != 1:
            raise MachineError(
                "no single field has output factor 1", found=f"{len(ones)} such fields",
                expected="key normalised_at_mm (side of the square field)", where=sheet.where,
            )  # fmt: skip
        unit_x, unit_y = float(field_x[ones[0]]), float(field_y[ones[0]])
    return OutputFactors(
        field_x_mm=field_x,
        field_y_mm=field_y,
        factor=factor,
        depth_mm=sheet.required_length("depth"),
        ssd_mm=sheet.required_length("ssd"),
        normalised_x_mm=unit_x,
        normalised_y_mm=unit_y,
        energy_mv=sheet.optional_number("energy_mv"),
        source_file=sheet.path.name,
    )


def _absolute(sheet: Sheet) -> tuple[AbsoluteDose, ...]:
    in_cgy = "cgy_per_mu" in [split_unit(cell)[0] for cell in sheet.header]
    dose = sheet.column("cgy_per_mu") / 100 if in_cgy else sheet.column("gy_per_mu")
    field_x, field_y = sheet.field_columns()
    depth, ssd = sheet.column_or_key("depth"), sheet.column_or_key("ssd")
    return tuple(
        AbsoluteDose(
            gy_per_mu=float(dose[row]),
            field_x_mm=float(field_x[row]),
            field_y_mm=float(field_y[row]),
            depth_mm=float(depth[row]),
            ssd_mm=float(ssd[row]),
            energy_mv=sheet.optional_number("energy_mv"),
            source_file=sheet.path.name,
        )
        for row in range(len(dose))
    )
