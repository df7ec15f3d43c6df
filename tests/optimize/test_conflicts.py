"""Why hard goals cannot hold, against problems that can be solved by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imrt_core.optimize import DoseLimit, VoxelSet, limits_from_goals
from imrt_core.optimize.conflicts import conflicts
from imrt_core.optimize.matrix import as_dose_matrix
from imrt_core.optimize.plan_types import Conflict
from imrt_core.patient import Goal

# One bixel: 1 Gy per unit in the target, 0.5 Gy in the organ, 0.2 Gy in the nerve.
MATRIX = np.array([[1.0], [0.5], [0.2]])
SETS = {name: VoxelSet.from_rows([row]) for row, name in enumerate(("Target", "Organ", "Nerve"))}


def _limits(*goals: str) -> tuple[tuple[Goal, DoseLimit], ...]:
    hard = [Goal.parse(f"{text} (hard)") for text in goals]
    return tuple(zip(hard, limits_from_goals(hard, prescribed_gy=10.0, margin=False), strict=True))


def _conflicts(*goals: str, prescription_gy: tuple[tuple[str, float], ...] = ()) -> tuple[Conflict, ...]:
    case: Any = SimpleNamespace(matrix=as_dose_matrix(MATRIX), voxels=SimpleNamespace(sets=SETS))
    return conflicts(
        case,
        _limits(*goals),
        prescription_gy=prescription_gy,
        fractions=1,
        offset_gy=np.zeros(3),
        initial_weights=np.array([5.0]),
        maximum_weights=np.array([100.0]),
    )


def test_an_organ_in_the_way_of_coverage() -> None:
    """10 Gy in the target (less 0.3) are 4.85 Gy in the organ: 2.85 above its limit. The nerve's limit holds."""
    (found,) = _conflicts("Organ D0.03cc[Gy] <= 2", "Nerve D0.03cc[Gy] <= 3", prescription_gy=(("Target", 10.0),))
    assert found.goal == "Organ D0.03cc[Gy] <= 2 (hard)"
    assert found.least_violation_gy == pytest.approx(2.85, abs=0.05)
    assert found.against == (("coverage of Target", 1.0),)
    assert str(found) == (
        f"Organ D0.03cc[Gy] <= 2 (hard): broken by at least {found.least_violation_gy:.1f} Gy; "
        "against it stand coverage of Target (100 %)."
    )


def test_two_hard_goals_against_one_another() -> None:
    """Minimum of (10 − w)² + (w/2 − 2)²: w = 8.8, 1.2 Gy too little here and 2.4 Gy too much there."""
    organ, target = _conflicts("Target Min[Gy] >= 10", "Organ Max[Gy] <= 2")
    assert organ.least_violation_gy == pytest.approx(2.4, abs=0.02)
    assert organ.against == (("Target Min[Gy] >= 10 (hard)", 1.0),)
    assert target.least_violation_gy == pytest.approx(1.2, abs=0.02)
    assert target.against == (("Organ Max[Gy] <= 2 (hard)", 1.0),)


def test_the_shares_of_several() -> None:
    """Organ and nerve both stand against the target; their pulls at the minimum are as 0.5·(w/2−2) to 0.2·(w/5−1)."""
    goals = ("Target Min[Gy] >= 10", "Organ Max[Gy] <= 2", "Nerve Max[Gy] <= 1")
    found = {c.goal.split()[0]: c for c in _conflicts(*goals)}
    w = (10.0 + 1.0 + 0.2) / (1.0 + 0.25 + 0.04)
    organ, nerve = 0.5 * (0.5 * w - 2.0), 0.2 * (0.2 * w - 1.0)
    shares = dict(found["Target"].against)
    assert shares["Organ Max[Gy] <= 2 (hard)"] == pytest.approx(organ / (organ + nerve), abs=0.01)
    assert found["Nerve"].least_violation_gy == pytest.approx(0.2 * w - 1.0, abs=0.02)


def test_goals_that_can_hold_have_no_conflict() -> None:
    assert _conflicts("Organ D0.03cc[Gy] <= 6", prescription_gy=(("Target", 10.0),)) == ()
    assert _conflicts(prescription_gy=(("Target", 10.0),)) == ()
