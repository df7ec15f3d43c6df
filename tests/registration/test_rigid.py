"""Rigid match on simulated daily images with known truth; what does not belong together must fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imrt_core.patient import Grid, RegistrationError, RigidTransform, Volume
from registration import register_rigid
from registration.preprocess import PreparedImage
from registration.rigid.search import candidates

from .phantoms import Anatomy, WeightLoss, error_of, image_of_day, planning_ct

ANATOMY = Anatomy()
ISOCENTRE = np.array([0.0, 10.0, -30.0])


@pytest.fixture(scope="module")
def ct() -> Volume:
    return planning_ct(ANATOMY)


def pose(shift: tuple[float, float, float], turn: tuple[float, float, float]) -> RigidTransform:
    """Planned isocentre at ``shift`` from the machine isocentre, turned about it."""
    return RigidTransform.from_parameters(
        translation_mm=np.array(shift) - ISOCENTRE, rotation_deg=turn, centre_lps=ISOCENTRE
    )


@pytest.mark.parametrize(
    ("shift", "turn"),
    [
        ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
        ((20.0, -14.0, 11.0), (4.0, -3.0, 2.5)),
        ((-12.0, 20.0, -20.0), (-2.0, 4.0, -4.0)),
    ],
)
def test_cbct_with_weight_loss_is_matched_on_bone(
    ct: Volume, shift: tuple[float, float, float], turn: tuple[float, float, float]
) -> None:
    truth = pose(shift, turn)
    day = image_of_day(ANATOMY, truth, loss=WeightLoss(6.0), diameter_mm=200.0)
    match = register_rigid(ct, day, centre_lps=ISOCENTRE)
    mm, deg = error_of(match.moving_from_fixed, truth, ISOCENTRE)
    assert mm < 0.1
    assert deg < 0.1
    assert match.quality.passed, match.quality.reasons
    assert match.quality.region == "bone"
    # The stated uncertainty is of the error's size, not a constant.
    assert 0.005 < match.quality.uncertainty_mm < 0.3
    assert match.centre_lps == pytest.approx(tuple(ISOCENTRE))
    assert match.translation_mm == pytest.approx(truth.translation_mm(centre_lps=ISOCENTRE), abs=0.1)
    assert match.rotation_deg == pytest.approx(truth.rotation_deg(), abs=0.1)


def test_coarse_anisotropic_voxels(ct: Volume) -> None:
    truth = pose((9.0, -7.0, 4.0), (-1.0, 2.0, 3.0))
    coarse = planning_ct(ANATOMY, spacing_mm=(5.0, 5.0, 2.5))
    day = image_of_day(ANATOMY, truth, loss=WeightLoss(5.0), spacing_mm=(4.6, 4.6, 3.0), noise_hu=40)
    mm, deg = error_of(register_rigid(coarse, day).moving_from_fixed, truth, ISOCENTRE)
    assert mm < 0.3
    assert deg < 0.3


def test_same_input_gives_the_same_bits(ct: Volume) -> None:
    day = image_of_day(ANATOMY, pose((5, 5, 5), (1, 1, 1)), length_mm=150)
    first, second = (register_rigid(ct, day) for _ in range(2))
    assert first.moving_from_fixed == second.moving_from_fixed
    assert first.quality == second.quality


def test_large_rotation_is_found_by_the_second_search(ct: Volume) -> None:
    truth = pose((4, 3, -6), (0.0, 0.0, 14.0))
    day = image_of_day(ANATOMY, truth)
    mm, deg = error_of(register_rigid(ct, day).moving_from_fixed, truth, ISOCENTRE)
    assert mm < 0.2
    assert deg < 0.2


def test_a_given_region_and_start(ct: Volume) -> None:
    truth = pose((6.0, -4.0, 3.0), (1.0, -1.0, 2.0))
    day = image_of_day(ANATOMY, truth)
    points = ct.grid.voxel_centres_lps()
    region = ct.with_array((np.abs(points[..., 2] + 40) < 35).astype(np.float32))
    near = RigidTransform.from_parameters(translation_mm=(3, 2, -4)) @ truth
    match = register_rigid(ct, day, fixed_roi=region, initial=near, centre_lps=ISOCENTRE)
    mm, deg = error_of(match.moving_from_fixed, truth, ISOCENTRE)
    assert match.quality.region == "given"
    assert mm < 0.2
    assert deg < 0.3


def test_without_bone_the_body_is_matched() -> None:
    def soft(volume: Volume) -> Volume:
        return volume.with_array(np.minimum(volume.array, 60.0))

    truth = pose((6.0, -4.0, 3.0), (1.0, -1.0, 2.0))
    day = image_of_day(ANATOMY, truth, noise_hu=0, cupping_hu=0, shift_hu=0)
    match = register_rigid(soft(planning_ct(ANATOMY)), soft(day), centre_lps=ISOCENTRE)
    assert match.quality.region == "body"
    assert np.isnan(match.quality.bone_dice)
    assert error_of(match.moving_from_fixed, truth, ISOCENTRE)[0] < 0.5


def test_grids_of_any_orientation(ct: Volume) -> None:
    truth = pose((6.0, -4.0, 3.0), (1.0, -1.0, 2.0))
    day = image_of_day(ANATOMY, truth, length_mm=150)
    grid = day.grid
    # The same voxels stored from the other end of x and z: direction diag(-1, 1, -1).
    turned = Volume(
        day.array[::-1, :, ::-1],
        Grid(
            grid.shape,
            grid.spacing_mm,
            tuple(grid.to_lps([grid.shape[2] - 1, 0, grid.shape[0] - 1])),
            ((-1, 0, 0), (0, 1, 0), (0, 0, -1)),
        ),
    )
    mm, deg = error_of(register_rigid(ct, turned).moving_from_fixed, truth, ISOCENTRE)
    assert mm < 0.1
    assert deg < 0.1


def test_nan_outside_the_field_of_view(ct: Volume) -> None:
    truth = pose((6.0, -4.0, 3.0), (1.0, -1.0, 2.0))
    day = image_of_day(ANATOMY, truth, diameter_mm=180.0, length_mm=150)
    array = day.array.copy()
    array[array == -1000] = np.nan
    assert error_of(register_rigid(ct, day.with_array(array)).moving_from_fixed, truth, ISOCENTRE)[0] < 0.1


def test_another_patient_fails(ct: Volume) -> None:
    other = replace(ANATOMY, build=1.12, vertebra_mm=23.0, airway_mm=5.0)
    match = register_rigid(ct, image_of_day(other, pose((0, 0, 0), (0, 0, 0)), length_mm=150))
    assert not match.quality.passed
    assert match.quality.reasons


def test_what_cannot_be_matched_is_refused(ct: Volume) -> None:
    empty = ct.with_array(np.full(ct.grid.shape, -1000.0, np.float32))
    with pytest.raises(RegistrationError, match="moving image is empty"):
        register_rigid(ct, empty)
    noise = np.random.default_rng(0).normal(-1000, 10, size=ct.grid.shape)
    with pytest.raises(RegistrationError, match="no patient"):
        register_rigid(ct, ct.with_array(noise))
    with pytest.raises(RegistrationError, match="too small"):
        register_rigid(ct, Volume(np.zeros((4, 4, 4)), Grid((4, 4, 4), (1, 1, 1))))
    day = image_of_day(ANATOMY, pose((0, 0, 0), (0, 0, 0)), length_mm=100)
    with pytest.raises(RegistrationError, match="region of interest"):
        register_rigid(ct, day, fixed_roi=ct.with_array(np.zeros(ct.grid.shape)))
    with pytest.raises(RegistrationError, match="centre"):
        register_rigid(ct, day, centre_lps=(0, np.nan, 0))
    far = RigidTransform.from_parameters(translation_mm=(2000, 0, 0))
    with pytest.raises(RegistrationError):
        register_rigid(ct, day, initial=far)


def test_the_search_finds_translations_of_any_size(ct: Volume) -> None:
    truth = RigidTransform.from_parameters(translation_mm=(150.0, -900.0, 432.0)) @ pose((0, 0, 0), (2, 2, 2))
    day = image_of_day(ANATOMY, pose((0, 0, 0), (2, 2, 2)), diameter_mm=180)
    shifted = day.with_grid(day.grid.transformed(RigidTransform.from_parameters(translation_mm=(150.0, -900.0, 432.0))))
    score, found = candidates(PreparedImage.of(ct, "fixed"), PreparedImage.of(shifted, "moving"))[0]
    assert score > 0.8
    assert error_of(found, truth, ISOCENTRE)[0] < 8.0
