"""Static segments as variables, and their refinement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.machine import DeliveryLimits, load_machine
from imrt_core.optimize import FluenceMap, PlanSettings, Technique, delivered_fluence, sequence
from imrt_core.optimize.apertures import StaticBeam, static_beam
from imrt_core.optimize.delivery import SequencedBeam, delivered_weights, sequence_beams
from imrt_core.optimize.planning import planning_session
from imrt_core.optimize.refine import refined_segments
from imrt_core.optimize.session import PlanningSession, StageWatch
from imrt_core.optimize.solver import optimize_fluence
from imrt_core.patient import MultileafCollimator
from tests.optimize.cases import c_shape_patient
from tests.optimize.test_planning import BEAMS, GOALS, PRESCRIPTION, SETTINGS

MACHINE = load_machine("generic_6mv")
BIXEL_MM = 5.0


def _field(seed: int, axis: str) -> tuple[SequencedBeam, np.ndarray, MultileafCollimator]:
    """A step-and-shoot beam of random fluence on bixels that do not begin at the leaves' boundaries."""
    rng = np.random.default_rng(seed)
    mlc = MultileafCollimator(tuple(np.arange(-60.0, 61.0, 10.0)), axis=axis)
    x, y = np.meshgrid(np.arange(-22.5, 25.0, 5.0), np.arange(-17.5, 20.0, 5.0))
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    fluence = FluenceMap.from_bixels(
        centres[:, 0], centres[:, 1], rng.uniform(5.0, 60.0, len(centres)), size_mm=(BIXEL_MM, BIXEL_MM)
    )
    leaves = sequence(fluence, mlc, DeliveryLimits(), transmission=0.02, technique=Technique.STEP_AND_SHOOT, levels=5)
    geometry = BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS")
    return SequencedBeam(1, geometry, leaves), centres, mlc


def _beam(seed: int, axis: str) -> tuple[StaticBeam, SequencedBeam, np.ndarray, MultileafCollimator]:
    field, centres, mlc = _field(seed, axis)
    return static_beam(field, centres, mlc, bixel_mm=BIXEL_MM, transmission=0.02), field, centres, mlc


@pytest.mark.parametrize("axis", ["X", "Y"])
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_the_fluence_is_that_of_the_leaves(axis: str, seed: int) -> None:
    """The twin integrates control points; leaves are moved at random."""
    beam, field, centres, mlc = _beam(seed, axis)
    rng = np.random.default_rng(seed)
    moved = beam.leaves_mm.copy()
    shift = rng.uniform(-2.0, 2.0, moved[:, 0].shape)
    moved[:, 0] += np.where(beam.movable, shift, 0.0)
    moved[:, 1] += np.where(beam.movable, shift, 0.0)
    mu = beam.mu * rng.uniform(0.5, 2.0, beam.mu.size)
    twin = delivered_fluence(
        np.repeat(moved, 2, axis=0),
        np.repeat(np.concatenate([[0.0], np.cumsum(mu)]), 2)[1:-1],
        mlc,
        x_edges_mm=field.sequence.delivered.x_edges_mm,
        y_edges_mm=field.sequence.delivered.y_edges_mm,
        jaw_x_mm=field.sequence.jaw_x_mm,
        jaw_y_mm=field.sequence.jaw_y_mm,
        transmission=0.02,
    )
    column = np.searchsorted(twin.x_edges_mm, centres[:, 0]) - 1
    row = np.searchsorted(twin.y_edges_mm, centres[:, 1]) - 1
    np.testing.assert_allclose(beam.fluence(mu, moved), twin.mu[row, column], atol=1e-9)


@pytest.mark.parametrize("axis", ["X", "Y"])
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 1000))
def test_gradients_agree_with_finite_differences(axis: str, seed: int) -> None:
    beam, _, centres, _ = _beam(seed, axis)
    rng = np.random.default_rng(seed)
    slope = rng.normal(size=len(centres))
    leaves = beam.leaves_mm.copy()
    # off the bixels' edges, where the fluence has a kink
    leaves[:, 0][beam.movable] += 0.7
    leaves[:, 1][beam.movable] -= 0.9
    by_mu, by_leaf = beam.gradients(slope, beam.mu, leaves)
    for segment in range(beam.mu.size):
        step = np.zeros(beam.mu.size)
        step[segment] = 1e-3
        up, down = beam.fluence(beam.mu + step, leaves), beam.fluence(beam.mu - step, leaves)
        assert by_mu[segment] == pytest.approx(float(slope @ (up - down)) / 2e-3, rel=1e-6, abs=1e-7)
    places = np.argwhere(beam.movable)
    for segment, pair in places[rng.permutation(len(places))[:6]]:
        for bank in (0, 1):
            step = np.zeros_like(leaves)
            step[segment, bank, pair] = 1e-4
            up, down = beam.fluence(beam.mu, leaves + step), beam.fluence(beam.mu, leaves - step)
            found = float(slope @ (up - down)) / 2e-4
            assert by_leaf[segment, bank, pair] == pytest.approx(found, rel=1e-5, abs=1e-6)


