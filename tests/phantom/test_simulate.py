from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from imrt_core.patient import PlanError
from imrt_core.patient.contours import mask_from_structure
from imrt_core.phantom import (
    DigitalPatient,
    HeadNeckChange,
    Imager,
    SetupError,
    SimulatedFraction,
    bone_from_hu,
    simulate_fraction,
)

Both = tuple[DigitalPatient, SimulatedFraction]
SMALL = Imager(diameter_mm=200, length_mm=90, spacing_mm=(4.0, 4.0, 5.0))


def bony_residual_mm(fraction: SimulatedFraction) -> np.ndarray:
    """The deformation against the bones: what the full truth adds to the rigid one."""
    points = fraction.field.grid.voxel_centres_lps()
    return fraction.moving_from_fixed.inverse().apply(points + fraction.field.vectors_mm) - points


def test_bone_moves_rigidly_and_the_rest_invertibly(last_fraction: Both) -> None:
    patient, fraction = last_fraction
    residual = bony_residual_mm(fraction)
    assert np.abs(residual[patient.bone]).max() < 0.05
    spacing = fraction.field.grid.spacing_mm
    gradient = np.stack([np.stack(np.gradient(residual[..., a], *spacing[::-1])[::-1], -1) for a in range(3)], -2)
    jacobian = np.linalg.det(gradient + np.eye(3))
    assert jacobian.min() > 0.2
    largest = float(np.linalg.norm(residual, axis=-1).max())
    assert 1.0 < largest < 15.0
    # Something organic has changed by a clinical amount.
    organ = {"head-neck": "Parotid_L", "pelvis": "Bladder", "lung": "GTV"}[patient.site]
    mask = mask_from_structure(patient.planning.structures[organ], fraction.field.grid).array
    ratio = float((mask * jacobian).sum() / mask.sum())
    assert 0.5 < ratio < 1.7 and abs(ratio - 1) > 0.01


def test_truth_is_the_stated_couch_motion(last_fraction: Both) -> None:
    patient, fraction = last_fraction
    # HFS: X = +x, Y = +z, Z = −y; the shift is what brings T(p0) to the machine isocentre after the rotation.
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    found = axes @ (fraction.moving_from_fixed.apply(patient.isocentre_lps) - np.array(fraction.machine_isocentre_lps))
    rotation = axes @ fraction.moving_from_fixed.rotation.T @ axes.T
    vertical, longitudinal, lateral = fraction.shift_mm
    assert rotation @ found + (lateral, longitudinal, vertical) == pytest.approx([0, 0, 0], abs=1e-9)
    assert np.linalg.norm(fraction.shift_mm) < 12 and np.abs(fraction.rotation_deg).max() < 3


def test_image_shows_the_true_anatomy(last_fraction: Both) -> None:
    """Where the truth says a planning point is, the image has its tissue; a shift by 4 mm fits worse."""
    patient, fraction = last_fraction
    planning, image = patient.planning.ct.hu, fraction.image.hu
    k, j, i = np.nonzero(mask_from_structure(patient.planning.structures.external(), planning.grid).array > 0.99)
    chosen = np.random.default_rng(0).choice(len(k), 20000, replace=False)
    points = planning.grid.to_lps(np.stack([i, j, k], axis=-1)[chosen])
    moved = fraction.field.apply(points)
    seen = image.sample(moved)
    valid = np.isfinite(seen) & (np.hypot(moved[:, 0], moved[:, 1]) < 120)
    fixed = planning.sample(points)

    def similarity(offset: tuple[float, float, float]) -> float:
        values = image.sample(moved[valid] + offset, outside=-1000.0)
        return float(np.corrcoef(fixed[valid], values)[0, 1])

    true = similarity((0, 0, 0))
    assert true > 0.9
    for offset in ((4, 0, 0), (0, 4, 0), (0, 0, 5)):
        assert similarity(offset) < true - 0.01


def test_the_imager_degrades(head_neck: DigitalPatient, head_neck_last: SimulatedFraction) -> None:
    image, ct = head_neck_last.image, head_neck.planning.ct
    assert image.frame_of_reference_uid not in ("", ct.frame_of_reference_uid)
    assert image.patient == ct.patient
    assert image.patient_position == ct.patient_position
    assert image.hu.grid.spacing_mm != ct.hu.grid.spacing_mm
    assert image.hu.grid.shape[0] * image.hu.grid.spacing_mm[2] < ct.hu.grid.shape[0] * ct.hu.grid.spacing_mm[2]
    assert image.acquired > ct.acquired
    # The machine isocentre is the DICOM origin, in the middle of the axial field of view.
    assert np.allclose(np.array(image.hu.grid.centre_lps)[:2], 0)
    x, y = (image.hu.grid.voxel_centres_lps()[0, :, :, axis] for axis in (0, 1))
    assert np.all(image.hu.array[:, np.hypot(x, y) > Imager().diameter_mm / 2] == -1000)
    # Noise within the brainstem, at its voxels and where they are today.
    core = mask_from_structure(head_neck.planning.structures["Brainstem"], ct.hu.grid).array > 0.99
    points = ct.hu.grid.voxel_centres_lps()[core]
    planning_noise = float(ct.hu.array[core].std())
    moved = head_neck_last.field.apply(points)
    seen = image.hu.sample(moved, order=0)
    day_noise = float(np.nanstd(seen))
    assert planning_noise < 14
    assert 1.5 * planning_noise < day_noise < 60


