from __future__ import annotations

import numpy as np
import pytest

from imrt_core.patient import DisplacementField, GeometryError, Grid, RigidTransform, StructureSet, Volume
from imrt_core.patient.contours import structure_from_mask
from imrt_core.phantom._inverse import planning_index_of_day
from imrt_core.phantom.deformation import OrganChange, SkinRetraction, WallShift, deformation_of_day
from tests.naive_phantom import planning_index_of_day as naive_planning_index_of_day

GRID = Grid((30, 50, 50), (3.0, 3.0, 3.0), (-73.5, -73.5, -43.5))
POINTS = GRID.voxel_centres_lps()
RADIUS = np.linalg.norm(POINTS * (1, 1, 0), axis=-1)


def _structures() -> StructureSet:
    body = Volume((RADIUS < 60).astype(np.float32), GRID)
    organ = Volume((np.linalg.norm(POINTS - (0, -10, 0), axis=-1) < 15).astype(np.float32), GRID)
    return StructureSet(
        (
            structure_from_mask(body, name="External", interpreted_type="EXTERNAL"),
            structure_from_mask(organ, name="Organ"),
        )
    )


def _bone() -> np.ndarray:
    return np.asarray(np.linalg.norm((POINTS - (0, 40, 0)) * (1, 1, 0), axis=-1) < 8)


@pytest.mark.parametrize(
    "source",
    [
        OrganChange("Organ", scale=(0.8, 0.8, 0.8), shift_mm=(3.0, 0.0, 0.0)),
        OrganChange("Organ", scale=(1.3, 1.3, 1.3)),
        WallShift("Organ", 3.0),
        SkinRetraction(8.0, (-20.0, 20.0)),
        OrganChange("Organ", scale=(0.2, 0.2, 0.2), shift_mm=(25.0, 25.0, 0.0)),  # far too much: is reduced
    ],
)
def test_every_source_is_smooth_invertible_and_leaves_bone(source: OrganChange | WallShift | SkinRetraction) -> None:
    field = deformation_of_day([source], structures=_structures(), bone=_bone(), grid=GRID)
    vectors = field.vectors_mm
    assert np.abs(vectors).max() > 0.5
    assert np.all(vectors[_bone()] == 0)
    gradient = np.stack([np.stack(np.gradient(vectors[..., a], 3.0)[::-1], axis=-1) for a in range(3)], axis=-2)
    assert np.linalg.det(gradient + np.eye(3)).min() > 0.28


def test_sources_do_what_they_say() -> None:
    structures, bone = _structures(), np.zeros(GRID.shape, dtype=bool)
    shrunk = deformation_of_day([OrganChange("Organ", scale=(0.8,) * 3)], structures=structures, bone=bone, grid=GRID)
    surface = np.array([[15.0, -10, 0], [0, -25, 0], [0, -10, 15]])
    moved = shrunk.apply(surface) - (0, -10, 0)
    assert np.linalg.norm(moved, axis=1) == pytest.approx([12, 12, 12], abs=1.0)
    filled = deformation_of_day([WallShift("Organ", 3.0)], structures=structures, bone=bone, grid=GRID)
    assert np.linalg.norm(filled.apply(surface) - (0, -10, 0), axis=1) == pytest.approx([18, 18, 18], abs=1.0)
    thinner = deformation_of_day([SkinRetraction(6.0, (-20, 20))], structures=structures, bone=bone, grid=GRID)
    skin = thinner.displacement_at([[60.0, 0, 0], [0, -60, 0]])
    assert skin[0, 0] < -3 and abs(skin[0, 1]) < 0.5
    assert skin[1, 1] > 3 and abs(skin[1, 0]) < 0.5


def test_unknown_organs_do_nothing_and_wrong_bone_is_refused() -> None:
    field = deformation_of_day([OrganChange("Nothing")], structures=_structures(), bone=_bone(), grid=GRID)
    assert not np.any(field.vectors_mm)
    with pytest.raises(GeometryError, match="bone"):
        deformation_of_day([], structures=_structures(), bone=np.zeros((2, 2, 2), dtype=bool), grid=GRID)


def test_inverse_kernel_equals_its_naive_twin_and_the_field() -> None:
    rng = np.random.default_rng(0)
    coarse = Grid((6, 7, 8), (5.0, 4.0, 6.0), (-10.0, 4.0, -7.0))
    deformation = DisplacementField((rng.standard_normal((6, 7, 8, 3)) * 0.6).astype(np.float32), coarse)
    moving_from_fixed = RigidTransform.from_parameters(
        translation_mm=(2, -3, 1), rotation_deg=(3, -4, 5), centre_lps=coarse.centre_lps
    )
    day = Grid((5, 6, 6), (6.0, 5.0, 7.0), (-14.0, -2.0, -10.0))
    ours = planning_index_of_day(day, moving_from_fixed=moving_from_fixed, deformation=deformation)
    naive = naive_planning_index_of_day(day, moving_from_fixed=moving_from_fixed, deformation=deformation)
    assert np.abs(ours - naive).max() < 1e-3
    planning = coarse.to_lps(np.moveaxis(ours[::-1], 0, -1))
    assert np.abs(moving_from_fixed.apply(deformation.apply(planning)) - day.voxel_centres_lps()).max() < 5e-3
