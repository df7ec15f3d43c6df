"""DRRs: against slow twins, chords of a sphere, and finite differences."""

from __future__ import annotations

import numpy as np
import numpy.testing as npt
import pytest

from imrt_core.geometry.radiograph import ProjectionView
from imrt_core.patient import Grid, RegistrationError, RigidTransform, Volume
from registration.projection import attenuation_per_mm, project
from registration.projection._kernels import integrate, integrate_with_slopes
from registration.projection.attenuation import water_and_bone_per_mm
from registration.projection.drr import project_with_slopes

from .. import naive_projection as naive

RNG = np.random.default_rng(5)
PLACED = RigidTransform.from_parameters(translation_mm=(5, -4, 3), rotation_deg=(4, -6, 8))


def rays() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A small turned volume, and rays that cross it, miss it and leave it through its ends."""
    grid = Grid((8, 8, 8), (2.0, 3.0, 4.0), (-8.0, -10.0, -16.0)).transformed(PLACED)
    source = np.array([120.0, -30.0, 10.0])
    pixels = np.concatenate([RNG.uniform(-25, 25, (60, 3)), RNG.uniform(-60, 60, (30, 3))])
    pixels[:, 0] -= 60.0
    return RNG.normal(size=grid.shape).astype(np.float32), grid.index_from_lps, source, pixels


def test_integrals_are_those_of_the_slow_twin() -> None:
    array, index, source, pixels = rays()
    total, missing = integrate(array, index, source, pixels, step_mm=0.9)
    again, missing_again, gradient, moment = integrate_with_slopes(array, index, source, pixels, step_mm=0.9)
    expected, slopes = naive.integrate(array, index, source, pixels, 0.9)
    assert np.count_nonzero(total) > 30
    assert np.count_nonzero(total == 0) > 5
    assert (missing > 1).sum() >= 5
    npt.assert_allclose(total, expected[:, 0], atol=1e-3)
    npt.assert_allclose(missing, expected[:, 1], atol=1e-6)
    npt.assert_allclose(again, total, atol=1e-5)
    npt.assert_allclose(missing_again, missing)
    npt.assert_allclose(gradient, slopes[:, :3], atol=1e-4)
    npt.assert_allclose(moment, slopes[:, 3:], atol=1e-2)


def test_chords_of_a_sphere() -> None:
    grid = Grid((90, 90, 90), (1.0, 1.0, 1.0), (-44.5, -44.5, -44.5))
    centre, radius = np.array([4.0, -6.0, 3.0]), 30.0
    edge = np.clip(radius - np.linalg.norm(grid.voxel_centres_lps() - centre, axis=-1) + 0.5, 0, 1)
    view = ProjectionView.from_iec(gantry_deg=37.0, patient_position="HFP", shape=(41, 51), spacing_mm=(3.0, 3.0))
    found = project(Volume((0.02 * edge).astype(np.float32), grid), view, RigidTransform.identity())
    away = view.pixel_centres_lps() - view.source_lps
    away /= np.linalg.norm(away, axis=-1, keepdims=True)
    distance = np.linalg.norm(np.cross(centre - view.source_lps, away), axis=-1)
    chord = 2 * np.sqrt(np.maximum(radius**2 - distance**2, 0.0))
    npt.assert_allclose(found.attenuation[distance < 28], 0.02 * chord[distance < 28], rtol=0.003, atol=0.006)
    npt.assert_allclose(found.attenuation[distance > 32], 0.0, atol=1e-6)
    assert found.attenuation.max() == pytest.approx(0.02 * 60, rel=0.01)


def test_the_day_frame_carries_the_patient() -> None:
    """Moving the patient is the same as moving his CT."""
    grid = Grid((30, 30, 30), (2.0, 2.0, 2.0), (-29.0, -29.0, -29.0))
    values = Volume(RNG.random(grid.shape).astype(np.float32), grid)
    view = ProjectionView.from_iec(gantry_deg=80.0, patient_position="FFS", shape=(30, 40), spacing_mm=(3.0, 3.0))
    moved = values.with_grid(grid.transformed(PLACED))
    one, other = project(values, view, PLACED), project(moved, view, RigidTransform.identity())
    npt.assert_allclose(one.attenuation, other.attenuation, rtol=1e-5, atol=1e-5)


def test_slopes_are_finite_differences() -> None:
    grid = Grid((40, 40, 40), (3.0, 3.0, 3.0), (-58.5, -58.5, -58.5))
    x, y, z = np.moveaxis(grid.voxel_centres_lps(), -1, 0)
    blob = 0.02 * np.exp(-((x / 13) ** 2 + ((y - 6) / 17) ** 2 + ((z + 5) / 15) ** 2 + x * y / 400))
    volume = Volume(blob.astype(np.float32), grid)
    view = ProjectionView.from_iec(gantry_deg=50.0, patient_position="HFS", shape=(30, 40), spacing_mm=(5.0, 5.0))
    centre = np.array([3.0, 2.0, -4.0])
    pose = RigidTransform.from_parameters(translation_mm=(4, 3, -2), rotation_deg=(3, 2, 1))
    _, slopes = project_with_slopes(volume, view, pose, centre_lps=centre, step_mm=0.1)
    for c in range(6):
        size = 0.01 if c < 3 else 1.0
        ends = []
        for sign in (-1, 1):
            motion = np.zeros(6)
            motion[c] = sign * size / 2
            further = RigidTransform.from_parameters(
                rotation_deg=np.rad2deg(motion[:3]), translation_mm=motion[3:], centre_lps=centre
            )
            ends.append(project(volume, view, further @ pose, step_mm=0.1).attenuation)
        expected = (ends[1] - ends[0]) / size
        # Fine steps: the number of samples of a ray jumps when the patient moves.
        assert np.linalg.norm(slopes[..., c] - expected) < 0.01 * np.linalg.norm(expected)


def test_attenuation_of_known_materials() -> None:
    water, bone = water_and_bone_per_mm(60.0)
    assert water == pytest.approx(0.02059)
    assert bone == pytest.approx(0.3148 * 1.92 / 10)
    grid = Grid((1, 1, 6), (1, 1, 1))
    hu = Volume(np.array([-1000, -500, 0, 1597, np.nan, 9000], dtype=np.float32).reshape(grid.shape), grid)
    found = attenuation_per_mm(hu).array.ravel()
    npt.assert_allclose(found[:3], [0.0, water / 2, water], rtol=1e-5)
    # Cortical bone is near 1600 HU at 70 keV.
    assert found[3] == pytest.approx(bone, rel=0.03)
    assert found[4] == 0
    # Metal is clipped at 3000 HU.
    assert bone < found[5] < 2 * bone
    with pytest.raises(RegistrationError, match="30 to 150 keV"):
        water_and_bone_per_mm(10.0)


def test_a_step_must_be_positive() -> None:
    grid = Grid((4, 4, 4), (1, 1, 1))
    view = ProjectionView.from_iec(gantry_deg=0.0, patient_position="HFS", shape=(4, 4), spacing_mm=(1.0, 1.0))
    with pytest.raises(RegistrationError, match="positive"):
        project(Volume(np.zeros(grid.shape, np.float32), grid), view, PLACED, step_mm=0.0)
