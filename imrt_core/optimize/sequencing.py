"""Leaf sequencing: a fluence map becomes sliding-window or step-and-shoot apertures that a collimator can make.

Both techniques sweep the leaf pairs in one direction, which delivers a profile with the fewest MU [1]_ [2]_ [3]_. The
time at which the trailing leaf passes a point minus the time at which the leading leaf passed it is the fluence there;
wherever the fluence rises the leading leaf moves at full speed, wherever it falls the trailing one does. Collimators
that cannot interdigitate get rows delayed until no leaf passes the opposing leaf of its neighbour [3]_ [4]_. What the
control points really deliver (gap, transmission, sampling) is integrated, and the difference is fed back.

Limits of this version: leaves move along one direction only, tongue and groove is not modelled, carriages do not
split: a field that needs more than the leaf span is refused.

References
----------
.. [1] R. Svensson, P. Källman, A. Brahme, Phys. Med. Biol. 39, 37–61, 1994, doi:10.1088/0031-9155/39/1/003.
.. [2] S. V. Spirou, C. S. Chui, Med. Phys. 21, 1031–1041, 1994, doi:10.1118/1.597345.
.. [3] S. Kamath, S. Sahni, J. Li, J. Palta, S. Ranka, Phys. Med. Biol. 48, 307–324, 2003,
   doi:10.1088/0031-9155/48/3/303.
.. [4] J. P. C. van Santvoort, B. J. M. Heijmen, Phys. Med. Biol. 41, 2091–2105, 1996.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from imrt_core.machine import DeliveryLimits
from imrt_core.patient import ControlPoint, MultileafCollimator, PlanError

from .fluence_map import FloatArray, FluenceMap, delivered_fluence, overlap_fractions

#: Fluence below this share of the map's maximum does not open a jaw.
_NEGLIGIBLE = 0.01
#: How far behind the jaw a closed pair hides, beyond the minimum gap.
_HIDE_MM = 2.0
#: Rounds of feeding the difference between wanted and delivered fluence back.
_FEEDBACK_ROUNDS = 4


class Technique(StrEnum):
    """How the leaves move while the beam is on."""

    SLIDING_WINDOW = "sliding-window"
    STEP_AND_SHOOT = "step-and-shoot"


@dataclass(frozen=True, eq=False)
class LeafSequence:
    """A deliverable field.

    Parameters
    ----------
    technique : Technique
        How the leaves move.
    mu : float
        MU per fraction.
    cumulative_mu : ndarray, shape (control points,)
        From 0 to ``mu``.
    leaves_mm : ndarray, shape (control points, 2, pairs)
        Leaf positions at the isocentre plane.
    jaw_x_mm, jaw_y_mm : tuple of float
        Fixed jaws around the aperture.
    delivered : FluenceMap
        What the control points deliver, on the bixels of the wanted map.
    error_mu : float
        Root mean square of delivered minus wanted fluence over the bixels inside the jaws.
    segments : int
        Static segments, or intervals between control points of a sliding window.
    seconds : float
        Beam-on time, with leaf travel between static segments.
    dose_rate_mu_per_min : float
        Dose rate that the times assume.
    """

    technique: Technique
    mu: float
    cumulative_mu: FloatArray
    leaves_mm: FloatArray
    jaw_x_mm: tuple[float, float]
    jaw_y_mm: tuple[float, float]
    delivered: FluenceMap
    error_mu: float
    segments: int
    seconds: float
    dose_rate_mu_per_min: float

    def control_points(
        self,
        *,
        gantry_deg: float,
        isocentre_lps: tuple[float, float, float],
        collimator_deg: float = 0.0,
        table_deg: float = 0.0,
    ) -> tuple[ControlPoint, ...]:
        """Return the control points of a static-gantry beam."""
        return tuple(
            ControlPoint(
                cumulative_weight=float(mu / self.mu),
                gantry_deg=gantry_deg,
                isocentre_lps=isocentre_lps,
                collimator_deg=collimator_deg,
                table_deg=table_deg,
                jaw_x_mm=self.jaw_x_mm,
                jaw_y_mm=self.jaw_y_mm,
                leaves_mm=leaves,
                dose_rate_mu_per_min=self.dose_rate_mu_per_min,
            )
            for mu, leaves in zip(self.cumulative_mu, self.leaves_mm, strict=True)
        )


def sequence(
    fluence: FluenceMap,
    mlc: MultileafCollimator,
    limits: DeliveryLimits,
    *,
    transmission: float = 0.0,
    dose_rate_mu_per_min: float | None = None,
    technique: Technique | str = Technique.SLIDING_WINDOW,
    control_points: int = 80,
    levels: int = 10,
    minimum_segment_area_mm2: float = 100.0,
) -> LeafSequence:
    """Turn a fluence map into leaf positions.

    Parameters
    ----------
    fluence : FluenceMap
        Wanted fluence (what should arrive below the collimator, transmission included). Rows need not be as wide as
        the leaves: a pair gets the mean over the bixels that it covers.
    mlc : MultileafCollimator
        Leaf boundaries and direction of travel.
    limits : DeliveryLimits
        What leaves, jaws and the dose-rate control can do.
    transmission : float
        Share of the fluence through closed leaves.
    dose_rate_mu_per_min : float
        Dose rate of the delivery, at most the machine's highest (the default): with the leaf speed it sets how far
        leaves travel per MU. A lower rate takes longer and needs fewer MU for a sliding window.
    technique : Technique
        Sliding window (leaves move while the beam is on) or step and shoot (static segments).
    control_points : int
        Control points of a sliding window, evenly spaced in MU.
    levels : int
        Largest number of intensity levels of step and shoot; fewer where a level would be below the minimum MU of a
        segment.
    minimum_segment_area_mm2 : float
        Static segments that open less are left out.

    Returns
    -------
    LeafSequence
        Limits obeyed.

    Raises
    ------
    PlanError
        If the map is empty, lies beyond leaves or jaws, or needs more than the leaf span or the MU of a beam.
    """
    technique = Technique(technique)
    dose_rate = limits.dose_rate_mu_per_min if dose_rate_mu_per_min is None else dose_rate_mu_per_min
    if not 0.0 < dose_rate <= limits.dose_rate_mu_per_min:
        raise PlanError(
            "the machine has no such dose rate",
            found=f"{dose_rate} MU/min",
            expected=f"> 0 and <= {limits.dose_rate_mu_per_min} MU/min",
        )
    travel_mm_per_mu = limits.leaf_speed_mm_per_s * 60.0 / dose_rate
    wanted = fluence if mlc.axis == "X" else fluence.transposed()
    along = MultileafCollimator(mlc.boundaries_mm, axis="X")
    field = _Field.around(wanted, along, limits)
    exposure = field.pair_fluence.copy()
    best: tuple[float, FloatArray, FloatArray, FluenceMap] | None = None
    for _ in range(_FEEDBACK_ROUNDS):
        if technique is Technique.SLIDING_WINDOW:
            leaves, cumulative = _sliding_window(
                field, exposure, limits, control_points, travel_mm_per_mu=travel_mm_per_mu
            )
        else:
            leaves, cumulative = _step_and_shoot(
                field, exposure, limits, levels, minimum_area_mm2=minimum_segment_area_mm2
            )
        delivered = delivered_fluence(
            leaves,
            cumulative,
            along,
            x_edges_mm=wanted.x_edges_mm,
            y_edges_mm=wanted.y_edges_mm,
            jaw_x_mm=field.jaw_x_mm,
            jaw_y_mm=field.jaw_y_mm,
            transmission=transmission,
        )
        difference = (wanted.mu - delivered.mu)[field.rows, field.columns]
        error = float(np.sqrt(np.mean(difference**2)))
        if best is None or error < best[0]:
            best = (error, leaves, cumulative, delivered)
        exposure = np.maximum(exposure + field.pair_mean(difference), 0.0)
    assert best is not None
    error, leaves, cumulative, delivered = best
    jaw_x_mm, jaw_y_mm = field.jaw_x_mm, field.jaw_y_mm
    if mlc.axis == "Y":
        jaw_x_mm, jaw_y_mm = jaw_y_mm, jaw_x_mm
    _check_machine(leaves, jaw_x_mm, jaw_y_mm, float(cumulative[-1]), limits)
    return LeafSequence(
        technique=technique,
        mu=float(cumulative[-1]),
        cumulative_mu=cumulative,
        leaves_mm=leaves,
        jaw_x_mm=jaw_x_mm,
        jaw_y_mm=jaw_y_mm,
        delivered=delivered if mlc.axis == "X" else delivered.transposed(),
        error_mu=error,
        segments=len(cumulative) - 1 if technique is Technique.SLIDING_WINDOW else len(cumulative) // 2,
        seconds=_delivery_seconds(leaves, cumulative, limits, dose_rate),
        dose_rate_mu_per_min=dose_rate,
    )


@dataclass(frozen=True, eq=False)
class _Field:
    """The part of a map that is opened: leaf pairs and cells along their travel, with a hiding cell at each end."""

    rows: slice
    columns: slice
    jaw_x_mm: tuple[float, float]
    jaw_y_mm: tuple[float, float]
    first_pair: int
    pairs: int
    total_pairs: int
    edges_mm: FloatArray
    pair_heights_mm: FloatArray
    pair_shares: FloatArray
    pair_fluence: FloatArray

    @classmethod
    def around(cls, wanted: FluenceMap, mlc: MultileafCollimator, limits: DeliveryLimits) -> _Field:
        """Jaws around all bixels that matter, and the mean fluence of every leaf pair in them."""
        peak = float(wanted.mu.max(initial=0.0))
        if peak <= 0:
            raise PlanError("there is no fluence to sequence", found="an empty fluence map")
        used = wanted.mu > _NEGLIGIBLE * peak
        rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
        row_slice, column_slice = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        x = wanted.x_edges_mm[columns[0] : columns[-1] + 2]
        y = wanted.y_edges_mm[rows[0] : rows[-1] + 2]
        boundaries = np.asarray(mlc.boundaries_mm)
        if y[0] < boundaries[0] - 1e-6 or y[-1] > boundaries[-1] + 1e-6:
            raise PlanError(
                "the field is longer than the collimator",
                found=f"{y[0]:.0f} … {y[-1]:.0f} mm",
                expected=f"{boundaries[0]:.0f} … {boundaries[-1]:.0f} mm",
            )
        first = int(np.searchsorted(boundaries, y[0] + 1e-6, side="right")) - 1
        last = int(np.searchsorted(boundaries, y[-1] - 1e-6, side="left"))
        # share of each bixel row in what a pair uncovers, normalised over the part inside the jaws
        shares = overlap_fractions(y, boundaries[first : last + 1])
        shares = shares / shares.sum(axis=1, keepdims=True)
        hide = limits.leaf_gap_mm + _HIDE_MM
        return cls(
            rows=row_slice,
            columns=column_slice,
            jaw_x_mm=(float(x[0]), float(x[-1])),
            jaw_y_mm=(float(y[0]), float(y[-1])),
            first_pair=first,
            pairs=last - first,
            total_pairs=mlc.pairs,
            edges_mm=np.concatenate([[x[0] - hide], x, [x[-1] + hide]]),
            pair_heights_mm=np.diff(np.clip(boundaries[first : last + 1], y[0], y[-1])),
            pair_shares=shares,
            pair_fluence=shares @ wanted.mu[row_slice, column_slice],
        )

    def pair_mean(self, bixels: FloatArray) -> FloatArray:
        """Mean of bixel values over each leaf pair."""
        return np.asarray(self.pair_shares @ bixels)

    def all_pairs(self, active: FloatArray, limits: DeliveryLimits) -> FloatArray:
        """Add the pairs outside the jaws, closed, to positions of shape (control points, 2, active pairs)."""
        gap = limits.leaf_gap_mm
        leaves = np.empty((len(active), 2, self.total_pairs))
        if limits.interdigitation:
            # behind the jaws across the travel, in the middle, where they add nothing to the leaf span
            middle = 0.5 * (self.jaw_x_mm[0] + self.jaw_x_mm[1])
            leaves[:, 0], leaves[:, 1] = middle - 0.5 * gap, middle + 0.5 * gap
        else:
            # they go along with the nearest pair, or they would pass its leaves
            last = self.first_pair + self.pairs
            for part, nearest in ((slice(None, self.first_pair), 0), (slice(last, None), -1)):
                leaves[:, 0, part] = active[:, 0, nearest, None]
                leaves[:, 1, part] = active[:, 0, nearest, None] + gap
        leaves[:, :, self.first_pair : self.first_pair + self.pairs] = active
        return leaves


def _sweep(exposure: FloatArray, cell_mu: FloatArray, *, interdigitation: bool) -> tuple[FloatArray, FloatArray]:
    """When the leading leaf starts to cross, and the trailing leaf starts to cross, each cell (in MU).

    ``exposure`` has shape (pairs, cells), ``cell_mu`` is the time that full speed takes for each cell.
    """
    pairs, cells = exposure.shape
    lead, trail = np.zeros((pairs, cells)), np.zeros((pairs, cells))
    for cell in range(cells):
        if cell:
            fall = np.maximum(exposure[:, cell - 1] - exposure[:, cell], 0.0)
            lead[:, cell] = lead[:, cell - 1] + cell_mu[cell - 1] + fall
        trail[:, cell] = lead[:, cell] + exposure[:, cell]
        if not interdigitation and pairs > 1:
            _delay_rows(lead[:, cell], trail[:, cell], exposure[:, cell])
    return lead, trail


def _delay_rows(lead: FloatArray, trail: FloatArray, exposure: FloatArray) -> None:
    """Delay rows (in place) until no trailing leaf reaches a cell before a neighbour's leading leaf does.

    Times only grow and are bounded by the largest leading time, so that the loop ends.
    """
    for _ in range(lead.size):
        required = np.zeros_like(lead)
        required[1:] = lead[:-1]
        required[:-1] = np.maximum(required[:-1], lead[1:])
        late = np.maximum(required - trail, 0.0)
        if not np.any(late > 0):
            return
        lead += late
        trail[:] = lead + exposure


def _padded(exposure: FloatArray) -> FloatArray:
    """Add the hiding cells, where nothing is to be exposed."""
    return np.pad(exposure, ((0, 0), (1, 1)))


def _widened(left: FloatArray, right: FloatArray, gap_mm: float) -> tuple[FloatArray, FloatArray]:
    """Open pairs that are closer than the minimum gap, symmetrically."""
    middle = 0.5 * (left + right)
    return np.minimum(left, middle - 0.5 * gap_mm), np.maximum(right, middle + 0.5 * gap_mm)


def _sliding_window(
    field: _Field, exposure: FloatArray, limits: DeliveryLimits, control_points: int, *, travel_mm_per_mu: float
) -> tuple[FloatArray, FloatArray]:
    """Leaf positions at evenly spaced MU."""
    cells = _padded(exposure)
    cell_mu = np.diff(field.edges_mm) / travel_mm_per_mu
    lead, trail = _sweep(cells, cell_mu, interdigitation=limits.interdigitation)
    total = float((trail[:, -1] + cell_mu[-1]).max())
    cumulative = np.linspace(0.0, total, control_points)
    positions = np.repeat(field.edges_mm, 2)[1:-1]
    active = np.empty((control_points, 2, field.pairs))
    for pair in range(field.pairs):
        for bank, times in ((0, trail[pair]), (1, lead[pair])):
            # entering and leaving every cell; a leaf waits at an edge between leaving one and entering the next
            knots = np.stack([times, times + cell_mu], axis=1).ravel()
            active[:, bank, pair] = np.interp(cumulative, knots, positions)
    active[:, 0], active[:, 1] = _widened(active[:, 0], active[:, 1], limits.leaf_gap_mm)
    return field.all_pairs(active, limits), cumulative


def _step_and_shoot(
    field: _Field, exposure: FloatArray, limits: DeliveryLimits, levels: int, *, minimum_area_mm2: float
) -> tuple[FloatArray, FloatArray]:
    """Make static segments: the same sweep with whole levels as time and leaves that jump from edge to edge."""
    quantum = max(float(exposure.max()) / levels, limits.minimum_segment_mu)
    cells = _padded(np.rint(exposure / quantum))
    lead, trail = _sweep(cells, np.zeros(cells.shape[1]), interdigitation=limits.interdigitation)
    shapes: list[FloatArray] = []
    mu: list[float] = []
    for step in range(int(trail[:, -1].max())):
        # a leaf stands at the first edge that it crosses later than now
        left = field.edges_mm[np.minimum((trail <= step).sum(axis=1), cells.shape[1])]
        right = field.edges_mm[np.minimum((lead <= step).sum(axis=1), cells.shape[1])]
        left, right = _hidden(field, left, right, limits)
        shape = np.stack([left, right])
        if shapes and np.array_equal(shape, shapes[-1]):
            mu[-1] += quantum
        else:
            shapes.append(shape)
            mu.append(quantum)
    keep = [i for i, shape in enumerate(shapes) if _open_area_mm2(field, shape) >= minimum_area_mm2]
    if not keep:
        raise PlanError("no segment is large enough to deliver", expected=f">= {minimum_area_mm2:g} mm² of open area")
    active = np.repeat(np.stack([shapes[i] for i in keep]), 2, axis=0)
    ends = np.cumsum([mu[i] for i in keep])
    cumulative = np.repeat(np.concatenate([[0.0], ends]), 2)[1:-1]
    return field.all_pairs(active, limits), cumulative


def _hidden(
    field: _Field, left: FloatArray, right: FloatArray, limits: DeliveryLimits
) -> tuple[FloatArray, FloatArray]:
    """Give closed pairs of a static segment the minimum gap, out of sight if the collimator allows it."""
    closed = right - left < limits.leaf_gap_mm
    if limits.interdigitation:
        start, end = field.edges_mm[0], field.edges_mm[-1]
        nearer_start = left - start < end - left
        left = np.where(closed, np.where(nearer_start, start, end - limits.leaf_gap_mm), left)
        right = np.where(closed, left + limits.leaf_gap_mm, right)
        return left, right
    wider_left, wider_right = _widened(left, right, limits.leaf_gap_mm)
    return np.where(closed, wider_left, left), np.where(closed, wider_right, right)


def _open_area_mm2(field: _Field, shape: FloatArray) -> float:
    """Area that a static segment opens inside the jaws."""
    left, right = np.clip(shape, field.jaw_x_mm[0], field.jaw_x_mm[1])
    return float(field.pair_heights_mm @ (right - left))


def _check_machine(
    leaves_mm: FloatArray,
    jaw_x_mm: tuple[float, float],
    jaw_y_mm: tuple[float, float],
    mu: float,
    limits: DeliveryLimits,
) -> None:
    """Refuse what the machine cannot do."""
    span = float(np.ptp(leaves_mm, axis=2).max())
    if span > limits.leaf_span_mm + 1e-6:
        raise PlanError(
            "the field needs more than the leaf span",
            found=f"{span:.0f} mm between leaves of one bank",
            expected=f"<= {limits.leaf_span_mm:.0f} mm",
        )
    extents = (
        ("leaves", float(leaves_mm.min()), float(leaves_mm.max()), limits.leaf_range_mm),
        ("jaws X", *jaw_x_mm, limits.jaw_x_mm),
        ("jaws Y", *jaw_y_mm, limits.jaw_y_mm),
    )
    for device, lowest, highest, (low, high) in extents:
        if lowest < low - 1e-6 or highest > high + 1e-6:
            raise PlanError(
                f"{device} would leave their range",
                found=f"{lowest:.1f} … {highest:.1f} mm",
                expected=f"{low:.0f} … {high:.0f} mm",
            )
    if mu > limits.maximum_beam_mu:
        raise PlanError(
            "the field needs more MU than a beam may have",
            found=f"{mu:.0f} MU",
            expected=f"<= {limits.maximum_beam_mu:.0f} MU",
        )


def _delivery_seconds(
    leaves_mm: FloatArray, cumulative_mu: FloatArray, limits: DeliveryLimits, dose_rate: float
) -> float:
    """Beam-on time plus, where leaves move with the beam off, their travel at full speed."""
    beam_on = float(cumulative_mu[-1]) * 60.0 / dose_rate
    static = np.diff(cumulative_mu) <= 0
    travel = np.abs(np.diff(leaves_mm, axis=0)).max(axis=(1, 2))
    return beam_on + float(travel[static].sum()) / limits.leaf_speed_mm_per_s
