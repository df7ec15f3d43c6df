"""Conformal apertures against the geometry of divergent beams."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.machine import DeliveryLimits, load_machine
from imrt_core.optimize.conformal_aperture import ConformalAperture, conformal_aperture, outline_points_lps
from imrt_core.patient import GeometryError, MultileafCollimator, PlanError, Structure
from tests.shapes import box, sphere

MLC = load_machine("generic_6mv").mlc
LIMITS = DeliveryLimits()
SAD_MM = 1000.0


def geometry(gantry: float = 0.0, collimator: float = 0.0, table: float = 0.0, *, isocentre=(0.0, 0.0, 0.0)):
    return BeamGeometry(gantry, isocentre, "HFS", collimator, table, SAD_MM)


def ball_points(radius: float, *, centre=(0.0, 0.0, 0.0), count: int = 60000) -> np.ndarray:
    """Points spread evenly over a sphere (golden spiral)."""
    n = np.arange(count) + 0.5
    z = 1.0 - 2.0 * n / count
    angle = np.pi * (1.0 + 5.0**0.5) * n
    ring = np.sqrt(1.0 - z**2)
    return radius * np.column_stack([ring * np.cos(angle), ring * np.sin(angle), z]) + np.asarray(centre)


def projected_radius(radius: float, distance: float = SAD_MM) -> float:
    """Radius on the isocentre plane of a sphere's silhouette: the tangent cone, r·SAD/√(d² − r²)."""
    return radius * SAD_MM / np.sqrt(distance**2 - radius**2)


def open_at(aperture: ConformalAperture, points_xy: np.ndarray, mlc: MultileafCollimator = MLC) -> np.ndarray:
    """Whether points of the isocentre plane lie within leaves and jaws; a border belongs to both sides."""
    along, across = (points_xy[:, 0], points_xy[:, 1]) if mlc.axis == "X" else (points_xy[:, 1], points_xy[:, 0])
    boundaries = np.asarray(mlc.boundaries_mm)
    pair = np.clip(np.searchsorted(boundaries, across, side="right") - 1, 0, mlc.pairs - 1)
    left, right = aperture.leaves_mm[:, pair]
    inside = (along >= left - 1e-6) & (along <= right + 1e-6)
    for axis, (low, high) in enumerate((aperture.jaw_x_mm, aperture.jaw_y_mm)):
        inside &= (points_xy[:, axis] >= low - 1e-6) & (points_xy[:, axis] <= high + 1e-6)
    return inside


@pytest.mark.parametrize("margin", [0.0, 7.0])
@pytest.mark.parametrize(("gantry", "collimator", "table"), [(0, 0, 0), (130, 35, 0), (300, 90, 20)])
def test_a_sphere_at_the_isocentre_opens_a_circle(
    gantry: float, collimator: float, table: float, margin: float
) -> None:
    """Every leaf stands on the circle at the end of its width that lies nearer to the middle."""
    aperture = conformal_aperture(ball_points(30.0), geometry(gantry, collimator, table), MLC, LIMITS, margin_mm=margin)
    circle = projected_radius(30.0) + margin
    np.testing.assert_allclose(aperture.jaw_x_mm, (-circle, circle), atol=0.05)
    np.testing.assert_allclose(aperture.jaw_y_mm, (-circle, circle), atol=0.05)
    low, high = np.array(MLC.boundaries_mm[:-1]), np.array(MLC.boundaries_mm[1:])
    nearest = np.maximum(np.maximum(low, -high), 0.0)
    for pair in np.flatnonzero(nearest < circle - 0.5):
        half = np.sqrt(circle**2 - nearest[pair] ** 2)
        np.testing.assert_allclose(aperture.leaves_mm[:, pair], (-half, half), atol=0.25)


