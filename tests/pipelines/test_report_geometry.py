"""Orientation, contours and colours of the report's pictures."""

from __future__ import annotations

import base64
import dataclasses
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imrt_core.patient import Contour, Grid, RigidTransform, Structure, Volume
from pipelines.report.axes_svg import ticks
from pipelines.report.colors import contrast, difference_rgba, distinct, dose_rgba, readable
from pipelines.report.contours_svg import contour_lines
from pipelines.report.figure_view import make_view, structure_colors
from pipelines.report.figures import fraction_figures
from pipelines.report.images import FractionImages
from pipelines.report.slices import Plane, overlay, planes_through, sample_on
from pipelines.report.words import lateral_words, longitudinal_words, pitch_words, roll_words, vertical_words, yaw_words
from registration.couch import couch_shift, patient_motion_lps

from .report_example import example_report
from .report_images import FOUND_LPS_MM, ISOCENTRE_LPS, MARKER_LPS, Ellipsoid, example_images


@pytest.fixture(scope="module")
def images():
    return example_images()


def decoded(svg: str, view: str) -> np.ndarray:
    uri = re.search(rf"class='layer view-{view}' href='data:image/png;base64,([^']+)'", svg)
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri[1]))))
    return picture[..., 0] if picture.ndim == 3 else picture


def letters(svg: str) -> dict[str, tuple[float, float]]:
    found = re.findall(r"<text class='mark' x='([-\d.]+)' y='([-\d.]+)'[^>]*>([LRAPSI])</text>", svg)
    return {letter: (float(x), float(y)) for x, y, letter in found}


@pytest.mark.parametrize(
    ("plane", "axis", "expected"),
    [
        # The marker is left (+40 mm), anterior (−40 mm) and superior (+50 mm) of the isocentre.
        (0, 2, {"u": +40, "v": -40, "right": "L", "top": "A"}),
        (1, 1, {"u": +40, "v": -50, "right": "L", "top": "S"}),
        (2, 0, {"u": -40, "v": -50, "right": "P", "top": "S"}),
    ],
)
def test_marker_on_the_patients_left_is_where_the_letters_say(images, plane, axis, expected):
    # Move the isocentre into the plane of the marker along the one axis that the plane cuts.
    isocentre = list(ISOCENTRE_LPS)
    isocentre[axis] = MARKER_LPS[axis]
    here = dataclasses.replace(images, isocentre_lps=tuple(isocentre), structures_planned=None, structures_day=None)
    svg = fraction_figures(example_report(dvh=()), here)["before"].panels[plane].svg
    picture = decoded(svg, "planning").astype(float)
    left, top, width, height = (float(v) for v in re.search(r"viewBox='([^']+)'", svg)[1].split())
    # Bone is as bright as the marker: look only within 15 mm of where it should be, and at its mirror images.
    rows, columns = picture.shape

    def brightness(u: float, v: float) -> float:
        column, row = (u - left) / width * columns, (v - top) / height * rows
        patch = picture[max(int(row) - 4, 0) : int(row) + 5, max(int(column) - 4, 0) : int(column) + 5]
        return float(patch.mean()) if patch.size else 0.0

    assert brightness(expected["u"], expected["v"]) > 200
    assert brightness(-expected["u"], expected["v"]) < 170
    assert brightness(expected["u"], -expected["v"]) < 170
    marks = letters(svg)
    middle_u, middle_v = left + width / 2, top + height / 2
    assert marks[expected["right"]][0] > middle_u
    assert marks[expected["top"]][1] < middle_v
    opposite = {"L": "R", "P": "A", "A": "P", "S": "I"}
    assert marks[opposite[expected["right"]]][0] < middle_u
    assert marks[opposite[expected["top"]]][1] > middle_v


def test_match_overlays_differ_before_and_agree_after(images):
    view = make_view(example_report(), images, structure_colors(example_report(), images))
    figures = fraction_figures(example_report(), images)
    for plane in range(3):
        planning = view.planning[plane].grey.astype(float)
        before = decoded(figures["before"].panels[plane].svg, "day").astype(float)
        after = decoded(figures["after"].panels[plane].svg, "day").astype(float)
        covered = view.day[plane].covered
        # Noise and the shrunken neck remain after the shift; the 10 mm misplacement does not.
        assert np.abs(after - planning)[covered].mean() < 0.6 * np.abs(before - planning)[covered].mean()


