from __future__ import annotations

import numpy as np
import numpy.testing as npt
import pytest

from imrt_core.geometry.radiograph import ProjectionView
from imrt_core.patient import Grid, PlanError, RigidTransform, Volume
from imrt_core.phantom._siddon import two_materials
from imrt_core.phantom.radiography import KvImager, simulate_radiograph

from .. import naive_projection as naive

STILL = RigidTransform.identity()


def test_lengths_through_voxels_are_those_of_the_slow_twin() -> None:
    rng = np.random.default_rng(1)
    turn = RigidTransform.from_parameters(translation_mm=(3, 2, 1), rotation_deg=(10, 20, 30))
    grid = Grid((6, 5, 7), (2.0, 3.0, 4.0), (-6.0, -7.0, -9.0)).transformed(turn)
    soft, bone = rng.random((2, *grid.shape)).astype(np.float32)
    source = np.array([60.0, 11.0, -5.0])
    pixels = np.concatenate([rng.uniform(-15, 15, (40, 3)), rng.uniform(-50, 50, (20, 3))]) - [40, 0, 0]
    found = two_materials(soft, bone, grid.index_from_lps, source, pixels)
    assert np.count_nonzero(found[0]) > 20
    for values, material in zip(found, (soft, bone), strict=True):
        npt.assert_allclose(values, naive.through_voxels(material, grid.index_from_lps, source, pixels), atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_ray_along_an_axis(axis: int) -> None:
    grid = Grid((4, 5, 6), (1.0, 1.0, 1.0), (-2.5, -2.0, -1.5))
    source, pixel = np.array([0.1, 0.1, 0.1]), np.array([0.1, 0.1, 0.1])
    source[axis], pixel[axis] = 30.0, -30.0
    ones = np.ones(grid.shape, np.float32)
    soft, bone = two_materials(ones, 2 * ones, grid.index_from_lps, source, pixel[None])
    assert soft[0] == pytest.approx(grid.shape[2 - axis])
    assert bone[0] == pytest.approx(2 * grid.shape[2 - axis])


def slab(thickness_mm: int = 100) -> Volume:
    grid = Grid((20, thickness_mm // 5, 40), (5.0, 5.0, 5.0), (-97.5, -(thickness_mm - 5) / 2, -47.5))
    return Volume(np.zeros(grid.shape, np.float32), grid)


def view(shape: tuple[int, int] = (60, 80)) -> ProjectionView:
    return ProjectionView.from_iec(gantry_deg=0.0, patient_position="HFS", shape=shape, spacing_mm=(3.0, 3.0))


def test_water_takes_out_what_the_spectrum_says() -> None:
    imager = KvImager(scatter_share=0.0, heel=0.0, photons=1e7)
    found = simulate_radiograph(slab(), view(), STILL, seed=1, imager=imager).attenuation
    # 10 cm of tissue of density 1: the mean of exp(−μ·10) over the three lines.
    expected = -np.log(0.25 * np.exp(-2.688) + 0.45 * np.exp(-2.048) + 0.30 * np.exp(-1.823))
    assert float(found[30, 40]) == pytest.approx(expected, abs=0.01)


def test_scatter_makes_thick_parts_paler_and_air_takes_out_nothing() -> None:
    clean = simulate_radiograph(slab(200), view(), STILL, seed=1, imager=KvImager(scatter_share=0.0)).attenuation
    scattered = simulate_radiograph(slab(200), view(), STILL, seed=1).attenuation
    assert scattered[30, 40] < clean[30, 40] - 0.1
    air = slab()
    air = air.with_array(air.array - 1000)
    empty = simulate_radiograph(air, view(), STILL, seed=1, imager=KvImager(heel=0.0)).attenuation
    npt.assert_allclose(empty, 0.0, atol=0.02)


def test_the_patient_goes_on_beyond_his_ct() -> None:
    long = simulate_radiograph(slab(), view((100, 20)), STILL, seed=1).attenuation
    short = simulate_radiograph(slab(), view((100, 20)), STILL, seed=1, imager=KvImager(beyond_mm=0.0)).attenuation
    # 90 mm from the isocentre along the patient: beyond the CT, which ends at 50 mm.
    assert long[5, 10] > 1.5
    assert short[5, 10] < 0.2


def test_same_seed_same_image() -> None:
    one, same, other = (simulate_radiograph(slab(), view(), STILL, seed=s).attenuation for s in (3, 3, 4))
    npt.assert_array_equal(one, same)
    assert np.any(one != other)


def test_what_is_no_imager_is_refused() -> None:
    with pytest.raises(PlanError, match="takes no images"):
        simulate_radiograph(slab(), view(), STILL, seed=1, imager=KvImager(photons=0.0))
