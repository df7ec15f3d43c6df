"""Mean dose: squared excess of the mean over a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import FloatArray, require_dose, require_positive


@dataclass(frozen=True, kw_only=True)
class MeanDose:
    """``weight · max(0, mean − dose)²``: silent once the mean is at the level, smooth there.

    Parameters
    ----------
    structure : str
        Voxel set, as a rule a parallel organ.
    dose_gy : float
        Course dose that the mean should not exceed; 0 lowers the mean wherever that costs little.
    weight : float
        Importance.
    """

    kind: ClassVar[str] = "mean"

    structure: str
    dose_gy: float = 0.0
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_dose(self.dose_gy, where=f"MeanDose of {self.structure}")
        require_positive("weight", self.weight, where=f"MeanDose of {self.structure}")

    def value_and_gradient(self, dose_gy: FloatArray, volume_weights: FloatArray) -> tuple[float, FloatArray]:
        """Return value and gradient; see :class:`~imrt_core.optimize.objectives.base.Objective`."""
        excess = max(float(volume_weights @ dose_gy) - self.dose_gy, 0.0)
        return self.weight * excess**2, (2.0 * self.weight * excess) * volume_weights
