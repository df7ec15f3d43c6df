"""Squared deviation: mean of the squared difference from a dose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import FloatArray, require_dose, require_positive


@dataclass(frozen=True, kw_only=True)
class SquaredDeviation:
    """``weight · Σ v_i · (d_i − dose)²``.

    Parameters
    ----------
    structure : str
        Voxel set, as a rule a target.
    dose_gy : float
        Course dose that every voxel should have.
    weight : float
        Importance.
    """

    kind: ClassVar[str] = "uniform"

    structure: str
    dose_gy: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_dose(self.dose_gy, where=f"SquaredDeviation of {self.structure}")
        require_positive("weight", self.weight, where=f"SquaredDeviation of {self.structure}")

    def value_and_gradient(self, dose_gy: FloatArray, volume_weights: FloatArray) -> tuple[float, FloatArray]:
        """Return value and gradient; see :class:`~imrt_core.optimize.objectives.base.Objective`."""
        deviation = dose_gy - self.dose_gy
        weighted = self.weight * volume_weights * deviation
        return float(weighted @ deviation), 2.0 * weighted
