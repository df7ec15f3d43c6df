"""DVH and metrics against analytic shapes in analytic doses, and against the naive twin."""

from __future__ import annotations

import sys
import time
from unittest import mock

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from imrt_core.evaluate import DVH, dvh
from imrt_core.patient import GeometryError, Grid, Metric, ProtocolError, Structure, StructureError, Volume
from imrt_core.patient.contours import mask_from_structure
from tests.naive_evaluate import sub_voxels_of_mask
from tests.shapes import box, cylinder, sphere

#: ``imrt_core.evaluate.dvh`` is the function; the module of that name is only to be had from here.
module = sys.modules["imrt_core.evaluate.dvh"]
GRID = Grid((48, 50, 52), (2.5, 2.5, 2.5), (-62.0, -61.0, -59.5))


def gradient(direction, *, at_origin=30.0, per_mm=0.4, grid=GRID) -> Volume:
    points = grid.voxel_centres_lps()
    dose = at_origin + per_mm * points @ (np.asarray(direction, float) / np.linalg.norm(direction))
    return Volume(dose.astype(np.float32), grid)


def sphere_height(fraction: float) -> float:
    """Height u (in radii) above which this fraction of a sphere lies."""
    return float(brentq(lambda u: (2 - 3 * u + u**3) / 4 - fraction, -1, 1))


def cylinder_height(fraction: float) -> float:
    """Height u (in radii) above which this fraction of a disc lies."""
    return float(brentq(lambda u: (np.arccos(u) - u * np.sqrt(1 - u * u)) / np.pi - fraction, -1, 1))


@pytest.mark.parametrize("direction", [(1, 0, 0), (0, 0, 1), (1, -2, 0.5)])
def test_sphere_in_a_gradient(direction):
    """Radius 25 mm, 30 Gy + 0.4 Gy/mm: D95, D50, D5, mean and V of the spherical cap."""
    structure = sphere(25.0, spacing=1.0)
    result = dvh(structure, gradient(direction))
    assert result.volume_cc == pytest.approx(4 / 3 * np.pi * 25**3 / 1000, rel=0.002)
    assert result.outside_cc == 0
    assert result.mean_gy == pytest.approx(30.0, abs=0.01)
    for percent in (98, 95, 50, 5, 2):
        expected = 30 + 0.4 * 25 * sphere_height(percent / 100)
        assert result.metric(f"D{percent}%[Gy]") == pytest.approx(expected, abs=0.04)
    cap = (2 - 3 * 0.5 + 0.5**3) / 4
    assert result.metric("V35Gy[%]") == pytest.approx(100 * cap, abs=0.4)
    assert result.metric("V35Gy[cc]") == pytest.approx(result.volume_cc * cap, rel=0.02)
    assert result.max_gy == pytest.approx(40.0, abs=0.25)
    assert result.min_gy == pytest.approx(20.0, abs=0.25)


def test_cylinder_in_a_gradient_and_the_half_slices():
    """Contours at z = −10 … 10 every 2 mm: the slab is 22 mm thick, so min and max reach ±11 mm."""
    structure = cylinder(20.0, np.arange(-10, 10.1, 2.0))
    along, across = dvh(structure, gradient((0, 0, 1))), dvh(structure, gradient((0, 1, 0)))
    assert along.volume_cc == pytest.approx(np.pi * 400 * 22 / 1000, rel=1e-3)
    for percent in (95, 50, 5):
        assert along.metric(f"D{percent}%[Gy]") == pytest.approx(30 + 0.4 * (11 - 0.22 * percent), abs=0.02)
        expected = 30 + 0.4 * 20 * cylinder_height(percent / 100)
        assert across.metric(f"D{percent}%[Gy]") == pytest.approx(expected, abs=0.02)
    assert along.max_gy == pytest.approx(34.4, abs=0.2)


def test_uniform_dose_is_met_exactly():
    """V60 of 60 Gy everywhere is 100 %, and every dose metric is 60 Gy, also with values that binary cannot hold."""
    for level in (60.0, 59.99, 0.1, 2.2):
        dose = Volume(np.full(GRID.shape, level, np.float32), GRID)
        result = dvh(sphere(15, spacing=2.5), dose)
        value = float(np.float32(level))
        for metric in ("D95%[Gy]", "D2%[Gy]", "D0.03cc[Gy]", "Max[Gy]", "Min[Gy]"):
            assert result.metric(metric) == pytest.approx(value, abs=1e-9)
        assert result.mean_gy == pytest.approx(value, abs=1e-6)
        assert result.metric(Metric.parse(f"V{level:g}Gy[%]")) == pytest.approx(100, abs=1e-6)
    assert dvh(sphere(15, spacing=2.5), dose.with_array(dose.array * 0)).metric("D95%[Gy]") == 0