def test_cupping_darkens_the_middle_and_the_day_shifts_the_scale(small_head_neck: DigitalPatient) -> None:
    still = SetupError(0.0, 0.0)
    change = HeadNeckChange(gland_volume_loss=0, gland_medial_mm=0, neck_loss_mm=0)
    plain = Imager(spacing_mm=(4.0, 4.0, 5.0), noise_hu=0.01, streak_hu=0.0, cupping_hu=0.0, shift_sd_hu=0.0, scale=1.0)
    images = {
        name: simulate_fraction(
            small_head_neck, 1, fractions=35, setup=still, change=change, imager=imager
        ).image.hu.array
        for name, imager in (
            ("plain", plain),
            ("cupped", replace(plain, cupping_hu=60.0)),
            ("shifted", replace(plain, shift_sd_hu=30.0)),
        )
    }
    cupping = images["cupped"] - images["plain"]
    nz, ny, nx = cupping.shape
    middle = cupping[nz // 2 - 2 : nz // 2 + 2, ny // 2 - 3 : ny // 2 + 3, nx // 2 - 3 : nx // 2 + 3].mean()
    body = images["plain"] > -200
    skin = body & ~ndimage.binary_erosion(body, iterations=2)
    assert middle < cupping[skin].mean() - 15
    shift = (images["shifted"] - images["plain"])[ndimage.binary_erosion(body, iterations=2)]
    assert abs(shift.mean()) > 1 and shift.std() < 3


def test_without_change_noise_or_error_the_image_is_the_patient(head_neck: DigitalPatient) -> None:
    fraction = simulate_fraction(
        head_neck,
        1,
        fractions=35,
        setup=SetupError(0.0, 0.0),
        change=HeadNeckChange(gland_volume_loss=0, gland_medial_mm=0, neck_loss_mm=0),
        imager=replace(SMALL, noise_hu=0.0, streak_hu=0.0, cupping_hu=0.0, shift_sd_hu=0.0, scale=1.0),
    )
    image = fraction.image.hu
    planned = image.grid.voxel_centres_lps() + np.array(head_neck.isocentre_lps)
    truth = head_neck.tissue_hu.sample(planned)
    inside = image.array > -999
    # Only the daily shading remains; linear against cubic interpolation differs at edges.
    assert float(np.median(np.abs(image.array - truth)[inside])) < 15
    assert fraction.shift_mm == pytest.approx((0, 0, 0), abs=1e-12)


def test_courses_repeat_bit_for_bit_and_differ_by_seed_and_fraction(small_head_neck: DigitalPatient) -> None:
    first = simulate_fraction(small_head_neck, 18, fractions=35, imager=SMALL)
    again = simulate_fraction(small_head_neck, 18, fractions=35, imager=SMALL)
    assert np.array_equal(first.image.hu.array, again.image.hu.array)
    assert np.array_equal(first.field.vectors_mm, again.field.vectors_mm)
    assert first.moving_from_fixed == again.moving_from_fixed and first.image.series_uid == again.image.series_uid
    for other in (
        simulate_fraction(small_head_neck, 18, fractions=35, imager=SMALL, seed=1),
        simulate_fraction(small_head_neck, 19, fractions=35, imager=SMALL),
    ):
        assert other.shift_mm != first.shift_mm
        assert other.image.series_uid != first.image.series_uid


def test_shrinkage_grows_over_the_course(small_head_neck: DigitalPatient) -> None:
    change = HeadNeckChange(variation=0.0)
    largest = [
        float(np.linalg.norm(bony_residual_mm(f), axis=-1).max())
        for f in (
            simulate_fraction(small_head_neck, n, fractions=35, imager=SMALL, change=change) for n in (1, 10, 20, 35)
        )
    ]
    assert largest[0] < 1e-3
    assert largest == sorted(largest)
    assert largest[-1] > 3


def test_patient_position_changes_the_couch_not_the_anatomy(small_head_neck: DigitalPatient) -> None:
    planning = small_head_neck.planning
    prone = replace(small_head_neck, planning=replace(planning, ct=replace(planning.ct, patient_position="HFP")))
    fraction = simulate_fraction(prone, 5, fractions=35, imager=SMALL)
    assert fraction.image.patient_position == "HFP"
    assert (
        fraction.moving_from_fixed
        == simulate_fraction(small_head_neck, 5, fractions=35, imager=SMALL).moving_from_fixed
    )
    # HFP: X = −x, Y = +z, Z = +y.
    axes = np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]])
    found = axes @ fraction.moving_from_fixed.apply(prone.isocentre_lps)
    vertical, longitudinal, lateral = fraction.shift_mm
    rotation = axes @ fraction.moving_from_fixed.rotation.T @ axes.T
    assert rotation @ found == pytest.approx([-lateral, -longitudinal, -vertical], abs=1e-9)


def test_fraction_beyond_the_course_is_refused(small_head_neck: DigitalPatient) -> None:
    with pytest.raises(PlanError, match="36"):
        simulate_fraction(small_head_neck, 36, fractions=35)


def test_bone_from_hu_finds_bone_not_noise(head_neck: DigitalPatient) -> None:
    found = bone_from_hu(head_neck.planning.ct.hu)
    dense = ndimage.binary_erosion(head_neck.bone) & (head_neck.planning.ct.hu.array > 500)
    assert np.mean(found[dense]) > 0.99
    assert np.mean(ndimage.binary_dilation(head_neck.bone)[found]) > 0.93
    assert not bone_from_hu(head_neck.planning.ct.hu, threshold_hu=4000.0).any()
