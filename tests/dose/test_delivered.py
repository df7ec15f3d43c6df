"""Dose of a plan: against the influence matrix, the calibration, and what must be refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imrt_core.dose import Bixels, body_mask, dose_grid_for, influence_matrix, plan_dose
from imrt_core.dose.fluence import fluence_maps
from imrt_core.dose.leaf_motion import coverage
from imrt_core.geometry import BeamGeometry
from imrt_core.machine import load_machine
from imrt_core.patient import (
    Beam,
    ControlPoint,
    GeometryError,
    Grid,
    MachineError,
    MultileafCollimator,
    Plan,
    PlanError,
    RigidTransform,
    StructureError,
    Volume,
)

from .phantoms import mixed_patient, water_box

MACHINE = load_machine("generic_6mv")
OPEN = replace(MACHINE, model=replace(MACHINE.model, mlc_transmission=0.0, jaw_transmission=0.0))
CENTRE = (0.0, 0.0, 10.0)


def control_points(gantry: float, **state: Any) -> tuple[ControlPoint, ControlPoint]:
    options = {"isocentre_lps": CENTRE, "jaw_x_mm": (-50.0, 50.0), "jaw_y_mm": (-50.0, 50.0), **state}
    return tuple(ControlPoint(weight, gantry, **options) for weight in (0.0, 1.0))  # type: ignore[return-value]


def open_beam(gantry: float = 0.0, *, mu: float = 100.0, number: int = 1, **state: Any) -> Beam:
    return Beam(number, f"beam {number}", mu, control_points(gantry, **state))


def test_absolute_calibration_and_axis_figures() -> None:
    """100 MU of an open 10×10 at SSD 100 give 1 Gy at the depth of maximum; SSD and depth as built."""
    water = water_box((300.0, 300.0, 300.0))
    # Field size and SSD are defined at 1000 mm: the isocentre just below the surface.
    beam = replace(open_beam(isocentre_lps=(0.0, 0.2, 0.0)), beam_dose_point_lps=(0.0, 14.0, 0.0))
    line = Grid((1, 40, 1), (1.0, 1.0, 1.0), (0.0, 1.0, 0.0))
    result = plan_dose(Plan((beam,)), water, MACHINE, dose_grid=line, patient_position="HFS")
    assert result.fraction_dose_gy.array.max() == pytest.approx(1.0, rel=0.006)
    assert result.beams[0].dose_at_point_gy == pytest.approx(1.0, rel=0.006)
    assert result.beams[0].ssd_mm == pytest.approx(999.8, abs=0.7)
    assert result.beams[0].radiological_depth_mm == pytest.approx(0.2, abs=0.7)
    assert result.beams[0].mu == 100.0
    assert result.warnings == ()
    assert result.model.startswith("generic_6mv")


@pytest.mark.parametrize(("collimator", "table"), [(0.0, 0.0), (30.0, 0.0), (0.0, 40.0)])
def test_open_field_agrees_with_the_influence_matrix(collimator: float, table: float) -> None:
    """The same fluence through A·w and through plan_dose: within 1 % of the maximum everywhere in a mixed patient."""
    red = mixed_patient()
    beam = open_beam(70.0, collimator_deg=collimator, table_deg=table, jaw_x_mm=(-20.0, 30.0), jaw_y_mm=(-25.0, 15.0))
    result = plan_dose(
        Plan((beam,)), red, OPEN, dose_grid=red.grid, patient_position="HFS", engine="beamlet"
    ).fraction_dose_gy
    u, v = np.meshgrid(np.arange(-4, 6), np.arange(-5, 3))
    geometry = BeamGeometry(70.0, CENTRE, "HFS", collimator_deg=collimator, table_deg=table)
    bixels = Bixels(5.0, np.stack([u.ravel(), v.ravel()], axis=1).astype(np.int32))
    voxels = np.flatnonzero(body_mask(red, red.grid))
    matrix = influence_matrix(red, [geometry], OPEN, bixels=[bixels], voxels=voxels, dose_grid=red.grid)
    expected = matrix.dose(np.full(matrix.shape[1], 100.0))
    difference = np.abs(result.array.ravel()[voxels] - expected) / expected.max()
    assert difference.max() < 0.01
    assert difference.mean() < 0.001
    assert np.all(result.array.ravel()[~np.isin(np.arange(red.array.size), voxels)] == 0)


def test_modulated_leaves_agree_with_the_influence_matrix() -> None:
    """Step-and-shoot: two apertures with leaves on bixel edges are two sets of bixel weights."""
    red = mixed_patient()
    mlc = MultileafCollimator(tuple(np.arange(-40.0, 41.0, 5.0)))
    rng = np.random.default_rng(5)
    states, weights = [], np.zeros((16, 16))
    for mu in (30.0, 70.0):
        left = rng.integers(-6, 0, 16) * 5.0
        right = left + rng.integers(0, 7, 16) * 5.0
        states.append(np.stack([left, right]))
        for row in range(16):
            weights[row, int(left[row] / 5) + 8 : int(right[row] / 5) + 8] += mu
    cps = tuple(
        ControlPoint(w, 10.0, CENTRE, jaw_x_mm=(-40.0, 40.0), jaw_y_mm=(-40.0, 40.0), leaves_mm=s)
        for w, s in ((0.0, states[0]), (0.3, states[0]), (0.3, states[1]), (1.0, states[1]))
    )
    beam = Beam(1, "imrt", 100.0, cps, mlc=mlc)
    u, v = np.meshgrid(np.arange(-8, 8), np.arange(-8, 8))
    bixels = Bixels(5.0, np.stack([u.ravel(), v.ravel()], axis=1).astype(np.int32))
    voxels = np.flatnonzero(body_mask(red, red.grid))
    geometry = BeamGeometry(10.0, CENTRE, "HFS")
    for machine in (OPEN, MACHINE):
        result = plan_dose(
            Plan((beam,)), red, machine, dose_grid=red.grid, patient_position="HFS", engine="beamlet"
        ).fraction_dose_gy
        matrix = influence_matrix(red, [geometry], machine, bixels=[bixels], voxels=voxels, dose_grid=red.grid)
        leak = machine.model.mlc_transmission
        expected = matrix.dose((leak * 100 + (1 - leak) * weights).ravel())
        difference = np.abs(result.array.ravel()[voxels] - expected) / expected.max()
        assert difference.max() < 0.015
        assert difference.mean() < 0.002  # the matrix knows no jaws and nothing beyond them


def test_sliding_window_delivers_its_leaf_separation() -> None:
    """A window of 20 mm that crosses 100 mm opens every cell it passes for a fifth of the MU (less at the ends)."""
    mlc = MultileafCollimator((-50.0, -25.0, 0.0, 25.0, 50.0))
    cps = []
    for weight, left in ((0.0, -60.0), (1.0, 40.0)):
        leaves = np.stack([np.full(4, left), np.full(4, left + 20.0)])
        cps.append(ControlPoint(weight, 0.0, CENTRE, jaw_x_mm=(-80.0, 80.0), jaw_y_mm=(-50.0, 50.0), leaves_mm=leaves))
    beam = Beam(1, "dmlc", 200.0, tuple(cps), mlc=mlc)
    (fluence,) = fluence_maps(beam, OPEN.model, patient_position="HFS")
    centres = (fluence.edges_u_mm[:-1] + fluence.edges_u_mm[1:]) / 2
    row = fluence.mu[len(fluence.mu) // 2]
    np.testing.assert_allclose(row[np.abs(centres) < 38], 40.0, rtol=0.03)
    assert row.sum() * 1.25 == pytest.approx(200 * 20, rel=1e-6)
    assert np.all(row[np.abs(centres) > 61] == 0)
    assert fluence.meterset == 200.0


def test_transmission_of_leaves_and_jaws() -> None:
    mlc = MultileafCollimator((-50.0, 0.0, 50.0), axis="Y")
    leaves = np.array([[-30.0, 10.0], [20.0, 10.0]])
    beam = replace(open_beam(), mlc=mlc)
    beam = replace(beam, control_points=control_points(0.0, leaves_mm=leaves))
    (fluence,) = fluence_maps(beam, MACHINE.model, patient_position="HFS")
    u, v = (-(e[0] / 1.25) for e in (fluence.edges_u_mm, fluence.edges_v_mm))

    def at(x: float, y: float) -> float:
        return float(fluence.relative[int(y / 1.25 + v), int(x / 1.25 + u)])

    leaf, jaw = MACHINE.model.mlc_transmission, MACHINE.model.jaw_transmission
    assert at(-20, 0) == pytest.approx(1.0)  # first pair, open from −30 to 20 along Y
    assert at(-20, 30) == pytest.approx(leaf)
    assert at(20, 0) == pytest.approx(leaf)  # second pair, closed
    assert at(60, 0) == pytest.approx(jaw)  # beyond the leaves: jaws only
    assert at(-20, 60) == pytest.approx(jaw * leaf)


def test_coverage_of_cells() -> None:
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_allclose(
        coverage(edges, np.array([0.25, 5.0]), np.array([2.5, 6.0])), [[0.75, 1, 0.5], [0, 0, 0]]
    )


def test_arc_is_the_sum_of_its_directions() -> None:
    """An arc of 40° in both senses, against static beams every 4° of a tenth of the MU."""
    red = mixed_patient()
    jaws = {"jaw_x_mm": (-20.0, 20.0), "jaw_y_mm": (-20.0, 20.0)}
    static = Plan(tuple(open_beam(322.0 + 4 * n, mu=10.0, number=n + 1, **jaws) for n in range(10)))
    expected = plan_dose(static, red, MACHINE, dose_grid=red.grid, patient_position="HFS").fraction_dose_gy.array
    for start, stop, sense in ((320.0, 0.0, "CW"), (0.0, 320.0, "CC")):
        cps = tuple(ControlPoint(w, g, CENTRE, gantry_direction=sense, **jaws) for w, g in ((0.0, start), (1.0, stop)))
        arc = Plan((Beam(1, "arc", 100.0, cps),))
        result = plan_dose(arc, red, MACHINE, dose_grid=red.grid, patient_position="HFS")
        np.testing.assert_allclose(result.fraction_dose_gy.array, expected, atol=1e-4 * expected.max())
    assert 920 < result.beams[0].ssd_mm < 960


def test_patient_of_the_day_on_an_oblique_grid() -> None:
    """Patient and dose grid rotated together with the isocentre's beam: the same doses in the patient."""
    red = mixed_patient()
    turn = RigidTransform.from_parameters(rotation_deg=(0, 0, 20.0), centre_lps=CENTRE)
    straight = plan_dose(
        Plan((open_beam(30.0),)), red, MACHINE, dose_grid=red.grid, patient_position="HFS"
    ).fraction_dose_gy
    moved = red.with_grid(red.grid.transformed(turn))
    turned = plan_dose(
        Plan((open_beam(50.0),)), moved, MACHINE, dose_grid=moved.grid, patient_position="HFS"
    ).fraction_dose_gy
    difference = np.abs(turned.array - straight.array) / straight.array.max()
    assert np.percentile(difference, 99.5) < 0.01
    assert difference.max() < 0.02


