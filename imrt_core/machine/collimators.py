"""Multileaf collimators by name, and how a plan's leaf boundaries tell which one it was made for.

Doses are always computed with the plan's own boundaries. The name says which declared leaf parameters and travel
limits belong to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from imrt_core.patient import Beam, MultileafCollimator, PlanError

#: Boundaries are the same if they agree within this, mm: vendors round to a tenth at most.
_SAME_MM = 0.05
#: A plan may step over a travel limit by this much, mm (rounding in the file).
_TRAVEL_TOLERANCE_MM = 0.1

GENERIC = "generic"


@dataclass(frozen=True)
class NamedCollimator:
    """A collimator of the market.

    Parameters
    ----------
    name : str
        Ours.
    boundaries_mm : tuple of float
        Leaf edges across the travel on the isocentre plane.
    jaws : tuple of str
        DICOM types of the jaws that a plan for it states.
    retract_mm : float
        How far a leaf goes back from the axis to its own side.
    overtravel_mm : float
        How far a leaf goes across the axis.
    span_mm : float or None
        Largest distance between the leaves of one bank; None where any is possible.
    """

    name: str
    boundaries_mm: tuple[float, ...]
    jaws: tuple[str, ...]
    retract_mm: float
    overtravel_mm: float
    span_mm: float | None

    def mlc(self, *, axis: str = "X") -> MultileafCollimator:
        """Return its leaf geometry."""
        return MultileafCollimator(self.boundaries_mm, axis=axis)


def _steps(*runs: tuple[int, float]) -> tuple[float, ...]:
    """Boundaries of runs of (number of leaves, width), centred on the axis."""
    widths = np.repeat([width for _, width in runs], [count for count, _ in runs])
    edges = np.concatenate([[0.0], np.cumsum(widths)])
    return tuple(float(v) for v in edges - edges[-1] / 2)


#: Geometry from the vendors' published specifications, as in AAPM Report 72 and the papers that describe each.
COLLIMATORS: tuple[NamedCollimator, ...] = (
    NamedCollimator("millennium-120", _steps((10, 10.0), (40, 5.0), (10, 10.0)), ("ASYMX", "ASYMY"), 201.0, 201.0, 150),
    NamedCollimator("hd-120", _steps((14, 5.0), (32, 2.5), (14, 5.0)), ("ASYMX", "ASYMY"), 201.0, 201.0, 150),
    # Bedford et al., Phys Med Biol 58 (2013) N1: no jaw along the leaf travel, 15 cm of overtravel.
    NamedCollimator("agility-160", _steps((80, 5.0)), ("ASYMY",), 201.0, 151.0, None),
)


def recognise(boundaries_mm: ArrayLike) -> str:
    """Return the name of the collimator that has these leaf boundaries, ``"generic"`` where none does.

    Boundaries alone: a 160-leaf collimator with a jaw along the leaf travel is told from ``"agility-160"`` by
    :func:`mismatches`.

    Raises
    ------
    PlanError
        If the boundaries are not finite and ascending.
    """
    found = np.asarray(boundaries_mm, dtype=float)
    if found.ndim != 1 or len(found) < 2 or not np.all(np.isfinite(found)) or np.any(np.diff(found) <= 0):
        raise PlanError(
            "leaf boundaries must be finite and ascend", found=str(found.tolist()[:6]), where="LeafPositionBoundaries"
        )
    for known in COLLIMATORS:
        if len(known.boundaries_mm) == len(found) and np.all(np.abs(found - known.boundaries_mm) <= _SAME_MM):
            return known.name
    return GENERIC


def named(name: str) -> NamedCollimator:
    """Return a collimator by name.

    Raises
    ------
    PlanError
        If there is none of that name.
    """
    for known in COLLIMATORS:
        if known.name == name:
            return known
    raise PlanError("unknown collimator", found=name, expected=", ".join(c.name for c in COLLIMATORS))


def mismatches(beam: Beam) -> tuple[str, ...]:
    """Say in what a beam departs from the collimator that its boundaries name: jaws, leaf travel, leaf span.

    Nothing where there are no leaves or the collimator is generic. The dose does not depend on it; whether the plan
    can be delivered does.
    """
    if beam.mlc is None or (name := recognise(beam.mlc.boundaries_mm)) == GENERIC:
        return ()
    known = named(name)
    found: dict[str, None] = {}
    along, across = ("jaw_x_mm", "jaw_y_mm") if beam.mlc.axis == "X" else ("jaw_y_mm", "jaw_x_mm")
    for number, point in enumerate(beam.control_points, start=1):
        has_jaw = getattr(point, along) is not None, getattr(point, across) is not None
        if sum(has_jaw) != len(known.jaws):
            count = sum(has_jaw)
            found[f"beam {beam.name}: {count} pairs of jaws, {known.name} has {len(known.jaws)}"] = None
        if point.leaves_mm is None:
            continue
        negative, positive = point.leaves_mm
        beyond = max(
            float(np.max(-negative - known.retract_mm)),
            float(np.max(positive - known.retract_mm)),
            float(np.max(negative - known.overtravel_mm)),
            float(np.max(-positive - known.overtravel_mm)),
        )
        if beyond > _TRAVEL_TOLERANCE_MM:
            found[f"beam {beam.name}, control point {number}: a leaf is {beyond:.1f} mm beyond its travel"] = None
        spread = max(float(np.ptp(bank)) for bank in (negative, positive))
        if known.span_mm is not None and spread > known.span_mm + _TRAVEL_TOLERANCE_MM:
            found[
                f"beam {beam.name}, control point {number}: leaves of one bank {spread:.1f} mm apart, "
                f"at most {known.span_mm:g} mm"
            ] = None
    return tuple(found)
