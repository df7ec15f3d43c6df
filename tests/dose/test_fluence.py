"""Jaws and leaves: against the plain twin, analytic fluence, and the two real plans."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.dicom import read_plan
from imrt_core.dose import fluence_maps
from imrt_core.dose.apertures import Segment, transmitted
from imrt_core.dose.leaf_motion import open_meterset
from imrt_core.machine import LeafModel, load_machine
from imrt_core.machine.collimators import named
from imrt_core.patient import Beam, ControlPoint, MultileafCollimator
from tests import naive_fluence

MODEL = load_machine("generic_6mv").model
DARK = replace(MODEL, mlc_transmission=0.0, jaw_transmission=0.0)
ISOCENTRE = (0.0, 0.0, 0.0)
JAWS = ((-60.0, 60.0), (-50.0, 50.0))
MLC = MultileafCollimator((-50.0, -25.0, 0.0, 25.0, 50.0))
#: No tongue, no offset, nothing through.
SHARP = LeafModel(0.0)


def point(weight: float, **state: Any) -> ControlPoint:
    return ControlPoint(weight, 0.0, ISOCENTRE, **{"jaw_x_mm": JAWS[0], "jaw_y_mm": JAWS[1], **state})


def uniform(left: float, right: float, pairs: int = 4) -> np.ndarray:
    return np.stack([np.full(pairs, left), np.full(pairs, right)])


def only_map(beam: Beam, leaves: LeafModel | None, model: Any = DARK) -> Any:
    (found,) = fluence_maps(beam, model, patient_position="HFS", leaves=leaves)
    return found


def area_mm2(fluence: Any) -> float:
    """Fluence × area per MU."""
    return float(fluence.relative.sum() * 1.25**2)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-12, 12), min_size=8, max_size=8), st.integers(1, 3))
def test_open_time_is_exact(positions: list[float], edges_per_side: int) -> None:
    """Mean over ten thousand moments of the covered part of every cell, with edges that cross."""
    cells = np.linspace(-10.0, 10.0, 9)
    rng = np.random.default_rng(int(1e6 * abs(positions[0])) % 2**32)
    lower = rng.permutation(np.resize(positions, 2 * edges_per_side)).reshape(edges_per_side, 2) - 3
    upper = rng.permutation(np.resize(positions, 2 * edges_per_side)).reshape(edges_per_side, 2) + 3
    found = open_meterset(cells, lower[None, None], upper[None, None], np.array([7.0]))[0]
    t = (np.arange(10_000) + 0.5) / 10_000
    low = np.max(lower[:, :1] + (lower[:, 1:] - lower[:, :1]) * t, axis=0)
    high = np.min(upper[:, :1] + (upper[:, 1:] - upper[:, :1]) * t, axis=0)
    covered = np.clip(np.minimum(cells[1:, None], high) - np.maximum(cells[:-1, None], low), 0, None).mean(axis=1)
    np.testing.assert_allclose(found, 7.0 * covered / 2.5, atol=7e-3)
    assert found.sum() == pytest.approx(7.0 * covered.sum() / 2.5, abs=2e-3)


@pytest.mark.parametrize("axis", ["X", "Y"])
@pytest.mark.parametrize("seed", [1, 2])
def test_jaws_and_leaves_that_move_at_once_agree_with_the_twin(axis: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mlc = MultileafCollimator((-6.0, -3.0, 0.0, 2.0, 6.0), axis=axis)
    model = LeafModel(0.04, 0.5, 0.6)
    points = []
    for weight in (0.0, 0.35, 1.0):
        left = rng.uniform(-7, 3, 4)
        jaws = {name: (rng.uniform(-7, -3), rng.uniform(3, 7)) for name in ("jaw_x_mm", "jaw_y_mm")}
        points.append(point(weight, leaves_mm=np.stack([left, left + rng.uniform(1.5, 6, 4)]), **jaws))
    edges = np.linspace(-8.0, 8.0, 9)
    segments = [
        Segment(
            100 * (b.cumulative_weight - a.cumulative_weight),
            *(np.array([getattr(a, n), getattr(b, n)]) for n in ("jaw_x_mm", "jaw_y_mm", "leaves_mm")),
        )
        for a, b in itertools.pairwise(points)
    ]
    options = {"mlc": mlc, "jaw_transmission": 0.01}
    found = transmitted(segments, edges_u_mm=edges, edges_v_mm=edges, leaves=model, **options)
    twin = naive_fluence.fluence(tuple(points), 100.0, edges, edges, model=model, **options)
    # The twin's points lie 0.1 mm apart in cells of 2 mm; corners under a jaw and a leaf end that move together differ
    # by up to 1/48 of a part's meterset.
    assert np.abs(found - twin).max() < 1.0
    assert found.sum() == pytest.approx(twin.sum(), rel=2e-3)


def test_rounded_ends_open_both_sides() -> None:
    still = [point(w, leaves_mm=uniform(-20.3, 10.0)) for w in (0.0, 1.0)]
    beam = Beam(1, "b", 100.0, tuple(still), mlc=MLC)
    assert area_mm2(only_map(beam, SHARP)) == pytest.approx(30.3 * 100, rel=1e-12)
    assert area_mm2(only_map(beam, LeafModel(0.0, 0.8))) == pytest.approx(31.9 * 100, rel=1e-12)


def test_sweeping_gap_measures_the_leaf_gap() -> None:
    """LoSasso 1998: fluence of a swept gap is (gap + twice the offset) / travel; its extrapolation to 0 is the gap."""
    model = LeafModel(0.0, 0.8)
    levels = []
    for gap in (4.0, 10.0):
        swept = [point(w, leaves_mm=uniform(x, x + gap)) for w, x in ((0.0, -55.0 - gap), (1.0, 55.0))]
        found = only_map(Beam(1, "sweep", 1000.0, tuple(swept), mlc=MLC), model)
        centres = (found.edges_u_mm[:-1] + found.edges_u_mm[1:]) / 2
        row = found.relative[found.mu.shape[0] // 2][np.abs(centres) < 45]
        np.testing.assert_allclose(row, (gap + 1.6) / (110 + gap), rtol=1e-9)
        levels.append(row[0] * (110 + gap))
    slope = (levels[1] - levels[0]) / 6.0
    assert 4.0 - levels[0] / slope == pytest.approx(-1.6, abs=1e-9)


def test_closed_pairs_leak_in_the_open_and_not_under_a_jaw() -> None:
    """Pairs parked at the jaw's edge, beside it, and in the field: only the last shows its rounded ends."""
    leaves = np.array([[60.0, 70.0, 0.0, -60.4], [60.0, 70.4, 0.0, -60.0]])
    beam = Beam(1, "parked", 100.0, (point(0.0, leaves_mm=leaves), point(1.0, leaves_mm=leaves)), mlc=MLC)
    model = LeafModel(0.01, 0.8)
    # The map's range comes from an open field; here nothing but transmission is open.
    found = only_map(beam, model, replace(DARK, jaw_transmission=0.0))
    centres = (found.edges_v_mm[:-1] + found.edges_v_mm[1:]) / 2
    for low, high, area in ((-50, -25, 0.0), (-25, 0, 0.0), (0, 25, 1.6 * 25 * 0.99), (25, 50, 0.0)):
        rows = (centres > low) & (centres < high)
        leak = found.relative[rows].sum() * 1.25**2 - 0.01 * 120 * 25
        assert leak == pytest.approx(area, abs=1e-9)


