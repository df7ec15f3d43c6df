"""Where sources and pixels stand, and where points of a patient appear: against a room written down by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import GeometryError

#: Patient's left, posterior and superior in the room (IEC X right facing the gantry, Y towards it, Z up).
ROOM = {
    "HFS": np.array([(1, 0, 0), (0, 0, -1), (0, 1, 0)], dtype=float),
    "HFP": np.array([(-1, 0, 0), (0, 0, 1), (0, 1, 0)], dtype=float),
    "FFS": np.array([(-1, 0, 0), (0, 0, -1), (0, -1, 0)], dtype=float),
    "FFP": np.array([(1, 0, 0), (0, 0, 1), (0, -1, 0)], dtype=float),
}
angles = st.floats(-180, 180)


def view(**changes: object) -> ProjectionView:
    options: dict[str, object] = {
        "gantry_deg": 0.0,
        "patient_position": "HFS",
        "shape": (301, 401),
        "spacing_mm": (1.5, 1.5),
        **changes,
    }
    return ProjectionView.from_iec(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("position", list(ROOM))
@settings(max_examples=60, deadline=None)
@given(
    gantry=angles,
    table=angles,
    turned=angles,
    point=st.tuples(*[st.floats(-120, 120)] * 3),
    receptor=st.tuples(st.floats(-40, 40), st.floats(-40, 40)),
    sid=st.floats(1100, 1700),
)
def test_a_point_appears_where_the_room_says(
    position: str,
    gantry: float,
    table: float,
    turned: float,
    point: tuple[float, float, float],
    receptor: tuple[float, float],
    sid: float,
) -> None:
    made = view(
        gantry_deg=gantry, patient_position=position, table_deg=table, receptor_deg=turned, receptor_mm=receptor,
        sid_mm=sid,
    )  # fmt: skip
    # The patient on the table, the table turned about the vertical.
    room = np.array(point) @ ROOM[position]
    a = np.deg2rad(table)
    room = np.array([room[0] * np.cos(a) - room[1] * np.sin(a), room[0] * np.sin(a) + room[1] * np.cos(a), room[2]])
    # Seen from the source: to the right, up (towards the gantry), and how far off.
    g = np.deg2rad(gantry)
    right, up, back = room @ [np.cos(g), 0, -np.sin(g)], room[1], room @ [np.sin(g), 0, np.cos(g)]
    x, y = (v * sid / (1000.0 - back) for v in (right, up))
    # On a receptor that is shifted, then turned counter-clockwise as seen from the source.
    t = np.deg2rad(turned)
    x, y = x - receptor[0], y - receptor[1]
    x, y = x * np.cos(t) + y * np.sin(t), -x * np.sin(t) + y * np.cos(t)
    np.testing.assert_allclose(made.project(point), [150 - y / 1.5, 200 + x / 1.5], atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(gantry=angles, table=angles, row=st.integers(0, 300), column=st.integers(0, 400), share=st.floats(0.05, 1.0))
def test_points_on_a_pixels_ray_project_onto_it(
    gantry: float, table: float, row: int, column: int, share: float
) -> None:
    made = view(gantry_deg=gantry, table_deg=table, patient_position="FFP", receptor_deg=20.0)
    on_ray = made.source_lps + share * (made.pixel_centres_lps()[row, column] - made.source_lps)
    np.testing.assert_allclose(made.project(on_ray), [row, column], atol=1e-6)


@pytest.mark.parametrize(
    ("position", "gantry", "sides"),
    [
        ("HFS", 0, ("R", "L", "S", "I")),
        ("HFS", 90, ("A", "P", "S", "I")),
        ("HFS", 180, ("L", "R", "S", "I")),
        ("HFS", 270, ("P", "A", "S", "I")),
        ("HFP", 0, ("L", "R", "S", "I")),
        ("FFS", 0, ("L", "R", "I", "S")),
        ("FFP", 90, ("P", "A", "I", "S")),
        ("HFS", 45, ("RA", "LP", "S", "I")),
    ],
)
def test_sides_as_seen_from_the_source(position: str, gantry: float, sides: tuple[str, ...]) -> None:
    assert {"".join(sorted(a)) for a in sides} == {
        "".join(sorted(a)) for a in view(patient_position=position, gantry_deg=gantry).side_letters()
    }
    for found, expected in zip(view(patient_position=position, gantry_deg=gantry).side_letters(), sides, strict=True):
        assert sorted(found) == sorted(expected)


def test_binned_pixels_are_the_middles_of_their_blocks() -> None:
    made = view(gantry_deg=33.0, receptor_deg=7.0, shape=(31, 41), spacing_mm=(1.0, 2.0))
    small = made.binned(3)
    assert small.shape == (10, 13)
    assert small.spacing_mm == (3.0, 6.0)
    np.testing.assert_allclose(small.pixel_centres_lps(), made.pixel_centres_lps()[1:30:3, 1:39:3], atol=1e-9)
    with pytest.raises(GeometryError, match="no such block"):
        made.binned(32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patient_position": "HFDL"}, "patient position"),
        ({"gantry_deg": np.nan}, "finite"),
        ({"table_deg": np.inf}, "finite"),
        ({"spacing_mm": (0.0, 1.0)}, "positive"),
        ({"sid_mm": -1500.0}, "positive"),
        ({"shape": (0, 4)}, "rows and columns"),
    ],
)
def test_what_is_no_view_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        view(**change)


def test_a_plane_seen_from_behind_is_refused() -> None:
    good = view()
    with pytest.raises(GeometryError, match="in front of the image plane"):
        replace(good, row_direction=tuple(-np.array(good.row_direction)))
    with pytest.raises(GeometryError, match="orthonormal"):
        replace(good, row_direction=(1.0, 0.1, 0.0))
    with pytest.raises(GeometryError, match="behind the source"):
        good.project(2 * good.source_lps)


def test_a_radiograph_fits_its_view_and_cannot_be_changed() -> None:
    small = view(shape=(3, 4))
    made = Radiograph(small, np.ones((3, 4), np.float32))
    with pytest.raises(ValueError, match="read-only"):
        made.attenuation[0, 0] = 2
    with pytest.raises(GeometryError, match="fit their view"):
        Radiograph(small, np.ones((4, 3), np.float32))
    with pytest.raises(GeometryError, match="show something"):
        Radiograph(small, np.full((3, 4), np.nan, np.float32))
