"""Beams that go through metal: how much of it, by the longest ray within the opening."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.geometry.raytrace import RayVolume, ray_depths, ray_volume
from imrt_core.patient import Beam, ControlPoint, GeometryError, Plan, Volume

#: Distance of rays on the isocentre plane, and of samples along them, mm.
_PITCH_MM = 2.0
_STEP_MM = 0.5
#: Shorter paths are voxels of the edge.
_LEAST_MM = 1.0
#: Directions of an arc that are looked at.
_ARC_STEP_DEG = 4.0


@dataclass(frozen=True)
class MetalPath:
    """One beam through metal.

    Parameters
    ----------
    beam : str
        Its name.
    before_isocentre_mm : float
        Longest path through metal upstream of the isocentre plane: dose to the target lies in its shadow.
    whole_mm : float
        Longest path through metal on the whole ray, also behind the target.
    gantry_deg, table_deg : float
        Direction of the longest.
    """

    beam: str
    before_isocentre_mm: float
    whole_mm: float
    gantry_deg: float
    table_deg: float

    def warning(self) -> str:
        """Return the flag for the report."""
        return (
            f"beam {self.beam} goes through metal: up to {self.whole_mm:.0f} mm on a ray, "
            f"{self.before_isocentre_mm:.0f} mm of it before the isocentre plane "
            f"(gantry {self.gantry_deg:.0f}°, table {self.table_deg:.0f}°); dose behind it is uncertain"
        )


def beams_through_metal(plan: Plan, metal: Volume, *, patient_position: str) -> tuple[MetalPath, ...]:
    """Return the beams of a plan whose opening holds metal.

    Rays run from the source through the open field, 2 mm apart on the isocentre plane: jaws and leaves of all control
    points of one direction together, every 4° or less of an arc.

    Parameters
    ----------
    plan : Plan
        Beams.
    metal : Volume
        1 in metal, 0 elsewhere; any grid direction.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.

    Returns
    -------
    tuple of MetalPath
        In the order of the plan; beams that miss the metal are left out.

    Raises
    ------
    GeometryError
        If the patient position is unknown.
    """
    if not np.any(metal.array > 0):
        return ()
    rays = ray_volume(metal.with_array(np.asarray(metal.array, dtype=np.float32)))
    found = []
    for beam in plan.beams:
        longest: MetalPath | None = None
        for points in _directions(beam):
            path = _longest(beam, points, rays, patient_position)
            if path is not None and (longest is None or path.whole_mm > longest.whole_mm):
                longest = path
        if longest is not None:
            found.append(longest)
    return tuple(found)


def _directions(beam: Beam) -> list[list[ControlPoint]]:
    """Group control points by direction; of an arc, every few degrees."""
    groups: dict[tuple[int, int, int], list[ControlPoint]] = {}
    for point in beam.control_points:
        key = (
            round(point.gantry_deg / _ARC_STEP_DEG if beam.is_arc else point.gantry_deg * 10),
            round(point.table_deg * 10),
            round(point.collimator_deg * 10),
        )
        groups.setdefault(key, []).append(point)
    return list(groups.values())


def _longest(beam: Beam, points: list[ControlPoint], rays: RayVolume, patient_position: str) -> MetalPath | None:
    first = points[0]
    geometry = BeamGeometry(
        gantry_deg=first.gantry_deg,
        isocentre_lps=first.isocentre_lps,
        patient_position=patient_position,
        collimator_deg=first.collimator_deg,
        table_deg=first.table_deg,
        sad_mm=beam.sad_mm,
    )
    try:
        seen = geometry.project(rays.body_lps)
    except GeometryError:
        return None  # metal beside or behind the source is in no beam
    lower, upper = seen.min(axis=0) - _PITCH_MM, seen.max(axis=0) + _PITCH_MM
    u, v = np.meshgrid(*(np.arange(a, b + _PITCH_MM, _PITCH_MM) for a, b in zip(lower, upper, strict=True)))
    nodes = np.stack([u.ravel(), v.ravel()], axis=-1)
    nodes = nodes[_open(beam, points, nodes)]
    if not len(nodes):
        return None
    plane = np.column_stack([nodes, np.zeros(len(nodes))])
    source = np.array([0.0, 0.0, beam.sad_mm])
    behind = source + (plane - source) * 2.0  # as far behind the isocentre as the source is before it
    before, whole = (
        ray_depths(rays, geometry.source_lps, geometry.to_lps(p), step_mm=_STEP_MM) for p in (plane, behind)
    )
    if whole.max() < _LEAST_MM:
        return None
    return MetalPath(beam.name, float(before.max()), float(whole.max()), first.gantry_deg, first.table_deg)


def _open(beam: Beam, points: list[ControlPoint], nodes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points of the isocentre plane (BLD X, Y in mm) any control point opens."""
    result = np.zeros(len(nodes), dtype=bool)
    for point in points:
        inside = np.ones(len(nodes), dtype=bool)
        for jaw, value in ((point.jaw_x_mm, nodes[:, 0]), (point.jaw_y_mm, nodes[:, 1])):
            if jaw is not None:
                inside &= (value >= jaw[0]) & (value <= jaw[1])
        if point.leaves_mm is not None and beam.mlc is not None:
            along, across = nodes.T if beam.mlc.axis == "X" else nodes.T[::-1]
            pair = np.searchsorted(np.asarray(beam.mlc.boundaries_mm), across, side="right") - 1
            known = (pair >= 0) & (pair < beam.mlc.pairs)
            pair = np.clip(pair, 0, beam.mlc.pairs - 1)
            inside &= known & (along >= point.leaves_mm[0, pair]) & (along <= point.leaves_mm[1, pair])
        result |= inside
    return result
