"""Deformable match against an analytic weight loss; TG-132 figures; inverse field; what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.testing as npt
import pytest

from imrt_core.patient import DisplacementField, Grid, RegistrationError, RigidTransform, Volume
from registration import DeformableMatch, day_grid, register_deformable, warp
from registration.deformable.lattice import jacobian
from registration.fields import inverse_consistency, jacobian_figures, unfolded
from registration.quality import DeformableLimits, judge_deformation

from .phantoms import Anatomy, WeightLoss, image_of_day, planning_ct

ANATOMY, LOSS = Anatomy(), WeightLoss(6.0)
TRUTH = RigidTransform.from_parameters(translation_mm=(8, -12, 30), rotation_deg=(2, -1, 3), centre_lps=(0, 10, -30))


@pytest.fixture(scope="module")
def ct() -> Volume:
    return planning_ct(ANATOMY)


@pytest.fixture(scope="module")
def day() -> Volume:
    return image_of_day(ANATOMY, TRUTH, loss=LOSS, diameter_mm=220.0)


@pytest.fixture(scope="module")
def match(ct: Volume, day: Volume) -> DeformableMatch:
    return register_deformable(ct, day, initial=TRUTH)


def _truth(day: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Points of the day in the seen body, where they lie in the planning CT, and the same without deformation."""
    q = day.grid.voxel_centres_lps()
    rigid = TRUTH.inverse().apply(q)
    material = LOSS.fixed_from_day(rigid)
    inside = (ANATOMY.hu(material) > -300) & (np.hypot(q[..., 0], q[..., 1]) < 105)
    # The last slices have no neighbour to be matched with.
    inside[:2] = inside[-2:] = False
    return q[inside], material[inside], rigid[inside]


def test_weight_loss_is_recovered(match: DeformableMatch, day: Volume) -> None:
    q, material, rigid = _truth(day)
    before = np.linalg.norm(rigid - material, axis=1)
    after = np.linalg.norm(match.fixed_from_moving.apply(q) - material, axis=1)
    moved = before > 2.0
    assert before[moved].mean() > 3.0
    assert after[moved].mean() < 1.0
    assert after.mean() < 0.45
    assert np.percentile(after, 99) < 2.5


def test_bone_follows_the_rigid_match(match: DeformableMatch, ct: Volume) -> None:
    points = ct.grid.voxel_centres_lps()[ct.array > 400]
    seen = np.hypot(*(TRUTH.apply(points)[:, :2].T)) < 100
    error = np.linalg.norm(match.moving_from_fixed.apply(points[seen]) - TRUTH.apply(points[seen]), axis=1)
    assert error.mean() < 0.25
    assert np.percentile(error, 95) < 0.6
    assert match.quality.bone_displacement_mm < 0.6


def test_figures_are_those_of_the_fields(match: DeformableMatch, ct: Volume) -> None:
    quality = match.quality
    assert quality.passed, quality.reasons
    assert quality.folded_percent == 0
    assert 0.2 <= quality.jacobian_min < 1 < quality.jacobian_max
    body = ct.with_array((ct.array > -400).astype(np.float32))
    smallest, _, folded = jacobian_figures(match.moving_from_fixed, body)
    assert smallest > 0.2
    assert folded == 0
    mean, largest = inverse_consistency(match.moving_from_fixed, match.fixed_from_moving, body)
    assert mean < 0.1
    assert largest < 1.0
    assert quality.inverse_error_mean_mm == pytest.approx(mean, abs=0.05)
    assert quality.correlation_after > quality.correlation_before
    assert match.moving_from_fixed.grid.matches(ct.grid)
    assert match.fixed_from_moving.grid.is_axis_aligned


def test_the_field_falls_to_the_rigid_match_where_nothing_is_seen(ct: Volume) -> None:
    short = image_of_day(ANATOMY, TRUTH, loss=LOSS, length_mm=70.0)
    found = register_deformable(ct, short, initial=TRUTH)
    points = ct.grid.voxel_centres_lps()
    far = TRUTH.apply(points)[..., 2] > 35 + 60
    body = (ct.array > -400) & far
    assert body.any()
    extra = np.linalg.norm(found.moving_from_fixed.apply(points[body]) - TRUTH.apply(points[body]), axis=1)
    assert extra.max() < 0.5
    assert found.quality.seen_fraction < 0.6


def test_nothing_moved_gives_nothing(ct: Volume) -> None:
    still = image_of_day(ANATOMY, TRUTH, noise_hu=30)
    found = register_deformable(ct, still, initial=TRUTH)
    assert found.quality.displacement_mean_mm < 0.35