@pytest.mark.parametrize("towards_source_mm", [-80.0, 80.0])
def test_divergence_magnifies_what_is_near_the_source(towards_source_mm: float) -> None:
    """Gantry 0 looks from anterior (−y): a sphere 80 mm anterior is seen 1000/920 as large."""
    points = ball_points(30.0, centre=(0.0, -towards_source_mm, 0.0))
    aperture = conformal_aperture(points, geometry(), MLC, LIMITS, margin_mm=5.0)
    circle = projected_radius(30.0, SAD_MM - towards_source_mm) + 5.0
    np.testing.assert_allclose(aperture.jaw_y_mm, (-circle, circle), atol=0.05)
    np.testing.assert_allclose(aperture.leaves_mm[:, MLC.pairs // 2], (-circle, circle), atol=0.05)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    gantry=st.floats(0, 360),
    collimator=st.floats(0, 360),
    table=st.floats(-90, 90),
    margin=st.floats(0, 15),
    axis=st.sampled_from(["X", "Y"]),
    interdigitation=st.booleans(),
)
def test_nothing_of_target_and_margin_is_covered(
    seed: int, gantry: float, collimator: float, table: float, margin: float, axis: str, interdigitation: bool
) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(scale=15.0, size=(40, 3)) + random.uniform(-30, 30, 3)
    beam = geometry(gantry, collimator, table)
    mlc = MultileafCollimator(MLC.boundaries_mm, axis=axis)
    limits = DeliveryLimits(interdigitation=interdigitation)
    aperture = conformal_aperture(points, beam, mlc, limits, margin_mm=margin)
    seen = beam.project(points)
    angle = np.linspace(0.0, 2.0 * np.pi, 72, endpoint=False)
    disc = (1 - 1e-9) * margin * np.column_stack([np.cos(angle), np.sin(angle)])
    assert open_at(aperture, (seen[:, None] + disc).reshape(-1, 2), mlc).all()
    assert open_at(aperture, seen, mlc).all()
    left, right = aperture.leaves_mm
    assert np.all(right - left >= limits.leaf_gap_mm - 1e-9)
    if not interdigitation:
        assert np.all(left[1:] <= right[:-1] + 1e-9)
        assert np.all(left[:-1] <= right[1:] + 1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), margin=st.floats(0, 10))
def test_a_leaf_is_no_further_than_the_margin_asks(seed: int, margin: float) -> None:
    """Each open leaf touches a disc somewhere over its width."""
    points = np.random.default_rng(seed).normal(scale=15.0, size=(30, 3))
    aperture = conformal_aperture(points, geometry(), MLC, LIMITS, margin_mm=margin)
    seen = geometry().project(points)
    for pair in np.flatnonzero(np.diff(aperture.leaves_mm, axis=0)[0] > 2 * LIMITS.leaf_gap_mm):
        low, high = MLC.boundaries_mm[pair], MLC.boundaries_mm[pair + 1]
        across = np.clip(seen[:, 1], low, high)
        for bank, sign in ((0, -1), (1, 1)):
            distance = np.hypot(aperture.leaves_mm[bank, pair] - seen[:, 0], across - seen[:, 1])
            outer = sign * (aperture.leaves_mm[bank, pair] - seen[:, 0]) >= -1e-9
            assert distance[outer].min() <= margin + 1e-6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), turn=st.floats(0, 360), gantry=st.floats(0, 360))
def test_a_patient_who_turns_with_the_gantry_sees_no_difference(seed: int, turn: float, gantry: float) -> None:
    """Gantry rotation is about LPS z for a head-first supine patient: from anterior (−y) towards the left (+x)."""
    points = np.random.default_rng(seed).normal(scale=15.0, size=(30, 3))
    angle = np.radians(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1.0]])
    here = conformal_aperture(points, geometry(gantry), MLC, LIMITS)
    there = conformal_aperture(points @ rotation.T, geometry(gantry + turn), MLC, LIMITS)
    np.testing.assert_allclose(there.leaves_mm, here.leaves_mm, atol=1e-6)
    np.testing.assert_allclose(there.jaw_y_mm, here.jaw_y_mm, atol=1e-6)