def test_the_area_between_the_jaws() -> None:
    beam, field, _, mlc = _beam(3, "X")
    low, high = field.sequence.jaw_x_mm
    heights = np.diff(np.clip(mlc.boundaries_mm, *field.sequence.jaw_y_mm))
    for segment, leaves in enumerate(field.sequence.leaves_mm[::2]):
        wide = np.clip(leaves[1], low, high) - np.clip(leaves[0], low, high)
        assert beam.open_area_mm2(beam.leaves_mm)[segment] == pytest.approx(float(heights @ wide))


@pytest.fixture(scope="module")
def session() -> PlanningSession:
    red, structures = c_shape_patient()
    return planning_session(
        red,
        structures,
        MACHINE,
        goals=GOALS,
        prescription_gy=PRESCRIPTION,
        fractions=25,
        beams=BEAMS,
        isocentre_lps=(0.0, 0.0, 0.0),
        patient_position="HFS",
        objectives=None,
        limits=None,
        settings=_step_and_shoot(levels=4),
        background_gy=None,
        fractions_planned=None,
        dose_grid=None,
        label="RESEARCH",
        plan_uid="1.2",
        predecessor_uid="",
        watch=StageWatch(None),
    )


def _step_and_shoot(*, levels: int) -> PlanSettings:
    return replace(SETTINGS, technique=Technique.STEP_AND_SHOOT, levels=levels, corrections=0)


def test_refinement_makes_up_for_few_levels(session: PlanningSession) -> None:
    """Four levels: the sweep leaves the objective far above the fluence's; refinement takes back most of it."""
    case = session.case
    fluence = optimize_fluence(
        case.matrix,
        case.objectives,
        structures=case.voxels.sets,
        limits=case.limits,
        course_gy_per_matrix_gy=25,
        max_iterations=60,
        tolerance=1e-3,
    )
    fields = sequence_beams(case, fluence.weights, MACHINE, session.settings)
    refined = refined_segments(
        case,
        fields,
        MACHINE,
        case.objectives,
        limits=case.limits,
        fractions=25,
        offset_gy=np.zeros(case.matrix.shape[0]),
        bixel_mm=session.settings.bixel_mm,
    )

    def objective(weights: np.ndarray) -> float:
        dose = 25 * np.asarray(case.matrix.dose(weights), dtype=float)
        return sum(
            o.value_and_gradient(
                dose[case.voxels.sets[o.structure].rows], case.voxels.sets[o.structure].volume_weights
            )[0]
            for o in case.objectives
        )

    best = objective(fluence.weights)
    swept, after = (objective(delivered_weights(case, f)) for f in (fields, refined))
    assert swept > 1.5 * best
    assert after - best < 0.5 * (swept - best)
    for before, now in zip(fields, refined, strict=True):
        assert now.sequence.segments == before.sequence.segments
        mu = np.diff(now.sequence.cumulative_mu)
        assert np.all(mu[mu > 1e-9] >= MACHINE.limits.minimum_segment_mu)
        leaves = now.sequence.leaves_mm
        assert np.all(leaves[:, 1] - leaves[:, 0] >= MACHINE.limits.leaf_gap_mm - 1e-9)
        assert np.ptp(leaves, axis=2).max() <= MACHINE.limits.leaf_span_mm + 1e-9
        assert leaves.min() >= MACHINE.limits.leaf_range_mm[0]
        assert leaves.max() <= MACHINE.limits.leaf_range_mm[1]


def test_where_leaves_may_not_pass_their_neighbours_only_mu_change(session: PlanningSession) -> None:
    machine = replace(MACHINE, limits=replace(MACHINE.limits, interdigitation=False))
    case = session.case
    weights = np.full(case.matrix.shape[1], 10.0)
    weights[::3] = 4.0
    fields = sequence_beams(case, weights, machine, session.settings)
    refined = refined_segments(
        case,
        fields,
        machine,
        case.objectives,
        limits=(),
        fractions=25,
        offset_gy=np.zeros(case.matrix.shape[0]),
        bixel_mm=session.settings.bixel_mm,
    )
    changed = False
    for before, now in zip(fields, refined, strict=True):
        np.testing.assert_array_equal(now.sequence.leaves_mm, before.sequence.leaves_mm)
        changed |= not np.allclose(now.sequence.cumulative_mu, before.sequence.cumulative_mu)
    assert changed
