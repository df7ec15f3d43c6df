"""Static segments as variables: MU and leaf positions of step-and-shoot beams, their fluence and its derivatives.

The fluence of a bixel is the share of it that a leaf pair uncovers, so its derivative with respect to a leaf's position
is the MU of the segment over the bixel's width where the leaf's tip lies; with Aᵀ·g the chain rule gives the gradient
of any objective [1]_.

References
----------
.. [1] D. M. Shepard, M. A. Earl, X. A. Li, S. Naqvi, C. Yu, Med. Phys. 29, 1007–1018, 2002, doi:10.1118/1.1477415.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MultileafCollimator

from .delivery import SequencedBeam
from .fluence_map import FloatArray, uncovered


@dataclass(frozen=True, eq=False)
class StaticBeam:
    """Segments of one beam as variables, along the leaves' travel.

    Parameters
    ----------
    along_low, along_high : ndarray, shape (columns,)
        The part of each bixel column between the jaws, mm.
    along_width : ndarray, shape (columns,)
        Width of each bixel column, mm.
    shares : ndarray, shape (rows, pairs)
        Part of each bixel row that a leaf pair covers between the jaws.
    place : tuple of ndarray of int
        Row and column of each of the beam's bixels.
    leaves_mm : ndarray, shape (segments, 2, pairs)
        Where leaves stand.
    mu : ndarray, shape (segments,)
        MU of each segment.
    movable : ndarray of bool, shape (segments, pairs)
        Open pairs within the jaws.
    transmission : float
        Share of the fluence through closed leaves.
    heights_mm : ndarray, shape (pairs,)
        Of the leaf pairs between the jaws.
    """

    along_low: FloatArray
    along_high: FloatArray
    along_width: FloatArray
    shares: FloatArray
    place: tuple[NDArray[np.int64], NDArray[np.int64]]
    leaves_mm: FloatArray
    mu: FloatArray
    movable: NDArray[np.bool_]
    transmission: float
    heights_mm: FloatArray

    @property
    def _uncovered_mm(self) -> FloatArray:
        """Between the jaws, shape (columns,)."""
        return np.asarray(np.maximum(self.along_high - self.along_low, 0.0))

    def open_area_mm2(self, leaves_mm: FloatArray) -> FloatArray:
        """Return the area that each segment opens between the jaws."""
        inside = np.clip(leaves_mm, self.along_low.min(), self.along_high.max())
        return np.asarray((inside[:, 1] - inside[:, 0]) @ self.heights_mm)

    def fluence(self, mu: FloatArray, leaves_mm: FloatArray) -> FloatArray:
        """Return the MU of each bixel."""
        right = np.minimum(leaves_mm[:, 1, :, None], self.along_high)
        left = np.maximum(leaves_mm[:, 0, :, None], self.along_low)
        opened = np.tensordot(mu, np.maximum(right - left, 0.0), axes=1)
        exposure = (1.0 - self.transmission) * opened + self.transmission * mu.sum() * self._uncovered_mm
        return np.asarray((self.shares @ (exposure / self.along_width))[self.place])

    def gradients(self, slope: FloatArray, mu: FloatArray, leaves_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return derivatives by MU (segments,) and by leaf (segments, 2, pairs), from those by bixel fluence."""
        on_map = np.zeros((self.shares.shape[0], self.along_width.size))
        on_map[self.place] = slope
        per_mm = self.shares.T @ (on_map / self.along_width)
        right = np.minimum(leaves_mm[:, 1, :, None], self.along_high)
        left = np.maximum(leaves_mm[:, 0, :, None], self.along_low)
        opened = np.maximum(right - left, 0.0)
        by_mu = (1.0 - self.transmission) * np.einsum("spc,pc->s", opened, per_mm)
        by_mu += self.transmission * float((per_mm * self._uncovered_mm).sum())
        by_leaf = np.empty_like(leaves_mm)
        for bank, sign in ((0, -1.0), (1, 1.0)):
            tip = leaves_mm[:, bank, :, None]
            here = (tip >= self.along_low) & (tip < self.along_high) & (opened > 0)
            by_leaf[:, bank] = sign * (1.0 - self.transmission) * mu[:, None] * np.einsum("spc,pc->sp", here, per_mm)
        return by_mu, by_leaf


def static_beam(
    field: SequencedBeam, centres_mm: FloatArray, mlc: MultileafCollimator, *, bixel_mm: float, transmission: float
) -> StaticBeam:
    """Describe a step-and-shoot beam by its segments.

    Parameters
    ----------
    field : SequencedBeam
        Two control points per segment.
    centres_mm : ndarray, shape (bixels, 2)
        BLD X and Y of the beam's bixels, in the order of the matrix's columns.
    mlc : MultileafCollimator
        Leaf boundaries and travel.
    bixel_mm, transmission : float
        Size of the bixels; share of the fluence through closed leaves.
    """
    sequence = field.sequence
    axis = 0 if mlc.axis == "X" else 1
    lower = centres_mm.min(axis=0)
    index = np.rint((centres_mm - lower) / bixel_mm).astype(np.int64)
    edges = [lower[n] + (np.arange(index[:, n].max() + 2) - 0.5) * bixel_mm for n in (0, 1)]
    jaws = (sequence.jaw_x_mm, sequence.jaw_y_mm)
    along_low, along_high = uncovered(edges[axis], jaws[axis])
    across_low, across_high = uncovered(edges[1 - axis], jaws[1 - axis])
    boundaries = np.asarray(mlc.boundaries_mm)
    covered = np.minimum(across_high[:, None], boundaries[None, 1:]) - np.maximum(
        across_low[:, None], boundaries[None, :-1]
    )
    shares = np.maximum(covered, 0.0) / np.diff(edges[1 - axis])[:, None]
    leaves = np.array(sequence.leaves_mm[::2])
    inside = np.clip(leaves, jaws[axis][0], jaws[axis][1])
    movable = (inside[:, 1] - inside[:, 0] > 0.5 * bixel_mm) & (shares.sum(axis=0) > 0)
    return StaticBeam(
        along_low,
        along_high,
        np.diff(edges[axis]),
        shares,
        (index[:, 1 - axis], index[:, axis]),
        leaves,
        np.diff(sequence.cumulative_mu)[::2],
        movable,
        transmission,
        np.maximum(covered, 0.0).sum(axis=0),
    )
