"""The layout of ``beam_artiste6mv``: ``tpr.dat``, ``of.dat``, ``primflu.dat`` and ``params.dat`` in one folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imrt_core.machine.tank_data import read_artiste
from imrt_core.patient import MachineError

from .measurements import FileContents
from .text import at, number, read_lines
from .types import OutputFactors, PrimaryFluence, Scan

FORMAT = "TPR, output factor and fluence tables"
#: The normalisation field's factor is written as 1.
_UNIT_TOLERANCE = 1e-3
FILES = ("tpr.dat", "of.dat", "primflu.dat", "params.dat")


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
    for name in FILES:
        read_lines(folder / name)  # refuses what is no text before the tables are parsed
    ssd_mm: float | None = None
    for line_number, line in enumerate(read_lines(folder / "params.dat"), start=1):
        words = line.split()
        if len(words) == 2 and not line.startswith("#"):
            value = number(words[1], at(folder / "params.dat", line_number))
            if words[0] == "dose_reference_ssd":
                ssd_mm = value
    data = read_artiste(folder)
    order = np.argsort(data.of_field_mm)
    unit = int(np.argmin(np.abs(data.output_factor - 1)))
    if abs(data.output_factor[unit] - 1) > _UNIT_TOLERANCE:
        raise MachineError(
            "no field has output factor 1", found=f"{data.output_factor[unit]:g} at the nearest",
            where=str(folder / "of.dat"),
        )  # fmt: skip
    scans = tuple(
        Scan(
            kind="tpr",
            field_x_mm=float(side),
            field_y_mm=float(side),
            ssd_mm=data.sad_mm,
            depth_mm=None,
            position_mm=data.depth_mm,
            value=data.tpr[:, column],
            relative_to=f"1 at {data.reference_depth_mm:g} mm depth",
            energy_mv=data.energy_mv,
            source_file="tpr.dat",
        )
        for column, side in enumerate(data.field_mm)
    )
    factors = OutputFactors(
        field_x_mm=data.of_field_mm[order],
        field_y_mm=data.of_field_mm[order],
        factor=data.output_factor[order],
        depth_mm=data.reference_depth_mm,
        ssd_mm=ssd_mm,
        normalised_x_mm=float(data.of_field_mm[unit]),
        normalised_y_mm=float(data.of_field_mm[unit]),
        energy_mv=data.energy_mv,
        source_file="of.dat",
    )
    return FileContents(
        format=FORMAT,
        source_file=", ".join(FILES),
        scans=scans,
        output_factors=(factors,),
        primary_fluence=PrimaryFluence(data.fluence_radius_mm, data.fluence, "primflu.dat"),
        energy_mv=data.energy_mv,
        sad_mm=data.sad_mm,
        warnings=() if ssd_mm else ("params.dat: the SSD of the output factors is not stated (dose_reference_ssd)",),
    )