def test_same_input_gives_the_same_bits(ct: Volume, day: Volume, match: DeformableMatch) -> None:
    again = register_deformable(ct, day, initial=TRUTH)
    npt.assert_array_equal(again.moving_from_fixed.vectors_mm, match.moving_from_fixed.vectors_mm)


def test_day_grid_covers_the_plan() -> None:
    fixed = Grid((30, 40, 50), (2.0, 2.0, 3.0), (-40, 10, 500))
    grid = day_grid(fixed, TRUTH, spacing_mm=(2.0, 2.5, 3.0))
    assert grid.is_axis_aligned
    assert grid.spacing_mm == (2.0, 2.5, 3.0)
    assert grid.contains(TRUTH.apply(fixed.voxel_centres_lps())).all()
    assert day_grid(fixed, RigidTransform.identity(), spacing_mm=2.0).shape == (45, 40, 50)


def test_jacobian_of_known_fields() -> None:
    grid = Grid((8, 9, 10), (2.0, 3.0, 4.0))
    points = grid.voxel_centres_lps()
    scaled = DisplacementField((points * [0.1, -0.2, 0.3]).astype(np.float32), grid)
    npt.assert_allclose(jacobian(scaled).array, 1.1 * 0.8 * 1.3, rtol=1e-5)
    # The determinant does not care how the voxels are stored.
    turn = RigidTransform.from_parameters(rotation_deg=(20, 30, 40))
    oblique = grid.transformed(turn)
    shear = np.array([[0.1, 0.3, 0.0], [0.0, -0.2, 0.1], [0.2, 0.0, 0.1]])
    field = DisplacementField((oblique.voxel_centres_lps() @ shear.T).astype(np.float32), oblique)
    npt.assert_allclose(jacobian(field).array, np.linalg.det(np.eye(3) + shear), rtol=1e-4)


def test_a_folded_lattice_is_unfolded() -> None:
    grid = Grid((24, 24, 24), (3.0, 3.0, 3.0))
    lattice = Grid((9, 9, 9), (9.0, 9.0, 9.0))
    vectors = np.zeros((*lattice.shape, 3))
    vectors[4, 4, 3], vectors[4, 4, 5] = (11, 0, 0), (-11, 0, 0)
    body = Volume(np.ones(grid.shape, np.float32), grid)
    repaired, turns = unfolded(vectors, lattice, body)
    assert turns > 0
    assert unfolded(repaired, lattice, body)[1] == 0
    npt.assert_allclose(repaired[0, 0], vectors[0, 0], atol=1e-6)


def test_verdicts_name_what_does_not_hold(match: DeformableMatch) -> None:
    figures = {k: v for k, v in vars(match.quality).items() if k not in ("passed", "reasons", "limits")}
    limits = DeformableLimits.for_voxel(3.0)
    assert judge_deformation(limits=limits, **figures).passed
    for change, word in (
        ({"folded_percent": 0.01}, "folds"),
        ({"inverse_error_mean_mm": 1.6}, "mean"),
        ({"inverse_error_max_mm": 3.1}, "worst"),
        ({"inverse_error_max_mm": float("nan")}, "worst"),
    ):
        verdict = judge_deformation(limits=limits, **{**figures, **change})
        assert not verdict.passed
        assert word in verdict.reasons[0]
    # Similarity never gates.
    assert judge_deformation(limits=limits, **{**figures, "correlation_after": -1.0}).passed


def test_gas_has_no_say(ct: Volume) -> None:
    # A pocket of gas that the plan does not have is no deformation.
    gas = image_of_day(replace(ANATOMY, gas_mm=9.0), TRUTH)
    found = register_deformable(ct, gas, initial=TRUTH)
    assert found.quality.folded_percent == 0
    assert found.quality.displacement_max_mm < 4.0


def test_what_cannot_be_matched_is_refused(ct: Volume, day: Volume) -> None:
    with pytest.raises(RegistrationError, match="too little of the patient"):
        register_deformable(ct, day, initial=RigidTransform.from_parameters(translation_mm=(0, 0, 900)))
    with pytest.raises(RegistrationError, match="no patient"):
        register_deformable(ct, day, initial=TRUTH, fixed_body=ct.with_array(np.zeros(ct.grid.shape)))


def test_warped_image_of_the_day_looks_like_the_plan(match: DeformableMatch, ct: Volume, day: Volume) -> None:
    moved = warp(day, match.moving_from_fixed, like=ct.grid, outside=-1000.0)
    rigid = warp(day, TRUTH, like=ct.grid, outside=-1000.0)
    skin = (np.abs(ct.array + 400) < 300) & (ct.grid.voxel_centres_lps()[..., 2] < -40)
    skin &= ct.grid.voxel_centres_lps()[..., 2] > -75
    assert np.abs(moved.array - ct.array)[skin].mean() < 0.6 * np.abs(rigid.array - ct.array)[skin].mean()
