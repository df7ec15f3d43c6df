"""What jaws and leaves let through on the cells of a fluence map.

Transmission at a point is (T_j + (1 − T_j)·J)·L: J is 1 inside the jaws, L is 1 where leaves are open and T where they
are closed. Along a leaf's side a tongue reaches into the neighbour's space. Where a pair is open and its neighbour is
closed, a strip of the tongue's width along their common side lies under the neighbour's tongue alone, about half a
leaf high, and transmits √T: the strip is fully open only where both pairs are (van Santvoort & Heijmen 1996, Deng
et al. 2001; see :mod:`imrt_core.machine.leaves`). Radiation edges lie behind the nominal tips by the leaf-end offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from imrt_core.machine import LeafModel
from imrt_core.patient import MultileafCollimator

from .leaf_motion import coverage, open_meterset

Array = NDArray[np.float64]

#: A pair counts as closed up to this gap, mm: dynamic plans park pairs at gaps of 0 to 0.6 mm.
CLOSED_MM = 1.0
#: Jaws across the leaf travel move at most this part of a cell while they stand still in the sum.
_JAW_STEP = 0.25


@dataclass(frozen=True, eq=False)
class Segment:
    """Jaws and leaves that move linearly while a part of the meterset is delivered.

    Parameters
    ----------
    mu : float
        Meterset.
    jaw_x_mm, jaw_y_mm : ndarray, shape (2, 2), or None
        [start, end] × [negative side, positive side].
    leaves_mm : ndarray, shape (2, 2, pairs), or None
        [start, end] × bank × pair.
    """

    mu: float
    jaw_x_mm: Array | None
    jaw_y_mm: Array | None
    leaves_mm: Array | None

    def part(self, start: float, stop: float) -> Segment:
        """Return what happens between two fractions of the segment."""
        if start == 0 and stop == 1:
            return self

        def cut(device: Array | None) -> Array | None:
            if device is None:
                return None
            move = device[1] - device[0]
            return np.stack([device[0] + start * move, device[0] + stop * move])

        cuts = (cut(d) for d in (self.jaw_x_mm, self.jaw_y_mm, self.leaves_mm))
        return Segment(self.mu * (stop - start), *cuts)


@dataclass(frozen=True, eq=False)
class _Oriented:
    """Segments with one static state of the jaws across the leaf travel; "along" is the travel."""

    mu: Array
    jaw_along: Array | None  # (segments, 2, 2)
    jaw_across: Array | None  # (segments, 2, 2)
    leaves: Array | None  # (segments, 2, 2, pairs)


def transmitted(
    segments: list[Segment],
    *,
    edges_u_mm: Array,
    edges_v_mm: Array,
    mlc: MultileafCollimator | None,
    leaves: LeafModel,
    jaw_transmission: float,
) -> Array:
    """Return MU × transmission of every cell, summed over segments, shape (nv, nu).

    Time averages along the leaf travel are exact, with jaws and leaves moving at once. Jaws across the travel stand
    at the middle of parts in which they move by a quarter of a cell at most.
    """
    along_x = mlc is None or mlc.axis == "X"
    along, across = (edges_u_mm, edges_v_mm) if along_x else (edges_v_mm, edges_u_mm)
    total = np.zeros((len(across) - 1, len(along) - 1))
    for group in _groups(segments, along_x=along_x, cell_mm=float(across[1] - across[0])):
        total += (1 - jaw_transmission) * _inside_jaws(group, along, across, mlc, leaves)
    if jaw_transmission > 0:
        total += jaw_transmission * _through_leaves(
            _oriented(segments, along_x=along_x), along, across, mlc, leaves, window=None, jaw=None
        )
    return total if along_x else np.ascontiguousarray(total.T)


def _groups(segments: list[Segment], *, along_x: bool, cell_mm: float) -> list[_Oriented]:
    by_jaw: dict[tuple[float, ...], list[Segment]] = {}
    for whole in segments:
        jaw = whole.jaw_y_mm if along_x else whole.jaw_x_mm
        travel = 0.0 if jaw is None else float(np.abs(jaw[1] - jaw[0]).max())
        count = max(int(np.ceil(travel / (_JAW_STEP * cell_mm) - 1e-9)), 1)
        for n in range(count):
            part = whole.part(n / count, (n + 1) / count)
            jaw = part.jaw_y_mm if along_x else part.jaw_x_mm
            key = () if jaw is None else tuple(float(v) for v in np.round(jaw, 6).ravel())
            by_jaw.setdefault(key, []).append(part)
    return [_oriented(parts, along_x=along_x) for parts in by_jaw.values()]


def _oriented(parts: list[Segment], *, along_x: bool) -> _Oriented:
    def stacked(devices: list[Array | None]) -> Array | None:
        present = [d for d in devices if d is not None]
        return np.stack(present) if len(present) == len(devices) else None

    jaw_x, jaw_y = stacked([p.jaw_x_mm for p in parts]), stacked([p.jaw_y_mm for p in parts])
    jaw_along, jaw_across = (jaw_x, jaw_y) if along_x else (jaw_y, jaw_x)
    return _Oriented(np.array([p.mu for p in parts]), jaw_along, jaw_across, stacked([p.leaves_mm for p in parts]))


def _inside_jaws(
    group: _Oriented, along: Array, across: Array, mlc: MultileafCollimator | None, model: LeafModel
) -> Array:
    """MU × leaf transmission while the jaws are open over a cell."""
    window = None if group.jaw_across is None else group.jaw_across[0].mean(axis=0)
    return _through_leaves(group, along, across, mlc, model, window=window, jaw=group.jaw_along)


def _through_leaves(
    group: _Oriented,
    along: Array,
    across: Array,
    mlc: MultileafCollimator | None,
    model: LeafModel,
    *,
    window: Array | None,
    jaw: Array | None,
) -> Array:
    """MU × leaf transmission inside a window across the leaf travel and moving jaws along it (None: everywhere)."""
    base = np.full((1, len(along) - 1), group.mu.sum())
    if jaw is not None:
        base = open_meterset(along, jaw[:, None, None, :, 0], jaw[:, None, None, :, 1], group.mu)
    if mlc is None or group.leaves is None:
        under = np.ones((len(across) - 1, 1)) if window is None else coverage(across, window[:1], window[1:]).T
        open_field: Array = under * base
        return open_field
    lower, upper = _radiation_edges(group, model)
    return _Weights.of(mlc, across, model, window).through(base, lower, upper, along, group.mu, jaw=jaw)


def _radiation_edges(group: _Oriented, model: LeafModel) -> tuple[Array, Array]:
    """Radiation edges of the leaves, (segments, pairs, 2) each.

    A pair that is closed all the time beside the jaws' opening stays shut: its rounded ends leak only under the jaw.
    """
    assert group.leaves is not None
    nominal = np.moveaxis(group.leaves, 1, -1)  # segments, bank, pairs, time
    lower, upper = nominal[:, 0], nominal[:, 1]
    opens = np.ones(lower.shape[:2], dtype=bool)
    if group.jaw_along is not None:
        jaw = group.jaw_along[:, None]  # segments, 1, time, side
        closed = np.all(upper - lower <= CLOSED_MM, axis=-1)
        beside = np.all(upper <= jaw[..., 0], axis=-1) | np.all(lower >= jaw[..., 1], axis=-1)
        opens = ~(closed & beside)
    offset = model.leaf_end_offset_mm * opens[..., None]
    return lower - offset, upper + offset


@dataclass(frozen=True, eq=False)
class _Weights:
    """How the open time of leaf pairs (own) and of neighbours at once (both) adds up on each cell row.

    ``closed`` (rows,) is what passes where every pair is closed; the sparse matrices ``own`` (rows, pairs) and
    ``both`` (rows, pairs − 1) come on top.
    """

    closed: Array
    own: Any
    both: Any

    @classmethod
    def of(cls, mlc: MultileafCollimator, across: Array, model: LeafModel, window: Array | None) -> _Weights:
        """Areas of leaves and tongues on every cell row, inside ``window`` (the jaw's two sides) where it is given."""
        low, high = (across[0], across[-1]) if window is None else window

        def part(lower: Array, upper: Array) -> Array:
            return coverage(across, np.maximum(lower, low), np.minimum(upper, high)).T

        edges = np.asarray(mlc.boundaries_mm)
        leak, tongue = model.transmission, model.tongue_transmission
        under = part(edges[:-1], edges[1:])
        inside = part(np.array([low]), np.array([high]))[:, 0]
        free = np.clip(inside - under.sum(axis=1), 0, 1)  # beyond the outermost leaves only jaws shield
        closed = free + leak * under.sum(axis=1)
        if model.tongue_groove_mm == 0 or mlc.pairs == 1:
            return cls(closed, csr_array((1 - leak) * under), None)
        strip = np.minimum(model.tongue_groove_mm, np.diff(edges) / 2)
        below = part(edges[:-1], edges[:-1] + strip)
        above = part(edges[1:] - strip, edges[1:])
        below[:, 0] = above[:, -1] = 0  # no neighbour, no tongue
        own = (1 - leak) * (under - below - above) + (tongue - leak) * (below + above)
        return cls(closed, csr_array(own), csr_array((1 - tongue) * (above[:, :-1] + below[:, 1:])))

    def through(self, base: Array, lower: Array, upper: Array, along: Array, mu: Array, *, jaw: Array | None) -> Array:
        """MU that passes the leaves on every cell; inside the jaws along the travel where ``jaw`` is given."""
        low, high = [lower], [upper]
        if jaw is not None:
            shape = lower.shape
            low.append(np.broadcast_to(jaw[:, None, :, 0], shape))
            high.append(np.broadcast_to(jaw[:, None, :, 1], shape))
        passed: Array = self.closed[:, None] * base
        passed = passed + self.own @ open_meterset(along, np.stack(low, axis=2), np.stack(high, axis=2), mu)
        if self.both is not None:
            pair_low = [*(e[:, :-1] for e in low), lower[:, 1:]]
            pair_high = [*(e[:, :-1] for e in high), upper[:, 1:]]
            passed += self.both @ open_meterset(along, np.stack(pair_low, axis=2), np.stack(pair_high, axis=2), mu)
        return passed
