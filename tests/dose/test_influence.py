"""The influence matrix against a naive twin, measured output factors and TPR, and the symmetries of physics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numba
import numpy as np
import pytest

from imrt_core.dose import BeamGeometry, Bixels, InfluenceMatrix, bixel_grid, influence_matrix
from imrt_core.machine import load_machine
from imrt_core.machine.scans import read_scans
from imrt_core.patient import GeometryError, Grid, MachineError, PlanError, RigidTransform, Volume
from tests import naive_dose

from .phantoms import mixed_patient, water_box

MACHINE = load_machine("generic_6mv")
CENTRE = (0.0, 0.0, 10.0)


def square(side_mm: float, width_mm: float = 5.0) -> Bixels:
    half = round(side_mm / width_mm / 2)
    u, v = np.meshgrid(np.arange(-half, half), np.arange(-half, half))
    return Bixels(width_mm, np.stack([u.ravel(), v.ravel()], axis=1).astype(np.int32))


def points_grid(points: list[tuple[float, float, float]]) -> tuple[Grid, list[int]]:
    """A grid and the voxels that are exactly these points (they must lie on whole millimetres of a line in y)."""
    y = sorted({p[1] for p in points})
    grid = Grid((1, int(y[-1] - y[0]) + 1, 1), (1.0, 1.0, 1.0), (*points[0][:1], y[0], *points[0][2:]))
    return grid, [int(p[1] - y[0]) for p in points]


def patient_matrix(beams: list[BeamGeometry], red: Volume | None = None, **options: float) -> InfluenceMatrix:
    red = red or mixed_patient()
    target = np.linalg.norm(red.grid.voxel_centres_lps() - np.array(beams[0].isocentre_lps), axis=-1) < 22
    bixels = [bixel_grid(b, red.grid.voxel_centres_lps()[target]) for b in beams]
    voxels = np.flatnonzero(red.array > 0.1)
    return influence_matrix(red, beams, MACHINE, bixels=bixels, voxels=voxels, dose_grid=red.grid, **options)


def test_entries_against_the_naive_twin() -> None:
    """Every stored and wide part, in water, bone and light tissue, within 1 % of the largest entry."""
    red = mixed_patient()
    beam = BeamGeometry(65.0, (-20.0, 0.0, 10.0), "HFS", collimator_deg=20.0, table_deg=10.0)
    bixels = Bixels(5.0, np.array([[0, 0], [-3, 1], [2, -2], [5, 6]], dtype=np.int32))
    rng = np.random.default_rng(1)
    near = np.linalg.norm(red.grid.voxel_centres_lps() - beam.isocentre_lps, axis=-1) < 45
    voxels = np.sort(rng.choice(np.flatnonzero((red.array > 0.1) & near), 12, replace=False))
    found = influence_matrix(red, [beam], MACHINE, bixels=[bixels], voxels=voxels, dose_grid=red.grid)
    points = red.grid.voxel_centres_lps().reshape(-1, 3)[voxels]
    corners = np.concatenate([bixels.index, bixels.index + 1], axis=1) * 5.0
    expected = np.array([naive_dose.influence(MACHINE.model, beam, red, corners, p) for p in points])
    difference = np.abs(found.as_scipy().toarray() - expected) / expected.max()
    assert difference.max() < 0.01
    assert difference.mean() < 0.001


def test_products_are_those_of_the_explicit_matrix() -> None:
    beams = [BeamGeometry(40.0, CENTRE, "HFS"), BeamGeometry(200.0, CENTRE, "HFS", table_deg=30.0)]
    red = mixed_patient()
    bixels = [bixel_grid(b, [CENTRE], margin_mm=12.0) for b in beams]
    voxels = np.flatnonzero(red.array > 0.1)[::40]
    matrix = influence_matrix(red, beams, MACHINE, bixels=bixels, voxels=voxels, dose_grid=red.grid)
    explicit = matrix.as_scipy()
    assert explicit.shape == matrix.shape
    rng = np.random.default_rng(2)
    w, g = rng.random(matrix.shape[1]), rng.normal(size=matrix.shape[0])
    np.testing.assert_allclose(matrix.dose(w), explicit @ w, rtol=2e-4, atol=1e-6 * float(matrix.dose(w).max()))
    gradient = explicit.T @ g
    np.testing.assert_allclose(matrix.backproject(g), gradient, atol=1e-5 * np.abs(gradient).max())
    assert [c.stop - c.start for c in matrix.columns] == [len(b) for b in bixels]


def test_adjoint_superposition_and_determinism(all_threads: int) -> None:
    matrix = patient_matrix([BeamGeometry(g, CENTRE, "HFS") for g in (0.0, 120.0, 240.0)])
    rng = np.random.default_rng(0)
    w, other = rng.random((2, matrix.shape[1]))
    g = rng.random(matrix.shape[0])
    assert float(matrix.dose(w).astype(float) @ g) == pytest.approx(float(matrix.backproject(g) @ w), rel=1e-5)
    np.testing.assert_allclose(matrix.dose(w) + matrix.dose(other), matrix.dose(w + other), rtol=1e-5)
    numba.set_num_threads(1)
    one = matrix.backproject(g), matrix.dose(w)
    numba.set_num_threads(all_threads)
    np.testing.assert_array_equal(one[0], matrix.backproject(g))
    np.testing.assert_array_equal(one[1], matrix.dose(w))


def test_absolute_calibration_in_water() -> None:
    """1 MU of an open 10×10 at SSD 100 gives 1 cGy at the depth of maximum, whatever the bixel."""
    water = water_box((300.0, 300.0, 300.0))
    beam = BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS")
    grid, voxels = points_grid([(0.0, float(d), 0.0) for d in range(5, 31)])
    for width in (5.0, 2.5):
        matrix = influence_matrix(water, [beam], MACHINE, bixels=[square(100, width)], voxels=voxels, dose_grid=grid)
        dose = matrix.dose(np.ones(matrix.shape[1]))
        assert dose.max() == pytest.approx(0.01, rel=0.005)
        assert 12 <= 5 + int(dose.argmax()) <= 17


@pytest.mark.shared_data
def test_output_factors_and_tpr_by_superposition(shared_data: Path) -> None:
    """Sums of bixels give the measured output factors (20-400 mm) and TPR beyond 15 mm within 1.5 %."""
    data = read_scans(shared_data / "beam_artiste6mv")
    (table,) = data.output_factors
    tpr = {s.field_x_mm: s for s in data.scans if s.kind == "tpr"}
    fields = (20.0, 40.0, 60.0, 100.0, 200.0, 300.0, 400.0)
    depths = (20.0, 50.0, 100.0, 150.0, 200.0)
    found = np.empty((len(depths), len(fields)))
    grid, voxel = points_grid([(0.0, 0.0, 0.0)])
    beam = BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS")
    for row, depth in enumerate(depths):
        water = water_box((500.0, 300.0, 500.0), spacing_mm=10.0, top_lps=(0.0, -depth, 0.0))
        for column, side in enumerate(fields):
            matrix = influence_matrix(water, [beam], MACHINE, bixels=[square(side)], voxels=voxel, dose_grid=grid)
            found[row, column] = matrix.dose(np.ones(matrix.shape[1]))[0]
    factor = np.interp(fields, table.field_x_mm, table.factor)
    np.testing.assert_allclose(found[1] / found[1, 3], factor, rtol=0.015)
    for column, side in enumerate(fields):
        measured = tpr[side].value[np.isin(tpr[side].position_mm, depths)]
        np.testing.assert_allclose(found[:, column] / found[1, column], measured, rtol=0.015)


def test_inverse_square() -> None:
    """Same depth, other distance, kernels narrower than the field: dose goes with (SAD/r)²."""
    narrow = replace(MACHINE, model=replace(MACHINE.model, kernel_width_mm=(1.0, 2.0, 3.0, 4.0)))
    grid, voxel = points_grid([(0.0, 0.0, 0.0)])
    dose = []
    for away in (-80.0, 0.0, 150.0):
        # The isocentre lies `away` mm above the point, which stays 100 mm deep in the same box.
        beam = BeamGeometry(0.0, (0.0, -away, 0.0), "HFS")
        water = water_box((200.0, 250.0, 200.0), top_lps=(0.0, -100.0, 0.0))
        matrix = influence_matrix(water, [beam], narrow, bixels=[square(80)], voxels=voxel, dose_grid=grid)
        dose.append(float(matrix.dose(np.ones(matrix.shape[1]))[0]) * (1000 + away) ** 2)
    np.testing.assert_allclose(dose, dose[1], rtol=2e-3)


def test_mirror_symmetry() -> None:
    water = water_box((150.0, 100.0, 150.0), top_lps=(0.0, -50.0, 0.0))
    beam = BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS")
    voxels = np.arange(water.array.size)
    matrix = influence_matrix(water, [beam], MACHINE, bixels=[square(60)], voxels=voxels, dose_grid=water.grid)
    dose = matrix.dose(np.ones(matrix.shape[1])).reshape(water.grid.shape)
    for mirrored in (dose[:, :, ::-1], dose[::-1], dose.transpose(2, 1, 0)):
        inside = (water.array == 1) & (mirrored > 0)
        np.testing.assert_allclose(mirrored[inside], dose[inside], atol=2e-3 * dose.max())


def test_turning_patient_and_gantry_together() -> None:
    """Rotate patient and voxels by any angle about the gantry's axis, and the gantry with them: the same matrix."""
    red = mixed_patient()
    dose = []
    for angle in (0.0, 37.0, 180.0):
        turn = RigidTransform.from_parameters(rotation_deg=(0, 0, angle), centre_lps=CENTRE)
        turned = red.with_grid(red.grid.transformed(turn))
        matrix = patient_matrix([BeamGeometry(25.0 + angle, CENTRE, "HFS", collimator_deg=10.0)], turned)
        assert matrix.shape[1] > 50
        dose.append(matrix.dose(np.ones(matrix.shape[1])))
    np.testing.assert_allclose(dose[1], dose[0], atol=1e-2 * dose[0].max())
    np.testing.assert_allclose(dose[2], dose[0], atol=1e-2 * dose[0].max())


