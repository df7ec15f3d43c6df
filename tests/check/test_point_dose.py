"""Point dose: against the tables, analytic cases, sampling in time, and the engines' own geometry."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.check import beam_point_dose, load_tables
from imrt_core.check.aperture import collimator_rectangle_mm, equivalent_square_mm, mean_transmission, motion
from imrt_core.check.geometry import Pose, depths, seen_from_source
from imrt_core.check.tables import Collimation
from imrt_core.geometry import BeamGeometry
from imrt_core.patient import (
    Beam,
    ControlPoint,
    GeometryError,
    Grid,
    MultileafCollimator,
    PlanError,
    Volume,
)
from tests import naive_fluence

from .phantoms import square_beam, water_tank

TABLES = load_tables("generic_6mv")
POINT = (0.0, -200.0, 0.0)
TANK = water_tank()


def dose(beam: Beam, *, point: tuple[float, float, float] = POINT, red: Volume = TANK) -> float:
    return beam_point_dose(beam, red, TABLES, point_lps=point, patient_position="HFS").dose_gy


@pytest.mark.parametrize("side", [20.0, 40.0, 100.0, 200.0, 300.0])
@pytest.mark.parametrize("depth", [20.0, 100.0, 200.0])
def test_rings_of_a_square_field_give_its_table_value(side: float, depth: float) -> None:
    """Circles against squares: √π·R and 120 spokes hold the tables within 0.5 %, isocentre at the point."""
    point = (0.0, -300.0 + depth, 0.0)
    found = dose(square_beam(side, isocentre_lps=point), point=point)
    expected = 1000 * TABLES.open_field_dose(side_mm=side, depth_mm=depth, ssd_mm=1000 - depth)
    leak = 1 + 0.004 * 0.15  # scatter of what the jaws let through
    assert found == pytest.approx(expected * leak, rel=5e-3)


@pytest.mark.parametrize(("depth", "ssd"), [(50.0, 900.0), (150.0, 900.0), (100.0, 800.0), (100.0, 1100.0)])
def test_distance_and_depth_away_from_the_isocentre(depth: float, ssd: float) -> None:
    isocentre = (0.0, -300.0 + 1000.0 - ssd, 0.0)
    found = dose(square_beam(100.0, isocentre_lps=isocentre), point=(0.0, -300.0 + depth, 0.0))
    assert found == pytest.approx(1000 * TABLES.open_field_dose(side_mm=100, depth_mm=depth, ssd_mm=ssd), rel=5e-3)


def test_half_fields_add_up() -> None:
    """Asymmetric jaws: two halves make the whole where the collimator's setting is taken out."""
    flat = replace(TABLES, collimator_factor=None)

    def of(low: float, high: float) -> float:
        beam = square_beam(100.0, jaw_x_mm=(low, high))
        return beam_point_dose(beam, TANK, flat, point_lps=POINT, patient_position="HFS").dose_gy

    leak = of(200.0, 200.0)
    assert of(-50, 0) + of(0, 50) - leak == pytest.approx(of(-50, 50), rel=1e-6)
    assert of(-50, 0) == pytest.approx(of(0, 50), rel=1e-3)


def test_off_axis_ratio_and_collimator_rotation() -> None:
    wide = square_beam(300.0)
    axis, beside = dose(wide), dose(wide, point=(70.71, -200.0, 0.0))
    # The point sees the mean of two centred rectangles, 158.6 × 300 and 441.4 × 300 mm, by Sterling's rule.
    squares = np.array([2 * 158.6 * 300 / 458.6, 2 * 441.4 * 300 / 741.4])
    scatter = float(TABLES.phantom_dose(100.0, squares).mean() / TABLES.phantom_dose(100.0, 300.0))
    assert beside / axis == pytest.approx(TABLES.off_axis_ratio(70.71) * scatter, rel=4e-3)
    assert dose(square_beam(100.0, collimator_deg=33.0)) == pytest.approx(dose(square_beam(100.0)), rel=1e-3)


