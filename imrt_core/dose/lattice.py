"""The bixel lattice of a beam: the rectangle of whole bixels around those that the optimiser weighs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Lattice:
    """The bixel lattice of a beam, in bixels from where (u, v) = 0: columns ``first[0]`` …, rows ``first[1]`` ….

    Parameters
    ----------
    first : ndarray of int64, shape (2,)
        Column and row of bixel [0, 0].
    width_mm : float
        Side of a bixel.
    fluence : ndarray, shape (nv, nu)
        Primary fluence, zero where there is no bixel.
    """

    first: NDArray[np.int64]
    width_mm: float
    fluence: NDArray[np.float32]

    @property
    def row_span(self) -> NDArray[np.int64]:
        """First and last + 1 column with a bixel, shape (nv, 2)."""
        occupied = self.fluence > 0
        ends = self.fluence.shape[1] - occupied[:, ::-1].argmax(axis=1)
        span = np.stack([occupied.argmax(axis=1), ends], axis=1).astype(np.int64)
        span[~occupied.any(axis=1)] = 0
        return span
