"""The Eclipse ENT set of SlicerRT (MIT licence): structures, dose, and the DVHs that Eclipse and CERR stored."""

from __future__ import annotations

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.vtp import read_polylines
from imrt_core.patient import Contour, InputRefusedError, Structure, StructureSet, Volume
from registration.itk import read_volume

_TARGETS = {"GTV": "GTV", "CTV": "CTV", "PTV1": "PTV", "BODY": "EXTERNAL"}
_COLUMN = re.compile(r"(?P<name>.+)_DvhArray Value \(% of (?P<volume>[\d.]+) cc\)")


@dataclass(frozen=True)
class Figures:
    """What is compared of one DVH."""

    volume_cc: float
    mean_gy: float
    d95_gy: float
    d2_gy: float


def data_dir() -> Path:
    """Return the folder of the Eclipse ENT set."""
    root = Path(__file__).resolve().parents[1]
    return Path(os.environ.get("IGRT_SHARED_DATA", root / ".." / "shared" / "data")) / "slicerrt_eclipse_ent"


def read_set(folder: Path) -> tuple[StructureSet, Volume]:
    """Return the structures (LPS) and the course dose of day 1 in Gy."""
    files = sorted(folder.glob("EclipseEnt_Structures.seg/*.vtp"))
    if not files:
        raise InputRefusedError("no structures", expected="EclipseEnt_Structures.seg/*.vtp", where=str(folder))
    structures = []
    for number, path in enumerate(files, start=1):
        segment = read_polylines(path)
        # 3D Slicer keeps its models in RAS.
        contours = tuple(Contour(line * np.array([-1.0, -1.0, 1.0])) for line in segment.lines)
        kind = _TARGETS.get(segment.name, "ORGAN")
        structures.append(Structure(segment.name, contours, number, kind, segment.color_rgb))
    return StructureSet(tuple(structures), label="EclipseEnt"), read_volume(folder / "EclipseEnt_Dose.nrrd")


def read_table(path: Path, *, shift_gy: float = 0.0) -> dict[str, Figures]:
    """Read a table of cumulative DVHs: pairs of columns dose (Gy), volume (%), by name without punctuation.

    ``shift_gy`` is added to the doses: CERR lists bin centres with the volume beyond the bin, half a bin further on.
    """
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    found = {}
    for column in range(1, len(header), 2):
        match = _COLUMN.fullmatch(header[column])
        if match is None:
            raise InputRefusedError("unknown column of a DVH table", found=header[column], where=path.name)
        pairs = [(float(r[column - 1]), float(r[column])) for r in rows if len(r) > column and r[column]]
        dose, percent = np.array(pairs).T
        dose = np.where(dose > 0, dose + shift_gy, 0.0)
        mean = float(np.sum(-np.diff(percent) * (dose[:-1] + dose[1:]) / 2) / percent[0])
        d95, d2 = (float(np.interp(-at, -percent, dose)) for at in (95.0, 2.0))
        found[structure_key(match["name"])] = Figures(float(match["volume"]), mean, d95, d2)
    return found


def structure_key(name: str) -> str:
    """Return a key that names the same structure in the set and in the tables."""
    # "Lens - left" is "LensLeft" and "Optic Nerve-Lt" is "OpticNerveLt" in the tables.
    return "".join(sorted(re.sub(r"[^a-z0-9]", "", name.lower())))
