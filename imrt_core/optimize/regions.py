"""Regions that objectives name: structures, combinations of them, and the normal tissue around targets.

- ``Parotid_L``, ``PTV63 - PTV70``, ``PTV63 - PTV70+5mm``, ``(Lung_L + Lung_R) - PTV60``: see
  :mod:`imrt_core.geometry.structure_expression`
- ``NormalTissue``: the body further than 5 mm from every target
- ``Falloff 45Gy``: the shell of normal tissue where the dose should have fallen to between 40 and 45 Gy; see
  :func:`falloff_level_gy`

Combinations are made on the optimisation grid, for objectives alone. A region that is judged too, or seen by a person,
is better made as a structure (:mod:`imrt_core.geometry.made_structures`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.geometry.structure_expression import Expression, Margined, Named, Operator, parse_expression
from imrt_core.patient import Grid, ProtocolError, StructureError, StructureSet
from imrt_core.patient.contours import mask_from_structure

NORMAL_TISSUE = "NormalTissue"
_FALLOFF = re.compile(r"^Falloff (\d+)Gy$")
_MARGIN = re.compile(r"^[+-]\d+(\.\d+)?mm")
#: The body this close to a target belongs to the target's penumbra.
NORMAL_TISSUE_GAP_MM = 5.0
#: Levels of the fall-off shells.
FALLOFF_STEP_GY = 5

FloatArray = NDArray[np.float64]


def is_region_of(expression: str, names: Collection[str]) -> bool:
    """Return whether every structure that a region is made of is among some names."""
    if expression in names or expression == NORMAL_TISSUE or _FALLOFF.match(expression):
        return True
    try:
        parse_expression(expression, names)
    except ProtocolError:
        return False
    return True


def first_structure(expression: str, names: Collection[str]) -> str | None:
    """Return which of some structures a region begins with (``PTV63`` of ``PTV63 - PTV70``); None for another one."""
    text = expression.lstrip("( ")
    for name in sorted(names, key=len, reverse=True):
        rest = next((text[len(term) :] for term in (name, f'"{name}"') if text.startswith(term)), None)
        if rest is not None and (not rest or rest[0] in " )" or _MARGIN.match(rest)):
            return name
    return None


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
        try:
            read = parse_expression(expression, self.structures.names)
        except ProtocolError as error:
            raise ProtocolError(
                "an objective names no structure or region",
                found=error.found,
                expected=f"{error.expected}, {NORMAL_TISSUE}, 'Falloff 45Gy'",
            ) from error
        return self._combined(read)

    def _combined(self, expression: Expression) -> FloatArray:
        if isinstance(expression, Named):
            return self.structure(expression.name)
        if isinstance(expression, Margined):
            return self._moved(expression.name, expression.margin_mm)
        first, *others = (self._combined(term) for term in expression.terms)
        for other in others:
            if expression.operator is Operator.UNION:
                first = np.maximum(first, other)
            elif expression.operator is Operator.INTERSECTION:
                first = np.minimum(first, other)
            else:
                first = np.minimum(first, 1.0 - other)
        return first

    def _shell(self, level_gy: float) -> FloatArray:
        if level_gy <= 0 or level_gy % FALLOFF_STEP_GY:
            raise ProtocolError(
                "a fall-off shell needs a level", found=f"{level_gy} Gy", expected=f"a multiple of {FALLOFF_STEP_GY} Gy"
            )
        allowed = np.ceil(self.falloff_gy() / FALLOFF_STEP_GY) * FALLOFF_STEP_GY
        outside = self.nearest_target_mm() > 0
        return np.where(outside & (allowed == level_gy), self.body, 0.0)

    def _moved(self, name: str, margin_mm: float) -> FloatArray:
        """Fraction inside a structure that is grown, or shrunk by a negative margin."""
        # half a voxel on either side of the surface, as partial volume would have it
        spacing = float(np.mean(self.grid.spacing_mm))
        beyond = self.distance_mm(name) - margin_mm
        if margin_mm < 0:
            outside = self.structure(name) < 0.5
            depth = ndimage.distance_transform_edt(
                ~np.pad(outside, 1, constant_values=True), sampling=self.grid.spacing_mm[::-1]
            )
            beyond = -margin_mm - depth[1:-1, 1:-1, 1:-1] + spacing
        return np.asarray(np.clip(0.5 - (beyond - 0.5 * spacing) / spacing, 0.0, 1.0))
