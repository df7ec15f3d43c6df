"""Generalised equivalent uniform dose: squared excess over, or deficit below, a level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imrt_core.patient import ProtocolError

from .base import FloatArray, require_dose, require_positive

#: For negative exponents a voxel without dose would give gEUD 0 and an infinite slope; doses are floored here.
_FLOOR_GY = 1e-3


@dataclass(frozen=True, kw_only=True)
class GEUD:
    """``weight · max(0, ±(gEUD − dose))²`` with ``gEUD = (Σ v_i d_i^a)^(1/a)`` [1]_.

    Parameters
    ----------
    structure : str
        Voxel set.
    dose_gy : float
        Course gEUD that an organ should not exceed (a ≥ 1), or a target should reach (a < 0).
    exponent : float
        The a of the equation: 1 is the mean, large values approach the maximum, negative ones stress cold spots.
    weight : float
        Importance.

    References
    ----------
    .. [1] A. Niemierko, "A generalized concept of equivalent uniform dose (EUD)", Med. Phys. 26, 1100, 1999.
    """

    kind: ClassVar[str] = "geud"

    structure: str
    dose_gy: float
    exponent: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        where = f"GEUD of {self.structure}"
        require_dose(self.dose_gy, where=where)
        require_positive("weight", self.weight, where=where)
        if not np.isfinite(self.exponent) or 0.0 <= self.exponent < 1.0:
            raise ProtocolError(
                "the exponent of gEUD must be at least 1 (organ) or negative (target)",
                found=str(self.exponent),
                expected=">= 1 or < 0",
                where=where,
            )

    def value_and_gradient(self, dose_gy: FloatArray, volume_weights: FloatArray) -> tuple[float, FloatArray]:
        """Return value and gradient; see :class:`~imrt_core.optimize.objectives.base.Objective`."""
        dose = np.maximum(dose_gy, _FLOOR_GY)
        # relative to the dose that dominates the sum, so that no power overflows
        reference = float(dose.max() if self.exponent > 0 else dose.min())
        powers = volume_weights * (dose / reference) ** self.exponent
        geud = reference * float(powers.sum()) ** (1.0 / self.exponent)
        sign = 1.0 if self.exponent > 0 else -1.0
        excess = max(sign * (geud - self.dose_gy), 0.0)
        slope = 2.0 * self.weight * excess * sign * volume_weights * (dose / geud) ** (self.exponent - 1.0)
        return self.weight * excess**2, np.where(dose_gy > _FLOOR_GY, slope, 0.0)
