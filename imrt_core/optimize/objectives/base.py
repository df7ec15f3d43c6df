"""What an objective is: a smooth penalty on the voxel doses of one structure."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import ProtocolError

FloatArray = NDArray[np.float64]


@runtime_checkable
class Objective(Protocol):
    """A penalty on one structure's dose; the optimiser minimises the sum over all objectives.

    Every objective is a frozen dataclass whose fields are its declared parameters; protocols name it by its ``kind``.
    Doses are course Gy. One that says nothing of voxels up to a dose may tell it as ``silent_below_gy``: the optimiser
    then leaves out voxels far below.
    """

    kind: ClassVar[str]

    @property
    def structure(self) -> str:
        """Name of the voxel set that the penalty looks at."""
        ...

    @property
    def weight(self) -> float:
        """Importance, multiplied into value and gradient."""
        ...

    def value_and_gradient(self, dose_gy: FloatArray, volume_weights: FloatArray) -> tuple[float, FloatArray]:
        """Return the penalty and its derivative with respect to each voxel's dose.

        Parameters
        ----------
        dose_gy : ndarray, shape (n,)
            Course dose of each voxel of the structure.
        volume_weights : ndarray, shape (n,)
            Share of the structure's volume that each voxel stands for; positive, sums to 1.

        Returns
        -------
        tuple of float and ndarray, shape (n,)
            Value in Gy² (× weight) and gradient.
        """
        ...


def require_positive(name: str, value: float, *, where: str) -> None:
    """Refuse a parameter that is not finite and positive.

    Raises
    ------
    ProtocolError
        Naming the parameter, its value and the objective.
    """
    if not np.isfinite(value) or value <= 0:
        raise ProtocolError(f"{name} must be positive and finite", found=str(value), expected="> 0", where=where)


def require_dose(value: float, *, where: str) -> None:
    """Refuse a dose level that is negative or not finite.

    Raises
    ------
    ProtocolError
        Naming the value and the objective.
    """
    if not np.isfinite(value) or value < 0:
        raise ProtocolError("a dose must be finite and not negative", found=f"{value} Gy", expected=">= 0", where=where)
