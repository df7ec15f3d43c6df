"""The collapsed cone: its sweep against a naive twin, energy, symmetry, and depth doses by an independent sum."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imrt_core.dose import collapsed_cone_dose, plan_dose
from imrt_core.dose.collapsed_cone import fan as fan_module
from imrt_core.dose.collapsed_cone._sweep import bordered, inner, passed, sweep
from imrt_core.dose.collapsed_cone.engine import direction_dose
from imrt_core.dose.collapsed_cone.fan import fan_of
from imrt_core.dose.collapsed_cone.release import release_of
from imrt_core.dose.collapsed_cone.transport import transport
from imrt_core.dose.fluence import FluenceMap
from imrt_core.geometry import BeamGeometry
from imrt_core.geometry.raytrace import ray_volume
from imrt_core.machine import load_machine
from imrt_core.machine.axis_table import OffAxis, axis_table
from imrt_core.patient import Beam, ControlPoint, Grid, Plan, RigidTransform, Volume
from imrt_core.physics.spectrum import Spectrum
from tests.naive_dose import naive_sweep

from .phantoms import mixed_patient, water_box

MACHINE = load_machine("generic_6mv")
MODEL = MACHINE.model
SPECTRUM = Spectrum((0.5, 1.0, 2.0, 4.0), (0.2, 0.3, 0.4, 0.1))


def field(beam: BeamGeometry, x_mm: tuple[float, float], y_mm: tuple[float, float]) -> FluenceMap:
    edges = np.arange(-80.0, 81.0, 1.0)
    centres = (edges[1:] + edges[:-1]) / 2
    inside = [(centres > low) & (centres < high) for low, high in (y_mm, x_mm)]
    return FluenceMap(beam, np.outer(*inside).astype(float), edges, edges, 1.0)


def test_what_a_step_passes_on() -> None:
    """Against (1 − exp(−y))/y."""
    y = np.geomspace(1e-4, 12.0, 200)
    found = np.array([passed(np.float32(v)) for v in y])
    exact = -np.expm1(-y) / y
    assert np.abs(found / exact - 1)[y <= 6].max() < 5e-4
    assert np.abs(found / exact - 1).max() < 0.012


@pytest.mark.parametrize("across", [False, True])
def test_sweep_against_its_naive_twin(across: bool) -> None:
    rng = np.random.default_rng(3)
    shape = (7, 6, 9)
    density = rng.uniform(0.1, 1.8, shape).astype(np.float32)
    soft, hard = (rng.uniform(0.0, 1.0, shape).astype(np.float32) for _ in range(2))
    planes = shape[1] if across else shape[0]
    volume = rng.uniform(0.7, 1.4, planes).astype(np.float32)
    shift = np.array([[0.3, -0.8], [-1.0, 0.0], [0.0, 0.45], [1.0, 1.0]])
    rate = rng.uniform(0.05, 1.5, (4, planes, 3)).astype(np.float32)
    share = rng.uniform(-0.1, 0.4, (4, planes, 2, 3)).astype(np.float32)
    back = np.array([False, True, False, True])
    water = bordered(density, border=1.0)
    released = [bordered(part * density) for part in (soft, hard)]
    dose = np.zeros((2, *water.shape), dtype=np.float32)
    sweep(water, 1 / water, *released, volume, shape[2], across, shift, rate, share, back, dose)
    expected = naive_sweep(density, soft, hard, volume, across, shift, rate, share, back)
    np.testing.assert_allclose(inner(dose, shape[2]).sum(axis=0), expected, rtol=2e-3, atol=2e-4)


def test_energy_is_kept() -> None:
    """What a small opening in the middle releases to electrons is absorbed within the lattice."""
    rays = ray_volume(water_box((300.0, 300.0, 300.0)))
    fan = fan_of(
        rays,
        BeamGeometry(0.0, (0.0, 150.0, 0.0), "HFS"),
        cell_mm=4.0,
        lower_mm=np.full(2, -90.0),
        upper_mm=np.full(2, 90.0),
    )
    released = np.zeros(fan.shape, dtype=np.float32)
    planes, rows, columns = fan.shape
    released[planes // 2 - 2 : planes // 2 + 2, rows // 2 - 2 : rows // 2 + 2, columns // 2 - 2 : columns // 2 + 2] = (
        1.0
    )
    mass = fan.density * (fan.distance_mm**4)[:, None, None]
    absorbed = transport(fan, released, np.zeros_like(released), release_of(SPECTRUM).primary)
    assert (absorbed * mass).sum() / (released * mass).sum() == pytest.approx(1.0, abs=2e-3)
    assert absorbed.min() > -1e-4 * absorbed.max()


def test_result_does_not_depend_on_threads(all_threads: int) -> None:
    import numba

    red = mixed_patient()
    opening = field(BeamGeometry(40.0, (0.0, 0.0, 10.0), "HFS"), (-20.0, 30.0), (-25.0, 15.0))
    doses = []
    for count in (1, all_threads):
        numba.set_num_threads(count)
        doses.append(collapsed_cone_dose(red, [opening], MODEL, dose_grid=red.grid).array)
    np.testing.assert_array_equal(doses[0], doses[-1])


@pytest.mark.parametrize("side_mm", [30.0, 100.0])
def test_depth_dose_in_water(side_mm: float) -> None:
    """Against a sum of point kernels without cones, exponentials or cells: within 2 % from 10 to 250 mm."""
    water = water_box((300.0, 300.0, 300.0))
    depth = np.arange(12.0, 250.0, 14.0)
    beam = BeamGeometry(0.0, (0.0, 100.0, 0.0), "HFS")
    half = side_mm / 2
    line = Grid((1, 250, 1), (2.5, 1.0, 2.5), (0.0, 0.5, 0.0))
    no_leak = replace(MODEL, jaw_transmission=0.0)
    opening = field(beam, (-half, half), (-half, half))
    ours = collapsed_cone_dose(water, [opening], no_leak, dose_grid=line, cell_mm=2.5).array[0, :, 0]
    assert MODEL.source is not None
    other = axis_table(MODEL.source, OffAxis.of(MODEL), depth_mm=depth, ssd_mm=900.0, fields_mm=[(side_mm, side_mm)])[
        :, 0
    ]
    found = np.interp(depth, np.arange(250) + 0.5, ours)
    # Both are fitted to one absolute dose; the engine's own scale differs by its discretisation.
    ratio = found / other
    np.testing.assert_allclose(ratio / ratio[5], 1.0, atol=0.02)
    assert ratio[5] == pytest.approx(1.0, abs=0.03)


def test_inverse_square() -> None:
    """The same depth 100 mm further away, same field at the surface's plane: less by the square of the distance."""
    water = water_box((300.0, 300.0, 300.0))
    doses = []
    for isocentre in (0.0, -100.0):
        beam = BeamGeometry(0.0, (0.0, isocentre, 0.0), "HFS")
        half = 50.0 * 1000.0 / (1000.0 - isocentre)
        point = Grid((1, 1, 1), (2.5, 2.5, 2.5), (0.0, 20.0, 0.0))
        dose = collapsed_cone_dose(
            water, [field(beam, (-half, half), (-half, half))], MODEL, dose_grid=point, cell_mm=2.5
        )
        doses.append(float(dose.array[0, 0, 0]))
    assert doses[1] / doses[0] == pytest.approx((1020.0 / 1120.0) ** 2, rel=0.01)


