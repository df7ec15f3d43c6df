"""The OpenKBP criteria on doses whose percentiles are known, and the comparison of two doses."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.plan_criteria import (
    coldest_gy,
    coverage_gy,
    hottest_gy,
    organ_criteria,
    organ_means_gy,
    planning_goals,
    target_criteria,
)
from imrt_core.patient import GeometryError

SHAPE = (4, 5, 50)


def _mask(first: int, last: int) -> np.ndarray:
    mask = np.zeros(SHAPE, dtype=bool)
    mask.ravel()[first:last] = True
    return mask


@pytest.mark.parametrize(
    ("voxel_mm3", "k"), [(3.75 * 3.75 * 2.5, 3), (4.69 * 4.69 * 3.0, 2), (5.42 * 5.42 * 3.0, 1), (250.0, 1), (1.0, 100)]
)
def test_d01cc_is_the_kth_hottest_voxel(voxel_mm3: float, k: int) -> None:
    dose = np.arange(200.0)
    assert hottest_gy(np.random.default_rng(1).permutation(dose), voxel_mm3) == dose[-k]


def test_a_structure_smaller_than_the_volume_gives_its_coldest_voxel() -> None:
    assert hottest_gy(np.array([3.0, 5.0]), 1.0) == 3.0


def test_d99_is_the_dose_that_99_percent_exceed() -> None:
    dose = np.linspace(0.0, 100.0, 1001)
    assert coldest_gy(dose, 99.0) == pytest.approx(1.0)
    assert coldest_gy(dose, 95.0) == pytest.approx(5.0)


def test_limits_themselves_are_met_and_absent_structures_not_counted() -> None:
    dose = np.full(SHAPE, 45.0)
    masks = {
        "SpinalCord": _mask(0, 100),
        "Larynx": _mask(100, 200),
        "Parotid_L": _mask(200, 300),
        "Brainstem": _mask(0, 0),
    }
    judged = {c.structure: c for c in organ_criteria(dose, masks, 50.0)}
    assert set(judged) == {"SpinalCord", "Larynx", "Parotid_L"}
    assert judged["SpinalCord"].met and judged["Larynx"].met and not judged["Parotid_L"].met
    just_over = {c.structure: c.met for c in organ_criteria(dose + 0.01, masks, 50.0)}
    assert not just_over["SpinalCord"] and not just_over["Larynx"]


def test_air_in_a_target_counts_only_when_asked() -> None:
    dose = np.full(SHAPE, 70.0)
    dose.ravel()[:20] = 10.0
    masks = {"PTV70": _mask(0, 1000)}
    tissue = ~_mask(0, 20)
    (without,), (whole,) = target_criteria(dose, masks, counted=tissue), target_criteria(dose, masks)
    assert without.met and without.value_gy == 70.0
    assert not whole.met and whole.value_gy == 10.0
    assert coverage_gy(dose, masks, counted=tissue) == {"PTV70 D95": 70.0, "PTV70 D99": 70.0}


def test_organ_means() -> None:
    dose = np.zeros(SHAPE)
    dose.ravel()[:50] = 20.0
    assert organ_means_gy(dose, {"Esophagus": _mask(0, 100)}) == {"Esophagus": 10.0}


def test_a_mask_of_another_grid_is_refused() -> None:
    with pytest.raises(GeometryError):
        organ_criteria(np.zeros(SHAPE), {"Larynx": np.ones((2, 2, 2), dtype=bool)}, 50.0)


def test_goals_are_the_criteria_of_what_is_there() -> None:
    goals = planning_goals(frozenset({"PTV70", "PTV56", "SpinalCord", "Parotid_R"}))
    assert {g.structure for g in goals} == {"PTV70", "PTV56", "SpinalCord", "Parotid_R"}
    texts = [str(g) for g in goals]
    assert "PTV70 D99%[Gy] >= 66.5" in texts and "PTV56 D99%[Gy] >= 53.2" in texts
    assert "SpinalCord D0.1cc[Gy] <= 45 (hard)" in texts and "Parotid_R Mean[Gy] <= 26" in texts
