"""Contours to masks and back, volumes, slice spacing and gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.patient import Contour, GeometryError, Grid, Structure, StructureError, Volume
from imrt_core.patient._rasterize import cover_plane
from imrt_core.patient.contours import mask_from_structure, structure_from_mask, structure_volume_cc
from imrt_core.patient.slabs import contour_slabs
from tests.naive_evaluate import pixel_coverage
from tests.shapes import box, circle, cylinder, polygon, sphere

GRID = Grid((40, 40, 44), (2.5, 2.5, 2.5), (-55.0, -50.0, -49.0))


def mask_cc(mask: Volume) -> float:
    return float(mask.array.sum(dtype=float)) * mask.grid.voxel_volume_cc


def covered(polygons, *, corner=(0.0, 0.0), pixel=(1.0, 1.0), shape=(6, 7), sub=16) -> np.ndarray:
    edges = np.concatenate([np.hstack([p, np.roll(p, -1, axis=0)]) for p in map(np.asarray, polygons)]).astype(float)
    out = np.empty(shape, np.float32)
    cover_plane(edges[edges[:, 1] != edges[:, 3]], *corner, *pixel, sub, out)
    return out


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 8), st.floats(-1, 7)), min_size=3, max_size=7), st.floats(0.7, 1.5))
def test_coverage_agrees_with_naive_twin(points, dx):
    """Any polygon, crossing itself or not, beyond the raster or not."""
    polygons = [np.array(points)]
    ours = covered(polygons, pixel=(dx, 1.0), sub=32)
    naive = pixel_coverage(polygons, corner=(0.0, 0.0), pixel=(dx, 1.0), shape=(6, 7), divide=16)
    # Point sampling is coarse: slender spikes may be met by a scanline and by no sample point.
    assert np.abs(ours - naive).max() < 0.15
    assert abs(ours.sum() - naive.sum()) < 0.15 + 0.02 * naive.sum()


def test_coverage_is_exact_for_rectangles():
    ours = covered([[(0.25, 1.5), (3.75, 1.5), (3.75, 4.25), (0.25, 4.25)]], sub=8)
    expected = np.outer([0, 0.5, 1, 1, 0.25, 0], [0.75, 1, 1, 0.75, 0, 0, 0])
    assert np.allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("spacing", [1.0, 2.0, 2.5, 3.0])
@pytest.mark.parametrize("phase", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("radius", [20.0, 40.0])
def test_sphere_volume_within_half_a_percent(radius, spacing, phase):
    structure = sphere(radius, spacing=spacing, phase=phase)
    expected = 4 / 3 * np.pi * radius**3 / 1000
    assert structure_volume_cc(structure) == pytest.approx(expected, rel=0.005)
    assert mask_cc(mask_from_structure(structure, GRID)) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize("spacing", [(2.5, 2.5, 2.5), (1.0, 1.0, 3.0), (3.9, 3.1, 5.0), (0.9765625, 0.9765625, 2.0)])
def test_mask_keeps_the_volume_on_any_grid(spacing):
    structure = sphere(20.0, spacing=3.0, phase=0.3)
    shape = tuple(int(np.ceil(56 / s)) for s in spacing[::-1])
    origin = tuple(-(n * s) / 2 + 0.3 * s for n, s in zip(shape[::-1], spacing, strict=True))
    mask = mask_from_structure(structure, Grid(shape, spacing, origin))
    assert mask_cc(mask) == pytest.approx(structure_volume_cc(structure), rel=5e-4)
    assert mask.array.dtype == np.float32
    assert mask.array.min() >= 0
    assert mask.array.max() <= 1


def test_fraction_along_z_is_exact():
    """Contours every 3 mm at z = 0, 3 (slab −1.5 … 4.5 mm) on slices of 2.5 mm."""
    structure = Structure("Box", (box(0, 10, 0, 10, 0.0), box(0, 10, 0, 10, 3.0)))
    mask = mask_from_structure(structure, Grid((4, 6, 6), (2.5, 2.5, 2.5), (-1.25, -1.25, -2.5)))
    # Slices reach from −3.75, −1.25, 1.25, 3.75 mm.
    assert np.allclose(mask.array[:, 3, 3], [0.1, 1.0, 1.0, 0.3], atol=1e-6)
    assert mask_cc(mask) == pytest.approx(0.6, rel=1e-5)


def test_holes_and_keyholes_are_holes():
    heights = (0.0, 2.0, 4.0)
    ring = Structure("Ring", tuple(c for z in heights for c in (box(-20, 20, -20, 20, z), box(-10, 10, -10, 10, z))))
    outline = [(-20, -20), (20, -20), (20, 0), (10, 0), (10, -10), (-10, -10), (-10, 10), (10, 10), (10, 0)]
    keyhole = Structure("Key", tuple(polygon([*outline, (20, 0), (20, 20), (-20, 20)], z) for z in heights))
    grid = Grid((7, 30, 30), (2.0, 2.0, 1.5), (-29.0, -29.0, -2.0))
    for structure in (ring, keyhole):
        assert structure_volume_cc(structure) == pytest.approx((40**2 - 20**2) * 6 / 1000, rel=1e-9)
        mask = mask_from_structure(structure, grid)
        assert mask_cc(mask) == pytest.approx(7.2, rel=1e-5)
        assert mask.array[2, 14, 14] == 0
        assert mask.array[2, 8, 14] == 1


def test_two_pieces_on_a_slice_and_an_island_in_a_hole():
    contours = [box(-20, 20, -20, 20, z) for z in (0.0, 1.0)] + [box(-15, 15, -15, 15, z) for z in (0.0, 1.0)]
    contours += [box(-5, 5, -5, 5, z) for z in (0.0, 1.0)] + [box(30, 40, 0, 10, z) for z in (0.0, 1.0)]
    assert structure_volume_cc(Structure("S", tuple(contours))) == pytest.approx((1600 - 900 + 100 + 100) * 2 / 1000)


def test_unequal_slices_are_integrated_as_they_are():
    """2 mm slices in the middle, 3 mm outside: every contour reaches half-way to its neighbour."""
    heights = [0.0, 3.0, 6.0, 8.0, 10.0, 12.0, 15.0, 18.0]
    slabs = contour_slabs(cylinder(10, heights))
    assert np.allclose(slabs.lower_mm[1:], slabs.upper_mm[:-1])
    assert (slabs.lower_mm[0], slabs.upper_mm[-1]) == (-1.5, 19.5)
    assert slabs.volume_cc == pytest.approx(np.pi * 100 * 21 / 1000, rel=1e-6)
    assert slabs.bridged_mm == ()


def test_contours_left_out_are_bridged_and_named():
    heights = [0.0, 2.5, 5.0, 10.0, 12.5, 15.0, 22.5, 25.0]
    slabs = contour_slabs(cylinder(10, heights))
    assert slabs.bridged_mm == ((5.0, 10.0), (15.0, 22.5))
    assert slabs.volume_cc == pytest.approx(np.pi * 100 * 27.5 / 1000, rel=1e-6)


def test_separate_pieces_stay_separate():
    below = cylinder(10, [0.0, 2.5, 5.0]).contours
    near, far = cylinder(10, [10.0, 12.5], centre=(40, 0)).contours, cylinder(10, [40.0, 42.5]).contours
    slabs = contour_slabs(Structure("Nodes", (*below, *near, *far)))
    assert slabs.bridged_mm == ()
    assert slabs.volume_cc == pytest.approx(np.pi * 100 * 2.5 * 7 / 1000, rel=1e-6)
    assert slabs.upper_mm[2] == 6.25
    assert slabs.lower_mm[3] == 8.75


def test_irregular_distances_are_refused():
    with pytest.raises(StructureError, match="irregular distances"):
        contour_slabs(cylinder(10, [0.0, 2.0, 4.0, 6.0, 16.0, 26.0, 36.0]))


def test_contours_drawn_on_every_third_slice_are_one_piece():
    assert structure_volume_cc(cylinder(10, [0.0, 9.0, 18.0])) == pytest.approx(np.pi * 100 * 27 / 1000, rel=1e-6)


def test_a_single_plane_needs_the_slice_spacing():
    structure = cylinder(3, [12.0], name="Lens_L")
    with pytest.raises(StructureError, match="one plane") as caught:
        structure_volume_cc(structure)
    assert "Lens_L" in caught.value.where
    assert structure_volume_cc(structure, slice_spacing_mm=3.0) == pytest.approx(np.pi * 9 * 3 / 1000, rel=1e-6)


def test_refusals_say_what_is_wrong():
    with pytest.raises(StructureError, match="empty"):
        mask_from_structure(Structure("GTV", ()), GRID)
    tilted = Contour(np.array([[0.0, 0, 0], [10, 0, 3], [0, 10, 3]]))
    with pytest.raises(StructureError, match=r"transverse.*z from 0.00 to 3.00 mm in contour 2.*GTV"):
        mask_from_structure(Structure("GTV", (circle(5, 0), tilted)), GRID)
    line = polygon([(0, 0), (5, 0), (10, 0)], 0.0)
    with pytest.raises(StructureError, match="no area"):
        structure_volume_cc(Structure("GTV", (line,)), slice_spacing_mm=2.0)
    with pytest.raises(StructureError, match="inside the grid"):
        mask_from_structure(sphere(10, spacing=2.0, centre=(500, 0, 0)), GRID)
    with pytest.raises(StructureError, match="must be positive"):
        structure_volume_cc(Structure("A", (circle(5, 0),)), slice_spacing_mm=-1.0)


def test_oblique_grids_are_refused_but_flipped_ones_are_not():
    angle = np.radians(3)
    oblique = ((np.cos(angle), -np.sin(angle), 0), (np.sin(angle), np.cos(angle), 0), (0, 0, 1))
    structure = sphere(15, spacing=2.0, phase=0.4, centre=(4.0, -7.0, 3.0))
    with pytest.raises(GeometryError, match="axes are those of the patient"):
        mask_from_structure(structure, Grid((10, 10, 10), (2, 2, 2), (0, 0, 0), oblique))
    upright = mask_from_structure(structure, GRID)
    # A prone patient's image runs along −x, −y, +z; feet first along −x, +y, −z.
    for signs in ((-1, -1, 1), (-1, 1, -1), (1, -1, -1)):
        last = np.array(GRID.shape[::-1]) - 1
        origin = GRID.to_lps(np.where(np.array(signs) < 0, last, 0))
        grid = Grid(GRID.shape, GRID.spacing_mm, tuple(origin), tuple(map(tuple, np.diag(signs).astype(float))))
        mask = mask_from_structure(structure, grid)
        flips = tuple(slice(None, None, s) for s in signs[::-1])
        assert np.allclose(mask.array[flips], upright.array, atol=1e-6)
        back = structure_from_mask(mask, name="back")
        assert structure_volume_cc(back) == pytest.approx(
            structure_volume_cc(structure_from_mask(upright, name="up")), rel=1e-6
        )


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(*[st.floats(12, 20)] * 3),
    st.tuples(*[st.floats(-1.2, 1.2)] * 3),
    st.booleans(),
)
def test_round_trip_keeps_the_volume_of_blobs(radii, centre, binary):
    """Mask → contours → mask within 1 %: ellipsoids on whole slices, with partial volume or thresholded."""
    grid = Grid((24, 48, 48), (1.0, 1.0, 2.0), (-23.5, -23.5, -23.0))
    sub = (np.arange(4) + 0.5) / 4 - 0.5
    points = grid.voxel_centres_lps()
    inside = [
        np.sum(((points + np.array([a, b, 0]) - centre) / np.array(radii)) ** 2, axis=-1) <= 1 for a in sub for b in sub
    ]
    fraction = np.mean(inside, axis=0).astype(np.float32)
    mask = Volume((fraction >= 0.5).astype(np.float32) if binary else fraction, grid)
    structure = structure_from_mask(mask, name="Blob")
    again = mask_from_structure(structure, grid)
    assert mask_cc(again) == pytest.approx(mask_cc(mask), rel=0.01)
    assert structure_volume_cc(structure) == pytest.approx(mask_cc(mask), rel=0.01)
    assert np.mean(np.abs(again.array - mask.array)[mask.array > 0]) < 0.05


def test_contours_of_a_mask_with_a_hole_at_the_border():
    array = np.zeros((3, 20, 30), np.uint8)
    array[1, :, :12] = 1
    array[1, 8:12, 4:8] = 0
    array[1, 3:8, 20:26] = 1
    mask = Volume(array, Grid((3, 20, 30), (2.0, 3.0, 4.0), (10.0, 20.0, 30.0)))
    structure = structure_from_mask(mask, name="S", number=7, interpreted_type="CTV", color_rgb=(1, 2, 3))
    assert len(structure.contours) == 3
    assert all(np.all(c.points_lps[:, 2] == 34.0) for c in structure.contours)
    # Closed half a pixel past the outer voxel centre, where the voxel ends.
    assert min(c.points_lps[:, 0].min() for c in structure.contours) == pytest.approx(9.0, abs=0.2)
    assert structure_volume_cc(structure, slice_spacing_mm=4.0) == pytest.approx(mask_cc(mask), rel=0.02)
    assert (structure.number, structure.interpreted_type, structure.color_rgb) == (7, "CTV", (1, 2, 3))
    with pytest.raises(StructureError, match="mask is empty"):
        structure_from_mask(mask.with_array(array * 0), name="S")


def test_contours_follow_the_partial_volume():
    """The contour of a partial-volume disc lies within a tenth of a pixel and a bit of the circle."""
    structure = cylinder(15.3, [0.0, 2.0, 4.0], centre=(0.7, -0.4))
    mask = mask_from_structure(structure, Grid((3, 24, 24), (2.0, 2.0, 2.0), (-23.0, -23.0, 0.0)))
    for contour in structure_from_mask(mask, name="Disc").contours:
        distance = np.hypot(contour.points_lps[:, 0] - 0.7, contour.points_lps[:, 1] + 0.4)
        assert np.abs(distance - 15.3).max() < 0.3