def test_table_turns_the_patient() -> None:
    """A table angle is the patient turned about the vertical axis through the isocentre, the other way round."""
    red = mixed_patient()
    table = patient_matrix([BeamGeometry(70.0, CENTRE, "HFS", table_deg=25.0)])
    # Support Z is −y in LPS: +25° about Z is −25° about LPS y.
    turn = RigidTransform.from_parameters(rotation_deg=(0, -25.0, 0), centre_lps=CENTRE)
    turned = patient_matrix([BeamGeometry(70.0, CENTRE, "HFS")], red.with_grid(red.grid.transformed(turn)))
    a, b = (m.dose(np.ones(m.shape[1])) for m in (table, turned))
    np.testing.assert_allclose(a, b, atol=1e-2 * a.max())


@pytest.mark.parametrize(
    ("position", "gantry", "collimator", "table"),
    [("HFP", 215.0, 12.0, 0.0), ("FFS", -35.0, 192.0, 0.0), ("FFS", 35.0, 12.0, 180.0), ("FFP", 145.0, 192.0, 0.0)],
)
def test_patient_positions(position: str, gantry: float, collimator: float, table: float) -> None:
    """The same beam in the patient, said in the room's angles of each position."""
    supine = patient_matrix([BeamGeometry(35.0, CENTRE, "HFS", collimator_deg=12.0)])
    other = patient_matrix([BeamGeometry(gantry, CENTRE, position, collimator_deg=collimator, table_deg=table)])
    np.testing.assert_allclose(
        other.dose(np.ones(other.shape[1])), supine.dose(np.ones(supine.shape[1])), rtol=1e-4, atol=1e-7
    )


