"""Which point a beam is checked at: the first of several that is ground for a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from imrt_core.patient import Beam, GeometryError, PlanError, Volume

from .geometry import Point
from .point_dose import beam_point_dose
from .suitability import proposed_points, unsuitable_because
from .tables import CheckTables

#: Control points left out while a point is chosen, less one.
_EVERY = 6


def candidate_points(fraction_dose_gy: Volume, red: Volume, *, count: int = 4) -> tuple[Point, ...]:
    """Return points with high, flat dose in soft tissue, flattest first; none where there are none.

    Parameters
    ----------
    fraction_dose_gy : Volume
        The engine's dose of the plan.
    red : Volume
        Electron density relative to water.
    count : int
        How many at most.
    """
    try:
        return tuple(found.point_lps for found in proposed_points(fraction_dose_gy, red, count=count))
    except GeometryError:
        return ()  # no high dose in soft tissue


def suited_point(
    beam: Beam, red: Volume, tables: CheckTables, candidates: Sequence[Point], *, patient_position: str
) -> Point:
    """Return the first candidate that suits a beam, else the one with the fewest reasons against it.

    The choice looks at the check's own figures alone, never at how well an engine agrees.

    Parameters
    ----------
    beam : Beam
        With a meterset.
    red : Volume
        Electron density relative to water.
    tables : CheckTables
        Of the beam's quality.
    candidates : sequence of tuple of float
        LPS mm, in the order of preference.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.

    Raises
    ------
    PlanError
        If there is no candidate; else as :func:`imrt_core.check.beam_point_dose`.
    GeometryError
        As :func:`imrt_core.check.beam_point_dose`.
    """
    if not candidates:
        raise PlanError("a beam needs a point to check", found="none", where=f"beam {beam.name}")
    best, fewest = candidates[0], None
    coarse = _with_few_control_points(beam)
    for point in candidates:
        found = beam_point_dose(coarse, red, tables, point_lps=point, patient_position=patient_position)
        against = len(unsuitable_because(found, red, tables, point_lps=point))
        if against == 0:
            return point
        if fewest is None or against < fewest:
            best, fewest = point, against
    return best


def _with_few_control_points(beam: Beam) -> Beam:
    """Return the beam with every sixth control point: enough to choose a point by, in a sixth of the time.

    The verdict, and whether the point suits, come from the whole beam afterwards.
    """
    points = beam.control_points
    kept = {*range(0, len(points), _EVERY), len(points) - 1}
    return replace(beam, control_points=tuple(points[n] for n in sorted(kept))) if len(points) > 2 * _EVERY else beam
