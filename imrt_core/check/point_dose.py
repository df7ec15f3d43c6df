"""Dose of a beam at one point by rings around it: modified Clarkson integration.

The opening is summed over rings about the point, each with its mean transmission and with what a ring adds to the dose
of a circular open field in the plane of the point::

    D = Σ MU · K · OAR(u, v) · (SAD / r)² · { S_c(0) · Σ_rings ΔQ(d, R) · ⟨T⟩ + [S_c(c) − S_c(0)] · h · Q(d, c) }

with Q(d, R) = S_cp/S_c · TPR(d, √π·R), 0 for no field, and ⟨T⟩ the mean transmission of the ring. The first sum runs
over directions and control points; d is the radiological depth of the point. Small rings carry the lateral spread of
secondary electrons and of the source, as the measured small-field output factors hold it; large ones scatter from the
phantom. Scatter is full, as measured: in a neck or a breast that is 1 % too much or a little more.

Photons from the head beside the focus reach the point from all that is open around it. Of those that the collimator's
setting c lets through when its rectangle is open, a part h passes the leaves; it is summed over rings like phantom
scatter [3]_::

    h = Σ_rings ΔS_c(R) · ⟨T⟩ / Σ_rings ΔS_c(R) · ⟨inside the rectangle⟩

An open field so has its measured output, and under wide jaws a small island of modulated fluence gets less. Leaves are
taken to collimate these photons like jaws; where leaves lie further down, the point sees more of the head than that.

References
----------
.. [1] Kung JH, Chen GTY, Kuchnir FK. A monitor unit verification calculation in intensity modulated radiotherapy as a
   dosimetry quality assurance. Med Phys 27 (2000) 2226-2230.
.. [2] Clarkson JR. A note on depth doses in fields of irregular shape. Br J Radiol 14 (1941) 265-268.
.. [3] Zhu TC, et al. Report of AAPM Therapy Physics Committee Task Group 74: in-air output ratio, Sc, for megavoltage
   photon beams. Med Phys 36 (2009) 5261-5291.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Beam, PlanError, Volume

from .aperture import Rectangle, collimator_rectangle_mm, equivalent_square_mm, mean_transmission, motion
from .directions import Part, parts_of
from .geometry import Depths, Point, depths
from .tables import SIDE_PER_RADIUS, CheckTables

Array = NDArray[np.float64]

#: How far from the point dose is tried, mm on the isocentre plane, for its gradient.
GRADIENT_STEP_MM = 3.0
#: Points on each ring. The golden angle turns each ring against the one before it.
_SPOKES = 120
_GOLDEN = np.pi * (3 - np.sqrt(5))
#: (up to this radius, ring width), mm.
_RINGS = ((15.0, 0.5), (40.0, 1.0), (100.0, 3.0), (400.0, 10.0))


@dataclass(frozen=True)
class PointDose:
    """What the check finds for one beam at one point; means over directions are weighted by MU.

    Parameters
    ----------
    dose_gy : float
        Per fraction.
    gradient_percent_per_mm : float
        Largest relative change of dose between the point and points 3 mm beside it across the beam.
    open_part : float
        Mean transmission within 5 mm of the point.
    radiological_depth_mm, tissue_depth_mm : float
        Density-weighted and geometric path from the skin.
    shallowest_mm : float
        Smallest radiological depth among the directions.
    off_axis_mm : float
        Distance of the point from the axis on the isocentre plane.
    distance_mm : float
        From the source.
    collimator_mm : float
        Equivalent square of the collimator's setting.
    opening_mm : float
        Side of the square of the same open area in the plane of the point.
    unresolved_percent : float
        Largest difference of a ring's mean opening from the local one inside the smallest measured field.
    """

    dose_gy: float
    gradient_percent_per_mm: float
    open_part: float
    radiological_depth_mm: float
    tissue_depth_mm: float
    shallowest_mm: float
    off_axis_mm: float
    distance_mm: float
    collimator_mm: float
    opening_mm: float
    unresolved_percent: float


def beam_point_dose(
    beam: Beam, red: Volume, tables: CheckTables, *, point_lps: Point, patient_position: str
) -> PointDose:
    """Return the dose of one fraction of a beam at a point.

    Parameters
    ----------
    beam : Beam
        Static, step-and-shoot, dynamic or arc.
    red : Volume
        Electron density relative to water.
    tables : CheckTables
        Measured data of the beam.
    point_lps : tuple of float
        Where, LPS mm.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.

    Raises
    ------
    PlanError
        If the beam is not photons, carries devices that are not modelled, has another energy or source-axis distance
        than the tables, or delivers no meterset.
    GeometryError
        If the patient position is unknown, the point is behind the source or a density is not a number.
    """
    _refuse(beam, tables)
    parts = list(parts_of(beam, point_lps, patient_position))
    ways = depths(red, [p.seen.source_lps for p in parts], point_lps)
    radius = _ring_edges(tables.largest_radius_mm)
    offsets = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]]) * GRADIENT_STEP_MM
    doses = np.zeros(len(offsets))
    rings = np.zeros(len(radius) - 1)
    settings = np.zeros(len(parts))
    focal = float(tables.collimator(0.0))
    for number, part in enumerate(parts):
        moving = motion(part.here, part.there, start=part.start, stop=part.stop, mu=part.mu)
        rectangle = collimator_rectangle_mm(beam, moving)
        settings[number] = equivalent_square_mm(rectangle)
        away = part.seen.distance_mm / tables.sad_mm
        circle = tables.phantom_dose(ways.radiological_mm[number], SIDE_PER_RADIUS * radius)
        circle[0] = 0.0
        head_rings = np.diff(tables.collimator(SIDE_PER_RADIUS * radius / away))
        head = (float(tables.collimator(settings[number])) - focal) * float(
            tables.phantom_dose(ways.radiological_mm[number], settings[number] * away)
        )
        scale = part.mu * tables.dose_per_mu / away**2
        for place, (du, dv) in enumerate(offsets):
            u, v = part.seen.u_mm + du, part.seen.v_mm + dv
            at_u, at_v = _places(u, v, radius / away)
            opened = mean_transmission(beam, moving, at_u, at_v, tables.collimation).mean(axis=1)
            all_open = float(head_rings @ _inside(rectangle, at_u, at_v).mean(axis=1))
            passing = float(head_rings @ opened) / all_open if all_open > 0 else 0.0
            oar = float(tables.off_axis_ratio(np.hypot(u, v)))
            doses[place] += scale * oar * (focal * float(np.diff(circle) @ opened) + head * passing)
            if place == 0:
                rings += part.mu * opened
    rings /= sum(p.mu for p in parts)
    return _summary(beam, tables, parts, ways, doses, radius, rings, settings)


def _summary(
    beam: Beam,
    tables: CheckTables,
    parts: list[Part],
    ways: Depths,
    doses: Array,
    radius: Array,
    rings: Array,
    settings: Array,
) -> PointDose:
    if not np.all(np.isfinite(doses)):
        raise PlanError("the check's dose is not a number", where=f"beam {beam.name}")
    weight = np.array([p.mu for p in parts])
    area = np.pi * np.diff(radius**2)
    near = radius[1:] <= 5.0
    local = float(rings[near] @ area[near] / area[near].sum())
    unmeasured = radius[1:] <= tables.measured_field_mm[0] / 2  # inside the smallest measured square
    opened = rings > 2 * tables.collimation.leaf_transmission
    spread = float(np.abs(rings[unmeasured] - local).max(initial=0.0)) if local > 0 else np.inf
    steepest = float(np.abs(doses[1:] / doses[0] - 1).max()) if doses[0] > 0 else np.inf

    def mean(values: list[float] | Array) -> float:
        return float(np.average(values, weights=weight))

    return PointDose(
        dose_gy=float(doses[0]),
        gradient_percent_per_mm=100 * steepest / GRADIENT_STEP_MM,
        open_part=local,
        radiological_depth_mm=mean(ways.radiological_mm),
        tissue_depth_mm=mean(ways.tissue_mm),
        shallowest_mm=float(ways.radiological_mm.min()),
        off_axis_mm=mean([float(np.hypot(p.seen.u_mm, p.seen.v_mm)) for p in parts]),
        distance_mm=mean([p.seen.distance_mm for p in parts]),
        collimator_mm=mean(settings),
        opening_mm=float(np.sqrt((rings * opened) @ area)),
        unresolved_percent=100 * spread / local if local > 0 else np.inf,
    )


def _refuse(beam: Beam, tables: CheckTables) -> None:
    where = f"independent check, beam {beam.name}"
    if beam.radiation_type.upper() != "PHOTON" or beam.unsupported:
        named = ", ".join(beam.unsupported) or beam.radiation_type
        raise PlanError("the check knows only photons, jaws and leaves", found=named, where=where)
    if abs(beam.nominal_energy_mv - tables.nominal_energy_mv) > 0.1 or beam.fluence_mode != tables.fluence_mode:
        raise PlanError(
            "the check tables are for another beam quality",
            found=f"{beam.nominal_energy_mv:g} MV {beam.fluence_mode}",
            expected=f"{tables.nominal_energy_mv:g} MV {tables.fluence_mode} ({tables.name})",
            where=where,
        )
    if abs(beam.sad_mm - tables.sad_mm) > 1.0:
        raise PlanError(
            "the source-axis distance is not the tables'",
            found=f"{beam.sad_mm:g} mm",
            expected=f"{tables.sad_mm:g} mm",
            where=where,
        )
    if not beam.mu > 0 or not beam.control_points[-1].cumulative_weight > 0:
        raise PlanError("the beam delivers no meterset", found=f"{beam.mu:g} MU", where=where)


def _ring_edges(largest_mm: float) -> Array:
    edges = [0.0]
    for limit, width in _RINGS:
        while edges[-1] < limit - 1e-9 and edges[-1] < largest_mm - 1e-9:
            edges.append(min(edges[-1] + width, largest_mm))
    return np.array(edges)


def _places(u_mm: float, v_mm: float, edges_mm: Array) -> tuple[Array, Array]:
    """Return places on every ring about a point of the isocentre plane, shape (rings, spokes)."""
    middle = np.sqrt((edges_mm[1:] ** 2 + edges_mm[:-1] ** 2) / 2)
    cosine, sine = _spokes(len(middle))
    return u_mm + middle[:, None] * cosine, v_mm + middle[:, None] * sine


def _inside(rectangle_mm: Rectangle | None, u_mm: Array, v_mm: Array) -> NDArray[np.bool_]:
    if rectangle_mm is None:
        return np.zeros(u_mm.shape, dtype=bool)
    (left, right), (lower, upper) = rectangle_mm
    return np.asarray((u_mm > left) & (u_mm < right) & (v_mm > lower) & (v_mm < upper))


@cache
def _spokes(rings: int) -> tuple[Array, Array]:
    """Cosines and sines of the directions in which each ring is sampled, shape (rings, spokes)."""
    angle = 2 * np.pi * np.arange(_SPOKES) / _SPOKES + _GOLDEN * np.arange(rings)[:, None]
    return np.cos(angle), np.sin(angle)