def test_superposition() -> None:
    """Two half fields are one field."""
    red = mixed_patient()
    beam = BeamGeometry(70.0, (0.0, 0.0, 10.0), "HFS")
    no_leak = replace(MODEL, jaw_transmission=0.0)
    whole = field(beam, (-20.0, 20.0), (-20.0, 20.0))
    halves = [field(beam, (-20.0, 0.0), (-20.0, 20.0)), field(beam, (0.0, 20.0), (-20.0, 20.0))]
    together = collapsed_cone_dose(red, halves, no_leak, dose_grid=red.grid, cell_mm=2.5).array
    expected = collapsed_cone_dose(red, [whole], no_leak, dose_grid=red.grid, cell_mm=2.5).array
    assert np.abs(together - expected).max() < 0.01 * expected.max()


def turned_plan(gantry_deg: float, isocentre: tuple[float, float, float]) -> Plan:
    state: dict[str, Any] = {"isocentre_lps": isocentre, "jaw_x_mm": (-30.0, 20.0), "jaw_y_mm": (-20.0, 35.0)}
    return Plan((Beam(1, "field", 100.0, tuple(ControlPoint(w, gantry_deg, **state) for w in (0.0, 1.0))),))


@pytest.mark.parametrize("turn_deg", [37.0, 90.0])
def test_patient_and_gantry_turned_together(turn_deg: float) -> None:
    """The dose at the same place of the anatomy stays within 1 % of the maximum (beside the edge of the body)."""
    red = mixed_patient()
    isocentre = (0.0, 0.0, 10.0)
    before = plan_dose(
        turned_plan(20.0, isocentre), red, MACHINE, dose_grid=red.grid, patient_position="HFS"
    ).fraction_dose_gy
    # Gantry angles grow from anterior to the patient's left: about the axis +z of LPS, seen from the feet.
    motion = RigidTransform.from_parameters(
        translation_mm=(0.0, 0.0, 0.0), rotation_deg=(0.0, 0.0, turn_deg), centre_lps=isocentre
    )
    grid = red.grid.transformed(motion)
    after = plan_dose(
        turned_plan(20.0 + turn_deg, isocentre),
        red.with_grid(grid),
        MACHINE,
        dose_grid=grid,
        patient_position="HFS",
    ).fraction_dose_gy
    assert np.abs(after.array - before.array).max() < 0.01 * before.array.max()


