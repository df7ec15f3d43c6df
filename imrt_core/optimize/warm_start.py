"""Warm start: the fluence of a plan of record, seen in the beam's-eye view of the new plan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Beam, ControlPoint, Plan, PlanError

from .fluence_map import FloatArray, FluenceMap, delivered_fluence

#: Beams within this angle count as the same direction.
_ANGLE_TOLERANCE_DEG = 1.0


def beam_fluence(beam: Beam, *, x_edges_mm: FloatArray, y_edges_mm: FloatArray, transmission: float) -> FluenceMap:
    """Return what a static-gantry beam delivers per fraction, on given bixels.

    Jaws are taken where they stand at the first control point of each interval.

    Raises
    ------
    PlanError
        If the beam is an arc or has no leaves.
    """
    if beam.is_arc:
        raise PlanError("an arc has no single fluence map", where=f"beam {beam.name}")
    if beam.mlc is None or any(cp.leaves_mm is None for cp in beam.control_points):
        raise PlanError("a warm start needs leaf positions", where=f"beam {beam.name}")
    total = np.zeros((len(y_edges_mm) - 1, len(x_edges_mm) - 1))
    points = beam.control_points
    start = 0
    while start < len(points) - 1:
        stop = start + 1
        while stop < len(points) - 1 and _jaws(points[stop]) == _jaws(points[start]):
            stop += 1
        part = points[start : stop + 1]
        total += delivered_fluence(
            np.stack([cp.leaves_mm for cp in part if cp.leaves_mm is not None]),
            beam.mu * np.array([cp.cumulative_weight for cp in part]),
            beam.mlc,
            x_edges_mm=x_edges_mm,
            y_edges_mm=y_edges_mm,
            jaw_x_mm=points[start].jaw_x_mm,
            jaw_y_mm=points[start].jaw_y_mm,
            transmission=transmission,
        ).mu
        start = stop
    return FluenceMap(total, x_edges_mm, y_edges_mm)


def _jaws(point: ControlPoint) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
    return point.jaw_x_mm, point.jaw_y_mm


def warm_start_weights(
    plan: Plan,
    beams: Sequence[tuple[float, float, float]],
    bixels_mm: Sequence[NDArray[np.float64]],
    *,
    size_mm: tuple[float, float],
    transmission: float,
) -> NDArray[np.float64]:
    """Return starting weights for all bixels from a plan of record.

    As :func:`fluence_of_beams`, but beams that the plan does not have, and bixels that it did not open, start at a
    tenth of the plan's mean fluence: a bound that is active at the start is left more slowly than a small weight.
    """
    weights = fluence_of_beams(plan, beams, bixels_mm, size_mm=size_mm, transmission=transmission)
    return np.maximum(weights, 0.1 * float(weights[weights > 0].mean()) if np.any(weights > 0) else 0.0)


def fluence_of_beams(
    plan: Plan,
    beams: Sequence[tuple[float, float, float]],
    bixels_mm: Sequence[NDArray[np.float64]],
    *,
    size_mm: tuple[float, float],
    transmission: float,
) -> NDArray[np.float64]:
    """Return what a plan delivers to the bixels of a new plan's beams, MU per fraction.

    Fluence maps are fixed to the isocentre, so that a plan follows its isocentre into the frame of the day.

    Parameters
    ----------
    plan : Plan
        Static-gantry beams with leaves.
    beams : sequence of (gantry_deg, collimator_deg, table_deg)
        Beams of the new plan.
    bixels_mm : sequence of ndarray, shape (n, 2)
        Centres (x, y) of the bixels of each beam, mm at the isocentre plane, in the order of the matrix's columns.
    size_mm : tuple of float
        Bixel size (x, y).
    transmission : float
        Share of the fluence through closed leaves.

    Raises
    ------
    PlanError
        If no beam of the plan matches any of the new beams.
    """
    parts: list[NDArray[np.float64]] = []
    found = 0
    for angles, centres in zip(beams, bixels_mm, strict=True):
        matches = [b for b in plan.beams if not b.is_arc and _same_direction(b.control_points[0], angles)]
        if not matches:
            parts.append(np.zeros(len(centres)))
            continue
        found += 1
        lower = centres.min(axis=0)
        column, row = np.rint((centres - lower) / np.asarray(size_mm)).astype(int).T
        x_edges = lower[0] + (np.arange(column.max() + 2) - 0.5) * size_mm[0]
        y_edges = lower[1] + (np.arange(row.max() + 2) - 0.5) * size_mm[1]
        # Several beams from one direction (a split field) add up.
        fluences = [
            beam_fluence(b, x_edges_mm=x_edges, y_edges_mm=y_edges, transmission=transmission).mu for b in matches
        ]
        parts.append(np.sum(fluences, axis=0)[row, column])
    if not found:
        raise PlanError(
            "the plan has no beam in common with the new one",
            found=", ".join(f"{b.control_points[0].gantry_deg:g}°" for b in plan.beams),
            expected=", ".join(f"{gantry:g}°" for gantry, _, _ in beams),
            where=f"plan {plan.label}",
        )
    return np.concatenate(parts)


def _same_direction(point: ControlPoint, angles: tuple[float, float, float]) -> bool:
    own = (point.gantry_deg, point.collimator_deg, point.table_deg)
    return all(abs((a - b + 180.0) % 360.0 - 180.0) <= _ANGLE_TOLERANCE_DEG for a, b in zip(own, angles, strict=True))
