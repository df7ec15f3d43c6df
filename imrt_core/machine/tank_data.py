"""Measurements in water, as a beam model is fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MachineError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TankData:
    """Measurements on the beam axis at the isocentre, and the primary fluence.

    Parameters
    ----------
    depth_mm : ndarray, shape (n,)
        Depths of the TPR table.
    field_mm : ndarray, shape (m,)
        Square field sides of the TPR table (no zero field).
    tpr : ndarray, shape (n, m)
        1 at the reference depth.
    of_field_mm, output_factor : ndarray, shape (f,)
        Total output factors at the reference depth.
    reference_depth_mm : float
        Of TPR and output factors.
    fluence_radius_mm, fluence : ndarray, shape (r,)
        Primary fluence on the isocentre plane.
    sad_mm, energy_mv : float
        Source-axis distance, nominal energy.
    source : str
        For the provenance.
    """

    depth_mm: Array
    field_mm: Array
    tpr: Array
    of_field_mm: Array
    output_factor: Array
    reference_depth_mm: float
    fluence_radius_mm: Array
    fluence: Array
    sad_mm: float
    energy_mv: float
    source: str


def read_artiste(folder: Path) -> TankData:
    """Read the layout of ``beam_artiste6mv``: ``tpr.dat``, ``of.dat``, ``primflu.dat``, ``params.dat``.

    Raises
    ------
    MachineError
        If a file is missing, not a table of numbers, or the tables do not fit.
    """
    parameters: dict[str, float] = {}
    for words in _lines(folder / "params.dat"):
        if len(words) == 2:
            parameters[words[0]] = float(words[1])
    table = _numbers(folder / "tpr.dat")
    factors = _numbers(folder / "of.dat")
    primary = _numbers(folder / "primflu.dat")
    missing = {"SAD", "photon_energy", "dose_reference_depth"} - set(parameters)
    if missing or table.shape[0] < 4 or table.shape[1] < 4 or factors.shape[1] != 2 or primary.shape[1] != 2:
        raise MachineError(
            "the scans are not complete",
            found=f"TPR {table.shape}, factors {factors.shape}, fluence {primary.shape}, lacks {sorted(missing)}",
            where=str(folder),
        )
    fields, depths, tpr = table[0, 1:], table[1:, 0], table[1:, 1:]
    real = fields > 0  # the zero field is an extrapolation
    return TankData(
        depth_mm=depths,
        field_mm=fields[real],
        tpr=tpr[:, real],
        of_field_mm=factors[:, 0],
        output_factor=factors[:, 1],
        reference_depth_mm=parameters["dose_reference_depth"],
        fluence_radius_mm=primary[:, 0],
        fluence=primary[:, 1],
        sad_mm=parameters["SAD"],
        energy_mv=parameters["photon_energy"],
        source="measured 6 MV TPR table, output factors and primary fluence (two sister linacs, no profiles, no MU)",
    )


def _lines(path: Path) -> list[list[str]]:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MachineError("a scan cannot be read", found=str(error), where=str(path)) from error
    return [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _numbers(path: Path) -> Array:
    try:
        table = np.array([[float(word) for word in words] for words in _lines(path)])
    except ValueError as error:
        raise MachineError("a scan is not a table of numbers", found=str(error), where=str(path)) from error
    if table.ndim != 2 or not np.all(np.isfinite(table)):
        raise MachineError("a scan is not a table of numbers", found=f"shape {table.shape}", where=str(path))
    return table
