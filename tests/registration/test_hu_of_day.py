"""HU of the day on simulated truth; calibration of a cone-beam CT; masks and resolutions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest

from imrt_core.patient import DisplacementField, GeometryError, Grid, RegistrationError, RigidTransform, Volume
from registration import DensityMethod, calibrate, hu_of_day, register_deformable
from registration.preprocess import (
    PreparedImage,
    body_mask,
    bone_region,
    bounding_box,
    field_of_view,
    reduced,
    smoothed,
)

from .phantoms import Anatomy, WeightLoss, image_of_day, planning_ct

ANATOMY, LOSS = Anatomy(), WeightLoss(6.0)
TRUTH = RigidTransform.from_parameters(translation_mm=(8, -12, 30), rotation_deg=(2, -1, 3), centre_lps=(0, 10, -30))


@pytest.fixture(scope="module")
def ct() -> Volume:
    return planning_ct(ANATOMY)


def true_hu(anatomy: Anatomy, grid: Grid) -> np.ndarray:  # type: ignore[type-arg]
    return anatomy.hu(LOSS.fixed_from_day(TRUTH.inverse().apply(grid.voxel_centres_lps())))


def test_hu_of_day_with_gas_and_weight_loss(ct: Volume) -> None:
    today = replace(ANATOMY, gas_mm=9.0)
    day = image_of_day(today, TRUTH, loss=LOSS, diameter_mm=200.0)
    match = register_deformable(ct, day, initial=TRUTH)
    result = hu_of_day(ct, day, match=match)
    assert result.passed, result.reasons
    assert "deformed" in result.method
    grid = result.hu.grid
    assert grid.matches(match.fixed_from_moving.grid)
    truth = true_hu(today, grid)
    q = grid.voxel_centres_lps()
    seen = (np.hypot(q[..., 0], q[..., 1]) < 95) & (np.abs(q[..., 2]) < 85)
    muscle = seen & (truth > 20) & (truth < 90)
    assert abs(np.mean((result.hu.array - truth)[muscle])) < 12
    # Gas: 4/3 π 9³ = 3.05 cm³.
    assert result.gas_added_cc == pytest.approx(3.05, rel=0.35)
    gas = seen & (truth < -850) & (np.linalg.norm(q - TRUTH.apply([24, -22, -45]), axis=-1) < 8)
    assert gas.sum() > 25
    assert np.mean(result.hu.array[gas] < -700) > 0.9
    # Water-equivalent thickness of the whole body, seen part: within 1 %.
    weight = np.clip(result.hu.array + 1000, 0, 2000)[seen].sum() / np.clip(truth + 1000, 0, 2000)[seen].sum()
    assert weight == pytest.approx(1.0, abs=0.012)
    assert abs(result.muscle_error_hu) < 10
    assert 0.5 < result.fov_coverage < 1.0
    assert result.shading_min_hu < -20


def test_the_image_itself_and_bulk_values(ct: Volume) -> None:
    """Mean HU of muscle and water-equivalent thickness against truth, noise taken as it is; air outside the body."""
    day = image_of_day(replace(ANATOMY, gas_mm=9.0), TRUTH, loss=LOSS, diameter_mm=200.0)
    grid = Grid((50, 60, 60), (3.0, 3.0, 3.0), (-85.0, -100.0, -60.0))
    truth = true_hu(replace(ANATOMY, gas_mm=9.0), grid)
    q = grid.voxel_centres_lps()
    seen = (np.hypot(q[..., 0], q[..., 1]) < 95) & (np.abs(q[..., 2]) < 60)
    muscle, far = seen & (truth > 20) & (truth < 90), seen & (truth < -990)
    for method in (DensityMethod.CORRECTED_IMAGE, DensityMethod.BULK):
        found = hu_of_day(ct, day, match=TRUTH, grid=grid, method=method)
        assert abs(np.mean((found.hu.array - truth)[muscle])) < 25, method
        weight = np.clip(found.hu.array + 1000, 0, 2000)[seen].sum() / np.clip(truth + 1000, 0, 2000)[seen].sum()
        assert weight == pytest.approx(1.0, abs=0.025), method
        assert np.mean(found.hu.array[far] == -1000.0) > 0.9, method
        assert "planning CT" in found.method or "one HU each" in found.method
        # the gas is there whatever the method
        gas = seen & (truth < -850) & (np.linalg.norm(q - TRUTH.apply([24, -22, -45]), axis=-1) < 8)
        assert np.mean(found.hu.array[gas] < -600) > 0.7, method
    assert len(np.unique(found.hu.array)) <= 5


def test_beyond_the_field_of_view_the_plan_fills_in(ct: Volume) -> None:
    day = image_of_day(ANATOMY, TRUTH, diameter_mm=120.0)
    grid = Grid((60, 70, 60), (3.0, 3.0, 3.0), (-85.0, -115.0, -60.0))
    result = hu_of_day(ct, day, match=TRUTH, grid=grid)
    q = grid.voxel_centres_lps()
    beyond = np.hypot(q[..., 0], q[..., 1]) > 66
    planned = ct.with_grid(ct.grid.transformed(TRUTH)).resampled_to(grid, outside=-1000.0)
    npt.assert_allclose(result.hu.array[beyond], planned.array[beyond], atol=0.5)
    assert "rigidly" in result.method
    assert result.fov_coverage < 0.7


def test_wrong_hu_are_a_reason(ct: Volume) -> None:
    day = image_of_day(ANATOMY, TRUTH, cupping_hu=0, shift_hu=0, noise_hu=5)
    # Fat that became muscle everywhere cannot be shading: it is the wrong image, or contrast.
    wrong = day.with_array(np.where((day.array > -400) & (day.array < 0), day.array + 190, day.array))
    grid = Grid((50, 60, 60), (3.0, 3.0, 3.0), (-85.0, -100.0, -60.0))
    result = hu_of_day(ct, wrong, match=TRUTH, grid=grid)
    assert not result.passed
    assert any("fat" in reason for reason in result.reasons)


def test_hu_of_day_refuses(ct: Volume) -> None:
    day = image_of_day(ANATOMY, TRUTH, length_mm=60)
    with pytest.raises(RegistrationError, match="grid of the day"):
        hu_of_day(ct, day, match=TRUTH)
    with pytest.raises(GeometryError, match="along the axes"):
        hu_of_day(ct, day, match=TRUTH, grid=ct.grid.transformed(TRUTH))
    with pytest.raises(RegistrationError, match="nothing of the patient"):
        hu_of_day(ct, day, match=TRUTH, grid=Grid((9, 9, 9), (3, 3, 3), (5000, 0, 0)))


def test_calibration_takes_shading_and_scale_off(ct: Volume) -> None:
    q = ct.grid.voxel_centres_lps()
    cup = 30 - 80 * np.exp(-((q[..., 0] / 60) ** 2 + (q[..., 1] / 70) ** 2))
    body = ct.array > -500
    day = ct.with_array(np.where(body, 0.9 * ct.array + cup, ct.array).astype(np.float32))
    calibration = calibrate(ct, day, np.ones(ct.grid.shape, dtype=bool))
    assert calibration.scale == pytest.approx(0.9, abs=0.04)
    back = calibration.apply(day)
    soft = (ct.array > -120) & (ct.array < 120)
    assert np.abs(back.array - ct.array)[soft].mean() < 12
    assert np.abs(day.array - ct.array)[soft].mean() > 20


def test_field_of_view_is_the_cylinder(ct: Volume) -> None:
    day = image_of_day(ANATOMY, TRUTH, diameter_mm=150.0, length_mm=60)
    q = day.grid.voxel_centres_lps()
    radius = np.hypot(q[..., 0], q[..., 1])
    seen = field_of_view(day)
    assert seen[radius < 72].mean() > 0.99
    assert not seen[radius > 75.1].any()
    assert field_of_view(ct.with_array(np.where(ct.array < -999, np.nan, ct.array))).mean() < 1
    whole = ct.with_array(np.random.default_rng(0).normal(size=ct.grid.shape))
    assert field_of_view(whole).all()


def test_body_leaves_the_couch_out() -> None:
    grid = Grid((12, 60, 60), (3.0, 3.0, 3.0), (-90, -90, 0))
    q = grid.voxel_centres_lps()
    hu = np.full(grid.shape, -1000.0)
    patient = np.hypot(q[..., 0], q[..., 1]) < 50
    hu[patient] = 30
    hu[np.hypot(q[..., 0] - 10, q[..., 1]) < 12] = -950
    hu[(q[..., 1] > 56) & (q[..., 1] < 66)] = -150
    found = body_mask(Volume(hu, grid))
    assert (found == patient).mean() > 0.995
    assert not body_mask(Volume(np.full(grid.shape, -1000.0), grid)).any()


def test_bone_drops_specks() -> None:
    grid = Grid((20, 20, 20), (2, 2, 2))
    hu = np.zeros(grid.shape)
    hu[4:10, 4:10, 4:10] = 500
    hu[15, 15, 15] = 900
    bone = bone_region(Volume(hu, grid), np.ones(grid.shape, dtype=bool))
    assert bone.sum() == 216
    lower, upper = bounding_box(bone, grid, 3.0)
    npt.assert_array_equal(lower, [2, 2, 2])
    npt.assert_array_equal(upper, [12, 12, 12])


def test_block_means_keep_their_place() -> None:
    grid = Grid((9, 10, 13), (1.0, 1.0, 2.0), (5, -3, 8))
    q = grid.voxel_centres_lps()
    linear = Volume((q @ [1.0, 2.0, -0.5]).astype(np.float32), grid)
    small = reduced(linear, 3.0)
    assert small.grid.spacing_mm == (3.0, 3.0, 2.0)
    npt.assert_allclose(small.array, small.grid.voxel_centres_lps() @ [1.0, 2.0, -0.5], atol=1e-4)
    assert reduced(linear, 0.5).grid.matches(grid)
    assert smoothed(linear, 0.0).array.dtype == np.float32


def test_prepared_image_is_cropped_to_the_patient(ct: Volume) -> None:
    wide = Grid((72, 140, 140), (3.0, 3.0, 3.0), (-210, -210, -84))
    prepared = PreparedImage.of(ct.resampled_to(wide, outside=-1000.0), "fixed")
    assert prepared.hu.grid.shape[2] < 80
    patient = ct.grid.voxel_centres_lps()[ct.array > 0]
    assert prepared.hu.grid.contains(patient).all()


def test_a_deformation_that_is_no_field_is_impossible(ct: Volume) -> None:
    with pytest.raises(GeometryError):
        DisplacementField(np.full((*ct.grid.shape, 3), np.nan, np.float32), ct.grid)
