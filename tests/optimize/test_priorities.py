"""Objectives in order of priority, against problems that can be solved by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.optimize import ObjectiveBound, VoxelSet, objective_levels, optimize_by_priority, optimize_fluence
from imrt_core.optimize.objective_bound import BoundMultiplier
from imrt_core.optimize.objectives import (
    MeanDose,
    Objective,
    SquaredDeviation,
    SquaredOverdose,
    SquaredUnderdose,
)
from imrt_core.optimize.priorities import SLACK_GY
from imrt_core.optimize.regions import first_structure
from imrt_core.patient import Goal, ProtocolError

# One bixel: 1 Gy per unit in the target, 0.5 Gy in the organ beside it.
ONE = np.array([[1.0], [0.5]])
ROWS = {"Target": [0], "Organ": [1]}
TARGET = SquaredDeviation(structure="Target", dose_gy=10.0, weight=1.0)
ORGAN = SquaredOverdose(structure="Organ", dose_gy=2.0, weight=1.0)


def _solve(*levels: tuple[Objective, ...], matrix: np.ndarray = ONE) -> np.ndarray:
    found = optimize_by_priority(matrix, levels, structures=ROWS, tolerance=1e-9)
    return np.asarray(found.result.course_dose_gy)


def test_the_first_level_is_kept_whatever_it_costs_the_second() -> None:
    """Target first: 10 Gy there (5 Gy in the organ). Organ first: 2 Gy there, so 4 Gy in the target."""
    target, organ = _solve((TARGET,), (ORGAN,))
    assert target == pytest.approx(10.0, abs=2 * SLACK_GY)
    assert organ == pytest.approx(5.0, abs=SLACK_GY)
    target, organ = _solve((ORGAN,), (TARGET,))
    assert organ == pytest.approx(2.0, abs=2 * SLACK_GY)
    assert target == pytest.approx(4.0, abs=4 * SLACK_GY)


def test_together_they_compromise() -> None:
    """Minimum of (w − 10)² + (w/2 − 2)²: w = 8.8."""
    target, _ = _solve((TARGET, ORGAN))
    assert target == pytest.approx(8.8, abs=1e-3)


def test_a_lower_level_uses_the_freedom_that_the_higher_one_leaves() -> None:
    """Two bixels reach the target, one of them through the organ: the other takes over."""
    matrix = np.array([[1.0, 1.0], [0.5, 0.0]])
    target, organ = _solve((TARGET,), (MeanDose(structure="Organ", dose_gy=0.0, weight=1.0),), matrix=matrix)
    assert target == pytest.approx(10.0, abs=2 * SLACK_GY)
    assert organ == pytest.approx(0.0, abs=0.01)


def test_what_each_level_reached_and_kept_is_reported() -> None:
    found = optimize_by_priority(ONE, [(ORGAN,), (TARGET,)], structures=ROWS, tolerance=1e-9)
    assert found.reached[0] == pytest.approx(0.0, abs=1e-9)
    assert found.reached[1] == pytest.approx(found.kept[1], rel=1e-6)
    assert 0 <= found.kept[0] <= (2 * SLACK_GY) ** 2
    assert found.iterations >= found.result.iterations


@settings(deadline=None, max_examples=20)
@given(
    first=st.floats(1.0, 20.0), second=st.floats(1.0, 20.0), share=st.floats(0.1, 0.9), weight=st.floats(0.01, 100.0)
)
def test_weights_do_not_matter_between_levels(first: float, second: float, share: float, weight: float) -> None:
    """A thousand times the weight in the second level moves the first by its slack at most."""
    matrix = np.array([[1.0], [share]])
    above = SquaredDeviation(structure="Target", dose_gy=first, weight=weight)
    below = SquaredDeviation(structure="Organ", dose_gy=second, weight=1000.0 * weight)
    target, _ = _solve((above,), (below,), matrix=matrix)
    assert target == pytest.approx(first, abs=2 * SLACK_GY)


def test_the_gradient_of_a_held_level_agrees_with_finite_differences() -> None:
    rng = np.random.default_rng(4)
    sets = {"A": VoxelSet.from_rows([0, 2, 3]), "B": VoxelSet(np.array([3, 4]), np.array([1.0, 3.0]))}
    bound = ObjectiveBound(
        (
            SquaredUnderdose(structure="A", dose_gy=5.0, weight=3.0),
            SquaredOverdose(structure="B", dose_gy=1.0, weight=2.0),
        ),
        0.5,
    )
    held = BoundMultiplier(bound, sets)
    dose = rng.uniform(2.0, 4.0, held.voxels.rows.size)
    _, gradient = held.value_and_gradient(dose)
    for i in range(dose.size):
        step = np.zeros(dose.size)
        step[i] = 1e-6
        slope = (held.value_and_gradient(dose + step)[0] - held.value_and_gradient(dose - step)[0]) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_a_bound_holds_in_the_optimiser() -> None:
    """At most 1 Gy² of (w − 10)²: w is 9 at the least, however much the organ pulls."""
    bound = ObjectiveBound((TARGET,), 1.0)
    pull = MeanDose(structure="Organ", dose_gy=0.0, weight=50.0)
    found = optimize_fluence(ONE, [pull], structures=ROWS, limits=[bound], tolerance=1e-10, max_iterations=500)
    assert found.weights[0] == pytest.approx(9.0, abs=0.06)
    assert found.feasible


GOALS = (
    Goal.parse("Cord D0.03cc[Gy] <= 45 (hard, priority 1)"),
    Goal.parse("PTV D95%[Gy] >= 70 (priority 2)"),
    Goal.parse("Parotid Mean[Gy] < 26"),
)


def test_objectives_take_the_priority_of_their_structure() -> None:
    cord = SquaredOverdose(structure="Cord", dose_gy=40.0)
    target = SquaredUnderdose(structure="PTV - Cord+3mm", dose_gy=70.0)
    parotid = MeanDose(structure="Parotid - PTV", dose_gy=20.0)
    shell = SquaredOverdose(structure="Falloff 30Gy", dose_gy=30.0)
    assert objective_levels([shell, parotid, target, cord], GOALS) == ((cord,), (target,), (shell, parotid))
    plain = [Goal.parse("PTV D95%[Gy] >= 70"), Goal.parse("Cord D0.03cc[Gy] <= 45 (hard)")]
    assert len(objective_levels([cord, target, shell], plain)) == 1


def test_a_region_begins_with_a_structure() -> None:
    names = ("PTV63", "PTV63-boost", "Lung (L)", "Cord")
    assert first_structure("PTV63 - PTV70+8mm", names) == "PTV63"
    assert first_structure("PTV63-boost - Cord", names) == "PTV63-boost"
    assert first_structure("PTV63-3mm - Cord", names) == "PTV63"
    assert first_structure('("Lung (L)"+5mm + Heart) - PTV63', names) == "Lung (L)"
    assert first_structure("PTV630", names) is None
    assert first_structure("NormalTissue", names) is None


def test_priorities_are_written_and_read() -> None:
    for goal in GOALS:
        assert Goal.parse(str(goal)) == goal
    assert [g.priority for g in GOALS] == [1, 2, None]
    assert GOALS[0].hard
    for text in ("PTV D95%[Gy] >= 70 (priority 0)", "PTV D95%[Gy] >= 70 (priority)", "PTV D95%[Gy] >= 70 ()"):
        with pytest.raises(ProtocolError):
            Goal.parse(text)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ProtocolError, match="every priority"):
        optimize_by_priority(ONE, [], structures=ROWS)
    with pytest.raises(ProtocolError, match="every priority"):
        optimize_by_priority(ONE, [(TARGET,), ()], structures=ROWS)
    with pytest.raises(ProtocolError, match="names no structure"):
        optimize_fluence(ONE, [TARGET], structures={"Target": [0]}, limits=[ObjectiveBound((ORGAN,), 1.0)])
    with pytest.raises(ProtocolError, match="bound"):
        ObjectiveBound((TARGET,), -1.0)
    with pytest.raises(ProtocolError, match="bound"):
        ObjectiveBound((), 1.0)