def test_tongue_of_a_neighbour_shields_a_strip() -> None:
    """Two complementary fields: each alone loses a strip of √T, together the groove is not filled (Deng 2001)."""
    model = LeafModel(0.0144, 0.0, 0.5)
    left = np.array([[-30.0, 0.0, -30.0, 0.0], [30.0, 0.0, 30.0, 0.0]])
    right = np.array([[0.0, -30.0, 0.0, -30.0], [0.0, 30.0, 0.0, 30.0]])

    def map_of(leaves: np.ndarray) -> np.ndarray:
        beam = Beam(1, "t&g", 1.0, (point(0.0, leaves_mm=leaves), point(1.0, leaves_mm=leaves)), mlc=MLC)
        return np.asarray(only_map(beam, model).mu)

    both, separate = map_of(uniform(-30.0, 30.0)), map_of(left) + map_of(right)
    middle = both.shape[1] // 2
    lost = (both[:, middle] - separate[:, middle]).sum() * 1.25
    # Three inner boundaries. Each is √T instead of 1 on both strips, and every closed leaf adds T to the sum.
    assert lost == pytest.approx(3 * 2 * 0.5 * (1 - 0.12) - 0.0144 * 100 - 0, abs=1e-9)


def test_without_leaves_and_without_jaws() -> None:
    jaws_only = Beam(1, "jaws", 1.0, (point(0.0), point(1.0, jaw_x_mm=(-20.0, 60.0))))
    # One jaw closes from −60 to −20 while the beam is on: on average the opening is 100 mm wide.
    assert area_mm2(only_map(jaws_only, None)) == pytest.approx(100 * 100, rel=1e-12)
    leaves_only = [point(w, jaw_x_mm=None, jaw_y_mm=None, leaves_mm=uniform(-20, 20)) for w in (0.0, 1.0)]
    found = only_map(Beam(1, "leaves", 1.0, tuple(leaves_only), mlc=MLC), SHARP)
    inside = np.abs((found.edges_v_mm[:-1] + found.edges_v_mm[1:]) / 2) < 50
    assert found.relative[inside].sum() * 1.25**2 == pytest.approx(40 * 100, rel=1e-12)
    assert np.all(found.relative[~inside] == 1)  # no leaf there and no jaw: the collimator ends


