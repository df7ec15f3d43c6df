"""Kernel of :mod:`imrt_core.check.aperture`: when jaws and leaves on the move clear a point."""

from __future__ import annotations

from typing import Any

import numpy as np

from imrt_core._numba import kernel


@kernel()
def _cleared(start: float, stop: float, at: float, above: bool) -> Any:
    """Interval of time (of 0 … 1) in which a point lies above (below) a moving edge; (1, 0) where it never does."""
    ahead = at - start if above else start - at
    closing = stop - start if above else start - stop  # the point stays clear while closing·t <= ahead
    if closing == 0.0:
        return (0.0, 1.0) if ahead >= 0.0 else (1.0, 0.0)
    moment = min(max(ahead / closing, 0.0), 1.0)
    return (0.0, moment) if closing > 0.0 else (moment, 1.0)


@kernel()
def point_transmissions(
    u: Any,
    v: Any,
    jaw_axis: Any,
    jaw_edges: Any,
    leaf_axis: int,
    leaves: Any,
    boundaries: Any,
    leaf_end: float,
    leaf: float,
    jaw: float,
    out: Any,
) -> None:
    """Fill ``out`` with the mean transmission at points; ``leaf_axis`` is the travel, −1 where there are no leaves."""
    pairs = boundaries.shape[0] - 1
    for n in range(u.shape[0]):
        jaw_low, jaw_high, leaf_low, leaf_high = 0.0, 1.0, 0.0, 1.0
        for j in range(jaw_axis.shape[0]):
            at = u[n] if jaw_axis[j] == 0 else v[n]
            low, high = _cleared(jaw_edges[j, 0, 0], jaw_edges[j, 1, 0], at, True)
            jaw_low, jaw_high = max(jaw_low, low), min(jaw_high, high)
            low, high = _cleared(jaw_edges[j, 0, 1], jaw_edges[j, 1, 1], at, False)
            jaw_low, jaw_high = max(jaw_low, low), min(jaw_high, high)
        through = 0.0
        if leaf_axis >= 0:
            along, across = (u[n], v[n]) if leaf_axis == 0 else (v[n], u[n])
            if boundaries[0] <= across < boundaries[pairs]:
                pair = np.searchsorted(boundaries, across, side="right") - 1
                through = leaf
                low, high = _cleared(leaves[0, 0, pair] - leaf_end, leaves[1, 0, pair] - leaf_end, along, True)
                leaf_low, leaf_high = max(leaf_low, low), min(leaf_high, high)
                low, high = _cleared(leaves[0, 1, pair] + leaf_end, leaves[1, 1, pair] + leaf_end, along, False)
                leaf_low, leaf_high = max(leaf_low, low), min(leaf_high, high)
        jaws_open, leaves_open = max(jaw_high - jaw_low, 0.0), max(leaf_high - leaf_low, 0.0)
        both_open = max(min(jaw_high, leaf_high) - max(jaw_low, leaf_low), 0.0)
        closed = jaw * through + jaw * (1 - through) * leaves_open
        out[n] = closed + (1 - jaw) * through * jaws_open + (1 - jaw) * (1 - through) * both_open
