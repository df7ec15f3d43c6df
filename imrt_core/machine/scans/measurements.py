"""The contents of a file, and of a folder, of measured beam data."""

from __future__ import annotations

from dataclasses import dataclass

from imrt_core.patient import MachineError

from .checks import within
from .types import MAX_DISTANCE_MM, AbsoluteDose, Kind, OutputFactors, PrimaryFluence, Scan


@dataclass(frozen=True, eq=False)
class FileContents:
    """What one file (or one layout of several files) holds.

    Parameters
    ----------
    format : str
        Name of the format, for the provenance.
    energy_mv, sad_mm : float or None
        None where not stated.
    """

    format: str
    source_file: str
    scans: tuple[Scan, ...] = ()
    output_factors: tuple[OutputFactors, ...] = ()
    absolute_doses: tuple[AbsoluteDose, ...] = ()
    primary_fluence: PrimaryFluence | None = None
    energy_mv: float | None = None
    sad_mm: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Measurements:
    """All measured data of one beam.

    Parameters
    ----------
    energy_mv, sad_mm : float
        Nominal energy and source-axis distance, the same for all.
    scans, output_factors, absolute_doses : tuple
        In the order of the files' names.
    primary_fluence : PrimaryFluence or None
        None where not measured.
    source : str
        Files and formats, for the provenance of the model.
    warnings : tuple of str
        What was assumed and what was not read; a report shows them.
    """

    energy_mv: float
    sad_mm: float
    scans: tuple[Scan, ...]
    output_factors: tuple[OutputFactors, ...]
    absolute_doses: tuple[AbsoluteDose, ...]
    primary_fluence: PrimaryFluence | None
    source: str
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        within(self.energy_mv, 0.0, 50.0, "nominal energy in MV", self.source)
        within(self.sad_mm, 0.0, MAX_DISTANCE_MM, "source-axis distance in mm", self.source)
        energies = [
            *(scan.energy_mv for scan in self.scans),
            *(factors.energy_mv for factors in self.output_factors),
            *(dose.energy_mv for dose in self.absolute_doses),
        ]
        others = set(energies) - {self.energy_mv}
        if others:
            raise MachineError(
                "the measurements are not of one energy",
                found=", ".join(str(e) for e in sorted(others, key=str)),
                expected=f"{self.energy_mv:g} MV throughout",
                where=self.source,
            )

    def of_kind(self, *kinds: Kind) -> tuple[Scan, ...]:
        """Return the scans of these kinds."""
        return tuple(scan for scan in self.scans if scan.kind in kinds)