def test_closed_leaves_transmit() -> None:
    """A point under leaves gets the transmission of an open field of the jaws; jaws times leaves beyond them."""
    mlc = MultileafCollimator(tuple(float(v) for v in range(-200, 201, 10)))
    open_leaves, shut = np.stack([np.full(40, -200.0), np.full(40, 200.0)]), np.full((2, 40), 150.0)
    beams = [
        Beam(1, "b", 1000.0, tuple(replace(p, leaves_mm=leaves) for p in square_beam(100.0).control_points), mlc=mlc)
        for leaves in (open_leaves, shut)
    ]
    opened, closed = (dose(beam) for beam in beams)
    assert closed / opened == pytest.approx(0.015, rel=0.02)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["HFS", "HFP", "FFS", "FFP"]),
    st.floats(0, 359.9),
    st.floats(0, 359.9),
    st.floats(0, 359.9),
    st.tuples(*[st.floats(-150, 150)] * 3),
)
def test_geometry_agrees_with_the_engines(
    position: str, gantry: float, collimator: float, table: float, point: tuple[float, float, float]
) -> None:
    """Two derivations of IEC 61217, by different people's formulas, put a point at the same place."""
    isocentre = (10.0, -20.0, 30.0)
    seen = seen_from_source(point, Pose(gantry, collimator, table, isocentre), patient_position=position, sad_mm=1000.0)
    beam = BeamGeometry(gantry, isocentre, position, collimator_deg=collimator, table_deg=table)
    x, y, z = beam.to_bld(np.array(point))
    assert seen.distance_mm == pytest.approx(1000 - z, abs=1e-6)
    assert (seen.u_mm, seen.v_mm) == pytest.approx((x * 1000 / (1000 - z), y * 1000 / (1000 - z)), abs=1e-6)
    np.testing.assert_allclose(seen.source_lps, beam.source_lps, atol=1e-6)


def test_depth_through_a_slab_of_lung() -> None:
    grid = Grid((61, 81, 61), (5.0, 2.5, 5.0), (-150.0, -100.0, -150.0))
    array = np.ones(grid.shape, dtype=np.float32)
    array[:, 20:40] = 0.25  # 50 mm of it
    source = np.array([0.0, -1000.0, 0.0])
    found = depths(Volume(array, grid), [source, source + np.array([300.0, 0.0, 0.0])], (0.0, 50.0, 0.0))
    slant = np.hypot(300.0, 1050.0) / 1050.0
    assert found.tissue_mm == pytest.approx([151.25, 151.25 * slant], abs=1.0)
    # Trilinear edges and steps of a millimetre.
    assert found.radiological_mm == pytest.approx([151.25 - 37.5, (151.25 - 37.5) * slant], abs=1.2)


def test_depth_refuses_what_is_not_a_density() -> None:
    array = np.array(TANK.array)
    array[52, 10, 52] = np.nan
    with pytest.raises(GeometryError, match="densities"):
        dose(square_beam(100.0), red=TANK.with_array(array))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["X", "Y"]))
def test_mean_transmission_agrees_with_sampling_in_time(seed: int, axis: str) -> None:
    rng = np.random.default_rng(seed)
    mlc = MultileafCollimator((-20.0, -5.0, 0.0, 10.0, 20.0), axis=axis)
    points = []
    for weight in (0.0, 1.0):
        left = rng.uniform(-30, 20, 4)
        jaws = {name: tuple(np.sort(rng.uniform(-30, 30, 2))) for name in ("jaw_x_mm", "jaw_y_mm")}
        points.append(
            ControlPoint(weight, 0.0, POINT, leaves_mm=np.stack([left, left + rng.uniform(0, 30, 4)]), **jaws)
        )
    beam = Beam(1, "b", 1.0, tuple(points), mlc=mlc)
    u, v = rng.uniform(-35, 35, (2, 50))
    found = mean_transmission(beam, motion(*points, start=0.2, stop=0.7, mu=1.0), u, v, Collimation(0.03, 0.01, 0.5))
    model = naive_fluence.LeafModel(0.03, 0.5)
    total = np.zeros(50)
    for moment in 0.2 + 0.5 * (np.arange(2000) + 0.5) / 2000:
        state = {
            name: (1 - moment) * np.array(getattr(points[0], name)) + moment * np.array(getattr(points[1], name))
            for name in ("jaw_x_mm", "jaw_y_mm", "leaves_mm")
        }
        total += naive_fluence.transmission(u, v, mlc=mlc, model=model, jaw_transmission=0.01, **state)
    np.testing.assert_allclose(found, total / 2000, atol=2.5e-3)


