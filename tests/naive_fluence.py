"""Fluence of jaws and leaves point by point and moment by moment: slow, and close to the words of its description."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from imrt_core.machine import LeafModel
from imrt_core.patient import ControlPoint, MultileafCollimator

Array = NDArray[np.float64]


def transmission(
    u_mm: Array,
    v_mm: Array,
    *,
    jaw_x_mm: Array | None,
    jaw_y_mm: Array | None,
    leaves_mm: Array | None,
    mlc: MultileafCollimator | None,
    model: LeafModel,
    jaw_transmission: float,
) -> Array:
    """What passes at points at one moment."""
    passed = np.ones_like(u_mm)
    for jaw, at in ((jaw_x_mm, u_mm), (jaw_y_mm, v_mm)):
        if jaw is not None:
            passed[(at < jaw[0]) | (at > jaw[1])] = jaw_transmission
    if mlc is None or leaves_mm is None:
        return passed
    along, across = (u_mm, v_mm) if mlc.axis == "X" else (v_mm, u_mm)
    edges = mlc.boundaries_mm

    def is_open(number: int, at: Array) -> NDArray[np.bool_]:
        offset = model.leaf_end_offset_mm
        return (leaves_mm[0, number] - offset < at) & (at < leaves_mm[1, number] + offset)

    for pair in range(mlc.pairs):
        here = (edges[pair] <= across) & (across < edges[pair + 1])
        neighbour_open = np.ones_like(here)
        if pair > 0:
            under = across - edges[pair] < model.tongue_groove_mm
            neighbour_open &= ~under | is_open(pair - 1, along)
        if pair < mlc.pairs - 1:
            under = edges[pair + 1] - across < model.tongue_groove_mm
            neighbour_open &= ~under | is_open(pair + 1, along)
        opened = is_open(pair, along)
        passed[here & ~opened] *= model.transmission
        passed[here & opened & ~neighbour_open] *= np.sqrt(model.transmission)
    return passed


def fluence(
    points: tuple[ControlPoint, ...],
    mu: float,
    edges_u_mm: Array,
    edges_v_mm: Array,
    *,
    mlc: MultileafCollimator | None,
    model: LeafModel,
    jaw_transmission: float,
    moments: int = 200,
    per_cell: int = 20,
) -> Array:
    """Mean over points of every cell and moments of every segment."""
    rows, columns = len(edges_v_mm) - 1, len(edges_u_mm) - 1
    inner = (np.arange(per_cell) + 0.5) / per_cell
    u = (edges_u_mm[:-1, None] + np.diff(edges_u_mm)[:, None] * inner).ravel()
    v = (edges_v_mm[:-1, None] + np.diff(edges_v_mm)[:, None] * inner).ravel()
    lattice_v, lattice_u = np.meshgrid(v, u, indexing="ij")
    total = np.zeros(lattice_u.shape)
    for here, there in itertools.pairwise(points):
        weight = mu * (there.cumulative_weight - here.cumulative_weight) / moments
        for moment in (np.arange(moments) + 0.5) / moments:
            state = {}
            for name in ("jaw_x_mm", "jaw_y_mm", "leaves_mm"):
                before, after = getattr(here, name), getattr(there, name)
                state[name] = None if before is None else (1 - moment) * np.asarray(before) + moment * np.asarray(after)
            total += weight * transmission(
                lattice_u, lattice_v, mlc=mlc, model=model, jaw_transmission=jaw_transmission, **state
            )
    return np.asarray(total.reshape(rows, per_cell, columns, per_cell).mean(axis=(1, 3)))
