"""Densities that a person or a planning system gave in place of the image's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.machine import DensityCurve
from imrt_core.patient import Grid, MachineError, StructureError, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure

#: What stays in the beam besides EXTERNAL: interpreted types of DICOM PS3.3 C.8.8.8.1.
KEPT_TYPES = ("SUPPORT", "FIXATION", "BOLUS")
#: A bolus or support that is lighter than this in the image is not in the image.
_ABSENT = 0.1


@dataclass(frozen=True)
class DensityOverride:
    """Density of a structure in place of the image's.

    Parameters
    ----------
    structure : str
        Its name.
    relative_electron_density : float
        Relative to water.
    mass_density : float
        g/cm³.
    source : str
        Who says so: ``"protocol"``, ``"RTSTRUCT"``, ….

    Raises
    ------
    MachineError
        If a density is negative or not finite.
    """

    structure: str
    relative_electron_density: float
    mass_density: float
    source: str = ""

    def __post_init__(self) -> None:
        for value in (self.relative_electron_density, self.mass_density):
            if not (np.isfinite(value) and value >= 0):
                raise MachineError(
                    "an overriding density must be finite and not negative",
                    found=str(value),
                    where=f"override of {self.structure}",
                )

    @classmethod
    def of(
        cls,
        structure: str,
        curve: DensityCurve,
        *,
        relative_electron_density: float | None = None,
        mass_density: float | None = None,
        source: str = "",
    ) -> DensityOverride:
        """Build an override from one density or both; a missing one comes from the curve, beyond it by ratio.

        Raises
        ------
        MachineError
            If neither is given.
        """
        table = np.array(curve.points, dtype=float)
        red, mass = relative_electron_density, mass_density
        if red is None and mass is None:
            raise MachineError("an override needs a density", found="none", where=f"override of {structure}")
        if red is None and mass is not None:
            red = _along(mass, table[:, 2], table[:, 1])
        if mass is None and red is not None:
            mass = _along(red, table[:, 1], table[:, 2])
        return cls(structure, float(red or 0.0), float(mass or 0.0), source)


def overrides_of(structures: StructureSet, curve: DensityCurve) -> tuple[DensityOverride, ...]:
    """Return the overrides that a structure set carries (ROI Physical Properties of RTSTRUCT).

    REL_MASS_DENSITY is relative to water of 1 g/cm³.
    """
    return tuple(
        DensityOverride.of(
            s.name,
            curve,
            relative_electron_density=s.relative_electron_density,
            mass_density=s.relative_mass_density,
            source="RTSTRUCT",
        )
        for s in structures
        if not s.is_empty and (s.relative_electron_density is not None or s.relative_mass_density is not None)
    )


def kept_mask(structures: StructureSet, external: Volume) -> Volume:
    """Return EXTERNAL with supports, fixation and bolus: everything else is air.

    Parameters
    ----------
    structures : StructureSet
        Where supports and bolus are looked for by type.
    external : Volume
        Fractions of EXTERNAL.
    """
    array = np.array(external.array, dtype=np.float32)
    for structure in structures:
        if structure.interpreted_type.upper() in KEPT_TYPES and not structure.is_empty:
            found = structure_mask(structures, structure.name, external.grid)
            if found is not None:
                np.maximum(array, found.array, out=array)
    return external.with_array(array)


def absent_from_image(structures: StructureSet, red: Volume, overridden: set[str]) -> tuple[str, ...]:
    """Return warnings about boluses that the image shows as air and that nobody gave a density."""
    found = []
    for structure in structures:
        if structure.interpreted_type.upper() != "BOLUS" or structure.is_empty or structure.name in overridden:
            continue
        mask = structure_mask(structures, structure.name, red.grid)
        inside = None if mask is None else mask.array >= 0.5
        if inside is not None and inside.any() and float(red.array[inside].mean()) < _ABSENT:
            found.append(f"bolus {structure.name} is air in the image and has no density of its own: it does nothing")
    return tuple(found)


def apply_overrides(
    red: Volume, mass: Volume, structures: StructureSet, overrides: tuple[DensityOverride, ...]
) -> tuple[Volume, Volume, tuple[str, ...]]:
    """Put overriding densities in, in the order given (the last one wins), and return a line for the report on each.

    Raises
    ------
    StructureError
        If an override names no structure, an empty one, or one outside the image.
    """
    red_array: NDArray[np.float32] = np.array(red.array, dtype=np.float32)
    mass_array: NDArray[np.float32] = np.array(mass.array, dtype=np.float32)
    lines = []
    for override in overrides:
        structure = structures[override.structure]
        if structure.is_empty:
            raise StructureError("a density override needs contours", found="none", where=structure.name)
        inside = mask_from_structure(structure, red.grid).array >= 0.5
        volume_cc = float(inside.sum()) * red.grid.voxel_volume_cc
        before = float(red_array[inside].mean()) if inside.any() else float("nan")
        red_array[inside] = override.relative_electron_density
        mass_array[inside] = override.mass_density
        by = f" ({override.source})" if override.source else ""
        lines.append(
            f"density of {structure.name} overridden{by}: {volume_cc:.1f} cc to relative electron density "
            f"{override.relative_electron_density:.3f}, {override.mass_density:.3f} g/cm³; "
            f"the image gave {before:.3f} on average"
        )
    return red.with_array(red_array), mass.with_array(mass_array), tuple(lines)


def structure_mask(structures: StructureSet, name: str, grid: Grid) -> Volume | None:
    """Return a structure's mask, or None where nothing of it lies in the image."""
    try:
        return mask_from_structure(structures[name], grid)
    except StructureError:
        return None


def _along(value: float, given: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    if value <= given[0]:
        return float(value * wanted[0] / given[0])
    if value >= given[-1]:
        return float(value * wanted[-1] / given[-1])
    return float(np.interp(value, given, wanted))
