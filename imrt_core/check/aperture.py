"""What a point of the isocentre plane gets of the open fluence while leaves and jaws move.

Every jaw and leaf is a half-plane whose edge moves linearly: it clears a point during one interval of time. The jaws'
openings and the leaves' intersect to intervals again, so that the mean transmission at a point is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Beam, ControlPoint

from .tables import Collimation

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Motion:
    """Jaws and leaves between two moments, on their way from ``start`` to ``stop``.

    Parameters
    ----------
    mu : float
        Meterset delivered meanwhile.
    jaws : tuple of ndarray
        Shape (2, 2) each: [start, stop] × [lower, upper], with the axis they bound (0 is BLD X, 1 is Y).
    leaves : ndarray, shape (2, 2, pairs), or None
        [start, stop] × bank × pair.
    """

    mu: float
    jaws: tuple[tuple[int, Array], ...]
    leaves: Array | None


def motion(here: ControlPoint, there: ControlPoint, *, start: float, stop: float, mu: float) -> Motion:
    """Return the part from ``start`` to ``stop`` (0 … 1) of the way between two control points."""

    def at(before: object, after: object) -> Array:
        first, last = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
        return np.stack([first + start * (last - first), first + stop * (last - first)])

    jaws = []
    for axis, name in enumerate(("jaw_x_mm", "jaw_y_mm")):
        before, after = getattr(here, name), getattr(there, name)
        if before is not None and after is not None:
            jaws.append((axis, at(before, after)))
    has_leaves = here.leaves_mm is not None and there.leaves_mm is not None
    return Motion(mu, tuple(jaws), at(here.leaves_mm, there.leaves_mm) if has_leaves else None)


def mean_transmission(beam: Beam, moving: Motion, u_mm: Array, v_mm: Array, collimation: Collimation) -> Array:
    """Mean over time of what passes at points of the isocentre plane; shape of ``u_mm``."""
    jaw_low, jaw_high = np.zeros_like(u_mm), np.ones_like(u_mm)
    for axis, edges in moving.jaws:
        at = (u_mm, v_mm)[axis]
        jaw_low, jaw_high = _meet(jaw_low, jaw_high, *_cleared(edges[0, 0], edges[1, 0], at, above=True))
        jaw_low, jaw_high = _meet(jaw_low, jaw_high, *_cleared(edges[0, 1], edges[1, 1], at, above=False))
    leaf_low, leaf_high = np.zeros_like(u_mm), np.ones_like(u_mm)
    covered = np.zeros(u_mm.shape, dtype=bool)
    if beam.mlc is not None and moving.leaves is not None:
        along, across = (u_mm, v_mm) if beam.mlc.axis == "X" else (v_mm, u_mm)
        pair = np.searchsorted(beam.mlc.boundaries_mm, across, side="right") - 1
        covered = (pair >= 0) & (pair < beam.mlc.pairs)
        leaves, back = moving.leaves[:, :, np.clip(pair, 0, beam.mlc.pairs - 1)], collimation.leaf_end_offset_mm
        first = _cleared(leaves[0, 0] - back, leaves[1, 0] - back, along, above=True)
        second = _cleared(leaves[0, 1] + back, leaves[1, 1] + back, along, above=False)
        low, high = _meet(*first, *second)
        leaf_low, leaf_high = np.where(covered, low, leaf_low), np.where(covered, high, leaf_high)
    jaws_open = np.maximum(jaw_high - jaw_low, 0)
    leaves_open = np.maximum(leaf_high - leaf_low, 0)
    both_low, both_high = _meet(jaw_low, jaw_high, leaf_low, leaf_high)
    both_open = np.maximum(both_high - both_low, 0)
    leaf, jaw = np.where(covered, collimation.leaf_transmission, 0.0), collimation.jaw_transmission
    return np.asarray(
        jaw * leaf + jaw * (1 - leaf) * leaves_open + (1 - jaw) * leaf * jaws_open + (1 - jaw) * (1 - leaf) * both_open
    )


def _cleared(start: Array | float, stop: Array | float, at: Array, *, above: bool) -> tuple[Array, Array]:
    """Interval of time (of 0 … 1) in which points lie above (below) an edge that moves from ``start`` to ``stop``."""
    start, stop = np.broadcast_to(start, at.shape), np.broadcast_to(stop, at.shape)
    speed = stop - start
    ahead = at - start if above else start - at
    closing = speed if above else -speed  # the point stays clear while closing·t <= ahead
    with np.errstate(divide="ignore", invalid="ignore"):
        moment = ahead / closing
    low = np.where(closing < 0, np.clip(moment, 0, 1), 0.0)
    high = np.where(closing > 0, np.clip(moment, 0, 1), 1.0)
    never = (closing == 0) & (ahead < 0)
    return np.where(never, 1.0, low), np.where(never, 0.0, high)


def _meet(low: Array, high: Array, other_low: Array, other_high: Array) -> tuple[Array, Array]:
    return np.maximum(low, other_low), np.minimum(high, other_high)


def collimator_side_mm(beam: Beam, moving: Motion) -> float:
    """Side of the square that the collimator's setting stands for: 2ab/(a + b) of the rectangle (Sterling 1964).

    The rectangle is that of the jaws; where there is none along an axis, that of the leaves which are open between
    the jaws and take their place. Taken at the middle of the motion.
    """
    bounds: dict[int, tuple[float, float]] = {}
    for axis, edges in moving.jaws:
        middle = edges.mean(axis=0)
        bounds[axis] = (float(middle[0]), float(middle[1]))
    if beam.mlc is not None and moving.leaves is not None:
        middle = moving.leaves.mean(axis=0)
        travel = 0 if beam.mlc.axis == "X" else 1
        edges = np.asarray(beam.mlc.boundaries_mm)
        low, high = bounds.get(1 - travel, (-np.inf, np.inf))
        pairs = (middle[1] - middle[0] > 1.0) & (edges[1:] > low) & (edges[:-1] < high)
        if np.any(pairs):
            bounds.setdefault(travel, (float(middle[0][pairs].min()), float(middle[1][pairs].max())))
            bounds.setdefault(1 - travel, (float(edges[:-1][pairs].min()), float(edges[1:][pairs].max())))
    if len(bounds) < 2:
        return 0.0
    a, b = (max(high - low, 0.0) for low, high in bounds.values())
    return 2 * a * b / (a + b) if a + b > 0 else 0.0
