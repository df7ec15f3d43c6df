"""All measurements of a folder, whatever formats its files are in."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from imrt_core.patient import MachineError

from . import artiste, labelled, mcc, tables, w2cad
from .measurements import FileContents, Measurements
from .text import read_lines

_TABLE_SUFFIXES = (".csv", ".txt", ".dat", ".tsv")
_TEXT_SUFFIXES = (*_TABLE_SUFFIXES, ".mcc", ".asc", ".cdp", ".data", ".w2cad")
_ENERGY_IN_NAME = re.compile(r"(?<![\d.])0?(\d{1,2}(?:\.\d)?)[ _-]?MV(?![a-zA-Z])|(?<![A-Za-z\d])X0?(\d{1,2})(?!\d)")
_USUAL_SAD_MM = 1000.0


def read_scans(folder: Path, *, energy_mv: float | None = None) -> Measurements:
    """Read every file of a folder that is in a known format.

    Formats are told by content, tables also by the suffix. Files that are not known, and sub-folders, are named in
    the warnings; a file that is known and broken is an error.

    Parameters
    ----------
    folder : Path
        With the measurements of one beam.
    energy_mv : float or None
        Nominal energy, where the files do not state it. The name of a file (``6MV_pdd.asc``, ``X06.asc``) is the
        last resort, with a warning.

    Raises
    ------
    MachineError
        If the folder is missing or holds no measurement, a file is broken, or energies, source-axis distances or
        flattened and unflattened beams are mixed.
    """
    if not folder.is_dir():
        raise MachineError("there is no such folder of measurements", found=str(folder), expected="a folder")
    contents: list[FileContents] = []
    warnings: list[str] = []
    taken: set[str] = set()
    if artiste.recognise(folder):
        contents.append(artiste.read_layout(folder))
        taken.update(artiste.FILES)
    for path in sorted(folder.iterdir()):
        if path.name in taken or path.name.startswith("."):
            continue
        if not path.is_file():
            warnings.append(f"{path.name}: not read (no file)")
            continue
        found = _read_file(path)
        if found is None:
            warnings.append(f"{path.name}: not read (not a known format)")
        else:
            contents.append(found)
    if not contents:
        raise MachineError(
            "a folder holds no measurements", found="; ".join(warnings) or "an empty folder",
            expected="PTW .mcc, W2CAD .asc, plain tables or tpr.dat/of.dat/primflu.dat/params.dat", where=str(folder),
        )  # fmt: skip
    return combine(contents, where=str(folder), energy_mv=energy_mv, warnings=tuple(warnings))


def _read_file(path: Path) -> FileContents | None:
    """Read a file of a known format; None if it is of none."""
    if path.suffix.lower() not in _TEXT_SUFFIXES:
        return None
    lines = read_lines(path)
    if mcc.recognise(lines):
        return mcc.read_mcc(path)
    if w2cad.recognise(lines):
        return w2cad.read_w2cad(path)
    if path.suffix.lower() not in _TABLE_SUFFIXES:
        raise MachineError(
            "a file of measurements does not begin as its format does", found=repr(next(iter(lines), "")[:60]),
            expected="BEGIN_SCAN_DATA (mcc), or $NUMS or $STOM (W2CAD)", where=str(path),
        )  # fmt: skip
    if labelled.recognise(lines):
        return labelled.read_labelled(path, lines)
    return tables.read_table(path, lines) if tables.recognise(lines) else None


def combine(
    contents: list[FileContents], *, where: str, energy_mv: float | None = None, warnings: tuple[str, ...] = ()
) -> Measurements:
    """Join the contents of files into the measurements of one beam.

    Raises
    ------
    MachineError
        As :func:`read_scans`.
    """
    notes = list(warnings)
    energies: dict[float, str] = {} if energy_mv is None else {energy_mv: "as asked for"}
    for part in contents:
        stated = part.energy_mv
        name = _ENERGY_IN_NAME.search(Path(part.source_file).name)
        if stated is None and energy_mv is None and name is not None:
            stated = float(name[1] or name[2])
            notes.append(f"{part.source_file}: energy {stated:g} MV taken from the name of the file")
        if stated is not None:
            energies.setdefault(stated, part.source_file)
        notes += part.warnings
    sads = {part.sad_mm: part.source_file for part in contents if part.sad_mm is not None}
    beams = {scan.flattened: scan.label for part in contents for scan in part.scans if scan.flattened is not None}
    for what, values in (("energies (MV)", energies), ("source-axis distances (mm)", sads)):
        if len(values) > 1:
            raise MachineError(
                f"a folder mixes {what}", found=", ".join(f"{value:g} in {name}" for value, name in values.items()),
                expected="one beam in a folder", where=where,
            )  # fmt: skip
    if len(beams) > 1:
        raise MachineError(
            "a folder mixes flattened and unflattened beams", found="; ".join(beams.values()), where=where
        )
    if not energies:
        raise MachineError("no file states the energy", expected="an energy, for example --energy-mv 6", where=where)
    if not sads:
        notes.append(f"no file states the source-axis distance: {_USUAL_SAD_MM:g} mm assumed")
    fluences = [part.primary_fluence for part in contents if part.primary_fluence is not None]
    if len(fluences) > 1:
        raise MachineError(
            "a folder has two primary fluences", found=", ".join(f.source_file for f in fluences), where=where
        )
    energy = next(iter(energies))
    scans = tuple(replace(scan, energy_mv=energy) for part in contents for scan in part.scans)
    notes += _about_scans(contents)
    return Measurements(
        energy_mv=energy,
        sad_mm=next(iter(sads), _USUAL_SAD_MM),
        scans=scans,
        output_factors=tuple(replace(f, energy_mv=energy) for part in contents for f in part.output_factors),
        absolute_doses=tuple(replace(d, energy_mv=energy) for part in contents for d in part.absolute_doses),
        primary_fluence=fluences[0] if fluences else None,
        source="; ".join(f"{part.source_file} ({part.format})" for part in contents),
        warnings=tuple(notes),
    )


def _about_scans(contents: list[FileContents]) -> list[str]:
    """Return warnings on scans of several machines and on the same scan twice."""
    notes = []
    scans = [scan for part in contents for scan in part.scans]
    machines = sorted({scan.machine for scan in scans if scan.machine})
    if len(machines) > 1:
        notes.append(f"scans of several machines: {', '.join(machines)}")
    seen: dict[tuple[object, ...], str] = {}
    for scan in scans:
        key = (scan.kind, scan.field_x_mm, scan.field_y_mm, scan.ssd_mm, scan.depth_mm, scan.comment)
        if key in seen:
            notes.append(f"measured twice: {scan.label} (also in {seen[key]})")
        seen.setdefault(key, scan.source_file)
    return notes