def test_after_shift_equals_the_match_when_the_shift_undoes_it(images):
    np.testing.assert_allclose(images.after_from_planning.matrix, images.moving_from_fixed.matrix, atol=1e-9)
    unshifted = images.before_from_planning.apply(ISOCENTRE_LPS)
    found = images.after_from_planning.apply(ISOCENTRE_LPS)
    np.testing.assert_allclose(found - unshifted, FOUND_LPS_MM, atol=1e-9)


def test_without_machine_isocentre_there_is_no_before_and_the_match_is_shown(images):
    blind = dataclasses.replace(images, machine_isocentre_lps=None, shift_motion_lps=None)
    figures = fraction_figures(example_report(), blind)
    assert "before" not in figures
    assert figures["after"].caption.startswith("Match only")


def test_planes_share_one_scale_and_stay_within_the_image_of_the_day(images):
    planes = make_view(example_report(), images, structure_colors(example_report(), images)).planes
    assert {round(p.extent_mm[2] / p.shape[1], 6) for p in planes} == {1.0}
    corners = np.array([images.day_hu.grid.to_lps([0, 0, k]) for k in (0, images.day_hu.grid.shape[0] - 1)])
    lowest, highest = (images.after_from_planning.inverse().apply(corners)[:, 2] + [-13, 13]).tolist()
    _, top, _, height = planes[1].extent_mm
    assert ISOCENTRE_LPS[2] - top <= highest
    assert ISOCENTRE_LPS[2] - (top + height) >= lowest


def test_sampling_equals_volume_sample(images):
    plane = planes_through(images.planning_hu, ISOCENTRE_LPS)[1]
    points = plane.points_lps()[::7, ::5]
    expected = images.planning_hu.sample(points, outside=-1000.0)
    np.testing.assert_allclose(sample_on(images.planning_hu, points, outside=-1000.0), expected, rtol=1e-4, atol=0.05)


def test_overlay_is_grey_where_both_agree_and_dim_without_data():
    planning = np.array([[0, 100, 200, 100]], dtype=np.uint8)
    day = np.array([[0, 100, 100, 0]], dtype=np.uint8)
    mixed = overlay(planning, day, np.array([[True, True, True, False]]))
    assert mixed[0, 1].tolist() == [100, 100, 100]
    assert mixed[0, 2].tolist() == [100, 150, 200]  # planning denser: blue
    assert mixed[0, 3].tolist() == [40, 40, 40]


def plane_through(point_lps, name: str = "coronal") -> Plane:
    right, down = {"transverse": ((1, 0, 0), (0, 1, 0)), "coronal": ((1, 0, 0), (0, 0, -1))}[name]
    return Plane(name, tuple(point_lps), right, down, (-80.0, -80.0, 160.0, 160.0), (160, 160), ("R", "L", "S", "I"))


def area(line: np.ndarray) -> float:
    x, y = line.T
    return float(abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2)


BALL = Ellipsoid("ball", (10.0, -5.0, 3.0), (30.0, 24.0, 36.0), 40.0)


@pytest.mark.parametrize(("name", "radii"), [("transverse", (30.0, 24.0)), ("coronal", (30.0, 36.0))])
def test_cut_of_an_ellipsoid_is_the_ellipse(name, radii):
    ((line,),) = contour_lines(BALL.structure(), [plane_through(BALL.centre_lps, name)])
    assert area(line) == pytest.approx(np.pi * radii[0] * radii[1], rel=0.02)
    # Distance to the ellipse, to first order.
    value = np.hypot(line[:, 0] / radii[0], line[:, 1] / radii[1])
    assert np.max(np.abs(value - 1) * min(radii)) < 1.6


@settings(max_examples=15, deadline=None)
@given(
    rotation=st.tuples(*[st.floats(-6, 6)] * 3),
    translation=st.tuples(*[st.floats(-40, 40)] * 3),
)
def test_cut_of_a_moved_structure_in_its_moved_frame_is_the_same(rotation, translation):
    day_from_planning = RigidTransform.from_parameters(rotation_deg=rotation, translation_mm=translation)
    planned = BALL.structure()
    moved = Structure("ball", tuple(Contour(day_from_planning.apply(c.points_lps)) for c in planned.contours))
    plane = plane_through(BALL.centre_lps)
    ((expected,),) = contour_lines(planned, [plane])
    ((line,),) = contour_lines(moved, [plane], frame_from_planning=day_from_planning)
    assert area(line) == pytest.approx(area(expected), rel=0.02)
    assert np.ptp(line, axis=0) == pytest.approx(np.ptp(expected, axis=0), abs=1.5)


