"""Plans, beams and control points."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imrt_core.patient import Beam, ControlPoint, MultileafCollimator, Plan, PlanError

ISO = (1.0, 2.0, 3.0)
MLC = MultileafCollimator((-10.0, 0.0, 10.0))


def point(weight: float, **more) -> ControlPoint:
    return ControlPoint(weight, 0.0, ISO, **more)


def beam(**more) -> Beam:
    return Beam(**{"number": 1, "name": "G0", "mu": 100.0, "control_points": (point(0), point(1)), **more})


def test_a_plan_sums_its_metersets_and_knows_its_isocentre():
    plan = Plan((beam(), beam(number=2, mu=50.5)))
    assert plan.total_mu == 150.5
    assert plan.isocentre_lps == ISO
    assert plan.intent == "RESEARCH"
    elsewhere = replace(point(1), isocentre_lps=(1.0, 2.0, 9.0))
    with pytest.raises(PlanError, match="several isocentres"):
        _ = Plan((beam(control_points=(point(0), elsewhere)),)).isocentre_lps


def test_an_arc_moves_its_gantry():
    turned = replace(point(1), gantry_deg=30.0)
    assert beam(control_points=(point(0), turned)).is_arc
    assert not beam().is_arc


def test_leaves_are_read_only_and_fit_the_collimator():
    leaves = np.array([[-5.0, -4.0], [5.0, 6.0]])
    good = point(0, leaves_mm=leaves)
    assert MLC.pairs == 2
    assert good.leaves_mm is not None
    with pytest.raises(ValueError, match="read-only"):
        good.leaves_mm[0, 0] = 0
    points = (good, point(1, leaves_mm=leaves))
    assert beam(mlc=MLC, control_points=points).mlc is MLC
    with pytest.raises(PlanError, match=r"found \[2\] pairs; expected leaf boundaries"):
        beam(control_points=points)
    with pytest.raises(PlanError, match="expected 1 pairs"):
        beam(control_points=points, mlc=MultileafCollimator((0.0, 10.0)))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: MultileafCollimator((0.0, 10.0, 5.0)), "ascend"),
        (lambda: MultileafCollimator((0.0, 10.0), axis="Z"), "direction"),
        (lambda: point(1.5), "weight out of range"),
        (lambda: point(0, jaw_x_mm=(10.0, -10.0)), "jaws overlap"),
        (lambda: point(0, leaves_mm=np.array([[5.0], [4.0]])), "leaves of a pair overlap"),
        (lambda: point(0, leaves_mm=np.array([[np.nan], [4.0]])), "finite banks"),
        (lambda: point(0, leaves_mm=np.array([[1.0, 1.0], [4.0, np.inf]])), "bank 2, pair 2: inf"),
        (lambda: replace(point(0), gantry_deg=float("nan")), "gantry_deg = nan"),
        (lambda: point(0, collimator_deg=float("inf")), "collimator_deg = inf"),
        (lambda: point(0, table_deg=float("nan")), "table_deg = nan"),
        (lambda: replace(point(0), isocentre_lps=(0.0, float("nan"), 0.0)), "isocentre_lps"),
        (lambda: point(0, jaw_y_mm=(float("nan"), 10.0)), "jaw_y_mm"),
        (lambda: point(float("nan")), "weight out of range"),
        (lambda: MultileafCollimator((0.0, 10.0, float("inf"))), "finite and ascend"),
        (lambda: MultileafCollimator((0.0, float("nan"), 5.0)), "finite and ascend"),
        (lambda: beam(nominal_energy_mv=float("nan")), "energy"),
        (lambda: beam(sad_mm=0.0), "source-axis distance"),
        (lambda: beam(mu=-1.0), "must not be negative"),
        (lambda: beam(mu=float("nan")), "must not be negative"),
        (lambda: beam(control_points=(point(0),)), "two control points"),
        (lambda: beam(control_points=(point(0), point(0.6), point(0.4), point(1))), "ascend from 0"),
        (lambda: beam(control_points=(point(0.1), point(1))), "ascend from 0"),
        (lambda: Plan(()), "treatment beam"),
        (lambda: Plan((beam(),), fractions_planned=0), "one fraction"),
        (lambda: Plan((beam(), beam())), "unique"),
    ],
)
def test_impossible_plans_are_refused(build, text):
    with pytest.raises(PlanError, match=text):
        build()
