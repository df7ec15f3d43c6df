"""The layout of ``beam_artiste6mv``: ``tpr.dat``, ``of.dat``, ``primflu.dat`` and ``params.dat`` in one folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MachineError

from .measurements import FileContents
from .text import at, number, read_lines
from .types import OutputFactors, PrimaryFluence, Scan

FORMAT = "TPR, output factor and fluence tables"
#: The normalisation field's factor is written as 1.
_UNIT_TOLERANCE = 1e-3
FILES = ("tpr.dat", "of.dat", "primflu.dat", "params.dat")
_NEEDED = ("SAD", "photon_energy", "dose_reference_depth")


def recognise(folder: Path) -> bool:
    """Whether the folder holds a file of this layout that no other layout has."""
    return (folder / "tpr.dat").is_file() and (folder / "params.dat").is_file()


def read_layout(folder: Path) -> FileContents:
    """Read the four files.

    Raises
    ------
    MachineError
        If one is missing, not a table of numbers, or lacks a parameter.
    """
    parameters = _parameters(folder / "params.dat")
    table, factors, primary = (_table(folder / name) for name in FILES[:3])
    missing = [name for name in _NEEDED if name not in parameters]
    if missing or min(table.shape) < 4 or factors.shape[1] != 2 or primary.shape[1] != 2:
        raise MachineError(
            "the scans are not complete",
            found=f"TPR {table.shape}, factors {factors.shape}, fluence {primary.shape}, lacks {missing}",
            where=str(folder),
        )
    sad_mm, energy_mv, depth_mm = (parameters[name] for name in _NEEDED)
    ssd_mm = parameters.get("dose_reference_ssd")
    order = np.argsort(factors[:, 0])
    side_mm, factor = factors[order].T
    unit = int(np.argmin(np.abs(factor - 1)))
    if abs(factor[unit] - 1) > _UNIT_TOLERANCE:
        raise MachineError(
            "no field has output factor 1", found=f"{factor[unit]:g} at the nearest", where=str(folder / "of.dat")
        )
    scans = tuple(
        Scan(
            kind="tpr",
            field_x_mm=float(side),
            field_y_mm=float(side),
            ssd_mm=sad_mm,
            depth_mm=None,
            position_mm=table[1:, 0],
            value=table[1:, column],
            relative_to=f"1 at {depth_mm:g} mm depth",
            energy_mv=energy_mv,
            source_file="tpr.dat",
        )
        for column, side in enumerate(table[0])
        if column > 0 and side > 0  # the zero field is an extrapolation
    )
    return FileContents(
        format=FORMAT,
        source_file=", ".join(FILES),
        scans=scans,
        output_factors=(
            OutputFactors(
                field_x_mm=side_mm,
                field_y_mm=side_mm,
                factor=factor,
                depth_mm=depth_mm,
                ssd_mm=ssd_mm,
                normalised_x_mm=float(side_mm[unit]),
                normalised_y_mm=float(side_mm[unit]),
                energy_mv=energy_mv,
                source_file="of.dat",
            ),
        ),
        primary_fluence=PrimaryFluence(primary[:, 0], primary[:, 1], "primflu.dat"),
        energy_mv=energy_mv,
        sad_mm=sad_mm,
        warnings=() if ssd_mm else ("params.dat: the SSD of the output factors is not stated (dose_reference_ssd)",),
    )


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return line numbers and words, comments and empty lines left out."""
    lines = enumerate(read_lines(path), start=1)
    return [(n, line.split()) for n, line in lines if line.strip() and not line.startswith("#")]


def _parameters(path: Path) -> dict[str, float]:
    return {words[0]: number(words[1], at(path, n)) for n, words in _rows(path) if len(words) == 2}


def _table(path: Path) -> NDArray[np.float64]:
    rows = [[number(word, at(path, n)) for word in words] for n, words in _rows(path)]
    if not rows or len({len(row) for row in rows}) > 1:
        raise MachineError(
            "a scan is not a table of numbers", found=f"{len(rows)} rows of unequal length", where=str(path)
        )
    return np.array(rows)