def test_half_covered_structure():
    """60 Gy for x > 0, none below, sharp at a voxel face: V60 is half up to the interpolated edge."""
    points = GRID.voxel_centres_lps()
    dose = Volume(np.where(points[..., 0] > 0.5, 60.0, 0.0).astype(np.float32), GRID)
    result = dvh(cylinder(20, np.arange(-10, 10.1, 2.0)), dose)
    assert result.metric("D0.03cc[Gy]") == 60.0
    assert result.metric("Max[Gy]") == 60.0
    assert result.metric("D98%[Gy]") == pytest.approx(0, abs=0.005)
    # The dose rises between the voxel centres at x = 0.5 … 3 mm; a strip there has 40 mm of the disc's height.
    assert result.metric("V30Gy[%]") == pytest.approx(100 * (0.5 - 1.75 * 40 / (np.pi * 400)), abs=0.2)
    assert result.metric("V60Gy[%]") == pytest.approx(100 * (0.5 - 3.0 * 40 / (np.pi * 400)), abs=0.2)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000), st.tuples(*[st.floats(-6, 2)] * 3))
def test_mask_agrees_with_naive_twin(seed, shift):
    """A random mask on its own grid in a random dose that covers a part of it: the same sub-voxels, sorted."""
    rng = np.random.default_rng(seed)
    mask_grid = Grid((3, 5, 4), (2.0, 2.0, 2.0), tuple(np.array([2.0, 3.0, 4.0]) + shift))
    dose_grid = Grid((5, 5, 5), (2.0, 2.0, 2.5), (0.0, 0.0, 0.0))
    mask = Volume(rng.uniform(0.1, 1, mask_grid.shape).astype(np.float32), mask_grid)
    dose = Volume((60 * rng.random(dose_grid.shape)).astype(np.float32), dose_grid)
    with mock.patch.object(module, "_MIN_PITCH_MM", 0.5):
        ours = dvh(mask, dose)
    points, volumes = sub_voxels_of_mask(mask, divide=4)
    inside = dose_grid.contains(points)
    doses, weights = dose.sample(points[inside]), volumes[inside]
    assert ours.inside_cc == pytest.approx(weights.sum(), rel=1e-6)
    assert ours.outside_cc == pytest.approx(volumes[~inside].sum(), rel=1e-6, abs=1e-9)
    assert ours.mean_gy == pytest.approx(np.average(doses, weights=weights), abs=1e-4)
    assert (ours.min_gy, ours.max_gy) == pytest.approx((doses.min(), doses.max()), abs=1e-4)
    order = np.argsort(doses)[::-1]
    cumulative = np.cumsum(weights[order])
    for percent in (99, 95, 50, 10, 2):
        # Between two sub-voxels of 1/4000 of the volume any dose is right; within them, to one bin of 0.005 Gy.
        at = np.searchsorted(cumulative, percent / 100 * cumulative[-1])
        around = doses[order][max(at - 1, 0) : at + 2]
        assert around.min() - 0.006 <= ours.metric(f"D{percent}%[Gy]") <= around.max() + 0.006


def test_contours_and_mask_give_the_same_metrics():
    structure = sphere(20, spacing=2.0, phase=0.4)
    dose = gradient((1, 1, 1))
    fine = GRID.resampled((1.25, 1.25, 1.25))
    by_contours, by_mask = dvh(structure, dose), dvh(mask_from_structure(structure, fine), dose)
    assert by_mask.volume_cc == pytest.approx(by_contours.volume_cc, rel=1e-3)
    for metric in ("Mean[Gy]", "D95%[Gy]", "D50%[Gy]", "D2%[Gy]"):
        assert by_mask.metric(metric) == pytest.approx(by_contours.metric(metric), abs=0.06)


def test_dose_on_an_oblique_grid():
    """The same gradient sampled on a rotated grid gives the same histogram."""
    angle = np.radians(12)
    turn = ((np.cos(angle), -np.sin(angle), 0.0), (np.sin(angle), np.cos(angle), 0.0), (0.0, 0.0, 1.0))
    oblique = Grid((40, 60, 60), (2.5, 2.5, 3.0), (-70.0, -70.0, -60.0), turn)
    oblique = Grid(
        oblique.shape, oblique.spacing_mm, tuple(np.array(oblique.origin_lps) - oblique.centre_lps), oblique.direction
    )
    structure = sphere(20, spacing=2.0)
    one = dvh(structure, gradient((1, 0, 0)))
    other = dvh(structure, gradient((1, 0, 0), grid=oblique))
    assert other.metric("D95%[Gy]") == pytest.approx(one.metric("D95%[Gy]"), abs=1e-3)