def test_positions_of_the_patient() -> None:
    red = mixed_patient()
    doses = [
        plan_dose(
            Plan((open_beam(gantry, collimator_deg=collimator, jaw_x_mm=(-10.0, 30.0)),)),
            red,
            MACHINE,
            dose_grid=red.grid,
            patient_position=position,
        ).fraction_dose_gy.array
        for position, gantry, collimator in (("HFS", 40.0, 0.0), ("HFP", 220.0, 0.0), ("FFS", 320.0, 180.0))
    ]
    for other in doses[1:]:
        np.testing.assert_allclose(other, doses[0], atol=1e-4 * doses[0].max())


def test_beams_add_up_and_isocentre_dose_is_that_of_the_grid() -> None:
    red = mixed_patient()
    plan = Plan((open_beam(0.0), open_beam(90.0, number=2, mu=50.0)))
    both = plan_dose(plan, red, MACHINE, dose_grid=red.grid, patient_position="HFS")
    single = [
        plan_dose(Plan((b,)), red, MACHINE, dose_grid=red.grid, patient_position="HFS").fraction_dose_gy.array
        for b in plan.beams
    ]
    np.testing.assert_allclose(both.fraction_dose_gy.array, sum(single), rtol=1e-5, atol=1e-6)
    at_isocentre = sum(b.dose_at_isocentre_gy for b in both.beams)
    assert float(both.fraction_dose_gy.sample(CENTRE)) == pytest.approx(at_isocentre, rel=0.005)
    assert both.beams[0].dose_at_point_gy is None


