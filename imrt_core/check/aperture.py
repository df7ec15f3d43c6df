"""What a point of the isocentre plane gets of the open fluence while leaves and jaws move.

Every jaw and leaf is a half-plane whose edge moves linearly: it clears a point during one interval of time. The jaws'
openings and the leaves' intersect to intervals again, so that the mean transmission at a point is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Beam, ControlPoint

from ._aperture_kernels import point_transmissions
from .tables import Collimation

Array = NDArray[np.float64]
# Lower and upper bound along BLD X, then along Y, mm.
Rectangle = tuple[tuple[float, float], tuple[float, float]]


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
    out = np.empty(u_mm.size)
    has_leaves = beam.mlc is not None and moving.leaves is not None
    point_transmissions(
        np.ascontiguousarray(u_mm, dtype=np.float64).ravel(),
        np.ascontiguousarray(v_mm, dtype=np.float64).ravel(),
        np.array([axis for axis, _ in moving.jaws], dtype=np.int64),
        np.array([edges for _, edges in moving.jaws], dtype=np.float64).reshape(-1, 2, 2),
        (0 if beam.mlc.axis == "X" else 1) if has_leaves and beam.mlc is not None else -1,
        np.ascontiguousarray(moving.leaves) if has_leaves else np.zeros((2, 2, 1)),
        np.array(beam.mlc.boundaries_mm, dtype=np.float64) if beam.mlc is not None else np.zeros(2),
        collimation.leaf_end_offset_mm,
        collimation.leaf_transmission,
        collimation.jaw_transmission,
        out,
    )
    return out.reshape(u_mm.shape)


def collimator_rectangle_mm(beam: Beam, moving: Motion) -> Rectangle | None:
    """Return the rectangle of the jaws at the middle of the motion; None where there is none.

    Along an axis without jaws, the leaves which are open between the other jaws take their place.
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
    return (bounds[0], bounds[1]) if len(bounds) == 2 else None


def equivalent_square_mm(rectangle_mm: Rectangle | None) -> float:
    """Return the side of the square that a rectangle stands for: 2ab/(a + b) (Sterling 1964); 0 for none."""
    if rectangle_mm is None:
        return 0.0
    a, b = (max(high - low, 0.0) for low, high in rectangle_mm)
    return 2 * a * b / (a + b) if a + b > 0 else 0.0