def test_half_a_turn_of_the_collimator_mirrors_the_aperture() -> None:
    points = np.random.default_rng(3).normal(scale=15.0, size=(30, 3)) + np.array([10.0, 0.0, 20.0])
    here = conformal_aperture(points, geometry(50.0), MLC, LIMITS)
    turned = conformal_aperture(points, geometry(50.0, 180.0), MLC, LIMITS)
    np.testing.assert_allclose(turned.leaves_mm, -here.leaves_mm[::-1, ::-1], atol=1e-6)
    np.testing.assert_allclose(turned.jaw_x_mm, (-here.jaw_x_mm[1], -here.jaw_x_mm[0]), atol=1e-6)


def test_closed_pairs_between_two_targets_hide_behind_a_jaw() -> None:
    points = np.concatenate([ball_points(15.0, centre=(0.0, 0.0, z), count=5000) for z in (-50.0, 50.0)])
    aperture = conformal_aperture(points, geometry(), MLC, LIMITS, margin_mm=5.0)
    between = np.flatnonzero((np.array(MLC.boundaries_mm[:-1]) >= -29.0) & (np.array(MLC.boundaries_mm[1:]) <= 29.0))
    assert len(between) >= 10
    left, right = aperture.leaves_mm[:, between]
    np.testing.assert_allclose(right - left, LIMITS.leaf_gap_mm)
    assert np.all(right < aperture.jaw_x_mm[0]) or np.all(left > aperture.jaw_x_mm[1])
    assert np.ptp(aperture.leaves_mm, axis=1).max() <= LIMITS.leaf_span_mm


def test_the_boost_keeps_the_jaws_of_the_beam() -> None:
    whole = conformal_aperture(ball_points(40.0), geometry(), MLC, LIMITS)
    small = ball_points(15.0, centre=(10.0, 0.0, 10.0))
    boost = conformal_aperture(small, geometry(), MLC, LIMITS, within=whole)
    assert (boost.jaw_x_mm, boost.jaw_y_mm) == (whole.jaw_x_mm, whole.jaw_y_mm)
    alone = conformal_aperture(small, geometry(), MLC, LIMITS)
    shown = np.diff(alone.leaves_mm, axis=0)[0] > 1.0
    np.testing.assert_array_equal(boost.leaves_mm[:, shown], alone.leaves_mm[:, shown])
    inside = (np.array(MLC.boundaries_mm[1:]) > whole.jaw_y_mm[0]) & (
        np.array(MLC.boundaries_mm[:-1]) < whole.jaw_y_mm[1]
    )
    left, right = boost.leaves_mm[:, inside & ~shown]
    assert np.all(right < whole.jaw_x_mm[0]) or np.all(left > whole.jaw_x_mm[1])


def test_walls_of_contours_enclose_the_volume() -> None:
    """Half a slice beyond the end planes, and no two neighbours further apart than the step."""
    points = outline_points_lps([sphere(20.0, spacing=2.0)], step_mm=1.0)
    assert np.ptp(points[:, 2]) == pytest.approx(40.0)
    assert np.hypot(points[:, 0], points[:, 1]).max() == pytest.approx(20.0, abs=0.1)


def test_edges_of_contours_are_sampled() -> None:
    square = outline_points_lps(
        [Structure("Square", (box(0, 30, 0, 30, 0.0), box(0, 30, 0, 30, 3.0)))],
        step_mm=1.0,
    )
    plane = square[square[:, 2] == square[0, 2]]
    steps = np.linalg.norm(np.diff(plane[:, :2], axis=0), axis=1)
    assert steps.max() <= 1.0 + 1e-9
    assert square[:, 2].min() == pytest.approx(-1.5)
    assert square[:, 2].max() == pytest.approx(4.5)


def test_what_cannot_be_opened_is_refused() -> None:
    with pytest.raises(PlanError, match="margin"):
        conformal_aperture(ball_points(10.0, count=100), geometry(), MLC, LIMITS, margin_mm=-1.0)
    with pytest.raises(PlanError, match="longer than the collimator"):
        conformal_aperture(np.array([[0.0, 0.0, 250.0], [0.0, 0.0, -10.0]]), geometry(), MLC, LIMITS)
    with pytest.raises(GeometryError, match="behind the source"):
        conformal_aperture(np.array([[0.0, -1200.0, 0.0]]), geometry(), MLC, LIMITS)
