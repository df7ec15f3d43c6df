"""Fluence smoothness: what keeps a fluence map deliverable with few monitor units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import GeometryError

from .objectives.base import require_positive


@dataclass(frozen=True, eq=False)
class FluenceSmoothness:
    """Squared differences between neighbouring bixels, relative to a reference fluence [1]_.

    ``weight · mean over pairs ((w_i − w_j) / reference)²``, so that the weight does not depend on the unit of fluence.

    Parameters
    ----------
    pairs : ndarray of int, shape (n, 2)
        Columns of the influence matrix that are neighbours in their beam.
    weight : float
        Importance, in the objectives' Gy².
    reference : float or None
        Fluence that differences are relative to; None for the mean weight at the start of the optimisation.

    References
    ----------
    .. [1] S. V. Spirou et al., "Smoothing intensity-modulated beam profiles to improve the efficiency of delivery",
       Med. Phys. 28, 2105–2112, 2001, doi:10.1118/1.1406522.
    """

    pairs: NDArray[np.int64]
    weight: float
    reference: float | None = None

    def __post_init__(self) -> None:
        pairs = np.array(self.pairs, dtype=np.int64)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or len(pairs) == 0 or pairs.min() < 0:
            raise GeometryError("fluence smoothness needs pairs of columns", found=f"array {pairs.shape}")
        require_positive("weight", self.weight, where="FluenceSmoothness")
        if self.reference is not None:
            require_positive("reference", self.reference, where="FluenceSmoothness")
        pairs.setflags(write=False)
        object.__setattr__(self, "pairs", pairs)

    def value_and_gradient(
        self, weights: NDArray[np.float64], *, reference: float
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the penalty and its derivative with respect to every bixel weight."""
        first, second = self.pairs[:, 0], self.pairs[:, 1]
        difference = weights[first] - weights[second]
        scale = self.weight / (len(self.pairs) * reference**2)
        gradient = np.bincount(first, difference, minlength=weights.size)
        gradient -= np.bincount(second, difference, minlength=weights.size)
        return scale * float(difference @ difference), np.asarray(2.0 * scale * gradient, dtype=np.float64)
