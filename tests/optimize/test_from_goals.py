"""Objectives and limits from goals, and the normalisation."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.evaluate import DVH, dvh
from imrt_core.optimize.constraints import DoseLimit, LimitKind
from imrt_core.optimize.from_goals import limits_from_goals, objectives_from_goals
from imrt_core.optimize.normalise import dose_for_goal, normalising_scale
from imrt_core.optimize.objectives import (
    GEUD,
    OBJECTIVE_KINDS,
    MaxDvh,
    MeanDose,
    MinDvh,
    SquaredOverdose,
    SquaredUnderdose,
    objective_of_kind,
)
from imrt_core.patient import Goal, Grid, PlanError, ProtocolError, Volume

GOALS = tuple(
    Goal.parse(text)
    for text in (
        "PTV70 V70Gy[%] >= 95",
        "PTV70 D2%[Gy] <= 77",
        "PTV56 V56Gy[%] >= 95",
        "SpinalCord D0.03cc[Gy] <= 45 (hard)",
        "Parotid_L Mean[Gy] < 26",
        "Bone_Mandible V60Gy[%] < 20",
        "Bowel D5cc[Gy] <= 50",
        "CTV70 D98%[Gy] >= 66.5",
    )
)
PRESCRIPTION = (("PTV56", 56.0), ("PTV70", 70.0))


def test_every_goal_is_pursued_on_the_safe_side() -> None:
    objectives = objectives_from_goals(GOALS, PRESCRIPTION, volumes_cc={"Bowel": 100.0})
    cover = {o.structure: o for o in objectives if isinstance(o, MinDvh)}
    assert cover["PTV70"].dose_gy > 70.0
    assert cover["PTV56"].dose_gy > 56.0
    assert min(o.volume_percent for o in cover.values()) > 95.0
    hot = {o.structure: o.dose_gy for o in objectives if isinstance(o, SquaredOverdose)}
    assert 70.0 < hot["PTV70"] < 77.0
    assert 56.0 < hot["PTV56 - PTV70+8mm"] < 62.0
    assert hot["SpinalCord"] < 45.0
    means = [o.dose_gy for o in objectives if isinstance(o, MeanDose) and o.structure == "Parotid_L - PTV70 - PTV56"]
    assert 24.0 < max(means) < 26.0
    dvhs = {o.structure: o for o in objectives if isinstance(o, MaxDvh)}
    assert dvhs["Bone_Mandible"].volume_percent < 20.0
    assert dvhs["Bone_Mandible"].dose_gy == 60.0
    assert dvhs["Bowel"].volume_percent == pytest.approx(5.0)
    assert any(isinstance(o, SquaredUnderdose) and o.structure == "CTV70" and o.dose_gy > 66.5 for o in objectives)
    assert {f"Falloff {level}Gy" for level in range(5, 75, 5)} <= set(hot)
    with pytest.raises(ProtocolError, match="prescribed target"):
        objectives_from_goals(GOALS, ())


def test_the_coldest_part_of_a_target_is_held_where_a_goal_asks_for_it() -> None:
    def least_gy(*goals: str) -> float:
        objectives = objectives_from_goals([Goal.parse(g) for g in goals], PRESCRIPTION)
        cold = [o for o in objectives if isinstance(o, SquaredUnderdose) and o.structure == "PTV70"]
        return max(cold, key=lambda o: o.weight).dose_gy

    assert least_gy("PTV70 D95%[Gy] >= 70") == pytest.approx(0.99 * 70.0)  # no goal asks for the coldest part
    assert least_gy("PTV70 D99%[Gy] >= 60") == pytest.approx(0.95 * 70.0)
    assert 68.0 < least_gy("PTV70 D95%[Gy] >= 70", "PTV70 D99%[Gy] >= 68") < 71.0
    assert 68.0 < least_gy("PTV70 Min[Gy] >= 68") < 71.0


def test_an_upper_goal_of_a_lower_level_shapes_its_border() -> None:
    goals = [Goal.parse("PTV56 D10%[Gy] < 65"), Goal.parse("PTV70 D10%[Gy] < 75")]
    limits = [o for o in objectives_from_goals(goals, PRESCRIPTION) if isinstance(o, MaxDvh)]
    (border,) = limits  # the highest level has no neighbour that it must fall off from
    assert border.structure == "PTV56" and border.volume_percent == 10.0
    assert 1.03 * 56.0 <= border.dose_gy < 65.0


def test_the_rest_of_an_organ_makes_up_for_its_part_in_a_target() -> None:
    def aim_gy(share: float) -> float:
        overlap = {"Parotid_L": (share, 70.0)}
        objectives = objectives_from_goals(GOALS, PRESCRIPTION, target_overlap=overlap)
        return max(o.dose_gy for o in objectives if isinstance(o, MeanDose) and o.structure.startswith("Parotid_L"))

    alone = aim_gy(0.0)
    assert 0.95 * aim_gy(0.05) + 0.05 * 70.0 == pytest.approx(alone)
    assert aim_gy(0.5) == pytest.approx(0.6 * alone)
    assert aim_gy(1.0) == alone


def test_only_hard_goals_become_limits() -> None:
    limits = limits_from_goals(GOALS, prescribed_gy=70.0, volumes_cc={"SpinalCord": 15.0})
    (cord,) = limits
    assert cord.structure == "SpinalCord"
    assert cord.kind is LimitKind.MAX
    assert 42.0 < cord.dose_gy <= 44.0
    assert cord.exempt_percent == pytest.approx(0.2)
    hard = [Goal.parse(g) for g in ("P V95%[%] >= 98 (hard)", "L Mean[Gy] < 20 (hard)", "K V20Gy[%] < 30 (hard)")]
    low, mean, volume = limits_from_goals(hard, prescribed_gy=50.0)
    assert (low.kind, low.exempt_percent) == (LimitKind.MIN, pytest.approx(2.0))
    assert 47.5 < low.dose_gy < 49.0
    assert mean.kind is LimitKind.MEAN
    assert (volume.kind, volume.exempt_percent) == (LimitKind.MAX, pytest.approx(30.0))
    with pytest.raises(ProtocolError, match="cannot hold"):
        limits_from_goals([Goal.parse("L Volume[cc] >= 5 (hard)")], prescribed_gy=50.0)


def test_limits_know_their_violation() -> None:
    dose, volume = np.array([10.0, 20.0, 30.0, 40.0]), np.full(4, 0.25)
    cases = (("max", 0.0, 35.0, 5.0), ("max", 25.0, 35.0, 0.0), ("max", 25.0, 25.0, 5.0), ("min", 25.0, 25.0, 5.0))
    for kind, exempt, dose_gy, expected in cases:
        limit = DoseLimit(structure="s", kind=LimitKind(kind), dose_gy=dose_gy, exempt_percent=exempt)
        assert limit.violation_gy(dose, volume) == pytest.approx(expected)
    assert DoseLimit(structure="s", kind=LimitKind.MEAN, dose_gy=20.0).violation_gy(dose, volume) == pytest.approx(5.0)
    with pytest.raises(ProtocolError):
        DoseLimit(structure="s", kind=LimitKind.MEAN, dose_gy=20.0, exempt_percent=5.0)


def test_kinds_of_protocol_files() -> None:
    own = {"dvh_max": {"volume_percent": 20.0}, "dvh_min": {"volume_percent": 20.0}, "geud": {"exponent": 8.0}}
    assert set(own) < set(OBJECTIVE_KINDS)
    for kind in OBJECTIVE_KINDS:
        built = objective_of_kind(kind, structure="s", dose_gy=30.0, weight=2.0, **own.get(kind, {}))
        assert built.structure == "s"
        assert built.weight == 2.0
        assert built.kind == kind
        with pytest.raises(ProtocolError, match="no such parameter"):
            objective_of_kind(kind, structure="s", dose_gy=30.0, **own.get(kind, {}), colour=1.0)
    geud = objective_of_kind("geud", structure="s", dose_gy=30.0, exponent=-10.0)
    assert isinstance(geud, GEUD)
    assert geud.exponent == -10.0
    with pytest.raises(ProtocolError, match="needs volume_percent"):
        objective_of_kind("dvh_max", structure="s", dose_gy=30.0)
    with pytest.raises(ProtocolError, match="unknown kind"):
        objective_of_kind("cubic", structure="s", dose_gy=30.0)


@pytest.fixture(scope="module")
def ramp() -> DVH:
    """Dose from 60 to 80 Gy, evenly."""
    grid = Grid(shape=(10, 10, 200), spacing_mm=(1.0, 1.0, 1.0))
    dose = np.broadcast_to(60.0 + (np.arange(200) + 0.5) / 10.0, grid.shape)
    return dvh(Volume(np.ones(grid.shape, np.float32), grid), Volume(dose.copy(), grid), prescription_gy=70.0)


def test_a_volume_goal_is_read_as_a_dose(ramp: DVH) -> None:
    found, wanted = dose_for_goal(Goal.parse("P V70Gy[%] >= 95"), ramp)
    assert (found, wanted) == (pytest.approx(61.0, abs=0.1), 70.0)
    found, wanted = dose_for_goal(Goal.parse("P D2%[%] <= 107"), ramp)
    assert (found, wanted) == (pytest.approx(79.6, abs=0.1), pytest.approx(74.9))


def test_normalisation_covers_the_highest_level_exactly(ramp: DVH) -> None:
    goals = [Goal.parse("P V70Gy[%] >= 95")]
    scale = normalising_scale(lambda _, s: ramp.scaled(s), goals, [("P", 70.0)])
    assert ramp.scaled(scale).metric("V70Gy[%]") == pytest.approx(95.0, abs=0.1)
    assert goals[0].is_met(ramp.scaled(scale).metric("V70Gy[%]"))
    default = normalising_scale(lambda _, s: ramp.scaled(s), [], [("P", 70.0)])
    assert default == pytest.approx(scale, rel=1e-3)


def test_hard_limits_pull_down_and_lower_levels_pull_up_within_bounds(ramp: DVH) -> None:
    def dvh_of(name: str, scale: float) -> DVH:
        return ramp.scaled(scale * {"P": 1.0, "Low": 0.79, "Cord": 0.5}[name])

    cover = Goal.parse("P D95%[Gy] >= 61")
    targets = [("P", 61.0), ("Low", 50.0)]
    low = Goal.parse("Low D95%[Gy] >= 49")
    assert normalising_scale(dvh_of, [cover, low], targets) == pytest.approx(49.0 / (0.79 * 61.0), rel=2e-3)
    lower = Goal.parse("Low D95%[Gy] >= 55")
    assert normalising_scale(dvh_of, [cover, lower], targets) == pytest.approx(1.03, rel=2e-3)
    coldest = Goal.parse("P D99%[Gy] >= 65")
    assert normalising_scale(dvh_of, [cover, coldest], targets[:1]) == pytest.approx(1.03, rel=2e-3)
    cord = Goal.parse("Cord D0.03cc[Gy] <= 39 (hard)")
    scale = normalising_scale(dvh_of, [cover, cord], targets)
    assert cord.is_met(dvh_of("Cord", scale).metric(cord.metric))
    assert scale == pytest.approx(0.99 * 39.0 / 40.0, rel=2e-3)  # with the reserve
    impossible = Goal.parse("Cord D0.03cc[Gy] <= 30 (hard)")
    assert normalising_scale(dvh_of, [cover, impossible], targets) == pytest.approx(0.95, rel=2e-3)


def test_a_background_dose_is_allowed_for(ramp: DVH) -> None:
    grid = Grid(shape=(4, 4, 4), spacing_mm=(5.0, 5.0, 5.0))
    mask = Volume(np.ones(grid.shape, np.float32), grid)

    def dvh_of(_: str, scale: float) -> DVH:
        return dvh(mask, Volume(np.full(grid.shape, 20.0 + 40.0 * scale), grid))

    scale = normalising_scale(dvh_of, [], [("P", 70.0)])
    assert scale == pytest.approx(1.25, rel=1e-3)


def test_a_target_without_dose_cannot_be_normalised(ramp: DVH) -> None:
    with pytest.raises(PlanError, match="no factor"):
        normalising_scale(lambda _, s: ramp.scaled(0.0 * s + 1e-12), [], [("P", 70.0)])