def test_leaves_far_beyond_jaws_and_map() -> None:
    wide = [point(w, jaw_x_mm=(-10.0, 5.0), leaves_mm=uniform(-200, 200)) for w in (0.0, 1.0)]
    assert area_mm2(only_map(Beam(1, "wide", 1.0, tuple(wide), mlc=MLC), SHARP)) == pytest.approx(15 * 100)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-55, 20), min_size=4, max_size=4), st.lists(st.floats(0, 30), min_size=4, max_size=4))
def test_fluence_is_conserved(left: list[float], gap: list[float]) -> None:
    """Sharp leaves inside the jaws: fluence × area is the mean gap × leaf width, whatever moves."""
    start, stop = np.array([left, np.add(left, gap)]), np.array([left[::-1], np.add(left[::-1], gap)])
    stop[1] += 1.0
    beam = Beam(1, "b", 50.0, (point(0.0, leaves_mm=start), point(1.0, leaves_mm=stop)), mlc=MLC)
    expected = 25 * float(np.sum(gap) + np.sum(gap[::-1]) + 4) / 2
    assert area_mm2(only_map(beam, SHARP)) == pytest.approx(expected, rel=1e-9)


def test_everything_moves_at_once() -> None:
    """Gantry, collimator, table, isocentre, jaws: the directions in between carry their shares of the meterset."""
    start = ControlPoint(0.0, 10.0, (0.0, 0.0, 0.0), jaw_x_mm=(-20.0, 20.0), jaw_y_mm=(-20.0, 20.0))
    stop = ControlPoint(
        1.0, 12.0, (0.0, 0.0, 10.0), collimator_deg=3.0, table_deg=352.0, jaw_x_mm=(-10.0, 20.0), jaw_y_mm=(-20.0, 0.0)
    )
    found = fluence_maps(Beam(1, "b", 90.0, (start, stop)), DARK, patient_position="HFS")
    assert len(found) == 5  # the isocentre moves 10 mm
    assert [m.meterset for m in found] == pytest.approx([18.0] * 5)
    assert [m.beam.table_deg for m in found] == pytest.approx([359.2, 357.6, 356.0, 354.4, 352.8])
    assert [m.beam.isocentre_lps[2] for m in found] == pytest.approx([1, 3, 5, 7, 9])
    t = (np.arange(5) + 0.5) / 5
    areas = [area_mm2(m) for m in found]
    # The exact mean of a product of two linear functions over a fifth of the way.
    exact = (40 - 10 * t) * (40 - 20 * t) + 10 * 20 / 12 / 25
    np.testing.assert_allclose(areas, exact, rtol=1e-4)


