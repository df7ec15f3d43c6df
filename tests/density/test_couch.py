"""The treatment couch: declared thickness on every ray, in every position, at every table angle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imrt_core.density.couch import couch_overlap_cc, insert_couch
from imrt_core.geometry.beams_eye_view import BeamGeometry
from imrt_core.geometry.iec61217 import support_from_lps
from imrt_core.geometry.raytrace import ray_depths, ray_volume
from imrt_core.machine import Couch, CouchLayer, load_machine, parse_machine, write_machine
from imrt_core.patient import PATIENT_POSITIONS, GeometryError, Grid, MachineError, Volume

LAYERS = (
    CouchLayer("shell", 2.0, 0.55, 0.60),
    CouchLayer("foam", 50.0, 0.075, 0.08),
    CouchLayer("shell", 2.0, 0.55, 0.60),
)
#: Electron density of air relative to water, as in the phantoms below.
AIR_RED = 0.0012
COUCH = Couch("carbon fibre", LAYERS, width_mm=300.0)
ISOCENTRE = (6.0, -4.0, 8.0)


def cylinder(spacing_mm: tuple[float, float, float] = (4.0, 4.0, 5.0), size: int = 60) -> tuple[Volume, Volume]:
    """A water cylinder along z, off centre, and its mask."""
    ny = nx = int(size * 4 / spacing_mm[0])
    grid = Grid((24, ny, nx), spacing_mm, (-120.0, -110.0, -60.0))
    x, y, _ = np.moveaxis(grid.voxel_centres_lps(), -1, 0)
    inside = np.hypot(x - 8, y - 2) < 70
    red = Volume(np.where(inside, 1.0, AIR_RED).astype(np.float32), grid)
    return red, red.with_array(inside.astype(np.float32))


def path_mm(red: Volume, position: str, *, gantry_deg: float, table_deg: float, at_lps: object = ISOCENTRE) -> float:
    """Water-equivalent path of the axis through the couch alone, from the source to behind the patient."""
    beam = BeamGeometry(gantry_deg, tuple(at_lps), position, table_deg=table_deg)  # type: ignore[arg-type]
    far = beam.isocentre_lps + (np.asarray(beam.isocentre_lps) - beam.source_lps) * 0.9
    return float(ray_depths(ray_volume(red), beam.source_lps, far[None], step_mm=0.1)[0])


@settings(max_examples=25, deadline=None)
@example(position="HFS", table_deg=0.0, spacing=4.0, shell_mm=1.0, foam_mm=10.0, gap_mm=1.375, gantry_deg=180.0)
@given(
    position=st.sampled_from(PATIENT_POSITIONS),
    table_deg=st.sampled_from([0.0, 15.0, 90.0, 320.0]),
    spacing=st.sampled_from([2.5, 3.0, 4.0]),
    shell_mm=st.floats(1.0, 6.0),
    foam_mm=st.floats(10.0, 80.0),
    gap_mm=st.floats(0.0, 20.0),
    gantry_deg=st.sampled_from([180.0, 0.0, 150.0, 215.0]),
)
def test_water_equivalent_thickness(
    position: str, table_deg: float, spacing: float, shell_mm: float, foam_mm: float, gap_mm: float, gantry_deg: float
) -> None:
    """With the couch, an axis meets the declared thickness more than without it; over the cosine where it is oblique.

    The table turns about the vertical, so the angle to the couch does not depend on it.
    """
    layers = (replace(LAYERS[0], thickness_mm=shell_mm), replace(LAYERS[1], thickness_mm=foam_mm))
    couch = replace(COUCH, layers=layers, gap_mm=gap_mm, width_mm=500.0)
    red, patient = cylinder((spacing, spacing, 5.0))
    made = insert_couch(red, red, couch, patient=patient, patient_position=position)
    if table_deg and gantry_deg not in (0.0, 180.0):
        gantry_deg = 180.0  # a turned oblique beam leaves the short phantom
    extra = path_mm(made.red, position, gantry_deg=gantry_deg, table_deg=table_deg) - path_mm(
        red, position, gantry_deg=gantry_deg, table_deg=table_deg
    )
    cosine = abs(np.cos(np.deg2rad(gantry_deg)))
    # the air that the couch displaces is gone from the path
    displaced_mm = AIR_RED * sum(layer.thickness_mm for layer in layers)
    assert extra == pytest.approx((couch.water_equivalent_mm - displaced_mm) / cosine, rel=0.02)


@pytest.mark.parametrize("position", PATIENT_POSITIONS)
def test_it_lies_under_the_patient(position: str) -> None:
    """Only below in the room: the top surface at the lowest point of the patient, centred under him."""
    red, patient = cylinder()
    made = insert_couch(red, red, COUCH, patient=patient, patient_position=position)
    couch = (np.abs(made.red.array - 0.0012) > 1e-6) & (made.red.resampled_to(made.red.grid).array != 1.0)
    points = made.red.grid.voxel_centres_lps()[couch] @ support_from_lps(position).T
    inside = patient.grid.voxel_centres_lps()[patient.array > 0] @ support_from_lps(position).T
    half = red.grid.spacing_mm[1] / 2
    assert points[:, 2].max() < inside[:, 2].min()
    assert points[:, 2].max() > inside[:, 2].min() - 2 * red.grid.spacing_mm[1]
    assert points[:, 2].min() > inside[:, 2].min() - half - COUCH.thickness_mm - 2 * half
    assert (points[:, 0].min() + points[:, 0].max()) / 2 == pytest.approx(
        (inside[:, 0].min() + inside[:, 0].max()) / 2, abs=2.0
    )
    assert np.ptp(points[:, 0]) == pytest.approx(COUCH.width_mm, abs=2 * red.grid.spacing_mm[0])


def test_relative_to_the_isocentre() -> None:
    red, patient = cylinder()
    couch = replace(COUCH, below_isocentre_mm=100.0)
    made = insert_couch(red, red, couch, patient=patient, patient_position="HFS", isocentre_lps=ISOCENTRE)
    y = made.red.grid.voxel_centres_lps()[..., 1]
    layer = (made.red.array > 0.05) & (made.red.array < 0.9)
    assert y[layer].min() == pytest.approx(ISOCENTRE[1] + 100.0, abs=red.grid.spacing_mm[1])
    with pytest.raises(GeometryError, match="isocentre"):
        insert_couch(red, red, couch, patient=patient, patient_position="HFS")


def test_the_grid_grows_or_the_couch_is_cut_and_both_are_said() -> None:
    red, patient = cylinder(size=50)
    grown = insert_couch(red, red, COUCH, patient=patient, patient_position="HFS")
    assert any("extended" in w for w in grown.warnings)
    np.testing.assert_array_equal(grown.red.resampled_to(red.grid, order=0).array[patient.array > 0], 1.0)
    cut = insert_couch(red, red, COUCH, patient=patient, patient_position="HFS", extend=False)
    assert cut.red.grid == red.grid
    assert any("cut off" in w for w in cut.warnings)
    roomy = Grid((24, 100, 100), (4.0, 4.0, 5.0), (-190.0, -150.0, -60.0))
    red, patient = red.resampled_to(roomy, outside=0.0012), patient.resampled_to(roomy, order=0)
    assert insert_couch(red, red, COUCH, patient=patient, patient_position="HFS").warnings == ()


def test_the_patient_is_kept_where_the_couch_reaches_into_him() -> None:
    red, patient = cylinder()
    made = insert_couch(
        red,
        red,
        replace(COUCH, below_isocentre_mm=40.0),
        patient=patient,
        patient_position="HFS",
        isocentre_lps=ISOCENTRE,
    )
    assert any("reaches" in w and "cc into the patient" in w for w in made.warnings)
    np.testing.assert_array_equal(made.red.resampled_to(red.grid, order=0).array[patient.array > 0], 1.0)


def test_overlap_with_a_drawn_support() -> None:
    red, patient = cylinder()
    full = couch_overlap_cc(COUCH, red.with_array(np.ones(red.grid.shape)), patient=patient, patient_position="HFS")
    assert full > 100
    assert couch_overlap_cc(COUCH, patient, patient=patient, patient_position="HFS") == 0.0


def test_machine_files_hold_a_couch(tmp_path) -> None:
    machine = replace(load_machine("generic_6mv"), couch=COUCH)
    path = write_machine(machine, tmp_path / "with_couch.toml")
    assert load_machine(path).couch == COUCH
    assert load_machine("generic_6mv").couch is None
    text = path.read_text()
    with pytest.raises(MachineError, match="unknown key"):
        parse_machine(text.replace("width_mm = 300.0", "widht_mm = 300.0"))
    with pytest.raises(MachineError, match="positive"):
        CouchLayer("shell", 0.0, 1.0, 1.0)
    with pytest.raises(MachineError, match="layer"):
        Couch("none", (), 500.0)
