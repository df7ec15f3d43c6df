"""The treatment couch as a machine file declares it: flat layers under the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imrt_core.patient import MachineError


@dataclass(frozen=True)
class CouchLayer:
    """One layer of the couch top.

    Parameters
    ----------
    name : str
        For people.
    thickness_mm : float
        Vertical.
    relative_electron_density : float
        Relative to water.
    mass_density : float
        g/cm³.
    """

    name: str
    thickness_mm: float
    relative_electron_density: float
    mass_density: float

    def __post_init__(self) -> None:
        numbers = (self.thickness_mm, self.relative_electron_density, self.mass_density)
        if not all(np.isfinite(n) and n > 0 for n in numbers):
            raise MachineError("a couch layer needs positive numbers", found=str(numbers), where=f"layer {self.name}")


@dataclass(frozen=True)
class Couch:
    """A couch top of the same cross-section all along (AAPM TG-176: shell and foam, not one slab of mean density).

    Parameters
    ----------
    name : str
        For reports.
    layers : tuple of CouchLayer
        From the top down.
    width_mm : float
        Across the table, centred under the patient.
    below_isocentre_mm : float or None
        How far the top surface lies below the isocentre; None puts it under the lowest point of EXTERNAL.
    gap_mm : float
        Air or mattress between the lowest point of EXTERNAL and the top surface; used without ``below_isocentre_mm``.
    source : str
        Where the numbers came from.

    Raises
    ------
    MachineError
        If there is no layer or a number is not physical.
    """

    name: str
    layers: tuple[CouchLayer, ...]
    width_mm: float
    below_isocentre_mm: float | None = None
    gap_mm: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if not self.layers:
            raise MachineError("a couch needs at least one layer", where=f"couch {self.name}")
        numbers = (self.gap_mm, self.below_isocentre_mm or 0.0)
        if not (np.isfinite(self.width_mm) and self.width_mm > 0 and all(np.isfinite(n) for n in numbers)):
            raise MachineError(
                "width and position of a couch must be finite", found=str((self.width_mm, *numbers)), where=self.name
            )
        if self.gap_mm < 0:
            raise MachineError("the couch must lie under the patient", found=f"gap {self.gap_mm:g} mm", where=self.name)

    @property
    def thickness_mm(self) -> float:
        """Of all layers."""
        return sum(layer.thickness_mm for layer in self.layers)

    @property
    def water_equivalent_mm(self) -> float:
        """Thickness of water of the same electrons per area, for a vertical ray."""
        return sum(layer.thickness_mm * layer.relative_electron_density for layer in self.layers)
