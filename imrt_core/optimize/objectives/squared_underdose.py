"""Squared underdose: mean of the squared deficit below a dose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import FloatArray, require_dose, require_positive


@dataclass(frozen=True, kw_only=True)
class SquaredUnderdose:
    """``weight · Σ v_i · max(0, dose − d_i)²`` [1]_.

    Parameters
    ----------
    structure : str
        Voxel set, as a rule a target.
    dose_gy : float
        Course dose below which voxels are penalised.
    weight : float
        Importance.

    References
    ----------
    .. [1] Q. Wu, R. Mohan, Med. Phys. 27, 701–711, 2000, doi:10.1118/1.598932.
    """

    kind: ClassVar[str] = "underdose"

    structure: str
    dose_gy: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        require_dose(self.dose_gy, where=f"SquaredUnderdose of {self.structure}")
        require_positive("weight", self.weight, where=f"SquaredUnderdose of {self.structure}")

    def value_and_gradient(self, dose_gy: FloatArray, volume_weights: FloatArray) -> tuple[float, FloatArray]:
        """Return value and gradient; see :class:`~imrt_core.optimize.objectives.base.Objective`."""
        deficit = np.maximum(self.dose_gy - dose_gy, 0.0)
        weighted = self.weight * volume_weights * deficit
        return float(weighted @ deficit), -2.0 * weighted
