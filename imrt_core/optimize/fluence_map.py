"""Fluence maps of a beam in the isocentre plane, and the map that a series of apertures delivers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import MultileafCollimator, PlanError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FluenceMap:
    """Fluence of one beam per fraction, in the beam-limiting-device frame at the isocentre plane.

    Parameters
    ----------
    mu : ndarray, shape (rows, columns)
        MU for which each bixel is open; rows along y, columns along x; finite and not negative.
    x_edges_mm, y_edges_mm : ndarray, shape (columns + 1,), (rows + 1,)
        Bixel edges, ascending (IEC 61217 beam-limiting-device X and Y).

    Raises
    ------
    PlanError
        If shapes do not fit, edges do not ascend, or a fluence is negative or not finite.
    """

    mu: FloatArray
    x_edges_mm: FloatArray
    y_edges_mm: FloatArray

    def __post_init__(self) -> None:
        mu = np.array(self.mu, dtype=np.float64)
        x, y = (np.array(edges, dtype=np.float64) for edges in (self.x_edges_mm, self.y_edges_mm))
        if mu.ndim != 2 or mu.shape != (y.size - 1, x.size - 1):
            raise PlanError(
                "a fluence map must fit its edges", found=str(mu.shape), expected=f"({y.size - 1}, {x.size - 1})"
            )
        if np.any(np.diff(x) <= 0) or np.any(np.diff(y) <= 0):
            raise PlanError("bixel edges must ascend", found=f"x {x[:4]}, y {y[:4]}")
        if not np.all(np.isfinite(mu)) or np.any(mu < 0):
            raise PlanError("fluence must be finite and not negative", found=f"minimum {mu.min()} MU")
        for name, array in (("mu", mu), ("x_edges_mm", x), ("y_edges_mm", y)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def from_bixels(
        cls, x_mm: ArrayLike, y_mm: ArrayLike, mu: ArrayLike, *, size_mm: tuple[float, float]
    ) -> FluenceMap:
        """Place bixels (centres in mm, on a regular lattice of ``size_mm`` = (x, y)) on a map; the rest is 0."""
        x, y = np.asarray(x_mm, dtype=float), np.asarray(y_mm, dtype=float)
        column = np.rint((x - x.min()) / size_mm[0]).astype(int)
        row = np.rint((y - y.min()) / size_mm[1]).astype(int)
        on_lattice = np.allclose(x.min() + column * size_mm[0], x, atol=0.01) and np.allclose(
            y.min() + row * size_mm[1], y, atol=0.01
        )
        if not on_lattice:
            raise PlanError("bixels must lie on a regular lattice", expected=f"spacing {size_mm} mm")
        values = np.zeros((row.max() + 1, column.max() + 1))
        np.add.at(values, (row, column), np.asarray(mu, dtype=float))
        return cls(
            values,
            x.min() + (np.arange(values.shape[1] + 1) - 0.5) * size_mm[0],
            y.min() + (np.arange(values.shape[0] + 1) - 0.5) * size_mm[1],
        )

    def transposed(self) -> FluenceMap:
        """Exchange x and y: for collimators whose leaves travel along Y."""
        return FluenceMap(self.mu.T, self.y_edges_mm, self.x_edges_mm)

    def averaged_onto(self, x_edges_mm: FloatArray, y_edges_mm: FloatArray) -> FluenceMap:
        """Area-weighted mean over other bixels; outside this map the fluence is 0."""
        over_y = overlap_fractions(self.y_edges_mm, y_edges_mm)
        over_x = overlap_fractions(self.x_edges_mm, x_edges_mm)
        return FluenceMap(over_y @ self.mu @ over_x.T, x_edges_mm, y_edges_mm)


def overlap_fractions(source_edges_mm: FloatArray, target_edges_mm: FloatArray) -> FloatArray:
    """Share of each target interval (rows) that each source interval (columns) covers."""
    lower = np.maximum(target_edges_mm[:-1, None], source_edges_mm[None, :-1])
    upper = np.minimum(target_edges_mm[1:, None], source_edges_mm[None, 1:])
    return np.asarray(np.maximum(upper - lower, 0.0) / np.diff(target_edges_mm)[:, None])


def _mean_clipped(
    start: FloatArray, end: FloatArray, lower: float | FloatArray, upper: float | FloatArray
) -> FloatArray:
    """Mean of clip(p, lower, upper) while p goes evenly from start to end (exact)."""

    def antiderivative(p: FloatArray) -> FloatArray:
        inner = np.clip(p, lower, upper)
        below, above = np.minimum(p - lower, 0.0), np.maximum(p - upper, 0.0)
        return np.asarray(0.5 * inner**2 + below * lower + above * upper)

    travel = end - start
    # below this the difference of antiderivatives would cancel
    still = np.abs(travel) < 1e-4
    safe = np.where(still, 1.0, travel)
    moving = (antiderivative(end) - antiderivative(start)) / safe
    return np.asarray(np.where(still, np.clip(0.5 * (start + end), lower, upper), moving))


def delivered_fluence(
    leaves_mm: FloatArray,
    cumulative_mu: FloatArray,
    mlc: MultileafCollimator,
    *,
    x_edges_mm: FloatArray,
    y_edges_mm: FloatArray,
    jaw_x_mm: tuple[float, float] | None = None,
    jaw_y_mm: tuple[float, float] | None = None,
    transmission: float = 0.0,
) -> FluenceMap:
    """Integrate moving apertures to a fluence map, exactly, with leaves moving evenly between control points.

    Parameters
    ----------
    leaves_mm : ndarray, shape (control points, 2, pairs)
        Leaf positions at the isocentre plane.
    cumulative_mu : ndarray, shape (control points,)
        MU delivered until each control point.
    mlc : MultileafCollimator
        Leaf boundaries and direction of travel.
    x_edges_mm, y_edges_mm : ndarray
        Bixels of the result.
    jaw_x_mm, jaw_y_mm : tuple of float
        Fixed jaws; bixels are open as far as the jaws uncover them.
    transmission : float
        Share of the fluence that passes closed leaves; jaws let nothing pass.

    Returns
    -------
    FluenceMap
        MU per bixel.
    """
    along, across = (x_edges_mm, y_edges_mm) if mlc.axis == "X" else (y_edges_mm, x_edges_mm)
    jaw_along, jaw_across = (jaw_x_mm, jaw_y_mm) if mlc.axis == "X" else (jaw_y_mm, jaw_x_mm)
    boundaries = np.asarray(mlc.boundaries_mm)
    # the part of each bixel that the jaws leave open; leaves matter only there
    along_low, along_high = uncovered(along, jaw_along)
    across_low, across_high = uncovered(across, jaw_across)
    width = np.maximum(along_high - along_low, 0.0)
    step_mu = np.diff(cumulative_mu)
    open_mm_mu = np.zeros((mlc.pairs, width.size))
    for column in range(width.size):
        low, high = along_low[column], max(along_high[column], along_low[column])
        left = _mean_clipped(leaves_mm[:-1, 0], leaves_mm[1:, 0], low, high)
        right = _mean_clipped(leaves_mm[:-1, 1], leaves_mm[1:, 1], low, high)
        open_mm_mu[:, column] = step_mu @ np.maximum(right - left, 0.0)
    closed = transmission * float(step_mu.sum()) * width
    exposure = (1.0 - transmission) * open_mm_mu + closed
    lower = np.maximum(across_low[:, None], boundaries[None, :-1])
    upper = np.minimum(across_high[:, None], boundaries[None, 1:])
    shares = np.maximum(upper - lower, 0.0) / np.diff(across)[:, None]
    result = shares @ (exposure / np.diff(along))
    return FluenceMap(result if mlc.axis == "X" else result.T, x_edges_mm, y_edges_mm)


def uncovered(edges_mm: FloatArray, jaw_mm: tuple[float, float] | None) -> tuple[FloatArray, FloatArray]:
    """Lower and upper end of each bixel after the jaws."""
    if jaw_mm is None:
        return edges_mm[:-1], edges_mm[1:]
    return np.maximum(edges_mm[:-1], jaw_mm[0]), np.minimum(edges_mm[1:], jaw_mm[1])
