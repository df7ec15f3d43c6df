"""Measured tables of one beam: tissue-phantom ratios, output factors, off-axis ratio, and what one MU means.

Dose at a point on the axis of an open square field, at distance r from the source (along the axis) and radiological
depth d, field side s in the plane of the point::

    D / MU = K · S_c(c) · [S_cp(s) / S_c(s)] · TPR(d, s) · (SAD / r)²

c is the collimator's setting on the isocentre plane. K, the dose per MU of the reference field at the isocentre and
the reference depth, follows from the calibration. Without collimator factors S_c is 1 and the whole output factor
belongs to the opening.

References
----------
.. [1] Stern RL, et al. Verification of monitor unit calculations for non-IMRT clinical radiotherapy: report of AAPM
   Task Group 114. Med Phys 38 (2011) 504-530.
.. [2] Zhu TC, et al. Report of AAPM Therapy Physics Committee Task Group 74: in-air output ratio, Sc, for megavoltage
   photon beams. Med Phys 36 (2009) 5261-5291.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict
from scipy.interpolate import PchipInterpolator, RegularGridInterpolator
from scipy.optimize import minimize_scalar

from imrt_core.patient import MachineError

Array = NDArray[np.float64]

#: Side of the square field that a circle of radius 1 stands for: of equal area, within 0.5 % of Day's tables
#: (Br J Radiol Suppl. 25, 1996) at the fields here.
SIDE_PER_RADIUS = float(np.sqrt(np.pi))
#: A misspelt key in a file must not fall back to a default.
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Calibration:
    """Dose per MU of a square field at one point.

    Parameters
    ----------
    dose_gy_per_mu : float
        There.
    field_mm : float
        Side on the isocentre plane.
    ssd_mm : float
        Source-surface distance.
    depth_mm : float or None
        Depth in water; None is the depth of maximum dose.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    dose_gy_per_mu: float
    field_mm: float
    ssd_mm: float
    depth_mm: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.dose_gy_per_mu, self.field_mm, self.ssd_mm, 1.0 if self.depth_mm is None else self.depth_mm)
        if not all(np.isfinite(v) and v > 0 for v in numbers):
            raise MachineError("the calibration must be positive", found=str(self))


@dataclass(frozen=True)
class TprTable:
    """Tissue-phantom ratios of square fields, 1 at the reference depth; ``value[depth][field]``."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    reference_depth_mm: float
    depth_mm: tuple[float, ...]
    field_mm: tuple[float, ...]
    value: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        _ascending("tpr.depth_mm", self.depth_mm)
        _ascending("tpr.field_mm", self.field_mm)
        table = np.array([list(row) for row in self.value], dtype=float)
        if table.shape != (len(self.depth_mm), len(self.field_mm)):
            raise MachineError(
                "the TPR table does not fit its axes",
                found=str(table.shape),
                expected=f"({len(self.depth_mm)}, {len(self.field_mm)})",
            )
        if not np.all(np.isfinite(table) & (table > 0)):
            raise MachineError("TPR must be positive", found=str(float(np.nanmin(table))))
        row = self.depth_mm.index(self.reference_depth_mm) if self.reference_depth_mm in self.depth_mm else None
        if row is None or np.any(np.abs(table[row] - 1) > 1e-3):
            raise MachineError(
                "TPR must be 1 at the reference depth", found=f"{self.reference_depth_mm} mm", where="tpr"
            )


@dataclass(frozen=True)
class Curve:
    """A quantity against a field side or a radius."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    at_mm: tuple[float, ...]
    value: tuple[float, ...]
    source: str = ""

    def __post_init__(self) -> None:
        _ascending("at_mm", self.at_mm)
        if len(self.value) != len(self.at_mm) or not all(np.isfinite(v) and v >= 0 for v in self.value):
            raise MachineError("a curve needs one value, not negative, for each point", found=str(self.value[:6]))


