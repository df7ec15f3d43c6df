"""Breathing: a known motion is found, its ITV is the union of all places, and the day's phases match the plan's."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.patient import RegistrationError, RigidTransform, Structure, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure, structure_from_mask
from registration import RespiratoryMotion, internal_target_volume, match_breathing, respiratory_motion

from . import breathing

#: Share of the full expiration in each phase: most of the time is spent near it, as patients do.
SHARES = (0.0, 0.55, 1.0, 0.8)


def target_mask() -> Volume:
    inside = np.linalg.norm(breathing.GRID.voxel_centres_lps() - breathing.TUMOUR_LPS, axis=-1) <= breathing.RADIUS_MM
    return Volume(inside.astype(np.float32), breathing.GRID)


@pytest.fixture(scope="module")
def phases() -> list[Volume]:
    return [breathing.phase(share, seed=n) for n, share in enumerate(SHARES)]


@pytest.fixture(scope="module")
def tumour() -> Structure:
    return structure_from_mask(target_mask(), number=1, name="GTV", interpreted_type="GTV")


@pytest.fixture(scope="module")
def motion(phases: list[Volume], tumour: Structure) -> RespiratoryMotion:
    return respiratory_motion(phases, reference=0, structures=StructureSet((tumour,)), targets=["GTV"])


def test_a_known_motion_is_found(motion: RespiratoryMotion) -> None:
    """Displacement of every phase within 1 mm, signs of the LPS axes included; the reference does not move."""
    expected = np.array([breathing.tumour_displacement(share) for share in SHARES])
    (found,) = motion.structures
    np.testing.assert_allclose(found.displacement_mm, expected, atol=1.0)
    assert found.displacement_mm[0] == (0.0, 0.0, 0.0) and motion.quality[0] is None
    np.testing.assert_allclose(found.amplitude_mm, np.ptp(expected, axis=0), atol=1.0)
    np.testing.assert_allclose(found.mean_mm, expected.mean(axis=0), atol=0.7)
    assert found.largest_mm == pytest.approx(np.linalg.norm(expected[2]), abs=1.0)
    # the mean of the shares is 0.59
    assert motion.mid_ventilation == 1
    assert all(q is None or q.folded_percent == 0 for q in motion.quality)


def test_shares_of_time_move_the_mean(phases: list[Volume], tumour: Structure) -> None:
    drawn = StructureSet((tumour,))
    options = {"reference": 0, "structures": drawn, "targets": ["GTV"]}
    found = respiratory_motion(phases[:2], weights=[0.0, 3.0], **options)  # type: ignore[arg-type]
    assert found.mid_ventilation == 1
    assert found.structures[0].mean_mm == pytest.approx(found.structures[0].displacement_mm[1])
    for wrong in ([1.0], [1.0, np.nan], [0.0, 0.0], [1.0, -1.0]):
        with pytest.raises(RegistrationError, match="shares of time"):
            respiratory_motion(phases[:2], weights=wrong, **options)  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match="two phases"):
        respiratory_motion(phases[:1], **options)  # type: ignore[arg-type]


def test_the_itv_is_the_union_of_all_places(motion: RespiratoryMotion, phases: list[Volume], tumour: Structure) -> None:
    itv = internal_target_volume(tumour, motion, like=phases[0])
    assert itv.name == "ITV_GTV" and itv.interpreted_type == "GTV"
    low, high = (breathing.GRID.to_index(breathing.TUMOUR_LPS + s * np.array([24.0, 26.0, 32.0])) for s in (-1.0, 1.0))
    fine = breathing.GRID.cropped(np.floor(low), np.ceil(high)).resampled((1.0, 1.0, 3.0))
    found = mask_from_structure(itv, fine).array > 0.5
    points = fine.voxel_centres_lps()
    truth = np.logical_or.reduce([breathing.in_tumour(points, share) for share in SHARES])
    dice = 2.0 * np.sum(found & truth) / (found.sum() + truth.sum())
    alone = mask_from_structure(tumour, fine).array > 0.5
    assert dice > 0.93
    assert 2.0 * np.sum(alone & truth) / (alone.sum() + truth.sum()) < 0.85
    # nothing of the drawn target is lost
    assert np.sum(alone & ~found) < 0.02 * alone.sum()


@pytest.mark.parametrize("count", [4, 1])
def test_the_day_against_the_plan(phases: list[Volume], count: int) -> None:
    """A baseline shift on top of breathing, the patient elsewhere on the table: 4D-CBCT, and one image of mid-cycle."""
    pose = RigidTransform.from_parameters(translation_mm=(6.0, -5.0, 4.0), rotation_deg=(1.0, -1.5, 2.0))
    baseline = (0.0, -3.0, 2.0)
    shares = SHARES if count == 4 else (float(np.mean(SHARES)),)
    day = [breathing.phase(s, shift_mm=baseline, pose=pose, noise_hu=30.0, seed=20 + n) for n, s in enumerate(shares)]
    planned = [breathing.tumour_displacement(share) for share in SHARES]
    found = match_breathing(phases[0], day, target=target_mask(), planned_mm=planned)
    assert found.passed and len(found.phases) == count, found.reasons
    centre = np.zeros(3)
    np.testing.assert_allclose(found.bones.moving_from_fixed.apply(centre), pose.apply(centre), atol=0.5)
    expected = breathing.tumour_displacement(0.0, baseline)
    np.testing.assert_allclose(found.baseline_shift_mm, expected, atol=1.0)
    if count == 4:
        np.testing.assert_allclose(found.amplitude_mm, breathing.tumour_displacement(1.0), atol=1.2)


def test_a_target_far_from_the_reference_is_looked_for_where_the_plan_saw_it(phases: list[Volume]) -> None:
    """Beyond the reach of a match that starts at the bones; without the planned places no mean is stated."""
    far = 2.2
    day = [breathing.phase(far, noise_hu=30.0, seed=31), breathing.phase(0.0, noise_hu=30.0, seed=32)]
    planned = [breathing.tumour_displacement(share) for share in (far, 0.0)]
    found = match_breathing(phases[0], day, target=target_mask(), planned_mm=planned)
    assert found.passed, found.reasons
    np.testing.assert_allclose(found.phases[0].shift_mm, planned[0], atol=1.0)
    np.testing.assert_allclose(found.baseline_shift_mm, 0.0, atol=0.7)
    lost = match_breathing(phases[0], day, target=target_mask())
    assert not lost.phases[0].passed and lost.phases[1].passed
    assert not lost.passed and np.isnan(lost.baseline_shift_mm).all() and np.isnan(lost.mean_mm).all()


def test_a_day_without_phases_or_target_is_refused(phases: list[Volume]) -> None:
    with pytest.raises(RegistrationError, match="one grid"):
        match_breathing(phases[0], [], target=target_mask())
    empty = target_mask().with_array(np.zeros(breathing.GRID.shape, dtype=np.float32))
    with pytest.raises(RegistrationError, match="target is empty"):
        match_breathing(phases[0], phases[:1], target=empty)
