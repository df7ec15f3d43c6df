"""Warm start: a plan's fluence comes back on the bixels of the new plan."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.machine import DeliveryLimits
from imrt_core.optimize.fluence_map import FluenceMap
from imrt_core.optimize.sequencing import sequence
from imrt_core.optimize.warm_start import beam_fluence, warm_start_weights
from imrt_core.patient import Beam, ControlPoint, MultileafCollimator, Plan, PlanError

MLC = MultileafCollimator(tuple(np.arange(-100.0, 101.0, 5.0)))
ISOCENTRE = (0.0, 0.0, 0.0)


def _centres(rows: int, columns: int) -> np.ndarray:
    iy, ix = np.mgrid[:rows, :columns]
    return np.stack([(ix.ravel() - columns / 2 + 0.5) * 5.0, (iy.ravel() - rows / 2 + 0.5) * 5.0], axis=1)


def _plan(mu: np.ndarray, gantry_deg: float) -> Plan:
    centres = _centres(*mu.shape)
    wanted = FluenceMap.from_bixels(centres[:, 0], centres[:, 1], mu.ravel(), size_mm=(5.0, 5.0))
    leaves = sequence(wanted, MLC, DeliveryLimits(leaf_gap_mm=0.0), control_points=120)
    points = leaves.control_points(gantry_deg=gantry_deg, isocentre_lps=ISOCENTRE)
    return Plan(beams=(Beam(number=1, name="a", mu=leaves.mu, control_points=points, mlc=MLC),))


def test_the_fluence_of_the_plan_comes_back() -> None:
    rng = np.random.default_rng(0)
    mu = rng.uniform(5.0, 20.0, (8, 10))
    plan = _plan(mu, 40.0)
    centres = _centres(8, 10)
    weights = warm_start_weights(plan, [(40.4, 0.0, 0.0)], [centres], size_mm=(5.0, 5.0), transmission=0.0)
    np.testing.assert_allclose(weights, mu.ravel(), atol=0.3)


def test_new_bixels_and_new_beams_start_small_but_not_at_zero() -> None:
    plan = _plan(np.full((4, 4), 10.0), 0.0)
    wide = _centres(6, 6)
    weights = warm_start_weights(
        plan, [(0.0, 0.0, 0.0), (180.0, 0.0, 0.0)], [wide, wide], size_mm=(5.0, 5.0), transmission=0.0
    )
    first, second = weights[:36].reshape(6, 6), weights[36:]
    np.testing.assert_allclose(first[1:-1, 1:-1], 10.0, atol=0.2)
    assert np.all(second > 0)
    assert np.all(second < 2.0)
    np.testing.assert_array_equal(first[0], second[:6])


def test_a_plan_without_a_common_beam_is_refused() -> None:
    with pytest.raises(PlanError, match="no beam in common"):
        warm_start_weights(
            _plan(np.full((2, 2), 10.0), 90.0),
            [(0.0, 0.0, 0.0)],
            [_centres(2, 2)],
            size_mm=(5.0, 5.0),
            transmission=0.0,
        )


def test_jaws_that_move_between_segments_are_followed() -> None:
    leaves = np.zeros((2, MLC.pairs))
    leaves[0], leaves[1] = -20.0, 20.0

    def point(weight: float, jaw: tuple[float, float]) -> ControlPoint:
        return ControlPoint(weight, 0.0, ISOCENTRE, jaw_x_mm=jaw, jaw_y_mm=(-20.0, 20.0), leaves_mm=leaves)

    narrow, wide = (-10.0, 10.0), (-20.0, 20.0)
    points = (point(0.0, narrow), point(0.5, narrow), point(0.5, wide), point(1.0, wide))
    beam = Beam(number=1, name="a", mu=20.0, control_points=points, mlc=MLC)
    edges = np.arange(-20.0, 21.0, 10.0)
    fluence = beam_fluence(beam, x_edges_mm=edges, y_edges_mm=edges, transmission=0.0)
    np.testing.assert_allclose(fluence.mu[1], [10.0, 20.0, 20.0, 10.0])


def test_arcs_and_open_fields_are_refused() -> None:
    edges = np.arange(-20.0, 21.0, 10.0)
    open_points = (ControlPoint(0.0, 0.0, ISOCENTRE), ControlPoint(1.0, 0.0, ISOCENTRE))
    with pytest.raises(PlanError, match="leaf positions"):
        beam_fluence(
            Beam(number=1, name="a", mu=20.0, control_points=open_points, mlc=MLC),
            x_edges_mm=edges,
            y_edges_mm=edges,
            transmission=0.0,
        )
    arc_points = (ControlPoint(0.0, 0.0, ISOCENTRE), ControlPoint(1.0, 90.0, ISOCENTRE))
    with pytest.raises(PlanError, match="arc"):
        beam_fluence(
            Beam(number=1, name="a", mu=20.0, control_points=arc_points, mlc=MLC),
            x_edges_mm=edges,
            y_edges_mm=edges,
            transmission=0.0,
        )
