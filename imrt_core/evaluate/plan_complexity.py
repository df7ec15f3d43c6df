"""How a plan is delivered: MU, segments, modulation and the time that it takes.

The modulation complexity score [1]_ was defined for static segments; for leaves that move between control points the
mean of the two ends stands for the way between them [2]_. Both are the same sum here: a static segment has two equal
ends. Only what the patient sees counts: leaf tips are cut at the jaws, and pairs that are closed (at most
``CLOSED_MM``, the gap at which they rest) or hidden by a jaw are no part of the aperture.

References
----------
.. [1] A. L. McNiven, M. B. Sharpe, T. G. Purdie, Med. Phys. 37, 505–515, 2010, doi:10.1118/1.3276775.
.. [2] L. Masi, R. Doro, V. Favuzza, S. Cipressi, L. Livi, Med. Phys. 40, 071718, 2013, doi:10.1118/1.4810969.
.. [3] S. B. Crowe et al., Australas. Phys. Eng. Sci. Med. 37, 475–482, 2014 (small aperture score).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.machine import DeliveryLimits
from imrt_core.patient import Beam, ControlPoint, MultileafCollimator, Plan, PlanError

#: A pair no wider than this is closed: leaves rest at 0 to 0.6 mm, and nobody plans with 1 mm.
CLOSED_MM = 1.0
#: Openings below this count as small.
SMALL_GAP_MM = 10.0

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class BeamComplexity:
    """One beam, per fraction.

    Parameters
    ----------
    name : str
        Of the beam.
    mu : float
        Meterset.
    segments : int
        Intervals between control points in which the beam is on: of static beams, the segments.
    leaf_sequence_variability, aperture_area_variability : float
        LSV and AAV, 0 … 1, weighted by MU: 1 where neighbouring leaves of a bank stand level, and where every aperture
        is as large as the union of all.
    modulation_complexity_score : float
        MU-weighted LSV × AAV: 1 for a single rectangular aperture, less the more it is modulated.
    mean_leaf_gap_mm : float
        Mean opening of the open pairs, by MU.
    small_gap_share : float
        Share of the open pairs with an opening below 10 mm, by MU (small aperture score [3]_).
    mean_area_cm2 : float
        Mean opened area, by MU.
    seconds : float
        Beam-on time, and what leaves, jaws and gantry take longer.
    """

    name: str
    mu: float
    segments: int
    leaf_sequence_variability: float
    aperture_area_variability: float
    modulation_complexity_score: float
    mean_leaf_gap_mm: float
    small_gap_share: float
    mean_area_cm2: float
    seconds: float


@dataclass(frozen=True)
class PlanComplexity:
    """A plan, per fraction; scores of the beams weighted by their MU.

    Parameters
    ----------
    mu : float
        Of all beams.
    mu_per_gy : float or None
        MU per Gy of the highest prescription; None where the plan states none.
    segments : int
        Of all beams.
    modulation_complexity_score, mean_leaf_gap_mm, small_gap_share, mean_area_cm2 : float
        See :class:`BeamComplexity`.
    treatment_seconds : float
        Beams, and the gantry's way from each to the next in the order of the plan.
    gantry_seconds : float
        The part of it between beams.
    beams : tuple of BeamComplexity
        In the order of the plan.
    """

    mu: float
    mu_per_gy: float | None
    segments: int
    modulation_complexity_score: float
    mean_leaf_gap_mm: float
    small_gap_share: float
    mean_area_cm2: float
    treatment_seconds: float
    gantry_seconds: float
    beams: tuple[BeamComplexity, ...]


def plan_complexity(plan: Plan, limits: DeliveryLimits) -> PlanComplexity:
    """Compute MU, segments, modulation and delivery time of a plan.

    Parameters
    ----------
    plan : Plan
        Static, dynamic or arc beams with collimation.
    limits : DeliveryLimits
        Leaf and gantry speed, and the dose rate where the plan states none. The gantry cannot pass 180°, turns at
        full speed and needs no time to start and stop; table, collimator and people are not counted.

    Raises
    ------
    PlanError
        If a beam has no MU, or neither leaves nor jaws.
    """
    beams = tuple(_beam(beam, limits) for beam in plan.beams)
    mu = np.array([beam.mu for beam in beams])
    turned = [
        _gantry_way_deg(a.control_points[-1].gantry_deg, b.control_points[0].gantry_deg)
        for a, b in zip(plan.beams[:-1], plan.beams[1:], strict=True)
    ]
    gantry_seconds = float(sum(turned)) / limits.gantry_speed_deg_per_s
    course_gy = max((dose for _, dose in plan.prescription_gy), default=0.0)

    def mean(name: str) -> float:
        return float(np.average([getattr(beam, name) for beam in beams], weights=mu))

    return PlanComplexity(
        mu=float(mu.sum()),
        mu_per_gy=float(mu.sum()) * plan.fractions_planned / course_gy if course_gy > 0 else None,
        segments=sum(beam.segments for beam in beams),
        modulation_complexity_score=mean("modulation_complexity_score"),
        mean_leaf_gap_mm=mean("mean_leaf_gap_mm"),
        small_gap_share=mean("small_gap_share"),
        mean_area_cm2=mean("mean_area_cm2"),
        treatment_seconds=sum(beam.seconds for beam in beams) + gantry_seconds,
        gantry_seconds=gantry_seconds,
        beams=beams,
    )


def modulation_complexity_score(plan: Plan) -> float:
    """Return the score alone, for which no machine is needed; see :class:`BeamComplexity`.

    Raises
    ------
    PlanError
        As for :func:`plan_complexity`.
    """
    return plan_complexity(plan, DeliveryLimits()).modulation_complexity_score


def _beam(beam: Beam, limits: DeliveryLimits) -> BeamComplexity:
    if not beam.mu > 0:
        raise PlanError("a beam without MU has no complexity", found=f"{beam.mu} MU", where=f"beam {beam.name}")
    low, high, width = _apertures(beam)
    step_mu = beam.mu * np.diff([point.cumulative_weight for point in beam.control_points])
    on = step_mu > 1e-9 * beam.mu
    lsv = np.array([_leaf_sequence_variability(a, b) for a, b in zip(low, high, strict=True)])
    # Apertures that are shown for no MU are no part of the beam's outline.
    shown = np.zeros(len(low), dtype=bool)
    shown[:-1] |= on
    shown[1:] |= on
    area = (high - low) @ width
    is_open = high > low
    leftmost = np.where(is_open[shown], low[shown], np.inf).min(axis=0)
    rightmost = np.where(is_open[shown], high[shown], -np.inf).max(axis=0)
    outline = float(np.maximum(np.where(np.isfinite(leftmost), rightmost - leftmost, 0.0), 0.0) @ width)
    aav = area / outline if outline > 0 else np.zeros(len(area))
    pairs = np.maximum(is_open.sum(axis=1), 1)
    gap = (high - low).sum(axis=1) / pairs
    small = (is_open & (high - low < SMALL_GAP_MM)).sum(axis=1) / pairs

    def half_way(values: FloatArray) -> FloatArray:
        return 0.5 * (values[:-1] + values[1:])

    def mean(values: FloatArray) -> float:
        return float(np.average(values, weights=step_mu))

    return BeamComplexity(
        name=beam.name,
        mu=beam.mu,
        segments=int(on.sum()),
        leaf_sequence_variability=mean(half_way(lsv)),
        aperture_area_variability=mean(half_way(aav)),
        modulation_complexity_score=mean(half_way(lsv) * half_way(aav)),
        mean_leaf_gap_mm=mean(half_way(gap)),
        small_gap_share=mean(half_way(small)),
        mean_area_cm2=mean(half_way(area)) / 100.0,
        seconds=_seconds(beam.control_points, step_mu, limits),
    )


def _apertures(beam: Beam) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Both edges of every pair's opening (control points, pairs), equal where closed, and the widest visible width."""
    mlc = beam.mlc or MultileafCollimator((-1e4, 1e4))
    boundaries = np.asarray(mlc.boundaries_mm)
    lows, highs, widths = [], [], []
    for point in beam.control_points:
        along, across = (point.jaw_x_mm, point.jaw_y_mm) if mlc.axis == "X" else (point.jaw_y_mm, point.jaw_x_mm)
        if point.leaves_mm is None and (along is None or across is None):
            raise PlanError("an aperture needs leaves or two pairs of jaws", found="neither", where=f"beam {beam.name}")
        near, far = along or (-np.inf, np.inf)
        lower, upper = across or (boundaries[0], boundaries[-1])
        visible = np.maximum(np.minimum(boundaries[1:], upper) - np.maximum(boundaries[:-1], lower), 0.0)
        tips = np.array([[near] * mlc.pairs, [far] * mlc.pairs]) if point.leaves_mm is None else point.leaves_mm
        low, high = np.clip(tips, near, far)
        opened = (visible > 0) & (high - low > CLOSED_MM)
        lows.append(np.where(opened, low, 0.0))
        highs.append(np.where(opened, high, 0.0))
        widths.append(visible)
    return np.array(lows), np.array(highs), np.max(widths, axis=0)