def test_cavities_belong_to_the_body_and_air_outside_gets_no_dose() -> None:
    water = water_box((100.0, 100.0, 60.0), top_lps=(0.0, -50.0, 10.0))
    array = water.array.copy()
    array[:, 10:14, 10:14] = 0.0012
    mask = body_mask(water.with_array(array), water.grid)
    np.testing.assert_array_equal(mask, water.array == 1)


def test_warnings_outside_the_commissioned_range() -> None:
    water = water_box((120.0, 420.0, 120.0), spacing_mm=10.0, top_lps=(0.0, -60.0, 10.0))
    tiny = open_beam(jaw_x_mm=(-2.0, 2.0), jaw_y_mm=(-2.0, 2.0))
    far = open_beam(number=2, jaw_x_mm=(-240.0, 40.0), jaw_y_mm=(-240.0, 40.0))
    result = plan_dose(Plan((tiny, far)), water, MACHINE, dose_grid=water.grid, patient_position="HFS")
    text = "\n".join(result.warnings)
    assert "opening of 5 mm" in text
    assert "off axis" in text
    assert "mm deep, commissioned to 300 mm" in text
    assert len(result.warnings) == len(set(result.warnings))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radiation_type": "ELECTRON"}, "only photon.*ELECTRON"),
        ({"unsupported": ("wedge",)}, "not modelled.*wedge"),
        ({"mu": 0.0}, "no MU"),
        ({"nominal_energy_mv": 10.0}, "10 MV STANDARD"),
        ({"fluence_mode": "FFF"}, "6 MV FFF"),
        ({"sad_mm": 800.0}, "800 mm"),
        ({"control_points": control_points(0.0, isocentre_lps=(300.0, 0.0, 0.0))}, "outside the patient"),
        ({"control_points": control_points(0.0, jaw_x_mm=None, jaw_y_mm=None)}, "neither jaws nor leaves"),
        ({"control_points": control_points(0.0, jaw_x_mm=(5.0, 5.0))}, "never opens"),
        ({"control_points": control_points(0.0, jaw_x_mm=(190.0, 199.0))}, "misses the patient"),
        ({"control_points": tuple(replace(cp, cumulative_weight=0.0) for cp in control_points(0.0))}, "no meterset"),
    ],
)
def test_beams_that_are_refused(change: dict[str, Any], message: str) -> None:
    red = mixed_patient()
    beam = replace(open_beam(), **change)
    with pytest.raises(PlanError, match=message):
        plan_dose(Plan((beam,)), red, MACHINE, dose_grid=red.grid, patient_position="HFS")


