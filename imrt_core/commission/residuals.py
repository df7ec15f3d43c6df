"""What is left between a beam model and the measurements it was fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.machine import BeamModel
from imrt_core.machine.axis_table import OffAxis, axis_table
from imrt_core.patient import MachineError

from .measured import AxisPoints, FieldFactors
from .source_fit import BUILDUP_MM

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AxisPair:
    """A depth dose or TPR and ours, both 1 at the reference depth."""

    points: AxisPoints
    measured: Array
    ours: Array

    @property
    def percent(self) -> Array:
        """Difference in percent of the local value."""
        return 100 * (self.ours / self.measured - 1)

    @property
    def deep_percent(self) -> Array:
        """Beyond 15 mm."""
        return self.percent[self.points.depth_mm > BUILDUP_MM]

    @property
    def buildup_percent(self) -> Array:
        """Up to 15 mm."""
        return self.percent[self.points.depth_mm <= BUILDUP_MM]


@dataclass(frozen=True, eq=False)
class FactorPair:
    """A table of output factors and ours."""

    table: FieldFactors
    ours: Array

    @property
    def percent(self) -> Array:
        """Difference in percent of the local value."""
        return 100 * (self.ours / self.table.factor - 1)

    def least_field(self, side_mm: float) -> NDArray[np.bool_]:
        """Which fields have no side below this."""
        return np.array([min(f) >= side_mm for f in self.table.fields_mm])


def axis_pairs(curves: Sequence[AxisPoints], model: BeamModel) -> tuple[AxisPair, ...]:
    """Compute every depth dose and TPR by superposition of point kernels."""
    if model.source is None:
        raise MachineError("residuals need a photon source", found="none", where=model.name)
    off_axis = OffAxis.of(model)
    pairs = []
    for curve in curves:
        dose = axis_table(
            model.source, off_axis, depth_mm=curve.depth_mm, ssd_mm=curve.ssd_mm, fields_mm=[curve.field_mm]
        )[:, 0]
        pairs.append(AxisPair(curve, curve.value / curve.value[curve.reference], dose / dose[curve.reference]))
    return tuple(pairs)


def factor_pairs(factors: Sequence[FieldFactors], model: BeamModel) -> tuple[FactorPair, ...]:
    """Compute every output factor."""
    if model.source is None:
        raise MachineError("residuals need a photon source", found="none", where=model.name)
    off_axis = OffAxis.of(model)
    pairs = []
    for table in factors:
        dose = axis_table(
            model.source, off_axis, depth_mm=[table.depth_mm], ssd_mm=[table.ssd_mm], fields_mm=table.fields_mm
        )[0]
        pairs.append(FactorPair(table, dose / dose[table.unit]))
    return tuple(pairs)


def largest(parts: Sequence[Array]) -> float | None:
    """Return the largest absolute value, None where nothing was measured."""
    values = np.concatenate([np.asarray(p, dtype=float).ravel() for p in parts]) if parts else np.zeros(0)
    return round(float(np.abs(values).max()), 3) if len(values) else None
