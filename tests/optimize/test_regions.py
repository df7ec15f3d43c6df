"""Regions, voxel selection and grids of an optimisation."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.optimize.problem import PlanningVoxels, body_fraction, covering_grid, select_voxels
from imrt_core.optimize.regions import Regions, falloff_level_gy, is_region_of
from imrt_core.optimize.voxels import VoxelSet
from imrt_core.patient import ProtocolError, StructureError
from tests.optimize.cases import GRID, c_shape_patient

CC_PER_VOXEL = 0.064


@pytest.fixture(scope="module")
def regions() -> Regions:
    red, structures = c_shape_patient()
    return Regions(structures, GRID, [("PTV50", 50.0)], body_fraction(structures, red, GRID))


def test_structures_and_their_margins(regions: Regions) -> None:
    core = regions.fraction("Core")
    # a cylinder of 10 mm radius on a 4 mm lattice, 11 slices
    assert core.sum() * CC_PER_VOXEL == pytest.approx(np.pi * 1.0**2 * 4.4, rel=0.08)
    hole = regions.fraction("External").sum() - regions.fraction("External - Core+6mm").sum()
    # cylinder (1 cm, 4.4 cm) and ball (0.6 cm), Minkowski sum
    caps = 2 * (np.pi * 0.6 + np.pi**2 / 2 * 0.6**2 + 2 * np.pi / 3 * 0.6**3)
    assert hole * CC_PER_VOXEL == pytest.approx(np.pi * 1.6**2 * 4.4 + caps, rel=0.1)


def test_boolean_difference_never_double_counts(regions: Regions) -> None:
    target, core = regions.fraction("PTV50"), regions.fraction("Core")
    rest = regions.fraction("External - PTV50 - Core")
    assert np.all(rest <= 1.0 - np.maximum(target, core) + 1e-6)
    assert np.all((rest + target + core)[regions.body > 0.99] >= 0.99 - 1e-6)


def test_normal_tissue_keeps_away_from_targets(regions: Regions) -> None:
    normal = regions.fraction("NormalTissue") > 0
    assert not np.any(normal & (regions.distance_mm("PTV50") <= 5.0))
    assert np.any(normal)


def test_falloff_shells_partition_the_body_outside_the_targets(regions: Regions) -> None:
    levels = range(5, 55, 5)
    shells = [regions.fraction(f"Falloff {level}Gy") for level in levels]
    outside = np.where(regions.distance_mm("PTV50") > 0, regions.body, 0.0)
    np.testing.assert_allclose(np.sum(shells, axis=0), outside)
    for level, shell in zip(levels, shells, strict=True):
        allowed = falloff_level_gy(regions.distance_mm("PTV50")[shell > 0], 50.0)
        assert np.all((allowed > level - 5) & (allowed <= level))


def test_overlap_counts_the_highest_dose(regions: Regions) -> None:
    assert regions.target_overlap("Core")[0] == pytest.approx(0.0, abs=1e-6)
    inside = Regions(regions.structures, GRID, [("PTV50", 50.0), ("Core", 60.0)], regions.body)
    share, dose_gy = inside.target_overlap("External")
    target, core = (regions.fraction(name).sum() for name in ("PTV50", "Core"))
    assert share == pytest.approx((target + core) / regions.fraction("External").sum(), rel=1e-6)
    assert dose_gy == pytest.approx((50.0 * target + 60.0 * core) / (target + core), rel=1e-6)


def test_unreadable_regions_are_refused(regions: Regions) -> None:
    with pytest.raises(ProtocolError, match="names no structure"):
        regions.fraction("PTV50 - Heart")
    with pytest.raises(ProtocolError, match="multiple of 5"):
        regions.fraction("Falloff 42Gy")


def test_rows_hold_every_structure_voxel_and_sampled_tissue_stands_for_its_neighbours(regions: Regions) -> None:
    voxels = select_voxels(regions, ["PTV50", "Core", "NormalTissue", "PTV50 - External"])
    assert isinstance(voxels, PlanningVoxels)
    assert np.all(np.diff(voxels.indices) > 0)
    assert "PTV50 - External" not in voxels.sets
    target = regions.fraction("PTV50").ravel()
    rows = voxels.sets["PTV50"].rows
    np.testing.assert_array_equal(voxels.indices[rows], np.flatnonzero(target > 0.05))
    np.testing.assert_allclose(voxels.sets["PTV50"].volume_weights, target[target > 0.05] / target[target > 0.05].sum())
    assert voxels.indices.size < 0.5 * np.count_nonzero(regions.body)
    # the sample represents the whole: its weighted centre is that of all normal tissue
    normal = voxels.sets["NormalTissue"]
    centre = normal.volume_weights @ voxels.points_lps[normal.rows]
    np.testing.assert_allclose(centre[:2], [0.0, 0.0], atol=5.0)
    np.testing.assert_allclose(GRID.to_index(voxels.points_lps[:1])[0] % 1.0, 0.0, atol=1e-9)


def test_a_structure_without_voxels_is_refused() -> None:
    _, structures = c_shape_patient()
    outside = Regions(structures, GRID, [("PTV50", 50.0)], np.zeros(GRID.shape))
    with pytest.raises(StructureError, match="outside the patient"):
        select_voxels(outside, ["Core"])
    red, _ = c_shape_patient()
    body = np.where(np.hypot(*np.moveaxis(GRID.voxel_centres_lps()[..., :2], -1, 0)) > 12.0, red.array, 0.0)
    without_core = Regions(structures, GRID, [("PTV50", 50.0)], np.asarray(body, dtype=float))
    with pytest.raises(StructureError, match="holds no voxel"):
        select_voxels(without_core, ["PTV50", "Core"])
    with pytest.raises(StructureError, match="at least one voxel"):
        VoxelSet(np.array([], dtype=int), np.array([]))
    with pytest.raises(StructureError, match="unique"):
        VoxelSet(np.array([1, 1]), np.ones(2))


def test_the_grid_covers_structures_and_the_outline() -> None:
    _, structures = c_shape_patient()
    grid = covering_grid(structures, ["PTV50", "Core"], spacing_mm=(5.0, 5.0, 3.0), within=GRID, margin_mm=6.0)
    points = np.concatenate([c.points_lps for name in ("PTV50", "Core") for c in structures[name].contours])
    assert np.all(grid.contains(points))
    assert np.all(grid.contains(points + np.array([0.0, 0.0, 6.0])))
    outline = np.concatenate([c.points_lps for c in structures["External"].contours if abs(c.points_lps[0, 2]) < 20])
    assert np.all(grid.contains(outline))
    assert grid.spacing_mm == (5.0, 5.0, 3.0)


@pytest.mark.parametrize(
    ("expression", "there"),
    [
        ("Core", True),
        ("PTV50 - Core", True),
        ("PTV50 - Core+5mm", True),
        ("NormalTissue", True),
        ("Falloff 45Gy", True),
        ("A - B", True),
        ("Heart", False),
        ("PTV50 - Heart", False),
        ("Heart - PTV50+3mm", False),
    ],
)
def test_a_region_is_there_if_all_its_structures_are(expression: str, there: bool) -> None:
    assert is_region_of(expression, ("PTV50", "Core", "A - B")) is there


def test_organs_that_objectives_name_in_part_are_never_sampled(regions: Regions) -> None:
    voxels = select_voxels(regions, ["PTV50", "Core - PTV50", "NormalTissue"])
    core = np.flatnonzero((regions.fraction("Core") > 0.05).ravel())
    assert set(core) <= set(voxels.indices)
    assert np.isclose(voxels.sets["Core - PTV50"].volume_weights.sum(), 1.0)