@pytest.mark.parametrize(("position", "signs"), [("HFP", (-1, -1, 1)), ("FFS", (-1, 1, -1)), ("FFP", (1, -1, -1))])
def test_patient_positions(position: str, signs: tuple[int, int, int]) -> None:
    """The patient lying otherwise, density turned with him: the machine sees the same, so the dose is the same."""
    red = mixed_patient()
    isocentre = (4.0, -6.0, 10.0)
    before = plan_dose(
        turned_plan(20.0, isocentre), red, MACHINE, dose_grid=red.grid, patient_position="HFS"
    ).fraction_dose_gy.array
    flips = tuple(slice(None, None, s) for s in signs[::-1])
    first = np.array(red.grid.origin_lps)
    last = first + np.array(red.grid.spacing_mm) * (np.array(red.grid.shape[::-1]) - 1)
    origin = tuple(float(f if s > 0 else -e) for f, e, s in zip(first, last, signs, strict=True))
    grid = Grid(red.grid.shape, red.grid.spacing_mm, origin)  # type: ignore[arg-type]
    other = Volume(np.ascontiguousarray(red.array[flips]), grid)
    there = tuple(float(s * c) for s, c in zip(signs, isocentre, strict=True))
    after = plan_dose(
        turned_plan(20.0, there),
        other,
        MACHINE,
        dose_grid=grid,
        patient_position=position,  # type: ignore[arg-type]
    ).fraction_dose_gy.array
    np.testing.assert_allclose(after[flips], before, atol=2e-3 * before.max())


@pytest.mark.parametrize("beside_mm", [0.0, 33.0, 72.0])
def test_few_points_get_the_dose_that_they_have_among_many(beside_mm: float) -> None:
    """The fine lattice covers what the electrons of few points come from: in the field, at its edge, far from it."""
    red = mixed_patient()
    beam = BeamGeometry(20.0, (0.0, 0.0, 0.0), "HFS")
    rays, opening = ray_volume(red), field(beam, (-30.0, 30.0), (-30.0, 30.0))
    few = np.array([[beside_mm, y, z] for y in (-8.0, 5.0) for z in (-4.0, 6.0)])
    ends = np.array([[-70.0, -70.0, -45.0], [75.0, 70.0, 65.0], [0.0, 0.0, 0.0]])
    alone = direction_dose(MODEL, rays, opening, few, cell_mm=3.0)
    among = direction_dose(MODEL, rays, opening, np.concatenate([few, ends]), cell_mm=3.0)
    np.testing.assert_allclose(alone.gy, among.gy[:4], atol=2e-3 * float(among.gy[-1]))
    assert alone.deepest_mm == among.deepest_mm > 0


def test_lattices_are_kept_with_the_patient_and_go_with_it() -> None:
    red = mixed_patient()
    rays = ray_volume(red)
    beam = BeamGeometry(30.0, (0.0, 0.0, 10.0), "HFS")
    corners = {"lower_mm": np.array([-30.0, -20.0]), "upper_mm": np.array([30.0, 20.0])}
    first = fan_of(rays, beam, cell_mm=5.0, **corners)
    assert fan_of(rays, beam, cell_mm=5.0, **corners) is first
    assert fan_of(rays, beam, cell_mm=4.0, **corners) is not first
    other = fan_of(ray_volume(red.with_array(red.array * np.float32(0.5))), beam, cell_mm=5.0, **corners)
    assert other.depth_mm.max() < 0.6 * first.depth_mm.max()
    gone = weakref.ref(first)
    del rays, first
    gc.collect()
    assert gone() is None


def test_lattices_beyond_the_memory_limit_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_module, "KEPT_BYTES", 1)
    rays = ray_volume(mixed_patient())
    corners = {"lower_mm": np.array([-30.0, -20.0]), "upper_mm": np.array([30.0, 20.0])}
    beams = [BeamGeometry(angle, (0.0, 0.0, 10.0), "HFS") for angle in (0.0, 90.0)]
    first = fan_of(rays, beams[0], cell_mm=5.0, **corners)
    fan_of(rays, beams[1], cell_mm=5.0, **corners)
    again = fan_of(rays, beams[0], cell_mm=5.0, **corners)
    assert again is not first
    np.testing.assert_array_equal(again.density, first.density)


def test_nothing_negative_travels_on_from_a_cell_that_absorbs_all() -> None:
    """The continued fraction alone would let a part of the energy come out again, with the other sign."""
    shape = (6, 5, 7)
    density = np.full(shape, 1.8, dtype=np.float32)
    soft = np.zeros(shape, dtype=np.float32)
    soft[1, 2, 3] = 1.0
    water = bordered(density, border=1.0)
    dose = np.zeros((1, *water.shape), dtype=np.float32)
    sweep(
        water,
        1 / water,
        bordered(soft * density),
        bordered(np.zeros_like(soft)),
        np.ones(6, dtype=np.float32),
        7,
        False,
        np.array([[0.2, -0.3]]),
        np.full((1, 6, 3), 800.0, dtype=np.float32),
        np.full((1, 6, 2, 3), 1 / 3, dtype=np.float32),
        np.array([False]),
        dose,
    )
    found = inner(dose[0], 7)
    assert found.min() >= 0.0
    assert found.sum() == pytest.approx(1.0, abs=1e-5)
