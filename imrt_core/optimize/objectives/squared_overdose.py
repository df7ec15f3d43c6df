"""Squared overdose: mean of the squared excess over a dose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import FloatArray, require_dose, require_positive


@dataclass(frozen=True, kw_only=True)
class SquaredOverdose:
    """``weight · Σ v_i · max(0, d_i − dose)²`` [1]_.

    Parameters
    ----------
    structure : str
        Voxel set.
    dose_gy : float
        Course dose above which voxels are penalised.
    weight : float
        Importance.

    References
    ----------
    .. [1] Q. Wu, R. Mohan, "Algorithms and functionality of an intensity modulated radiotherapy optimization
       system", Med. Phys. 27, 701–711, 2000, doi:10.1118/1.598932.
    """

    kind: ClassVar[str] = "overdose"

    structure: str
    dose_gy: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_dose(self.dose_gy, where=f"SquaredOverdose of {self.structure}")
        require_positive("weight", self.weight, where=f"SquaredOverdose of {self.structure}")

    @property
    def silent_below_gy(self) -> float:
        """Voxels up to this dose contribute neither value nor gradient."""
        return self.dose_gy

    def value_and_gradient(self, dose_gy: FloatArray, volume_weights: FloatArray) -> tuple[float, FloatArray]:
        """Return value and gradient; see :class:`~imrt_core.optimize.objectives.base.Objective`."""
        excess = np.maximum(dose_gy - self.dose_gy, 0.0)
        weighted = self.weight * volume_weights * excess
        return float(weighted @ excess), 2.0 * weighted