def test_a_table_that_turns_alone_is_sampled() -> None:
    start = point(0.0, table_deg=350.0)
    beam = Beam(1, "table", 10.0, (start, replace(start, cumulative_weight=1.0, table_deg=10.0)))
    assert len(fluence_maps(beam, DARK, patient_position="HFS")) == 5


def dynamic_beam(points: int = 100) -> Beam:
    rng = np.random.default_rng(0)
    mlc = named("millennium-120").mlc()
    lead = np.linspace(-70, 50, points)
    states = []
    for n, weight in enumerate(np.linspace(0, 1, points)):
        left = lead[n] + rng.uniform(-5, 5, 60)
        leaves = np.stack([left, left + rng.uniform(0.5, 40, 60)])
        states.append(point(float(weight), jaw_x_mm=(-75.0, 75.0), jaw_y_mm=(-150.0, 150.0), leaves_mm=leaves))
    return Beam(1, "dynamic", 300.0, tuple(states), mlc=mlc)


def test_a_dynamic_beam_takes_under_50_ms() -> None:
    beam, model = dynamic_beam(), LeafModel(0.015, 0.8, 0.4)
    only_map(beam, model)
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        only_map(beam, model)
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.05


@pytest.mark.shared_data
def test_monaco_fields_have_their_sizes(shared_data: Path) -> None:
    """Ten square fields of a collimator without a jaw along the leaves."""
    plan = read_plan(shared_data / "beam_pymedphys" / "06MV_plan.dcm")
    for beam, side in zip(plan.beams, (20, 30, 40, 50, 70, 100, 150, 200, 300, 400), strict=True):
        found = only_map(beam, SHARP)
        # Leaves cut the corners of the largest field; its area comes from its own positions.
        leaves = beam.control_points[0].leaves_mm
        assert leaves is not None
        expected = 5.0 * float(np.sum((leaves[1] - leaves[0])[:80][np.abs(np.arange(80) - 39.5) < side / 10]))
        assert area_mm2(found) == pytest.approx(expected, rel=1e-9)
        assert expected == pytest.approx(side**2, rel=1e-9 if side < 400 else 0.03)


@pytest.mark.shared_data
def test_breast_plan_offset_adds_its_width_times_open_leaves(shared_data: Path) -> None:
    """Dynamic beams of a commercial system: parked pairs stay dark, moving ones gain twice the offset at most."""
    plan = read_plan(shared_data / "dicom_breast_imrt" / "rtplan.dcm")
    for beam in plan.beams:
        sharp, rounded = only_map(beam, SHARP), only_map(beam, LeafModel(0.0, 0.8))
        inside = [
            np.clip(cp.jaw_y_mm[1] - cp.jaw_y_mm[0], 0, None) for cp in beam.control_points if cp.jaw_y_mm is not None
        ]
        gain = area_mm2(rounded) - area_mm2(sharp)
        assert 0.5 * 1.6 * min(inside) < gain <= 1.6 * max(inside) + 1e-6
        assert np.all(rounded.mu >= sharp.mu - 1e-9)
        assert rounded.mu.max() <= beam.mu * (1 + 1e-9)
