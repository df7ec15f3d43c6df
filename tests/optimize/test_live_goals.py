"""Goals counted on the optimiser's voxels, against their definitions on sorted doses."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.optimize.live_goals import LiveGoals
from imrt_core.optimize.voxels import VoxelSet
from imrt_core.patient import Goal


@given(st.integers(0, 2**32 - 1), st.integers(5, 200))
def test_the_count_is_that_of_the_sorted_voxels(seed: int, voxels: int) -> None:
    rng = np.random.default_rng(seed)
    dose = rng.choice(np.linspace(1.0, 60.0, 40), size=2 * voxels)  # with ties
    rows = rng.choice(2 * voxels, size=voxels, replace=False)
    inside = np.sort(dose[rows])[::-1]
    limit = float(rng.uniform(0.0, 60.0))
    goals = {
        f"T Mean[Gy] <= {limit}": inside.mean() <= limit,
        f"T Max[Gy] <= {limit}": inside[0] <= limit,
        f"T V{limit}Gy[%] >= 49.9": 100.0 * np.mean(inside >= limit) >= 49.9,
        "Absent Mean[Gy] <= 1": None,
    }
    live = LiveGoals([Goal.parse(text) for text in goals], {"T": VoxelSet.from_rows(rows)}, 0.027, 60.0)
    assert len(live.goals) == 3
    near = abs(inside.mean() - limit) < 1e-9 or np.any(np.abs(inside - limit) < 1e-5)
    assert near or live.met(dose) == sum(met for met in goals.values() if met is not None)


def test_absolute_volumes_are_those_of_whole_voxels() -> None:
    dose = np.array([10.0, 20.0, 30.0, 40.0])
    half = VoxelSet(np.arange(4), np.array([1.0, 1.0, 1.0, 0.5]))
    # 0.2 cc each, half of the hottest inside: 0.1 cc at 40 Gy, and from there to 0.3 cc at 30 Gy.
    for text, met in (("T D0.05cc[Gy] <= 39", False), ("T D0.2cc[Gy] <= 31", True), ("T D0.2cc[Gy] <= 29", False)):
        assert LiveGoals([Goal.parse(text)], {"T": half}, 0.2, 50.0).met(dose) == int(met), text
