"""A bound on the sum of some objectives: what was reached for them must not be given up for others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import ProtocolError

from .objectives.base import Objective
from .voxels import VoxelSet

#: A bound is treated as at least this share of the objectives' weight, Gy²: what is zero cannot be held exactly.
_LEAST_BOUND_GY2 = 1e-3
#: The penalty starts at this multiple of 1 / bound: exceeding it by a tenth weighs as much as the objectives alone.
_PENALTY_START = 10.0


@dataclass(frozen=True, eq=False)
class ObjectiveBound:
    """``Σ objectives ≤ bound``, held by the optimiser like a dose limit.

    Parameters
    ----------
    objectives : tuple of Objective
        At least one.
    bound : float
        Largest sum, in the unit of the objectives (Gy² × weight).

    Raises
    ------
    ProtocolError
        If there is no objective or the bound is negative or not finite.
    """

    objectives: tuple[Objective, ...]
    bound: float

    def __post_init__(self) -> None:
        if not self.objectives:
            raise ProtocolError("a bound needs an objective", found="none")
        if not np.isfinite(self.bound) or self.bound < 0:
            raise ProtocolError("a bound on objectives must be finite and not negative", found=str(self.bound))

    @property
    def structure(self) -> str:
        """Structures of the objectives, in words."""
        return ", ".join(dict.fromkeys(o.structure for o in self.objectives))


@dataclass(eq=False)
class BoundMultiplier:
    """Lagrange multiplier of one bound; the interface is that of :class:`~imrt_core.optimize.constraints.Multipliers`.

    The multiplier starts at 1, where the sum counts like any objective: the search begins near the weighted sum of all
    levels, not far from the bound.

    Parameters
    ----------
    limit : ObjectiveBound
        What is held.
    sets : mapping of str to VoxelSet
        Voxels of the objectives' structures.
    """

    limit: ObjectiveBound
    sets: Mapping[str, VoxelSet]
    voxels: VoxelSet = field(init=False)
    penalty: float = field(init=False)
    value: float = 1.0

    def __post_init__(self) -> None:
        rows = np.unique(np.concatenate([self.sets[o.structure].rows for o in self.limit.objectives]))
        self.voxels = VoxelSet(rows, np.ones(rows.size))
        self._places = {o.structure: np.searchsorted(rows, self.sets[o.structure].rows) for o in self.limit.objectives}
        self._weight = sum(o.weight for o in self.limit.objectives)
        self.penalty = _PENALTY_START / max(self.limit.bound, _LEAST_BOUND_GY2 * self._weight)

    def _sum(self, dose_gy: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total, slope = 0.0, np.zeros(dose_gy.size)
        for objective in self.limit.objectives:
            at = self._places[objective.structure]
            value, gradient = objective.value_and_gradient(dose_gy[at], self.sets[objective.structure].volume_weights)
            total += value
            slope[at] += gradient
        return total, slope

    def choose_exempt(self, dose_gy: NDArray[np.float64]) -> None:
        """Nothing is exempt."""

    def value_and_gradient(self, dose_gy: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return ``(max(0, λ + μ(F − b))² − λ²) / 2μ`` and its derivative with respect to the doses of ``voxels``."""
        total, slope = self._sum(dose_gy)
        push = max(self.value + self.penalty * (total - self.limit.bound), 0.0)
        return (push**2 - self.value**2) / (2.0 * self.penalty), push * slope

    def update(self, dose_gy: NDArray[np.float64]) -> None:
        """Move the multiplier to what the last inner solution implies."""
        self.value = max(self.value + self.penalty * (self._sum(dose_gy)[0] - self.limit.bound), 0.0)

    def violation_gy(self, dose_gy: NDArray[np.float64]) -> float:
        """Return by how much the root mean square deviation behind the sum exceeds that behind the bound, Gy."""
        total = self._sum(dose_gy)[0]
        return max(float(np.sqrt(total / self._weight) - np.sqrt(self.limit.bound / self._weight)), 0.0)