def test_part_outside_the_dose_grid_is_reported_not_zero():
    """A box of which a quarter lies beyond the dose grid: the rest has 50 Gy."""
    grid = Grid((10, 10, 10), (2.0, 2.0, 2.0), (1.0, 1.0, 1.0))
    dose = Volume(np.full(grid.shape, 50.0, np.float32), grid)
    structure = Structure("Box", tuple(box(-4, 12, 4, 12, z) for z in np.arange(5.0, 15.1, 2.0)))
    result = dvh(structure, dose)
    assert result.volume_cc == pytest.approx(16 * 8 * 12 / 1000, rel=1e-6)
    assert result.outside_cc == pytest.approx(4 * 8 * 12 / 1000, rel=1e-4)
    assert result.mean_gy == pytest.approx(50)
    assert result.min_gy == 50
    assert result.metric("V20Gy[%]") == pytest.approx(100)
    assert result.bounds("V20Gy[%]") == pytest.approx((75, 100), rel=1e-4)
    assert result.bounds("Mean[Gy]") == pytest.approx((37.5, 50), rel=1e-4)
    assert result.bounds("D95%[Gy]") == pytest.approx((0, 50))
    assert result.bounds("D50%[Gy]") == pytest.approx((50, 50))
    assert result.bounds("Min[Gy]") == (0, 50)
    assert result.bounds("Volume[cc]") == pytest.approx((1.536, 1.536))


def test_refusals():
    grid = Grid((10, 10, 10), (2.0, 2.0, 2.0))
    dose = Volume(np.ones(grid.shape, np.float32), grid)
    with pytest.raises(StructureError, match="outside the dose grid"):
        dvh(sphere(10, spacing=2.0, centre=(200, 0, 0)), dose)
    with pytest.raises(StructureError, match="empty"):
        dvh(Structure("PTV", ()), dose)
    with pytest.raises(StructureError, match="empty"):
        dvh(Volume(np.zeros(grid.shape), grid), dose)
    with pytest.raises(GeometryError, match="fractions"):
        dvh(Volume(np.full(grid.shape, 2.0), grid), dose)
    bad = np.ones(grid.shape, np.float32)
    bad[5, 5, 5] = np.nan
    with pytest.raises(GeometryError, match="not finite inside"):
        dvh(sphere(5, spacing=2.0, centre=(10, 10, 10)), dose.with_array(bad))
    with pytest.raises(ProtocolError, match="prescription"):
        dvh(sphere(5, spacing=2.0, centre=(10, 10, 10)), dose).metric("D95%[%]")
    with pytest.raises(ProtocolError):
        dvh(sphere(5, spacing=2.0, centre=(10, 10, 10)), dose).metric("D95")


def histogram(doses, volumes, **more) -> DVH:
    defaults = {"name": "A", "outside_cc": 0.0, "mean_gy": 5.0, "min_gy": 0.0, "max_gy": 10.0, "grid_max_gy": 10.0}
    return DVH(
        **{**defaults, **more, "volume_cc": volumes[0]},  # type: ignore[arg-type]
        dose_edges_gy=np.array(doses, float),
        cumulative_cc=np.array(volumes, float),
    )


def test_metrics_interpolate_linearly():
    line = histogram([0, 10], [20, 0], prescription_gy=8.0)
    assert line.metric("D50%[Gy]") == pytest.approx(5)
    assert line.metric("D5cc[Gy]") == pytest.approx(7.5)
    assert line.metric("D50%[%]") == pytest.approx(62.5)
    assert line.metric("V4Gy[cc]") == pytest.approx(12)
    assert line.metric("V50%[%]") == pytest.approx(60)
    assert line.metric("D100%[Gy]") == 0
    assert line.metric("D0%[Gy]") == 10
    # The maximum where the structure is smaller than the volume asked for.
    assert line.metric("D25cc[Gy]") == 10
    # On a plateau, the highest dose that this volume still receives.
    assert histogram([0, 2, 8, 10], [20, 10, 10, 0]).metric("D50%[Gy]") == pytest.approx(8)
    assert line.scaled(2.0).metric("D50%[Gy]") == pytest.approx(10)
    assert line.scaled(2.0).metric("V8Gy[cc]") == pytest.approx(12)


def test_malformed_histograms_are_refused():
    for doses, volumes in (([0, 0], [1, 0]), ([0, 1], [1, 2]), ([0, 1], [0, 0]), ([0], [1])):
        with pytest.raises(GeometryError):
            histogram(doses, volumes)


def test_result_does_not_depend_on_threads(all_threads):
    structure, dose = sphere(20, spacing=2.5), gradient((1, 2, 3))
    many = dvh(structure, dose)
    numba.set_num_threads(1)
    one = dvh(structure, dose)
    assert np.array_equal(one.cumulative_cc, many.cumulative_cc)
    assert (one.mean_gy, one.min_gy, one.max_gy) == (many.mean_gy, many.min_gy, many.max_gy)


def test_speed_of_a_large_structure():
    """2000 cm³ in well under a second (about 0.1 s on two cores); generous, since machines are shared."""
    grid = Grid((80, 80, 80), (2.5, 2.5, 2.5), (-98.75, -98.75, -98.75))
    dose = gradient((1, 0, 0), grid=grid)
    structure = sphere(78, spacing=2.5)
    dvh(structure, dose)
    begin = time.perf_counter()
    dvh(structure, dose)
    assert time.perf_counter() - begin < 1.0
