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
    strips = None if mlc is None else _Strips.of(mlc, across, leaves)
    total = np.zeros((len(across) - 1, len(along) - 1))
    for group in _groups(segments, along_x=along_x, cell_mm=float(across[1] - across[0])):
        window = None if group.jaw_across is None else group.jaw_across[0].mean(axis=0)
        open_time = _OpenTime.of(group, along, leaves, jaw=group.jaw_along)
        total += (1 - jaw_transmission) * _inside(window, open_time, across, mlc, leaves, strips)
    if jaw_transmission > 0:
        open_time = _OpenTime.of(_oriented(segments, along_x=along_x), along, leaves, jaw=None)
        total += jaw_transmission * _inside(None, open_time, across, mlc, leaves, strips)
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


@dataclass(frozen=True, eq=False)
class _OpenTime:
    """MU × open part of every cell along the leaf travel, inside the jaws along it.

    ``base`` (1, cells) is without leaves, ``own`` (pairs, cells) of each pair, ``both`` (pairs − 1, cells) of
    neighbours at once; None without leaves or without tongues.
    """

    base: Array
    own: Array | None
    both: Array | None

    @classmethod
    def of(cls, group: _Oriented, along: Array, model: LeafModel, *, jaw: Array | None) -> _OpenTime:
        base = np.full((1, len(along) - 1), group.mu.sum())
        if jaw is not None:
            base = open_meterset(along, jaw[:, None, None, :, 0], jaw[:, None, None, :, 1], group.mu)
        if group.leaves is None:
            return cls(base, None, None)
        lower, upper = _radiation_edges(group, model)
        low, high = [lower], [upper]
        if jaw is not None:
            low.append(np.broadcast_to(jaw[:, None, :, 0], lower.shape))
            high.append(np.broadcast_to(jaw[:, None, :, 1], upper.shape))
        own = open_meterset(along, np.stack(low, axis=2), np.stack(high, axis=2), group.mu)
        if model.tongue_groove_mm == 0 or lower.shape[1] == 1:
            return cls(base, own, None)
        low, high = [*(e[:, :-1] for e in low), lower[:, 1:]], [*(e[:, :-1] for e in high), upper[:, 1:]]
        return cls(base, own, open_meterset(along, np.stack(low, axis=2), np.stack(high, axis=2), group.mu))


def _inside(
    window: Array | None,
    open_time: _OpenTime,
    across: Array,
    mlc: MultileafCollimator | None,
    model: LeafModel,
    strips: _Strips | None,
) -> Array:
    """MU × leaf transmission inside a window across the leaf travel (the jaw's two sides), everywhere without one."""
    if mlc is None or strips is None or open_time.own is None:
        under = np.ones((len(across) - 1, 1)) if window is None else coverage(across, window[:1], window[1:]).T
        open_field: Array = under * open_time.base
        return open_field
    passed = strips.passed(open_time)
    if window is None:
        return passed
    whole = (across[:-1] >= window[0]) & (across[1:] <= window[1])
    cut = (across[1:] > window[0]) & (across[:-1] < window[1]) & ~whole
    passed *= whole[:, None]
    for row in np.flatnonzero(cut):
        passed[row] = _Strips.of(mlc, across[row : row + 2], model, window=window).passed(open_time)[0]
    return passed


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
class _Strips:
    """How the open time of pairs (own) and of neighbours at once (both) adds up on each cell row.

    ``closed`` (rows,) is what passes where every pair is closed; the matrices ``own`` (rows, pairs) and ``both``
    (rows, pairs − 1) come on top. Sparse where there are many rows: each lies under one or two pairs.
    """

    closed: Array
    own: Any
    both: Any

    @classmethod
    def of(cls, mlc: MultileafCollimator, across: Array, model: LeafModel, *, window: Array | None = None) -> _Strips:
        """Areas of leaves and tongues on every cell row, inside ``window`` where it is given."""
        low, high = (across[0], across[-1]) if window is None else window

        def part(lower: Array, upper: Array) -> Array:
            return coverage(across, np.maximum(lower, low), np.minimum(upper, high)).T

        packed: Any = csr_array if len(across) > 2 else np.asarray
        edges = np.asarray(mlc.boundaries_mm)
        leak, tongue = model.transmission, model.tongue_transmission
        under = part(edges[:-1], edges[1:])
        inside = part(np.array([low]), np.array([high]))[:, 0]
        free = np.clip(inside - under.sum(axis=1), 0, 1)  # beyond the outermost leaves only jaws shield
        closed = free + leak * under.sum(axis=1)
        if model.tongue_groove_mm == 0 or mlc.pairs == 1:
            return cls(closed, packed((1 - leak) * under), None)
        strip = np.minimum(model.tongue_groove_mm, np.diff(edges) / 2)
        below = part(edges[:-1], edges[:-1] + strip)
        above = part(edges[1:] - strip, edges[1:])
        below[:, 0] = above[:, -1] = 0  # no neighbour, no tongue
        own = (1 - leak) * (under - below - above) + (tongue - leak) * (below + above)
        return cls(closed, packed(own), packed((1 - tongue) * (above[:, :-1] + below[:, 1:])))

    def passed(self, open_time: _OpenTime) -> Array:
        """MU that passes jaws along the travel and leaves, on every cell."""
        passed: Array = self.closed[:, None] * open_time.base
        passed += self.own @ open_time.own
        if self.both is not None:
            passed += self.both @ open_time.both
        return passed
