"""The target match: a target that moved against the bones is found with its sign, and what says nothing says so."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imrt_core.patient import Grid, RigidTransform, Volume
from registration import register_rigid
from tests.registration.phantoms import _inside

GRID = Grid((48, 72, 110), (3.0, 3.0, 3.0), (-163.0, -106.0, -70.0))
TARGET_MM = (24.0, 17.0, 22.0)
POSE = RigidTransform.from_parameters(translation_mm=(7.0, -4.0, 5.0), rotation_deg=(1.5, -1.0, 3.0))


def _ball(p: NDArray[np.float64], centre: tuple[float, float, float], radii: tuple[float, float, float]) -> object:
    q = (p - np.array(centre)) / np.array(radii)
    return (np.sqrt(np.sum(q * q, axis=-1)) - 1.0) * min(radii)


def pelvis_hu(p: NDArray[np.float64], shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Muscle with femoral heads, sacrum and symphysis; in the middle fat around a target that lies ``shift`` away."""
    x, y = p[..., 0] / 150.0, p[..., 1] / 95.0
    skin = (np.sqrt(x * x + y * y) - 1.0) * 95.0
    hu = -1000.0 + 1050.0 * _inside(skin)
    hu += 12.0 * np.cos(p[..., 0] / 9) * np.cos(p[..., 1] / 11 + 1) * np.cos(p[..., 2] / 10) * _inside(skin)
    for side in (-1.0, 1.0):
        hu += 600.0 * _inside(_ball(p, (side * 95.0, 0.0, 0.0), (24.0, 24.0, 24.0)))  # type: ignore[arg-type]
        hu += 500.0 * _inside(_ball(p, (side * 80.0, -5.0, 45.0), (12.0, 20.0, 30.0)))  # type: ignore[arg-type]
    hu += 500.0 * _inside(_ball(p, (0.0, 72.0, 30.0), (30.0, 10.0, 35.0)))  # type: ignore[arg-type]
    hu += 550.0 * _inside(_ball(p, (0.0, -60.0, -10.0), (25.0, 9.0, 14.0)))  # type: ignore[arg-type]
    hu += -140.0 * _inside(_ball(p, (0.0, 0.0, 0.0), (44.0, 40.0, 44.0)))  # type: ignore[arg-type]
    moved = p - shift
    target = _inside(_ball(moved, (0.0, 0.0, 0.0), TARGET_MM))  # type: ignore[arg-type]
    return hu + (135.0 + 15.0 * np.cos(moved[..., 0] / 6) * np.cos(moved[..., 2] / 7)) * target


def image(shift: tuple[float, float, float] = (0.0, 0.0, 0.0), *, pose: RigidTransform | None = None) -> Volume:
    points = GRID.voxel_centres_lps()
    where = points if pose is None else pose.inverse().apply(points)
    noise = np.random.default_rng(5 if pose is None else 6).normal(0.0, 15.0, GRID.shape)
    return Volume((pelvis_hu(where, np.array(shift)) + noise).astype(np.float32), GRID)


@pytest.fixture(scope="module")
def planning() -> Volume:
    return image()


def target_mask(
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0), radii: tuple[float, float, float] = TARGET_MM
) -> Volume:
    inside = np.asarray(_ball(GRID.voxel_centres_lps(), centre, radii)) <= 0.0
    return Volume(inside.astype(np.float32), GRID)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.0, 5.0, 0.0), (-3.0, 0.0, 0.0), (1.0, -4.0, 3.5)])
def test_a_target_that_moved_against_the_bones(planning: Volume, shift: tuple[float, float, float]) -> None:
    """The shift is stated along the planning axes, whatever the pose of the day."""
    match = register_rigid(planning, image(shift, pose=POSE), target=target_mask())
    centre = np.zeros(3)
    np.testing.assert_allclose(match.moving_from_fixed.apply(centre), POSE.apply(centre), atol=0.3)
    assert match.target is not None and match.target.passed, match.target
    np.testing.assert_allclose(match.target.shift_mm, shift, atol=0.5)


def test_the_match_itself_does_not_depend_on_the_target(planning: Volume) -> None:
    day = image((0.0, 5.0, 0.0), pose=POSE)
    with_target = register_rigid(planning, day, target=target_mask())
    without = register_rigid(planning, day)
    assert without.target is None
    assert np.array_equal(with_target.moving_from_fixed.matrix, without.moving_from_fixed.matrix)


def test_a_target_in_bone_or_outside_the_image_says_nothing(planning: Volume) -> None:
    day = image(pose=POSE)
    in_bone = register_rigid(planning, day, target=target_mask((95.0, 0.0, 0.0), radii=(12.0, 12.0, 12.0))).target
    assert in_bone is not None and not in_bone.passed and "too little soft tissue" in in_bone.reasons[0]
    top = POSE.apply(np.zeros(3))[2] + 5.0
    half = Volume(np.where(GRID.voxel_centres_lps()[..., 2] < top, day.array, np.nan), GRID)
    cut = register_rigid(planning, half, target=target_mask((0.0, 0.0, 30.0), radii=(15.0, 15.0, 15.0))).target
    assert cut is not None and not cut.passed and any("show" in text for text in cut.reasons)


def test_a_featureless_target_is_not_believed() -> None:
    """Uniform muscle around the mask: nothing holds the match, so other starts end elsewhere or correlation is low."""

    def without_target(pose: RigidTransform | None, seed: int) -> Volume:
        points = GRID.voxel_centres_lps()
        where = points if pose is None else pose.inverse().apply(points)
        hu = pelvis_hu(where, np.array([500.0, 0.0, 0.0]))
        inside = np.linalg.norm(where, axis=-1) < 60.0
        hu = np.where(inside, 50.0, hu) + np.random.default_rng(seed).normal(0.0, 15.0, GRID.shape)
        return Volume(hu.astype(np.float32), GRID)

    match = register_rigid(
        without_target(None, 1), without_target(POSE, 2), target=target_mask(radii=(25.0, 25.0, 25.0))
    )
    assert match.target is not None and not match.target.passed
