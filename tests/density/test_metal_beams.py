"""Beams through metal: path lengths of known solids."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.density import beams_through_metal
from imrt_core.geometry.iec61217 import source_lps
from imrt_core.patient import PATIENT_POSITIONS, Beam, ControlPoint, Grid, MultileafCollimator, Plan, Volume

GRID = Grid((40, 50, 60), (2.0, 2.0, 2.0), (-60.0, -50.0, -40.0))
ISOCENTRE = (5.0, -3.0, 2.0)
RADIUS_MM = 12.0


def ball(centre: np.ndarray) -> Volume:
    distance = np.linalg.norm(GRID.voxel_centres_lps() - centre, axis=-1)
    return Volume((distance < RADIUS_MM).astype(np.float32), GRID)


def beam(gantry: float, *, table: float = 0.0, half_mm: float = 40.0, name: str = "field", **more: object) -> Beam:
    state = {"table_deg": table, "jaw_x_mm": (-half_mm, half_mm), "jaw_y_mm": (-half_mm, half_mm), **more}
    mlc = MultileafCollimator(tuple(float(b) for b in range(-50, 51, 10))) if "leaves_mm" in more else None
    points = tuple(ControlPoint(w, gantry, ISOCENTRE, **state) for w in (0.0, 1.0))  # type: ignore[arg-type]
    return Beam(1, name, 100.0, points, mlc=mlc)


def towards_source(position: str, gantry: float, table: float, distance_mm: float) -> np.ndarray:
    source = source_lps(gantry_deg=gantry, table_deg=table, patient_position=position, isocentre_lps=ISOCENTRE)
    direction = (source - ISOCENTRE) / np.linalg.norm(source - ISOCENTRE)
    return np.asarray(ISOCENTRE) + distance_mm * direction


@settings(max_examples=20, deadline=None)
@given(
    position=st.sampled_from(PATIENT_POSITIONS),
    gantry=st.floats(0, 359),
    table=st.sampled_from([0.0, 30.0, 330.0]),
    upstream=st.booleans(),
)
def test_a_ball_on_the_axis(position: str, gantry: float, table: float, upstream: bool) -> None:
    """The longest ray through a ball is its diameter; before the isocentre only where the ball is."""
    metal = ball(towards_source(position, gantry, table, 18.0 if upstream else -18.0))
    (path,) = beams_through_metal(Plan((beam(gantry, table=table),)), metal, patient_position=position)
    assert path.whole_mm == pytest.approx(2 * RADIUS_MM, abs=2.5)
    assert path.before_isocentre_mm == pytest.approx(path.whole_mm if upstream else 0.0, abs=0.5)


def test_beams_beside_the_metal_are_not_flagged() -> None:
    metal = ball(np.add(ISOCENTRE, (20.0, 0.0, 0.0)))  # HFS, gantry 0: 20 mm to the left, at BLD X = +20
    assert beams_through_metal(Plan((beam(0.0, half_mm=5.0),)), metal, patient_position="HFS") == ()
    beams = (beam(0.0, half_mm=5.0, name="beside"), beam(0.0, name="through"), beam(90.0, name="lateral"))
    plan = Plan(tuple(replace(b, number=n) for n, b in enumerate(beams)))
    assert [p.beam for p in beams_through_metal(plan, metal, patient_position="HFS")] == ["through", "lateral"]
    assert beams_through_metal(plan, metal.with_array(metal.array * 0), patient_position="HFS") == ()


def test_leaves_close_the_metal_off() -> None:
    metal = ball(np.add(ISOCENTRE, (20.0, 0.0, 0.0)))
    shut = np.stack([np.full(10, -40.0), np.full(10, 5.0)])  # open to BLD X = 5 only
    assert beams_through_metal(Plan((beam(0.0, leaves_mm=shut),)), metal, patient_position="HFS") == ()
    wide = np.stack([np.full(10, -40.0), np.full(10, 40.0)])
    (path,) = beams_through_metal(Plan((beam(0.0, leaves_mm=wide),)), metal, patient_position="HFS")
    assert "goes through metal" in path.warning()


def test_an_arc_reports_its_longest_direction() -> None:
    """A rod along x is 8 mm from the front and 60 mm from the side."""
    points = GRID.voxel_centres_lps() - ISOCENTRE
    rod = (np.hypot(points[..., 1], points[..., 2]) < 4.0) & (points[..., 0] > 0) & (points[..., 0] < 50)
    steps = np.linspace(0, 1, 31)
    control = tuple(
        ControlPoint(w, float(90 * w), ISOCENTRE, jaw_x_mm=(-50, 50), jaw_y_mm=(-50, 50), gantry_direction="CW")
        for w in steps
    )
    metal = Volume(rod.astype(np.float32), GRID)
    (path,) = beams_through_metal(Plan((Beam(1, "arc", 100.0, control),)), metal, patient_position="HFS")
    assert path.gantry_deg > 80
    assert path.whole_mm == pytest.approx(50.0, abs=4.0)