def naive_inside(polygon: np.ndarray, x: float, y: float) -> bool:
    inside = False
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
            inside = not inside
    return inside


def test_fill_is_even_odd_as_its_naive_twin():
    from pipelines.report.contours_svg import _fill

    angle = np.linspace(0, 2 * np.pi, 15)[:-1]
    radius = np.where(np.arange(14) % 2, 9.0, 16.0)
    star = np.stack([20.3 + radius * np.cos(angle), 18.7 + radius * np.sin(angle), 0 * angle], axis=-1)
    hole = star * [0.3, 0.3, 1] + [14.0, 13.0, 0]
    filled = _fill([star, hole], np.array([0, 0]), (1, 40, 42), np.array([0.0, 0.0]), 1.0)[0]
    for row in range(40):
        for column in range(42):
            expected = naive_inside(star[:, :2], column, row) ^ naive_inside(hole[:, :2], column, row)
            assert filled[row, column] == expected, (row, column)


def test_hole_is_drawn_as_a_second_line():
    ring = []
    angle = np.linspace(0, 2 * np.pi, 61)[:-1]
    for z in np.arange(-15.0, 16.0, 3.0):
        for radius in (30.0, 12.0):
            ring.append(
                Contour(np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full_like(angle, z)], axis=-1))
            )
    (lines,) = contour_lines(Structure("ring", tuple(ring)), [plane_through((0, 0, 1.0), "transverse")])
    # Half a pixel of the raster (1 mm): enough for a picture.
    assert sorted(np.sqrt(area(line) / np.pi) for line in lines) == pytest.approx([12, 30], abs=0.5)


def test_structure_ends_half_a_slice_beyond_its_last_contour():
    angle = np.linspace(0, 2 * np.pi, 61)[:-1]
    contours = [
        Contour(np.stack([20 * np.cos(angle), 20 * np.sin(angle), np.full_like(angle, z)], axis=-1))
        for z in (-6.0, -3.0, 0.0, 3.0, 6.0)
    ]
    ((line,),) = contour_lines(Structure("cylinder", tuple(contours)), [plane_through((0, 0, 0))])
    assert np.ptp(line[:, 1]) == pytest.approx(15.0, abs=0.3)


def test_plane_beside_a_structure_cuts_nothing():
    assert contour_lines(BALL.structure(), [plane_through((0, 70, 0))]) == ((),)
    assert contour_lines(Structure("empty", ()), [plane_through((0, 0, 0))]) == ((),)


def test_dose_of_the_day_is_drawn_where_it_is_after_the_shift(images):
    """The bump is 3 mm to the right of the target's centre after the shift, and 3 mm in the picture too."""
    view = make_view(example_report(), images, structure_colors(example_report(), images))
    plane = view.planes[0]
    dose = sample_on(images.course_dose_today_gy, view.day_from_planning.apply(plane.points_lps()), outside=np.nan)
    planned = sample_on(images.course_dose_planned_gy, plane.points_lps(), outside=np.nan)
    shift = [float(np.nansum(d * plane.u_mm[None, :] * (d > 40)) / np.nansum(d * (d > 40))) for d in (dose, planned)]
    assert shift[0] - shift[1] == pytest.approx(-3.0, abs=0.3)


def test_dose_colours_are_transparent_where_there_is_nothing_to_say():
    dose = np.array([[np.nan, 1.0, 70.0]], dtype=np.float32)
    rgba = dose_rgba(dose, top_gy=77.0)
    assert rgba[0, 0, 3] == rgba[0, 1, 3] == 0
    assert rgba[0, 2, 3] > 0
    difference = difference_rgba(np.array([[np.nan, 0.0, -9.0, 9.0]], dtype=np.float32), top_gy=10.0)
    assert difference[0, 0, 3] == difference[0, 1, 3] == 0
    assert difference[0, 2, 2] > difference[0, 2, 0]  # less dose today: blue
    assert difference[0, 3, 0] > difference[0, 3, 2]  # more: red


@settings(deadline=None)
@given(color=st.tuples(*[st.integers(0, 255)] * 3), ground=st.sampled_from([(255, 255, 255), (27, 31, 38), (0, 0, 0)]))
def test_readable_colours_stand_out(color, ground):
    assert contrast(readable(color, ground), ground) >= 3.0
    if contrast(color, ground) >= 3.0:
        assert readable(color, ground) == color


