"""Re-optimisation in tiers, and new weights for the apertures of a plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.dose import plan_dose
from imrt_core.machine import load_machine
from imrt_core.optimize import PlanResult, PlanSettings, Technique, Tier, make_plan, reoptimise_in_tiers
from imrt_core.optimize.reweight import aperture_groups, lowest_factors, reweighted
from imrt_core.patient import Contour, Goal, PlanError, StructureSet, Volume
from tests.optimize.cases import c_shape_patient
from tests.optimize.test_planning import BEAMS, GOALS, PRESCRIPTION, SETTINGS

MACHINE = load_machine("generic_6mv")
DAY = {
    "prescription_gy": PRESCRIPTION,
    "fractions": 25,
    "isocentre_lps": (0.0, 0.0, 0.0),
    "patient_position": "HFS",
    "settings": SETTINGS,
}


def _record(settings: PlanSettings) -> PlanResult:
    red, structures = c_shape_patient()
    return make_plan(
        red,
        structures,
        MACHINE,
        goals=GOALS,
        prescription_gy=PRESCRIPTION,
        fractions=25,
        beams=BEAMS,
        isocentre_lps=(0.0, 0.0, 0.0),
        patient_position="HFS",
        settings=settings,
        plan_uid="1.2.3.4.5",
    )


@pytest.fixture(scope="module")
def record() -> PlanResult:
    return _record(SETTINGS)


@pytest.fixture(scope="module")
def static() -> PlanResult:
    return _record(replace(SETTINGS, technique=Technique.STEP_AND_SHOOT, levels=6, corrections=0))


def _thinner(by_mm: float) -> tuple[Volume, StructureSet]:
    """The patient after a loss all around."""
    red, structures = c_shape_patient()
    points = red.grid.voxel_centres_lps()
    inside = np.hypot(points[..., 0], points[..., 1]) < 90.0 - by_mm
    return red.with_array(np.where(inside, red.array, 0.0)), structures


def test_a_little_change_needs_new_weights_only(record: PlanResult) -> None:
    """The patient lost 4 mm all around: MU fall, no leaf moves, and the goals hold again."""
    red, structures = _thinner(4.0)
    found = reoptimise_in_tiers(red, structures, MACHINE, plan_of_record=record.plan, goals=GOALS, **DAY)  # type: ignore[arg-type]
    assert found.tier is Tier.REWEIGHT
    assert [t.tier for t in found.tiers] == [Tier.REWEIGHT]
    assert "the first that meets the goals" in found.reason
    assert all(goal.ok for goal in found.result.goals)
    assert found.result.mu < record.mu
    for new, old in zip(found.result.plan.beams, record.plan.beams, strict=True):
        for point, before in zip(new.control_points, old.control_points, strict=True):
            np.testing.assert_array_equal(point.leaves_mm, before.leaves_mm)  # type: ignore[arg-type]
    assert found.result.plan.predecessor_uid == "1.2.3.4.5"
    assert found.result.plan.fractions_planned == 1


def test_the_reweighted_plan_gives_the_dose_that_was_judged(record: PlanResult) -> None:
    red, structures = _thinner(4.0)
    result = reoptimise_in_tiers(
        red,
        structures,
        MACHINE,
        plan_of_record=record.plan,
        goals=GOALS,
        tiers=[Tier.REWEIGHT],
        **DAY,  # type: ignore[arg-type]
    ).result
    again = plan_dose(result.plan, red, MACHINE, dose_grid=result.fraction_dose_gy.grid, patient_position="HFS")
    np.testing.assert_allclose(again.fraction_dose_gy.array, result.fraction_dose_gy.array, atol=1e-4)
    for beam, dose in zip(result.plan.beams, again.beams, strict=True):
        assert beam.beam_dose_gy == pytest.approx(dose.dose_at_isocentre_gy, rel=1e-4)


def test_reweighted_beams_obey_the_machine(record: PlanResult) -> None:
    plan = reweighted(record.plan, aperture_groups(record.plan), np.tile([0.4, 1.0, 2.5], 200)[: len(_groups(record))])
    for beam in plan.beams:
        leaves = np.stack([cp.leaves_mm for cp in beam.control_points if cp.leaves_mm is not None])
        mu = beam.mu * np.array([cp.cumulative_weight for cp in beam.control_points])
        rate = beam.control_points[0].dose_rate_mu_per_min
        assert rate is not None
        speed = np.abs(np.diff(leaves, axis=0)).max(axis=(1, 2)) / (np.diff(mu) * 60.0 / rate)
        assert speed.max() <= MACHINE.limits.leaf_speed_mm_per_s * (1 + 1e-6)


def _groups(record: PlanResult) -> tuple[object, ...]:
    return aperture_groups(record.plan)


def _shifted(by_mm: float) -> tuple[Volume, StructureSet]:
    """Target and core have moved to the left inside the body."""
    red, structures = c_shape_patient()
    moved = tuple(
        s
        if s.name == "External"
        else replace(s, contours=tuple(Contour(c.points_lps + np.array([by_mm, 0.0, 0.0])) for c in s.contours))
        for s in structures
    )
    return red, replace(structures, structures=moved)


def test_tiers_go_on_until_the_goals_are_met_and_say_why(record: PlanResult) -> None:
    """A target that moved needs other apertures; a core limit that nobody can meet needs a person."""
    red, structures = _shifted(8.0)
    found = reoptimise_in_tiers(red, structures, MACHINE, plan_of_record=record.plan, goals=GOALS, **DAY)  # type: ignore[arg-type]
    assert found.tier is Tier.WARM_START
    assert [t.tier for t in found.tiers] == [Tier.REWEIGHT, Tier.WARM_START]
    assert found.tiers[0].missing
    assert "reweight did not" in found.reason
    assert found.result.feasible
    assert all(t.seconds > 0 for t in found.tiers)
    impossible = (*GOALS[:2], Goal.parse("Core D0.03cc[Gy] <= 5 (hard)"))
    failed = reoptimise_in_tiers(
        red,
        structures,
        MACHINE,
        plan_of_record=record.plan,
        goals=impossible,
        tiers=[Tier.REWEIGHT, Tier.FROM_SCRATCH],  # a hard goal is broken: from scratch is tried
        **{**DAY, "settings": replace(SETTINGS, max_iterations=5, corrections=0)},  # type: ignore[arg-type]
    )
    assert len(failed.tiers) == 2
    assert not failed.result.feasible
    assert "none meets" in failed.reason
    assert "Core D0.03cc[Gy] <= 5 (hard)" in failed.reason


def test_goals_that_need_not_be_met_do_not_keep_the_tiers_going(record: PlanResult) -> None:
    red, structures = c_shape_patient()
    hopeless = Goal.parse("Core Volume[cc] < 1")  # no dose changes that
    found = reoptimise_in_tiers(
        red,
        structures,
        MACHINE,
        plan_of_record=record.plan,
        goals=(*GOALS, hopeless),
        required=GOALS,
        **DAY,  # type: ignore[arg-type]
    )
    assert found.tier is not Tier.FROM_SCRATCH
    assert found.tiers[-1].missing == ()
    assert (found.tiers[-1].met, found.tiers[-1].judged) == (3, 4)


def test_a_mean_dose_clearly_out_of_reach_ends_a_tier_before_its_dose(record: PlanResult) -> None:
    red, structures = c_shape_patient()
    goals = (*GOALS, Goal.parse("Core Mean[Gy] < 1"))
    found = reoptimise_in_tiers(red, structures, MACHINE, plan_of_record=record.plan, goals=goals, **DAY)  # type: ignore[arg-type]
    first = found.tiers[0]
    assert (first.tier, first.met, first.feasible) == (Tier.REWEIGHT, None, None)
    (mean,) = first.missing
    assert mean.value > 1.0
    # from scratch would change nothing about a soft goal that the warm start misses
    assert [t.tier for t in found.tiers] == [Tier.REWEIGHT, Tier.WARM_START]
    with pytest.raises(PlanError, match="no tier that was asked for"):
        reoptimise_in_tiers(
            red,
            structures,
            MACHINE,
            plan_of_record=record.plan,
            goals=goals,
            tiers=[Tier.REWEIGHT],
            **DAY,  # type: ignore[arg-type]
        )


@settings(deadline=None, max_examples=20)
@given(per_beam=st.integers(1, 12), seed=st.integers(0, 100))
def test_groups_cover_a_plan_once_and_factors_multiply_their_mu(record: PlanResult, per_beam: int, seed: int) -> None:
    groups = aperture_groups(record.plan, per_beam=per_beam)
    assert sum(g.mu for g in groups) == pytest.approx(record.plan.total_mu)
    factors = np.random.default_rng(seed).uniform(0.1, 3.0, len(groups))
    plan = reweighted(record.plan, groups, factors)
    for number, (new, old) in enumerate(zip(plan.beams, record.plan.beams, strict=True)):
        own = [(g, f) for g, f in zip(groups, factors, strict=True) if g.beam == number]
        assert len(own) <= per_beam
        assert new.mu == pytest.approx(sum(g.mu * f for g, f in own))
        before = old.mu * np.diff([p.cumulative_weight for p in old.control_points])
        after = new.mu * np.diff([p.cumulative_weight for p in new.control_points])
        for group, factor in own:
            inside = slice(group.first, group.last)
            np.testing.assert_allclose(after[inside], factor * before[inside], rtol=1e-6, atol=1e-9)


def test_static_segments_keep_their_least_mu(static: PlanResult) -> None:
    groups = aperture_groups(static.plan)
    lowest = lowest_factors(static.plan, groups, MACHINE.limits)
    assert np.all(lowest > 0)
    plan = reweighted(static.plan, groups, lowest)
    for beam in plan.beams:
        mu = np.diff(beam.mu * np.array([cp.cumulative_weight for cp in beam.control_points]))
        assert np.all(mu[mu > 1e-6] >= MACHINE.limits.minimum_segment_mu * (1 - 1e-6))


def test_bad_input_is_refused(record: PlanResult) -> None:
    red, structures = c_shape_patient()
    with pytest.raises(PlanError, match="needs a tier"):
        reoptimise_in_tiers(red, structures, MACHINE, plan_of_record=record.plan, goals=GOALS, tiers=(), **DAY)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="a group of apertures"):
        aperture_groups(record.plan, per_beam=0)
    with pytest.raises(PlanError, match="factor >= 0"):
        reweighted(record.plan, aperture_groups(record.plan), np.array([-1.0]))
