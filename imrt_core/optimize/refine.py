"""Refinement of step-and-shoot beams: MU and leaf positions are optimised together on the objectives themselves.

A sweep reproduces the optimised fluence in whole levels; with few segments the dose suffers. Here every segment's MU
and every open leaf pair become variables (:mod:`imrt_core.optimize.apertures`), with the difference between the
engine's dose and the influence matrix as a constant. Closed pairs stay closed, jaws stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, minimize

from imrt_core.machine import DeliveryLimits, Machine

from .apertures import StaticBeam, static_beam
from .case import PlanningCase
from .constraints import DoseLimit
from .delivery import SequencedBeam
from .fluence_map import FloatArray, delivered_fluence
from .objectives import Objective
from .scaled_problem import ScaledProblem, scaled_problem
from .sequencing import MINIMUM_SEGMENT_AREA_MM2, delivery_seconds

#: A leaf moves about as far as MU change by half: variables of like size.
_LEAF_SCALE_MM = 10.0
_ROUNDS, _ITERATIONS = 3, 25
#: Leaves stay this close to where the sweep put them.
_FURTHEST_MM = 15.0


@dataclass(frozen=True, eq=False)
class _Variables:
    """Between the optimiser's vector and MU, centres and half openings of the pairs that move."""

    beams: tuple[StaticBeam, ...]

    def start(self) -> FloatArray:
        parts = []
        for beam in self.beams:
            left, right = (beam.leaves_mm[:, bank][beam.movable] for bank in (0, 1))
            middle, half = 0.5 * (left + right), 0.5 * (right - left)
            parts += [np.ones(beam.mu.size), middle / _LEAF_SCALE_MM, half / _LEAF_SCALE_MM]
        return np.concatenate(parts)

    def bounds(self, limits: DeliveryLimits) -> Bounds:
        low, high = [], []
        for beam in self.beams:
            left, right = (beam.leaves_mm[:, bank][beam.movable] for bank in (0, 1))
            middle, half = 0.5 * (left + right), 0.5 * (right - left)
            # Leaves stay inside what the sweep's positions span, so that span and range hold.
            reach = np.minimum(
                0.5 * _FURTHEST_MM, np.minimum(left - beam.leaves_mm.min(), beam.leaves_mm.max() - right)
            )
            reach = np.maximum(reach, 0.0)
            least = np.minimum(limits.minimum_segment_mu / beam.mu, 1.0)
            low += [least, (middle - 0.5 * reach) / _LEAF_SCALE_MM]
            low += [np.maximum(half - 0.5 * reach, 0.5 * limits.leaf_gap_mm) / _LEAF_SCALE_MM]
            high += [np.full(beam.mu.size, 3.0), (middle + 0.5 * reach) / _LEAF_SCALE_MM]
            high += [(half + 0.5 * reach) / _LEAF_SCALE_MM]
        return Bounds(np.concatenate(low), np.concatenate(high))

    def unpacked(self, x: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
        found, at = [], 0
        for beam in self.beams:
            segments, moving = beam.mu.size, int(beam.movable.sum())
            mu = beam.mu * x[at : at + segments]
            middle, half = (
                _LEAF_SCALE_MM * part for part in np.split(x[at + segments : at + segments + 2 * moving], 2)
            )
            leaves = beam.leaves_mm.copy()
            leaves[:, 0][beam.movable] = middle - half
            leaves[:, 1][beam.movable] = middle + half
            found.append((mu, leaves))
            at += segments + 2 * moving
        return found

    def gradient(self, slopes: Sequence[FloatArray], values: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
        parts = []
        for beam, slope, (mu, leaves) in zip(self.beams, slopes, values, strict=True):
            by_mu, by_leaf = beam.gradients(slope, mu, leaves)
            left, right = (by_leaf[:, bank][beam.movable] for bank in (0, 1))
            parts += [by_mu * beam.mu, _LEAF_SCALE_MM * (left + right), _LEAF_SCALE_MM * (right - left)]
        return np.concatenate(parts)


def refined_segments(
    case: PlanningCase,
    fields: Sequence[SequencedBeam],
    machine: Machine,
    objectives: Sequence[Objective],
    *,
    limits: Sequence[DoseLimit],
    fractions: int,
    offset_gy: NDArray[np.float64],
    bixel_mm: float,
) -> tuple[SequencedBeam, ...]:
    """Optimise MU and leaf positions of step-and-shoot beams.

    Parameters
    ----------
    case : PlanningCase
        Voxels and matrix; bixels of beams that were left out get no fluence.
    fields : sequence of SequencedBeam
        Step and shoot.
    machine : Machine
        Collimator and limits. Where leaves may not interdigitate, MU alone change.
    objectives, limits
        Course Gy.
    fractions : int
        Course scale.
    offset_gy : ndarray, shape (rows,)
        Course dose that does not depend on the apertures: the engine's correction, background.
    bixel_mm : float
        Size of the bixels.
    """
    problem = scaled_problem(
        case.matrix,
        objectives,
        structures=case.voxels.sets,
        limits=limits,
        course_gy_per_matrix_gy=fractions,
        offset_gy=offset_gy,
        smoothness=None,
        maximum_weights=None,
    )
    beams = tuple(
        static_beam(
            field,
            case.bixels_mm[field.number - 1],
            machine.mlc,
            bixel_mm=bixel_mm,
            transmission=machine.model.mlc_transmission,
        )
        for field in fields
    )
    if not machine.limits.interdigitation:
        beams = tuple(replace(beam, movable=np.zeros_like(beam.movable)) for beam in beams)
    values = _optimised(problem, case, fields, _Variables(beams), machine.limits)
    return tuple(
        _with(field, mu, _large_enough(beam, leaves), machine)
        for field, beam, (mu, leaves) in zip(fields, beams, values, strict=True)
    )


def _optimised(
    problem: ScaledProblem,
    case: PlanningCase,
    fields: Sequence[SequencedBeam],
    variables: _Variables,
    limits: DeliveryLimits,
) -> list[tuple[FloatArray, FloatArray]]:
    """Augmented Lagrangian over L-BFGS-B, as for fluence."""
    counts = np.cumsum([0, *(len(centres) for centres in case.bixels_mm)])
    columns = [slice(counts[field.number - 1], counts[field.number]) for field in fields]

    def weights_of(values: Sequence[tuple[FloatArray, FloatArray]]) -> FloatArray:
        weights = np.zeros(int(counts[-1]))
        for beam, place, (mu, leaves) in zip(variables.beams, columns, values, strict=True):
            weights[place] = beam.fluence(mu, leaves)
        return weights

    def evaluate(x: FloatArray) -> tuple[float, FloatArray]:
        values = variables.unpacked(x)
        total, slope = problem.penalty(problem.dose(weights_of(values)))
        by_bixel = problem.matrix.backproject(slope).astype(np.float64) * problem.course_gy_per_matrix_gy
        return total, variables.gradient([by_bixel[place] for place in columns], values)

    x = variables.start()
    bounds = variables.bounds(limits)
    for _ in range(_ROUNDS if problem.limits else 1):
        dose = problem.dose(weights_of(variables.unpacked(x)))
        for limit in problem.limits:
            limit.choose_exempt(dose[limit.voxels.rows])
        found = minimize(
            evaluate, x, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _ITERATIONS, "maxcor": 10}
        )
        x = np.clip(found.x, bounds.lb, bounds.ub)
        dose = problem.dose(weights_of(variables.unpacked(x)))
        for limit in problem.limits:
            limit.update(dose[limit.voxels.rows])
    return variables.unpacked(x)


def _large_enough(beam: StaticBeam, leaves_mm: FloatArray) -> FloatArray:
    """Put leaves back where a segment would open less than the sweep's smallest one may."""
    small = beam.open_area_mm2(leaves_mm) < MINIMUM_SEGMENT_AREA_MM2
    return np.where(small[:, None, None], beam.leaves_mm, leaves_mm)


def _with(field: SequencedBeam, mu: FloatArray, leaves_mm: FloatArray, machine: Machine) -> SequencedBeam:
    """Return the beam with other segments."""
    sequence = field.sequence
    leaves = np.repeat(leaves_mm, 2, axis=0)
    cumulative = np.repeat(np.concatenate([[0.0], np.cumsum(mu)]), 2)[1:-1]
    delivered = delivered_fluence(
        leaves,
        cumulative,
        machine.mlc,
        x_edges_mm=sequence.delivered.x_edges_mm,
        y_edges_mm=sequence.delivered.y_edges_mm,
        jaw_x_mm=sequence.jaw_x_mm,
        jaw_y_mm=sequence.jaw_y_mm,
        transmission=machine.model.mlc_transmission,
    )
    return replace(
        field,
        sequence=replace(
            sequence,
            mu=float(cumulative[-1]),
            cumulative_mu=cumulative,
            leaves_mm=leaves,
            delivered=delivered,
            seconds=delivery_seconds(leaves, cumulative, machine.limits, sequence.dose_rate_mu_per_min),
            closed_mu=machine.model.mlc_transmission * float(cumulative[-1]),
        ),
    )