def _leaf_sequence_variability(low: FloatArray, high: FloatArray) -> float:
    """LSV of one aperture: how level neighbouring open leaves stand, the product over both banks."""
    opened = high > low
    if not opened.any():
        return 1.0
    product = 1.0
    for tips in (low[opened], high[opened]):
        reach = float(np.ptp(tips))
        if reach > 0:
            product *= 1.0 - float(np.abs(np.diff(tips)).mean()) / reach
    return product


def _seconds(points: Sequence[ControlPoint], step_mu: FloatArray, limits: DeliveryLimits) -> float:
    """Between two control points: beam-on time, or what the slowest leaf or the gantry needs if that is longer."""
    total = 0.0
    for start, stop, mu in zip(points[:-1], points[1:], step_mu, strict=True):
        beam_on = mu * 60.0 / (start.dose_rate_mu_per_min or limits.dose_rate_mu_per_min)
        travel = 0.0
        if start.leaves_mm is not None and stop.leaves_mm is not None:
            travel = float(np.abs(stop.leaves_mm - start.leaves_mm).max()) / limits.leaf_speed_mm_per_s
        turn = abs((stop.gantry_deg - start.gantry_deg + 180.0) % 360.0 - 180.0) / limits.gantry_speed_deg_per_s
        total += max(beam_on, travel, turn)
    return float(total)


def _gantry_way_deg(start_deg: float, stop_deg: float) -> float:
    """Way of a gantry that stops at 180°: from 170° to 190° it goes round through 0°; 180° lies on both ends."""

    def places(angle: float) -> tuple[float, ...]:
        wrapped = angle % 360.0
        if wrapped == 180.0:
            return (-180.0, 180.0)
        return (wrapped if wrapped < 180.0 else wrapped - 360.0,)

    return min(abs(a - b) for a in places(start_deg) for b in places(stop_deg))