@dataclass(frozen=True)
class Collimation:
    """What closed leaves and jaws let through, and how far the radiation edge lies behind a leaf's tip."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    leaf_transmission: float
    jaw_transmission: float
    leaf_end_offset_mm: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.leaf_transmission < 1 and 0 <= self.jaw_transmission < 1):
            raise MachineError("transmission must be 0 … 1", found=str(self))
        if not 0 <= self.leaf_end_offset_mm < 5:
            raise MachineError("the leaf-end offset must be 0 … 5 mm", found=str(self.leaf_end_offset_mm))


@dataclass(frozen=True)
class CheckTables:
    """Everything that an independent check knows of a beam; valid once built.

    Parameters
    ----------
    name, version : str
        Go with every result.
    nominal_energy_mv, sad_mm : float
        As in the RT Plan.
    calibration : Calibration
        Meaning of one MU.
    tpr : TprTable
        Phantom part against depth.
    output_factor : Curve
        Total output factor S_cp at the isocentre and the reference depth of the TPR, by field side.
    off_axis : Curve
        Primary off-axis ratio by distance from the axis on the isocentre plane; 0 beyond.
    collimation : Collimation
        Transmission and leaf ends.
    collimator_factor : Curve or None
        S_c by side of the collimator's setting. Constant beyond its ends.
    measured_field_mm : tuple of float
        Smallest and largest square field that was measured.
    fluence_mode : str
        ``"STANDARD"`` or ``"FFF"``.
    source : str
        Where the numbers come from and what was declared.

    Raises
    ------
    MachineError
        If a table is inconsistent.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    version: str
    nominal_energy_mv: float
    calibration: Calibration
    tpr: TprTable
    output_factor: Curve
    off_axis: Curve
    collimation: Collimation
    measured_field_mm: tuple[float, float]
    collimator_factor: Curve | None = None
    sad_mm: float = 1000.0
    fluence_mode: str = "STANDARD"
    source: str = field(default="")

    def __post_init__(self) -> None:
        if not (np.isfinite(self.nominal_energy_mv) and self.nominal_energy_mv > 0 and 0 < self.sad_mm < 1e4):
            raise MachineError("energy and source-axis distance must be positive", where=self.name)
        if not 0 < self.measured_field_mm[0] <= self.measured_field_mm[1]:
            raise MachineError("the measured fields must ascend", found=str(self.measured_field_mm), where=self.name)
        if self.off_axis.at_mm[0] != 0 or abs(self.off_axis.value[0] - 1) > 1e-6:
            raise MachineError("the off-axis ratio must be 1 on the axis", where=self.name)

    @property
    def depth_range_mm(self) -> tuple[float, float]:
        """Depths of the TPR table."""
        return self.tpr.depth_mm[0], self.tpr.depth_mm[-1]

    @property
    def largest_radius_mm(self) -> float:
        """Radius of the largest circle that the tables reach, in the plane of the point."""
        return min(self.tpr.field_mm[-1], self.output_factor.at_mm[-1]) / SIDE_PER_RADIUS

    @cached_property
    def _tpr(self) -> RegularGridInterpolator:
        return RegularGridInterpolator((self.tpr.depth_mm, self.tpr.field_mm), np.array(self.tpr.value))

    @cached_property
    def _output(self) -> PchipInterpolator:
        # A field of no size gives no dose: what falls towards it is lost equilibrium and a covered source.
        curve = self.output_factor
        start = ((0.0,), (0.0,)) if curve.at_mm[0] > 0 else ((), ())
        return PchipInterpolator((*start[0], *curve.at_mm), (*start[1], *curve.value))

    def tissue_phantom_ratio(self, depth_mm: ArrayLike, side_mm: ArrayLike) -> Array:
        """Interpolate TPR, bilinear; beyond the table its edge values hold (callers say so)."""
        depth, side = np.broadcast_arrays(np.asarray(depth_mm, dtype=float), np.asarray(side_mm, dtype=float))
        depth = np.clip(depth, *self.depth_range_mm)
        side = np.clip(side, self.tpr.field_mm[0], self.tpr.field_mm[-1])
        return np.asarray(self._tpr(np.stack([depth, side], axis=-1))).reshape(depth.shape)

    def total_output(self, side_mm: ArrayLike) -> Array:
        """S_cp by field side."""
        return np.asarray(self._output(np.clip(side_mm, 0, self.output_factor.at_mm[-1])), dtype=float)

    def collimator(self, side_mm: ArrayLike) -> Array:
        """S_c by side of the collimator's setting; 1 where the tables have none."""
        if self.collimator_factor is None:
            return np.ones_like(np.asarray(side_mm, dtype=float))
        return np.asarray(
            np.interp(np.asarray(side_mm, dtype=float), self.collimator_factor.at_mm, self.collimator_factor.value)
        )

    def phantom_dose(self, depth_mm: ArrayLike, side_mm: ArrayLike) -> Array:
        """S_cp/S_c × TPR of a square field of this side in the plane of the point: what the opening gives."""
        return self.total_output(side_mm) / self.collimator(side_mm) * self.tissue_phantom_ratio(depth_mm, side_mm)

    def off_axis_ratio(self, radius_mm: ArrayLike) -> Array:
        """Primary fluence relative to the axis; 0 beyond the last radius."""
        return np.asarray(
            np.interp(np.asarray(radius_mm, dtype=float), self.off_axis.at_mm, self.off_axis.value, right=0.0)
        )

    def open_field_dose(self, *, side_mm: float, depth_mm: float, ssd_mm: float) -> float:
        """Dose per MU on the axis of an open square field in water, Gy; ``side_mm`` on the isocentre plane."""
        return self.dose_per_mu * self._relative(side_mm, depth_mm, ssd_mm)

    def _relative(self, side_mm: float, depth_mm: float, ssd_mm: float) -> float:
        away = (ssd_mm + depth_mm) / self.sad_mm
        at_point = float(self.phantom_dose(depth_mm, side_mm * away))
        return float(self.collimator(side_mm)) * at_point / away**2

    @cached_property
    def dose_per_mu(self) -> float:
        """K: dose per MU of the reference field at the isocentre and the reference depth, Gy."""
        said = self.calibration
        depth = said.depth_mm
        if depth is None:
            found = minimize_scalar(
                lambda d: -self._relative(said.field_mm, float(d), said.ssd_mm),
                bounds=(5.0, 40.0),
                method="bounded",
                options={"xatol": 0.05},
            )
            depth = float(found.x)
        return said.dose_gy_per_mu / self._relative(said.field_mm, depth, said.ssd_mm)


def _ascending(name: str, values: tuple[float, ...]) -> None:
    found = np.asarray(values, dtype=float)
    if len(found) < 2 or not np.all(np.isfinite(found)) or found[0] < 0 or np.any(np.diff(found) <= 0):
        raise MachineError(f"{name} must ascend and hold finite numbers", found=str(values[:6]))
