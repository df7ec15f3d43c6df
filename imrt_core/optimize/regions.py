"""Regions that objectives name: structures, Boolean combinations of them, and the normal tissue around targets.

Grammar, with blanks around the minus sign because structure names may hold a hyphen:

- ``Parotid_L`` — a structure
- ``PTV63 - PTV70`` — the part of the first that is not in the second
- ``PTV63 - PTV70+5mm`` — the second grown by a margin first
- ``NormalTissue`` — the body further than 5 mm from every target
- ``Falloff 45Gy`` — the shell of normal tissue where the dose should have fallen to between 40 and 45 Gy; see
  :func:`falloff_level_gy`
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import Grid, ProtocolError, StructureError, StructureSet
from imrt_core.patient.contours import mask_from_structure

NORMAL_TISSUE = "NormalTissue"
_FALLOFF = re.compile(r"^Falloff (\d+)Gy$")
_MARGIN = re.compile(r"^(?P<name>.+?)\+(?P<mm>\d+(?:\.\d+)?)mm$")
#: The body this close to a target belongs to the target's penumbra.
NORMAL_TISSUE_GAP_MM = 5.0
#: Levels of the fall-off shells.
FALLOFF_STEP_GY = 5

FloatArray = NDArray[np.float64]


def is_region_of(expression: str, names: Collection[str]) -> bool:
    """Return whether every structure that a region is made of is among some names."""
    if expression in names or expression == NORMAL_TISSUE or _FALLOFF.match(expression):
        return True
    terms = [text.strip() for text in expression.split(" - ")]
    return all(term in names or ((m := _MARGIN.match(term)) and m["name"] in names) for term in terms)


def structures_of_region(expression: str) -> tuple[str, ...]:
    """Return the structures that a region is made of, in order; none for normal tissue and its shells."""
    if expression == NORMAL_TISSUE or _FALLOFF.match(expression):
        return ()
    terms = [text.strip() for text in expression.split(" - ")]
    return tuple(m["name"] if (m := _MARGIN.match(term)) else term for term in terms)


def falloff_level_gy(distance_mm: FloatArray, target_dose_gy: float) -> FloatArray:
    """Return the dose that normal tissue at a distance from a target need not exceed.

    Full dose at the surface, 85 % at 5 mm, 60 % at 15 mm, 45 % at 30 mm, 35 % from 50 mm on: what nine coplanar 6 MV
    beams reach around a target of some 8 cm.
    """
    return np.asarray(target_dose_gy * np.interp(distance_mm, [0, 5, 15, 30, 50], [1.0, 0.85, 0.60, 0.45, 0.35]))


@dataclass(eq=False)
class Regions:
    """Regions on the optimisation grid, rasterised when first asked for.

    Parameters
    ----------
    structures : StructureSet
        In the grid's frame.
    grid : Grid
        Optimisation grid, axis-aligned.
    targets : sequence of (str, float)
        Structures with a prescribed course dose in Gy.
    body : ndarray of float, shape of the grid
        Fraction of every voxel inside the patient.
    """

    structures: StructureSet
    grid: Grid
    targets: Sequence[tuple[str, float]]
    body: FloatArray
    _fractions: dict[str, FloatArray] = field(default_factory=dict, init=False)
    _distances: dict[str, FloatArray] = field(default_factory=dict, init=False)

    def structure(self, name: str) -> FloatArray:
        """Fraction of every voxel inside a structure and the body."""
        if name not in self._fractions:
            structure = self.structures[name]
            if structure.is_empty:
                raise StructureError("an objective or goal names an empty structure", found="no contours", where=name)
            mask = np.asarray(mask_from_structure(structure, self.grid).array, dtype=np.float64)
            self._fractions[name] = np.minimum(mask, self.body)
        return self._fractions[name]

    def distance_mm(self, name: str) -> FloatArray:
        """Distance of every voxel centre from a structure's voxels, 0 inside."""
        if name not in self._distances:
            inside = self.structure(name) >= 0.5
            if not inside.any():
                inside = self.structure(name) > 0
            spacing = self.grid.spacing_mm[::-1]
            distance = ndimage.distance_transform_edt(~inside, sampling=spacing)
            # without any voxel the transform measures from beyond the array
            self._distances[name] = np.asarray(distance if inside.any() else np.full(self.grid.shape, np.inf))
        return self._distances[name]

    def nearest_target_mm(self) -> FloatArray:
        """Distance of every voxel from the nearest target."""
        return np.asarray(np.min([self.distance_mm(name) for name, _ in self.targets], axis=0))

    def falloff_gy(self) -> FloatArray:
        """Dose that each voxel of normal tissue need not exceed: the highest that a target asks for."""
        levels = [falloff_level_gy(self.distance_mm(name), dose) for name, dose in self.targets]
        return np.asarray(np.max(levels, axis=0))

    def target_overlap(self, name: str) -> tuple[float, float]:
        """Return the share of a structure that lies in targets, and the mean prescribed dose of that part in Gy."""
        organ = self.structure(name)
        prescribed = np.zeros(self.grid.shape)
        covered = np.zeros(self.grid.shape)
        for target, dose_gy in sorted(self.targets, key=lambda item: item[1]):
            inside = np.minimum(organ, self.structure(target))
            prescribed = np.where(inside > 0, dose_gy, prescribed)
            covered = np.maximum(covered, inside)
        if not covered.sum() > 0:
            return 0.0, 0.0
        return float(covered.sum() / organ.sum()), float((covered * prescribed).sum() / covered.sum())

    def fraction(self, expression: str) -> FloatArray:
        """Return the fraction of every voxel that lies in a region.

        Raises
        ------
        ProtocolError
            If the expression cannot be read.
        StructureError
            If it names a structure that is absent or empty.
        """
        if expression in self.structures.names:
            return self.structure(expression)
        if expression == NORMAL_TISSUE:
            return np.where(self.nearest_target_mm() > NORMAL_TISSUE_GAP_MM, self.body, 0.0)
        if match := _FALLOFF.match(expression):
            return self._shell(float(match[1]))
        first, *others = expression.split(" - ")
        result = self._term(first)
        for other in others:
            result = np.minimum(result, 1.0 - self._term(other))
        return result

    def _shell(self, level_gy: float) -> FloatArray:
        if level_gy <= 0 or level_gy % FALLOFF_STEP_GY:
            raise ProtocolError(
                "a fall-off shell needs a level", found=f"{level_gy} Gy", expected=f"a multiple of {FALLOFF_STEP_GY} Gy"
            )
        allowed = np.ceil(self.falloff_gy() / FALLOFF_STEP_GY) * FALLOFF_STEP_GY
        outside = self.nearest_target_mm() > 0
        return np.where(outside & (allowed == level_gy), self.body, 0.0)

    def _term(self, text: str) -> FloatArray:
        text = text.strip()
        if text in self.structures.names:
            return self.structure(text)
        match = _MARGIN.match(text)
        if match and match["name"] in self.structures.names:
            # half a voxel on either side of the surface, as partial volume would have it
            spacing = float(np.mean(self.grid.spacing_mm))
            beyond = self.distance_mm(match["name"]) - float(match["mm"])
            return np.asarray(np.clip(0.5 - (beyond - 0.5 * spacing) / spacing, 0.0, 1.0))
        raise ProtocolError(
            "an objective names no structure",
            found=text,
            expected=f"{', '.join(self.structures.names)}, {NORMAL_TISSUE}, 'A - B', 'A - B+5mm', 'Falloff 45Gy'",
        )