def test_dynamic_window_delivers_its_share() -> None:
    """A window of 20 mm sweeps 200 mm over a wide field: a tenth of the open dose, and transmission for the rest."""
    mlc = MultileafCollimator(tuple(float(v) for v in range(-100, 101, 10)))
    state = {"jaw_x_mm": (-80.0, 80.0), "jaw_y_mm": (-80.0, 80.0), "gantry_deg": 0.0, "isocentre_lps": POINT}

    def beam(*positions: tuple[float, float]) -> Beam:
        leaves = [np.stack([np.full(20, a), np.full(20, b)]) for a, b in positions]
        return Beam(
            1, "b", 1000.0, tuple(ControlPoint(float(w), leaves_mm=x, **state) for w, x in enumerate(leaves)), mlc=mlc
        )

    swept, opened = beam((-100.0, -80.0), (80.0, 100.0)), beam((-100.0, 100.0), (-100.0, 100.0))
    share = 20.0 / 180.0
    assert dose(swept) / dose(opened) == pytest.approx(share + 0.015 * (1 - share), rel=2e-3)


def test_arc_is_the_sum_of_its_directions() -> None:
    """A round water phantom from everywhere the same; the arc's parts and metersets add up to one beam's dose."""
    grid = Grid((61, 81, 81), (5.0, 5.0, 5.0), (-200.0, -200.0, -150.0))
    points = grid.voxel_centres_lps()
    red = Volume((np.hypot(points[..., 0], points[..., 1]) < 150).astype(np.float32), grid)
    jaws = {"jaw_x_mm": (-50.0, 50.0), "jaw_y_mm": (-50.0, 50.0)}
    for sense, start, stop in (("CW", 200.0, 20.0), ("CC", 20.0, 200.0)):
        cps = tuple(
            ControlPoint(w, g, (0.0, 0.0, 0.0), gantry_direction=sense, **jaws) for w, g in ((0.0, start), (1.0, stop))
        )
        found = beam_point_dose(
            Beam(1, "arc", 1000.0, cps), red, TABLES, point_lps=(0.0, 0.0, 0.0), patient_position="HFS"
        )
        expected = 1000 * TABLES.open_field_dose(side_mm=100, depth_mm=150, ssd_mm=850)
        assert found.dose_gy == pytest.approx(expected, rel=0.012)  # the cylinder of voxels is a staircase
        assert found.radiological_depth_mm == pytest.approx(150, abs=2)


def test_collimator_setting_is_the_jaws_or_the_leaves_in_their_place() -> None:
    mlc = MultileafCollimator(tuple(float(v) for v in range(-200, 201, 5)))
    leaves = np.stack([np.full(80, -20.0), np.full(80, 20.0)])

    def setting(**state: object) -> float:
        cps = tuple(ControlPoint(w, 0.0, POINT, leaves_mm=leaves, **state) for w in (0.0, 1.0))  # type: ignore[arg-type]
        beam = Beam(1, "b", 1.0, cps, mlc=mlc)
        ((here, there),) = pairwise(cps)
        return equivalent_square_mm(collimator_rectangle_mm(beam, motion(here, there, start=0.0, stop=1.0, mu=1.0)))

    assert setting(jaw_x_mm=(-50.0, 50.0), jaw_y_mm=(-50.0, 50.0)) == pytest.approx(100.0)
    assert setting(jaw_y_mm=(-60.0, 60.0)) == pytest.approx(2 * 40 * 120 / 160)
    assert setting() == pytest.approx(2 * 40 * 400 / 440)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"radiation_type": "ELECTRON"}, "ELECTRON"),
        ({"unsupported": ("wedge",)}, "wedge"),
        ({"nominal_energy_mv": 10.0}, "10 MV"),
        ({"fluence_mode": "FFF"}, "FFF"),
        ({"sad_mm": 1100.0}, "1100 mm"),
        ({"mu": 0.0}, "no meterset"),
    ],
)
def test_what_the_check_does_not_know_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        dose(replace(square_beam(100.0), **change))  # type: ignore[arg-type]


def test_points_behind_the_source_and_unknown_positions() -> None:
    with pytest.raises(GeometryError, match="behind"):
        dose(square_beam(100.0), point=(0.0, -1300.0, 0.0))
    with pytest.raises(GeometryError, match="HFDL"):
        beam_point_dose(square_beam(100.0), TANK, TABLES, point_lps=POINT, patient_position="HFDL")
