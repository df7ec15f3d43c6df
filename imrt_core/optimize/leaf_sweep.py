"""Leaf trajectories of a unidirectional sweep: when each leaf passes each point, and where it is at a given MU.

The times are in MU. ``lead`` is when the leading leaf starts to cross a cell, ``trail`` when the trailing leaf does;
their difference is the cell's exposure. References: see :mod:`imrt_core.optimize.sequencing`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imrt_core.machine import DeliveryLimits
from imrt_core.patient import MultileafCollimator, PlanError

from .fluence_map import FloatArray, FluenceMap, overlap_fractions

#: Fluence below this share of the map's maximum does not open a jaw.
NEGLIGIBLE_FLUENCE = 0.01
#: How far behind the jaw a closed pair hides, beyond the minimum gap.
_HIDE_MM = 2.0


@dataclass(frozen=True, eq=False)
class LeafField:
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
    def around(cls, wanted: FluenceMap, mlc: MultileafCollimator, limits: DeliveryLimits) -> LeafField:
        """Jaws around all bixels that matter, and the mean fluence of every leaf pair in them."""
        peak = float(wanted.mu.max(initial=0.0))
        if peak <= 0:
            raise PlanError("there is no fluence to sequence", found="an empty fluence map")
        used = wanted.mu > NEGLIGIBLE_FLUENCE * peak
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
            # they follow the field's middle as far as the nearest pair's leaves allow: they must not pass them
            middles = 0.5 * (active[:, 0].min(axis=1) + active[:, 1].max(axis=1))
            last = self.first_pair + self.pairs
            for part, nearest in ((slice(None, self.first_pair), 0), (slice(last, None), -1)):
                low, high = active[:, 0, nearest] + 0.5 * gap, active[:, 1, nearest] - 0.5 * gap
                place = np.clip(middles, low, np.maximum(high, low))[:, None]
                leaves[:, 0, part], leaves[:, 1, part] = place - 0.5 * gap, place + 0.5 * gap
        leaves[:, :, self.first_pair : self.first_pair + self.pairs] = active
        return leaves


def sweep(
    exposure: FloatArray, edges_mm: FloatArray, *, mu_per_mm: float, limits: DeliveryLimits
) -> tuple[FloatArray, FloatArray]:
    """When the leading leaf starts to cross, and the trailing leaf starts to cross, each cell (in MU).

    Parameters
    ----------
    exposure : ndarray, shape (pairs, cells)
        MU for which each cell is to be open.
    edges_mm : ndarray, shape (cells + 1,)
        Cells along the travel.
    mu_per_mm : float
        MU that pass while a leaf travels 1 mm at full speed; 0 where leaves move with the beam off.
    limits : DeliveryLimits
        Rows are delayed so that the leaves of a bank stay within the span, and where the collimator cannot
        interdigitate. A delay shifts both leaves of a pair: the exposure stays.

    Returns
    -------
    tuple of ndarray, shape (pairs, cells)
        (lead, trail).
    """
    pairs, cells = exposure.shape
    cell_mu = np.diff(edges_mm) * mu_per_mm
    # a leaf may enter a cell once every leaf of its bank has left the cell that is a span behind its far edge
    span_mm = limits.leaf_span_mm - limits.leaf_gap_mm
    behind = np.searchsorted(edges_mm, edges_mm[1:] - span_mm, side="right") - 1
    lead, trail = np.zeros((pairs, cells)), np.zeros((pairs, cells))
    for cell in range(cells):
        if cell:
            fall = np.maximum(exposure[:, cell - 1] - exposure[:, cell], 0.0)
            lead[:, cell] = lead[:, cell - 1] + cell_mu[cell - 1] + fall
        passed = int(min(behind[cell], cell - 1))
        if passed >= 0:
            lead[:, cell] = np.maximum(lead[:, cell], lead[:, passed].max() + cell_mu[passed])
            last = trail[:, passed].max() + cell_mu[passed]
            lead[:, cell] = np.maximum(lead[:, cell], last - exposure[:, cell])
        trail[:, cell] = lead[:, cell] + exposure[:, cell]
        if not limits.interdigitation and pairs > 1:
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


def sliding_window(
    field: LeafField, exposure: FloatArray, limits: DeliveryLimits, control_points: int, *, travel_mm_per_mu: float
) -> tuple[FloatArray, FloatArray]:
    """Leaf positions at evenly spaced MU."""
    cells = _padded(exposure)
    cell_mu = np.diff(field.edges_mm) / travel_mm_per_mu
    lead, trail = sweep(cells, field.edges_mm, mu_per_mm=1.0 / travel_mm_per_mu, limits=limits)
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


def step_and_shoot(
    field: LeafField, exposure: FloatArray, limits: DeliveryLimits, levels: int, *, minimum_area_mm2: float
) -> tuple[FloatArray, FloatArray]:
    """Make static segments: the same sweep with whole levels as time and leaves that jump from edge to edge."""
    quantum = max(float(exposure.max()) / levels, limits.minimum_segment_mu)
    cells = _padded(np.rint(exposure / quantum))
    lead, trail = sweep(cells, field.edges_mm, mu_per_mm=0.0, limits=limits)
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
    field: LeafField, left: FloatArray, right: FloatArray, limits: DeliveryLimits
) -> tuple[FloatArray, FloatArray]:
    """Give closed pairs of a static segment the minimum gap, out of sight if the collimator allows it."""
    closed = right - left < limits.leaf_gap_mm
    start, end = field.edges_mm[0], field.edges_mm[-1]
    if limits.interdigitation and end - start <= limits.leaf_span_mm:
        nearer_start = left - start < end - left
        left = np.where(closed, np.where(nearer_start, start, end - limits.leaf_gap_mm), left)
        right = np.where(closed, left + limits.leaf_gap_mm, right)
        return left, right
    wider_left, wider_right = _widened(left, right, limits.leaf_gap_mm)
    return np.where(closed, wider_left, left), np.where(closed, wider_right, right)


def _open_area_mm2(field: LeafField, shape: FloatArray) -> float:
    """Area that a static segment opens inside the jaws."""
    left, right = np.clip(shape, field.jaw_x_mm[0], field.jaw_x_mm[1])
    return float(field.pair_heights_mm @ (right - left))