@given(low=st.floats(-1e4, 1e4), span=st.floats(1e-3, 1e5))
def test_ticks_cover_the_range_with_few_steps(low, span):
    values = ticks(low, low + span)
    step = values[1] - values[0]
    assert values[0] <= low + 1e-6 * span + 1e-6 * step
    assert values[-1] >= low + span - 1e-6 * span - 1e-6 * step
    assert 2 <= len(values) <= 12


@pytest.mark.parametrize(
    ("position", "plus", "minus"),
    [("HFS", "left", "right"), ("HFP", "right", "left"), ("FFS", "right", "left"), ("FFP", "left", "right")],
)
def test_lateral_words_name_the_patients_side(position, plus, minus):
    """CLINICAL: IEC X is +x (LPS, left) for HFS and FFP, −x for HFP and FFS."""
    assert f"patient's {plus} (+X)" in lateral_words(4.0, position)
    assert f"patient's {minus} (−X)" in lateral_words(-4.0, position)


def test_direction_words():
    assert vertical_words(3.0) == "up 3.0\u00a0mm"
    assert vertical_words(-3.0) == "down 3.0\u00a0mm"
    assert longitudinal_words(5.04) == "towards gantry 5.0\u00a0mm"
    assert longitudinal_words(-5.0) == "away from gantry 5.0\u00a0mm"
    assert lateral_words(2.0, "") == "to +X 2.0\u00a0mm"
    assert vertical_words(0.04) == "no move"
    # Right-handed rotations: where a unit vector goes tells the word.
    rotation = RigidTransform.from_parameters(rotation_deg=(5, 0, 0)).rotation
    assert (rotation @ [0, 1, 0])[2] > 0
    assert pitch_words(5) == "gantry end up 5.0°"
    rotation = RigidTransform.from_parameters(rotation_deg=(0, 5, 0)).rotation
    assert (rotation @ [1, 0, 0])[2] < 0
    assert roll_words(5) == "+X side down 5.0°"
    rotation = RigidTransform.from_parameters(rotation_deg=(0, 0, 5)).rotation
    assert (rotation @ [1, 0, 0])[1] > 0
    assert yaw_words(5) == "counter-clockwise from above 5.0°"


def test_dose_on_a_carried_grid_comes_back_without_resampling(images):
    motion = images.shift_motion_lps
    room = Volume(images.course_dose_today_gy.array, images.course_dose_today_gy.grid.transformed(motion))
    back = room.with_grid(room.grid.transformed(motion.inverse()))
    assert back.grid.matches(images.course_dose_today_gy.grid, tolerance_mm=1e-9)


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP"])
@settings(max_examples=8, deadline=None)
@given(rotation=st.tuples(*[st.floats(-3, 3)] * 3), translation=st.tuples(*[st.floats(-20, 20)] * 3))
def test_after_the_whole_couch_shift_the_picture_is_the_match(position, rotation, translation):
    """A table that can do everything brings planning points where the match found them, in all patient positions."""
    machine = (3.0, -4.0, 5.0)
    match = RigidTransform.from_parameters(
        rotation_deg=rotation,
        translation_mm=np.subtract(machine, ISOCENTRE_LPS) + translation,
        centre_lps=ISOCENTRE_LPS,
    )
    shift = couch_shift(
        match, planned_isocentre_lps=ISOCENTRE_LPS, machine_isocentre_lps=machine, patient_position=position
    )
    nothing = Volume(np.zeros((2, 2, 2)), Grid((2, 2, 2), (1.0, 1.0, 1.0)))
    pictures = FractionImages(
        planning_hu=nothing,
        day_hu=nothing,
        isocentre_lps=ISOCENTRE_LPS,
        machine_isocentre_lps=machine,
        moving_from_fixed=match,
        shift_motion_lps=patient_motion_lps(shift, machine_isocentre_lps=machine, patient_position=position),
    )
    np.testing.assert_allclose(pictures.after_from_planning.matrix, match.matrix, atol=1e-6)


def test_structures_of_one_colour_are_told_apart():
    given_colors = distinct(
        [("PTV70", (255, 0, 0)), ("PTV63", (255, 0, 0)), ("Cord", (0, 0, 255)), ("PTV56", (255, 0, 0))]
    )
    assert given_colors["PTV70"] == (255, 0, 0)
    assert given_colors["Cord"] == (0, 0, 255)
    assert len(set(given_colors.values())) == 4
