"""Aims for another round: moved by 1.3 times what is lacking, for goals within reach only."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.evaluate import DVH, dvh, judge_goals
from imrt_core.optimize.tighten import Aims, tightened_aims
from imrt_core.patient import Goal, Grid, Structure, Volume
from tests.shapes import box

PRESCRIPTION = (("PTV", 20.0),)


@pytest.fixture(scope="module")
def dvhs() -> dict[str, DVH]:
    """Boxes of 30 mm, over which the dose rises from 20 to 32 Gy: mean 26 Gy, D20% 29.6 Gy, D95% 20.6 Gy."""
    grid = Grid((21, 21, 41), (2.0, 2.0, 2.0), (-40.0, -20.0, -20.0))
    line = np.linspace(10.0, 42.0, 41, dtype=np.float32)
    dose = Volume(np.broadcast_to(line, grid.shape).copy(), grid)
    contours = tuple(box(-15.0, 15.0, -15.0, 15.0, z) for z in np.arange(-14.0, 15.0, 2.0))
    return {name: dvh(Structure(name, contours), dose, prescription_gy=20.0) for name in ("Organ", "PTV")}


def _tightened(dvhs: dict[str, DVH], *texts: str) -> Aims | None:
    goals = tuple(Goal.parse(text) for text in texts)
    return tightened_aims(Aims(goals, PRESCRIPTION), judge_goals(goals, dvhs), dvhs)


def test_a_mean_goal_moves_by_its_excess(dvhs: dict[str, DVH]) -> None:
    aims = _tightened(dvhs, "Organ Mean[Gy] < 25.5", "Organ Max[Gy] < 40")
    assert aims is not None
    assert aims.goals[0].limit == pytest.approx(25.5 - 1.3 * 0.5, abs=0.03)
    assert aims.goals[1].limit == 40.0
    assert aims.prescription_gy == PRESCRIPTION


def test_a_volume_goal_moves_its_dose(dvhs: dict[str, DVH]) -> None:
    aims = _tightened(dvhs, "Organ V29Gy[%] < 20")
    assert aims is not None
    assert aims.goals[0].metric.at == pytest.approx(29.0 - 1.3 * 0.6, abs=0.05)
    assert aims.goals[0].limit == 20.0


def test_coverage_moves_the_prescription_aimed_at(dvhs: dict[str, DVH]) -> None:
    aims = _tightened(dvhs, "PTV V21Gy[%] >= 95")
    assert aims is not None
    assert dict(aims.prescription_gy)["PTV"] == pytest.approx(20.0 + 1.3 * 0.4, abs=0.05)


def test_met_and_unreachable_goals_stay(dvhs: dict[str, DVH]) -> None:
    assert _tightened(dvhs, "Organ Mean[Gy] < 27", "Organ Mean[Gy] < 20") is None
