"""Plan report numbers against formulas of spheres in radial doses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.evaluate.plan_quality import PlanQuality, plan_quality
from imrt_core.patient import Grid, ProtocolError, StructureError, StructureSet, Volume
from tests.shapes import sphere

GRID = Grid((60, 60, 60), (2.0, 2.0, 2.0), (-59.0, -59.0, -59.0))
RADIUS_MM = np.linalg.norm(GRID.voxel_centres_lps(), axis=-1)
#: A surface of dose or contours is placed to a tenth of a dose voxel; relative to a ball's volume that is 3·δ/r.
SURFACE_MM = 0.2


def structures(**targets: float) -> StructureSet:
    """EXTERNAL of 55 mm and concentric targets by radius."""
    external = replace(sphere(55.0, spacing=2.0, name="External"), interpreted_type="EXTERNAL")
    return StructureSet((external, *(sphere(radius, spacing=0.5, name=name) for name, radius in targets.items())))


def cone(at_zero_gy: float, per_mm: float) -> Volume:
    """Dose that falls linearly with the distance from the centre, 0 outside EXTERNAL."""
    dose = np.maximum(at_zero_gy - per_mm * RADIUS_MM, 0.0)
    return Volume(np.where(RADIUS_MM <= 57.0, dose, 0.0).astype(np.float32), GRID)


def ball_cc(radius_mm: float) -> float:
    return 4.0 / 3.0 * np.pi * radius_mm**3 / 1000.0


@settings(max_examples=8, deadline=None)
@given(target=st.floats(15.0, 30.0), isodose=st.floats(15.0, 30.0))
def test_conformity_and_gradient_of_concentric_spheres(target: float, isodose: float) -> None:
    """Isodose of radius r around a target of radius t: CI = (min(r, t)³)² / (t³·r³), GI = (r₅₀ / r)³."""
    dose = cone(100.0, 50.0 / isodose)  # 50 Gy at the isodose's radius, 25 Gy at 1.5 times that
    level = plan_quality(dose, structures(PTV=target), [("PTV", 50.0)]).levels[0]
    covered = min(isodose, target)
    volume = 3.0 * SURFACE_MM / covered
    assert level.isodose_cc == pytest.approx(ball_cc(isodose), rel=volume)
    assert level.covered_cc == pytest.approx(ball_cc(covered), rel=volume)
    assert level.conformity_index == pytest.approx(covered**6 / (target**3 * isodose**3), rel=2.0 * volume)
    assert level.gradient_index == pytest.approx(1.5**3, rel=volume)
    wider = 1.05 * isodose  # 47.5 Gy
    expected = min(wider, target) ** 6 / (target**3 * wider**3)
    assert level.conformity_index_95 == pytest.approx(expected, rel=2.0 * volume)


def test_metrics_of_a_sphere_in_a_radial_dose() -> None:
    """A share q of a ball lies within q^(1/3) of its radius."""
    target = plan_quality(cone(60.0, 0.4), structures(PTV=25.0), [("PTV", 50.0)]).targets[0]
    at = {p: 60.0 - 0.4 * 25.0 * (p / 100) ** (1 / 3) for p in (98, 95, 50, 2)}
    assert (target.d98_gy, target.d95_gy, target.d50_gy) == pytest.approx((at[98], at[95], at[50]), abs=0.08)
    assert target.d2_gy == pytest.approx(at[2], abs=0.15)
    assert target.homogeneity_index == pytest.approx((at[2] - at[98]) / at[50], abs=0.004)


#: 70 Gy at 20 mm and 56 Gy at 32 mm: a boost that is conformal at both levels.
BOOST = cone(70.0 + 14.0 / 12.0 * 20.0, 14.0 / 12.0)
BOOST_TARGETS = [("PTV56", 56.0), ("PTV70", 70.0)]


def boost(**options: Volume) -> PlanQuality:
    return plan_quality(BOOST, structures(PTV70=20.0, PTV56=32.0), BOOST_TARGETS, **options)


def test_every_level_of_a_conformal_boost_is_conformal() -> None:
    """The isodose of 56 Gy encloses the boost, and is compared with both targets."""
    quality = boost()
    assert [level.prescription_gy for level in quality.levels] == [70.0, 56.0]
    assert quality.levels[1].targets == ("PTV70", "PTV56")
    for level, radius in zip(quality.levels, (20.0, 32.0), strict=True):
        assert level.target_cc == pytest.approx(ball_cc(radius), rel=0.01)
        assert level.isodose_cc == pytest.approx(ball_cc(radius), rel=0.01)
        assert level.conformity_index == pytest.approx(1.0, abs=6.0 * SURFACE_MM / radius)
    # 35 Gy lie at 50 mm; 28 Gy would lie at 56 mm, beyond the skin at 55 mm.
    assert quality.levels[0].gradient_index == pytest.approx((50.0 / 20.0) ** 3, rel=0.02)
    assert quality.levels[1].gradient_index == pytest.approx((55.0 / 32.0) ** 3, rel=0.02)


def test_homogeneity_of_the_lower_level_leaves_the_boost_out() -> None:
    """A share q of the shell from 20 to 32 mm lies within (20³ + q·(32³ − 20³))^(1/3)."""
    high, low = boost().targets
    assert (high.name, low.name) == ("PTV70", "PTV56")

    def dose_gy(inner: float, share: float) -> float:
        return 70.0 + 14.0 / 12.0 * (20.0 - float(np.cbrt(inner**3 + share * (32.0**3 - inner**3))))

    whole = {p: dose_gy(0.0, p / 100) for p in (98, 50, 2)}
    shell = {p: dose_gy(20.0, p / 100) for p in (98, 50, 2)}
    assert low.d2_gy == pytest.approx(whole[2], abs=0.2)
    assert low.homogeneity_index == pytest.approx((shell[2] - shell[98]) / shell[50], abs=0.01)
    assert (whole[2] - whole[98]) / whole[50] > 1.5 * (shell[2] - shell[98]) / shell[50]


def test_integral_dose_of_the_patient_outside_targets() -> None:
    """∫ 4πr²·D dr from 32 to 55 mm; in joule times 1.2 g/cm³."""
    quality = boost(mass_density=Volume(np.full(GRID.shape, 1.2, dtype=np.float32), GRID))
    zero, slope = 70.0 + 14.0 / 12.0 * 20.0, 14.0 / 12.0

    def primitive(r: float) -> float:
        return 4.0 * np.pi * (zero * r**3 / 3.0 - slope * r**4 / 4.0)

    gy_l = (primitive(55.0) - primitive(32.0)) / 1e6
    assert quality.integral_dose_gy_l == pytest.approx(gy_l, rel=0.01)
    assert quality.integral_dose_j == pytest.approx(1.2 * gy_l, rel=0.01)
    assert quality.judged_l == pytest.approx((ball_cc(55.0) - ball_cc(32.0)) / 1000, rel=0.01)
    assert quality.outside_grid_l == 0.0


def test_a_target_within_the_higher_one_has_no_homogeneity_of_its_own() -> None:
    quality = plan_quality(cone(90.0, 0.5), structures(PTV70=25.0, PTV56=20.0), [("PTV70", 70.0), ("PTV56", 56.0)])
    assert quality.targets[1].homogeneity_index is None


def test_an_underdosed_plan_has_no_conformity() -> None:
    level = plan_quality(cone(40.0, 0.4), structures(PTV=25.0), [("PTV", 50.0)]).levels[0]
    assert level.conformity_index == 0.0
    assert level.gradient_index is None


def test_what_cannot_be_judged_is_refused() -> None:
    dose, drawn = cone(60.0, 0.4), structures(PTV=25.0)
    with pytest.raises(ProtocolError, match="prescribed target"):
        plan_quality(dose, drawn, [])
    with pytest.raises(ProtocolError, match="without contours"):
        plan_quality(dose, drawn, [("PTV70", 70.0)])
    with pytest.raises(ProtocolError, match="positive"):
        plan_quality(dose, drawn, [("PTV", 0.0)])
    with pytest.raises(StructureError, match="outline"):
        plan_quality(dose, StructureSet((drawn["PTV"],)), [("PTV", 50.0)])
