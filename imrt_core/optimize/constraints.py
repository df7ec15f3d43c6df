"""Hard dose limits, enforced by an augmented Lagrangian."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import ProtocolError

from .objectives.base import require_dose
from .objectives.dvh_point import bound_volume
from .voxels import VoxelSet


class LimitKind(StrEnum):
    """What a hard limit bounds."""

    MAX = "max"
    MIN = "min"
    MEAN = "mean"


@dataclass(frozen=True, kw_only=True)
class DoseLimit:
    """A hard limit on the course dose of a structure.

    Parameters
    ----------
    structure : str
        Voxel set.
    kind : LimitKind
        ``max`` and ``min`` bound every voxel, ``mean`` the volume-weighted mean from above.
    dose_gy : float
        The limit.
    exempt_percent : float
        Share of the volume that need not obey a ``max`` (its hottest part) or ``min`` (its coldest part) limit: a
        hard DVH point. Who is exempt is decided anew at every outer iteration, which makes the problem not convex.

    Raises
    ------
    ProtocolError
        If the dose or the exempt share is out of range.
    """

    structure: str
    kind: LimitKind
    dose_gy: float
    exempt_percent: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", LimitKind(self.kind))
        require_dose(self.dose_gy, where=f"limit of {self.structure}")
        if not 0.0 <= self.exempt_percent < 100.0 or (self.kind is LimitKind.MEAN and self.exempt_percent):
            raise ProtocolError(
                "the exempt share of a limit is out of range",
                found=f"{self.exempt_percent} %",
                expected="0 … 100 % for max and min, 0 for mean",
                where=self.structure,
            )

    def violation_gy(self, dose_gy: NDArray[np.float64], volume_weights: NDArray[np.float64]) -> float:
        """Return by how much the limit is exceeded, in Gy, exempt volume aside; 0 if it holds."""
        if self.kind is LimitKind.MEAN:
            return max(float(volume_weights @ dose_gy) - self.dose_gy, 0.0)
        hottest = self.kind is LimitKind.MAX
        excess = (dose_gy - self.dose_gy) if hottest else (self.dose_gy - dose_gy)
        return max(float(np.max(excess[self.binds(dose_gy, volume_weights)], initial=0.0)), 0.0)

    def binds(self, dose_gy: NDArray[np.float64], volume_weights: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which voxels must obey a max or min limit at these doses; one on the edge of the exempt part must."""
        remaining = bound_volume(
            dose_gy, volume_weights, self.exempt_percent / 100.0, hottest=self.kind is LimitKind.MAX
        )
        # rounding may leave a trace of an exempt voxel
        return np.asarray(remaining > 1e-6 * volume_weights)


@dataclass(eq=False)
class Multipliers:
    """Lagrange multipliers of one limit: the state that the outer iterations update.

    The term added to the objective is ``Σ v_i (max(0, λ_i + μ c_i)² − λ_i²) / 2μ``, with c_i the excess over the
    limit [1]_.

    References
    ----------
    .. [1] J. Nocedal, S. J. Wright, Numerical Optimization, 2nd ed., Springer 2006, section 17.4.
    """

    limit: DoseLimit
    voxels: VoxelSet
    penalty: float
    values: NDArray[np.float64] = field(init=False)
    weights: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        size = 1 if self.limit.kind is LimitKind.MEAN else self.voxels.rows.size
        self.values = np.zeros(size)
        self.weights = np.ones(1) if size == 1 else self.voxels.volume_weights

    def _excess(self, dose_gy: NDArray[np.float64]) -> NDArray[np.float64]:
        match self.limit.kind:
            case LimitKind.MEAN:
                return np.array([self.voxels.volume_weights @ dose_gy - self.limit.dose_gy])
            case LimitKind.MAX:
                return dose_gy - self.limit.dose_gy
            case _:
                return self.limit.dose_gy - dose_gy

    def choose_exempt(self, dose_gy: NDArray[np.float64]) -> None:
        """Decide at the present dose which part of the volume the limit leaves alone."""
        if self.limit.exempt_percent:
            binding = self.limit.binds(dose_gy, self.voxels.volume_weights)
            self.weights = np.where(binding, self.voxels.volume_weights, 0.0)
            self.values[self.weights <= 0] = 0.0

    def value_and_gradient(self, dose_gy: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the term and its derivative with respect to the doses of the limit's voxels."""
        push = np.maximum(self.values + self.penalty * self._excess(dose_gy), 0.0)
        value = float(self.weights @ (push**2 - self.values**2)) / (2.0 * self.penalty)
        if self.limit.kind is LimitKind.MEAN:
            return value, push[0] * self.voxels.volume_weights
        sign = 1.0 if self.limit.kind is LimitKind.MAX else -1.0
        return value, sign * self.weights * push

    def update(self, dose_gy: NDArray[np.float64]) -> None:
        """Move the multipliers to what the last inner solution implies."""
        self.values = np.maximum(self.values + self.penalty * self._excess(dose_gy), 0.0)
        self.values[self.weights <= 0] = 0.0

    def violation_gy(self, dose_gy: NDArray[np.float64]) -> float:
        """Return the limit's violation at these doses, in Gy."""
        return self.limit.violation_gy(dose_gy, self.voxels.volume_weights)
