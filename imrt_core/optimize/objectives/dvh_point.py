"""DVH points: squared violation among the voxels that a DVH point does not exempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from imrt_core.patient import ProtocolError

from .base import FloatArray, require_dose, require_positive


def bound_volume(
    dose_gy: FloatArray, volume_weights: FloatArray, exempt_fraction: float, *, hottest: bool
) -> FloatArray:
    """Return the volume weights with the hottest (or coldest) part of the volume taken out.

    The voxel on the edge is taken out in part, so that sums over the rest are continuous in dose.
    """
    order = np.argsort(-dose_gy if hottest else dose_gy, kind="stable")
    sorted_weights = volume_weights[order]
    already = np.cumsum(sorted_weights) - sorted_weights
    exempt = np.clip(exempt_fraction - already, 0.0, sorted_weights)
    remaining = np.empty_like(volume_weights)
    remaining[order] = sorted_weights - exempt
    return remaining


def _check(structure: str, dose_gy: float, volume_percent: float, weight: float) -> None:
    where = f"DVH objective of {structure}"
    require_dose(dose_gy, where=where)
    require_positive("weight", weight, where=where)
    if not 0.0 <= volume_percent <= 100.0:
        raise ProtocolError("a volume must be within 0 and 100 %", found=f"{volume_percent} %", where=where)


@dataclass(frozen=True, kw_only=True)
class MaxDvh:
    """At most ``volume_percent`` may receive more than ``dose_gy``: squared excess of all but that hottest part [1]_.

    Not convex: which voxels are exempt depends on the dose.

    Parameters
    ----------
    structure : str
        Voxel set.
    dose_gy : float
        Course dose.
    volume_percent : float
        Share of the structure that may exceed it.
    weight : float
        Importance.

    References
    ----------
    .. [1] T. Bortfeld, J. Stein, K. Preiser, "Clinically relevant intensity modulation optimization using physical
       criteria", Proc. XII ICCR, 1–4, 1997; Q. Wu, R. Mohan, Med. Phys. 27, 701–711, 2000.
    """

    kind: ClassVar[str] = "dvh_max"

    structure: str
    dose_gy: float
    volume_percent: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check(self.structure, self.dose_gy, self.volume_percent, self.weight)

    @property
    def silent_below_gy(self) -> float:
        """Voxels up to this dose contribute neither value nor gradient."""
        return self.dose_gy

    def value_and_gradient(self, dose_gy: FloatArray, volume_weights: FloatArray) -> tuple[float, FloatArray]:
        """Return value and gradient; see :class:`~imrt_core.optimize.objectives.base.Objective`."""
        bound = bound_volume(dose_gy, volume_weights, self.volume_percent / 100.0, hottest=True)
        excess = np.maximum(dose_gy - self.dose_gy, 0.0)
        weighted = self.weight * bound * excess
        return float(weighted @ excess), 2.0 * weighted


@dataclass(frozen=True, kw_only=True)
class MinDvh:
    """At least ``volume_percent`` must receive ``dose_gy``: squared deficit of all but the coldest rest.

    Parameters
    ----------
    structure : str
        Voxel set, as a rule a target.
    dose_gy : float
        Course dose.
    volume_percent : float
        Share of the structure that must reach it.
    weight : float
        Importance.
    """

    kind: ClassVar[str] = "dvh_min"

    structure: str
    dose_gy: float
    volume_percent: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        _check(self.structure, self.dose_gy, self.volume_percent, self.weight)

    def value_and_gradient(self, dose_gy: FloatArray, volume_weights: FloatArray) -> tuple[float, FloatArray]:
        """Return value and gradient; see :class:`~imrt_core.optimize.objectives.base.Objective`."""
        bound = bound_volume(dose_gy, volume_weights, 1.0 - self.volume_percent / 100.0, hottest=False)
        deficit = np.maximum(self.dose_gy - dose_gy, 0.0)
        weighted = self.weight * bound * deficit
        return float(weighted @ deficit), -2.0 * weighted
