"""Where beams come from and how collimators turn, against what one sees in the treatment room."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.geometry import BeamGeometry
from imrt_core.geometry.iec61217 import bld_from_lps, fixed_from_lps, source_lps
from imrt_core.patient import GeometryError

LEFT, RIGHT = np.array([1.0, 0, 0]), np.array([-1.0, 0, 0])
POSTERIOR, ANTERIOR = np.array([0, 1.0, 0]), np.array([0, -1.0, 0])
SUPERIOR, INFERIOR = np.array([0, 0, 1.0]), np.array([0, 0, -1.0])
ANGLES = st.floats(-360, 360)
POSITIONS = st.sampled_from(["HFS", "HFP", "FFS", "FFP"])


def towards_source(gantry: float, table: float, position: str) -> np.ndarray:
    source = source_lps(
        gantry_deg=gantry, table_deg=table, patient_position=position, isocentre_lps=(10, 20, 30), sad_mm=1000
    )
    return (source - [10, 20, 30]) / 1000


@pytest.mark.parametrize(
    ("position", "gantry", "side"),
    [
        # Supine: the beam from above enters in front; prone: from behind.
        ("HFS", 0, ANTERIOR),
        ("FFS", 0, ANTERIOR),
        ("HFP", 0, POSTERIOR),
        ("FFP", 0, POSTERIOR),
        # Gantry 90 stands on the right of a viewer who faces the gantry: the patient's left if supine, head first.
        ("HFS", 90, LEFT),
        ("HFP", 90, RIGHT),
        ("FFS", 90, RIGHT),
        ("FFP", 90, LEFT),
        ("HFS", 180, POSTERIOR),
        ("HFS", 270, RIGHT),
    ],
)
def test_side_that_the_beam_enters(position: str, gantry: float, side: np.ndarray) -> None:
    np.testing.assert_allclose(towards_source(gantry, 0, position), side, atol=1e-12)


@pytest.mark.parametrize(("gantry", "table"), [(90, 270), (270, 90)])
def test_vertex_field(gantry: float, table: float) -> None:
    """The classic vertex field of a supine patient comes from above the head at gantry 90 with table 270."""
    np.testing.assert_allclose(towards_source(gantry, table, "HFS"), SUPERIOR, atol=1e-12)


def test_positive_table_angle_is_counter_clockwise_from_above() -> None:
    """Seen from above (X right, Y up the page), a positive angle turns the head from +Y towards −X."""
    head = fixed_from_lps("HFS", table_deg=30) @ SUPERIOR
    np.testing.assert_allclose(head, [-np.sin(np.pi / 6), np.cos(np.pi / 6), 0], atol=1e-12)


def test_table_does_not_move_a_vertical_beam() -> None:
    for position in ("HFS", "HFP", "FFS", "FFP"):
        np.testing.assert_allclose(towards_source(0, 57, position), towards_source(0, 0, position), atol=1e-12)


def test_collimator_turns_jaws_counter_clockwise_seen_from_the_source() -> None:
    """At gantry 0 and collimator 90 the BLD X axis points towards the gantry: superior of a supine patient."""
    beam = BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS", collimator_deg=90.0)
    np.testing.assert_allclose(beam.bld_from_lps[0], SUPERIOR, atol=1e-12)
    np.testing.assert_allclose(beam.bld_from_lps[1], RIGHT, atol=1e-12)


def test_beams_eye_view_at_gantry_zero() -> None:
    """Collimator 0: BLD X is the patient's left, Y superior, and points above the isocentre look larger."""
    beam = BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS")
    np.testing.assert_allclose(beam.project([[20.0, 0.0, 30.0]]), [[20.0, 30.0]], atol=1e-12)
    np.testing.assert_allclose(beam.project([[20.0, -500.0, 30.0]]), [[40.0, 60.0]], atol=1e-9)
    np.testing.assert_allclose(beam.project([[20.0, 1000.0, 30.0]]), [[10.0, 15.0]], atol=1e-9)


@given(ANGLES, ANGLES, ANGLES, POSITIONS)
def test_rotations_are_rotations(gantry: float, collimator: float, table: float, position: str) -> None:
    matrix = bld_from_lps(gantry_deg=gantry, collimator_deg=collimator, table_deg=table, patient_position=position)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    source = source_lps(gantry_deg=gantry, table_deg=table, patient_position=position, isocentre_lps=(0, 0, 0))
    np.testing.assert_allclose(matrix @ source, [0, 0, 1000], atol=1e-9)


@given(ANGLES, ANGLES, ANGLES, POSITIONS)
def test_beam_points_there_and_back(gantry: float, collimator: float, table: float, position: str) -> None:
    beam = BeamGeometry(gantry, (5.0, -7.0, 11.0), position, collimator_deg=collimator, table_deg=table)
    points = np.array(list(itertools.product((-30.0, 40.0), repeat=3)))
    np.testing.assert_allclose(beam.to_lps(beam.to_bld(points)), points, atol=1e-9)
    np.testing.assert_allclose(beam.project(np.asarray(beam.isocentre_lps)), [0, 0], atol=1e-12)


def test_turning_the_gantry_is_turning_the_patient() -> None:
    """The patient turned from supine to prone, with the gantry turned by 180°, gives the same entry."""
    for gantry in (0.0, 35.0, 250.0):
        supine = BeamGeometry(gantry, (0.0, 0.0, 0.0), "HFS").source_lps
        prone = BeamGeometry(gantry + 180.0, (0.0, 0.0, 0.0), "HFP").source_lps
        np.testing.assert_allclose(supine, prone, atol=1e-9)


def test_refusals() -> None:
    with pytest.raises(GeometryError, match="patient position"):
        BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFDL")
    with pytest.raises(GeometryError, match="finite"):
        BeamGeometry(float("nan"), (0.0, 0.0, 0.0), "HFS")
    with pytest.raises(GeometryError, match="behind the source"):
        BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS").project([[0.0, -1000.0, 0.0]])
