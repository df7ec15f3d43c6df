"""A beam as a sequence of directions, each with its motion and meterset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from imrt_core.patient import Beam, ControlPoint

from .geometry import Point, Pose, SeenPoint, seen_from_source

#: Largest rotation that one direction stands for, degrees, and largest shift of the isocentre, mm.
TURN_DEG = 5.0
SHIFT_MM = 2.0


@dataclass(frozen=True, eq=False)
class Part:
    """One direction of the beam with the motion and meterset that belong to it."""

    here: ControlPoint
    there: ControlPoint
    start: float
    stop: float
    mu: float
    seen: SeenPoint


def parts_of(beam: Beam, point_lps: Point, patient_position: str) -> Iterator[Part]:
    """Yield the directions of a beam in order of its control points; those without meterset are left out."""
    total = beam.control_points[-1].cumulative_weight
    for here, there in pairwise(beam.control_points):
        mu = beam.mu * (there.cumulative_weight - here.cumulative_weight) / total
        if mu <= 0:
            continue
        turns = (
            _gantry_turn(here, there),
            _short_turn(here.collimator_deg, there.collimator_deg),
            _short_turn(here.table_deg, there.table_deg),
        )
        shift = np.subtract(there.isocentre_lps, here.isocentre_lps)
        steps = max(max(abs(t) for t in turns) / TURN_DEG, float(np.linalg.norm(shift)) / SHIFT_MM)
        count = max(int(np.ceil(steps - 1e-9)), 1)
        for n in range(count):
            at = (n + 0.5) / count
            x, y, z = np.array(here.isocentre_lps) + at * shift
            pose = Pose(
                here.gantry_deg + at * turns[0],
                here.collimator_deg + at * turns[1],
                here.table_deg + at * turns[2],
                (float(x), float(y), float(z)),
            )
            seen = seen_from_source(point_lps, pose, patient_position=patient_position, sad_mm=beam.sad_mm)
            yield Part(here, there, n / count, (n + 1) / count, mu / count, seen)


def _short_turn(here_deg: float, there_deg: float) -> float:
    return (there_deg - here_deg + 180.0) % 360.0 - 180.0


def _gantry_turn(here: ControlPoint, there: ControlPoint) -> float:
    clockwise = (there.gantry_deg - here.gantry_deg) % 360.0
    if here.gantry_direction == "CW":
        return clockwise
    if here.gantry_direction == "CC":
        return clockwise - 360.0 if clockwise > 0 else 0.0
    return _short_turn(here.gantry_deg, there.gantry_deg)