def test_density_volume_on_an_oblique_grid() -> None:
    """The same patient sampled on a rotated, finer grid gives the same dose where density is smooth."""
    red = mixed_patient()
    turn = RigidTransform.from_parameters(rotation_deg=(4.0, -3.0, 6.0), centre_lps=CENTRE)
    fine = Grid((76, 90, 106), (2.0, 2.0, 2.0), (-95.0, -85.0, -60.0)).transformed(turn)
    oblique = red.resampled_to(fine, outside=0.0012)
    beam = BeamGeometry(80.0, CENTRE, "HFS")
    voxels = np.flatnonzero((red.array > 0.9) & (np.abs(red.grid.voxel_centres_lps()[..., 2] - 10) < 20))
    bixels = [bixel_grid(beam, [CENTRE], margin_mm=30.0)]
    dose = [
        influence_matrix(r, [beam], MACHINE, bixels=bixels, voxels=voxels, dose_grid=red.grid) for r in (red, oblique)
    ]
    a, b = (m.dose(np.ones(m.shape[1])) for m in dose)
    assert np.abs(a - b).max() < 0.03 * a.max()
    assert np.abs(a - b).mean() < 0.003 * a.max()


def test_a_smaller_cutoff_only_drops_far_entries() -> None:
    beams = [BeamGeometry(10.0, CENTRE, "HFS")]
    full, short = patient_matrix(beams), patient_matrix(beams, cutoff_mm=21.0)
    assert short.entries < full.entries
    a, b = (m.dose(np.ones(m.shape[1])) for m in (full, short))
    np.testing.assert_allclose(a, b, atol=0.02 * a.max())


def test_refusals() -> None:
    red = mixed_patient()
    beam = BeamGeometry(0.0, CENTRE, "HFS")
    good = {"bixels": [square(20)], "voxels": [9000], "dose_grid": red.grid}
    with pytest.raises(PlanError, match="its bixels"):
        influence_matrix(red, [beam, beam], MACHINE, **good)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="indices"):
        influence_matrix(red, [beam], MACHINE, **{**good, "voxels": [10**9]})  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match="misses"):
        influence_matrix(red, [replace(beam, isocentre_lps=(900.0, 0.0, 0.0))], MACHINE, **good)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="distance"):
        influence_matrix(red, [replace(beam, sad_mm=800.0)], MACHINE, **good)  # type: ignore[arg-type]
    array = red.array.copy()
    array[5, 5, 5] = np.nan
    with pytest.raises(MachineError, match="finite"):
        influence_matrix(red.with_array(array), [beam], MACHINE, **good)  # type: ignore[arg-type]
    matrix = influence_matrix(red, [beam], MACHINE, **good)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="number of weights"):
        matrix.dose(np.ones(3))
    with pytest.raises(PlanError, match="finite"):
        matrix.backproject([np.nan])