def test_other_refusals() -> None:
    red = mixed_patient()
    plan = Plan((open_beam(),))
    options: dict[str, Any] = {"dose_grid": red.grid, "patient_position": "HFS"}
    without = replace(MACHINE, model=replace(MACHINE.model, source=None))
    with pytest.raises(MachineError, match="no spectrum"):
        plan_dose(plan, red, without, **options)
    with pytest.raises(PlanError, match="unknown dose engine"):
        plan_dose(plan, red, MACHINE, engine="monte-carlo", **options)
    with pytest.raises(PlanError, match="another patient position"):
        plan_dose(replace(plan, patient_position="HFP"), red, MACHINE, **options)
    with pytest.raises(GeometryError, match="patient position"):
        plan_dose(plan, red, MACHINE, dose_grid=red.grid, patient_position="sitting")
    array = red.array.copy()
    array[4, 4, 4] = np.nan
    with pytest.raises(MachineError, match="finite"):
        plan_dose(plan, red.with_array(array), MACHINE, **options)


def test_dose_grid_covers_the_body_within_the_image() -> None:
    image = Grid((40, 50, 60), (2.0, 2.0, 3.0), (-60.0, -50.0, -60.0))
    body = (np.abs(image.voxel_centres_lps()) <= [40, 30, 200]).all(axis=-1)
    grid = dose_grid_for(image, Volume(body.astype(np.float32), image), spacing_mm=2.5, margin_mm=5.0)
    assert grid.is_axis_aligned
    assert grid.spacing_mm == (2.5, 2.5, 2.5)
    lower, upper = grid.to_lps((-0.5, -0.5, -0.5)), grid.to_lps(np.array(grid.shape[::-1]) - 0.5)
    np.testing.assert_allclose(lower[:2], [-46, -36], atol=1.3)
    np.testing.assert_allclose(upper[:2], [46, 36], atol=1.3)
    assert image.contains([lower + 1e-6, upper - 1e-6]).all()
    np.testing.assert_allclose([lower[2], upper[2]], [-61.5, 58.5], atol=1.3)
    with pytest.raises(StructureError, match="empty"):
        dose_grid_for(image, Volume(np.zeros(image.shape, np.float32), image))
    with pytest.raises(GeometryError, match="positive spacing"):
        dose_grid_for(image, Volume(body.astype(np.float32), image), spacing_mm=0.0)
