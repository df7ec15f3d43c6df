"""Signs, axes and pivots of the couch shift, checked by carrying a patient's landmarks on a simulated table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from imrt_core.patient import GeometryError, RegistrationError, RigidTransform
from registration.couch import CouchShift, TableLimits, applied_shift, couch_shift, patient_motion_lps

#: Where the patient's left, posterior and superior point in the room (IEC fixed X right of an observer facing the
#: gantry, Y towards the gantry, Z up), written down from how a patient lies, not from a formula.
ROOM = {
    "HFS": {"left": (1, 0, 0), "posterior": (0, 0, -1), "superior": (0, 1, 0)},
    "HFP": {"left": (-1, 0, 0), "posterior": (0, 0, 1), "superior": (0, 1, 0)},
    "FFS": {"left": (-1, 0, 0), "posterior": (0, 0, -1), "superior": (0, -1, 0)},
    "FFP": {"left": (1, 0, 0), "posterior": (0, 0, 1), "superior": (0, -1, 0)},
}
POSITIONS = tuple(ROOM)

small = st.floats(-30, 30)
angle = st.floats(-6, 6)
points = st.tuples(*[st.floats(-300, 300)] * 3)


def room_from_lps(points_lps: NDArray[np.float64], position: str, machine: NDArray[np.float64]) -> NDArray[np.float64]:
    axes = ROOM[position]
    relative = np.atleast_2d(points_lps) - machine
    return sum(
        relative[:, k : k + 1] * np.array(axes[name], dtype=float)
        for k, name in enumerate(("left", "posterior", "superior"))
    )


def drive_table(room: NDArray[np.float64], shift: CouchShift, table_deg: float) -> NDArray[np.float64]:
    """Turn about Yt, then Xt, then Zt through the isocentre (the room's origin), then move along Xt, Yt, Zt."""
    a = np.deg2rad(table_deg)
    xt, yt, zt = np.array([np.cos(a), np.sin(a), 0]), np.array([-np.sin(a), np.cos(a), 0]), np.array([0, 0, 1.0])
    for axis, degrees in ((yt, shift.roll_deg), (xt, shift.pitch_deg), (zt, shift.yaw_deg)):
        room = Rotation.from_rotvec(np.deg2rad(degrees) * axis).apply(room)
    return room + shift.lateral_mm * xt + shift.longitudinal_mm * yt + shift.vertical_mm * zt


def test_the_fixed_test_of_clinical() -> None:
    # HFS, table 0, anatomy found 10 mm left, 5 mm superior, 3 mm anterior of the machine isocentre.
    planned, machine = np.array([12.0, -40.0, 55.0]), np.array([1.0, 2.0, 3.0])
    found = machine + np.array([10.0, -3.0, 5.0])
    match = RigidTransform.from_parameters(translation_mm=found - planned)
    shift = couch_shift(match, planned_isocentre_lps=planned, machine_isocentre_lps=machine, patient_position="HFS")
    assert shift.lateral_mm == pytest.approx(-10)
    assert shift.longitudinal_mm == pytest.approx(-5)
    assert shift.vertical_mm == pytest.approx(-3)
    assert shift.rotation_deg == pytest.approx((0, 0, 0))
    assert shift.shift_mm == pytest.approx((-3, -5, -10))


@pytest.mark.parametrize(
    ("position", "expected"),
    [("HFS", (-3, -5, -10)), ("HFP", (3, -5, 10)), ("FFS", (-3, 5, 10)), ("FFP", (3, 5, -10))],
)
def test_signs_in_every_position(position: str, expected: tuple[float, float, float]) -> None:
    match = RigidTransform.from_parameters(translation_mm=(10.0, -3.0, 5.0))
    shift = couch_shift(
        match, planned_isocentre_lps=(0, 0, 0), machine_isocentre_lps=(0, 0, 0), patient_position=position
    )
    assert shift.shift_mm == pytest.approx(expected)


@pytest.mark.parametrize("position", POSITIONS)
@settings(max_examples=60, deadline=None)
@given(
    t=st.tuples(small, small, small), r=st.tuples(angle, angle, angle), p=points, c=points, table=st.floats(-180, 180)
)
def test_a_patient_on_a_table_ends_as_planned(
    position: str,
    t: tuple[float, float, float],
    r: tuple[float, float, float],
    p: tuple[float, float, float],
    c: tuple[float, float, float],
    table: float,
) -> None:
    planned, machine = np.array(p), np.array(c)
    landmarks = planned + np.array([[0, 0, 0], [80, 0, 0], [0, -60, 0], [0, 0, 100], [-40, 30, -70.0]])
    match = RigidTransform.from_parameters(translation_mm=machine - planned + t, rotation_deg=r, centre_lps=planned)
    shift = couch_shift(
        match,
        planned_isocentre_lps=planned,
        machine_isocentre_lps=machine,
        patient_position=position,
        table_angle_deg=table,
    )
    in_room = drive_table(room_from_lps(match.apply(landmarks), position, machine), shift, table)
    np.testing.assert_allclose(in_room, room_from_lps(landmarks, position, planned), atol=1e-7)
    np.testing.assert_allclose(in_room[0], 0, atol=1e-7)

    # The mapping that the dose uses does the same to image points.
    motion = patient_motion_lps(shift, machine_isocentre_lps=machine, patient_position=position, table_angle_deg=table)
    moved = motion.apply(match.apply(landmarks))
    np.testing.assert_allclose(moved, landmarks - planned + machine, atol=1e-7)
    np.testing.assert_allclose(room_from_lps(moved, position, machine), in_room, atol=1e-7)


@pytest.mark.parametrize("position", POSITIONS)
@settings(max_examples=40, deadline=None)
@given(shift=st.tuples(*[small] * 3), rotation=st.tuples(*[angle] * 3), table=st.floats(-90, 90))
def test_patient_motion_is_the_simulated_table(
    position: str, shift: tuple[float, float, float], rotation: tuple[float, float, float], table: float
) -> None:
    machine = np.array([15.0, -20.0, 7.0])
    couch = CouchShift.from_lists(shift, rotation)
    landmarks = machine + np.array([[0, 0, 0], [50, 0, 0], [0, 70, 0], [0, 0, -90.0]])
    motion = patient_motion_lps(couch, machine_isocentre_lps=machine, patient_position=position, table_angle_deg=table)
    np.testing.assert_allclose(
        room_from_lps(motion.apply(landmarks), position, machine),
        drive_table(room_from_lps(landmarks, position, machine), couch, table),
        atol=1e-7,
    )


def test_the_two_isocentres_matter_when_the_patient_is_turned() -> None:
    # Turned by 2° about the planned isocentre, which lies 40 mm from the machine isocentre: the translation is what
    # is left after turning back about the *machine* isocentre.
    match = RigidTransform.from_parameters(rotation_deg=(0, 0, 2.0), translation_mm=(40, 0, 0))
    shift = couch_shift(match, planned_isocentre_lps=(0, 0, 0), machine_isocentre_lps=(0, 0, 0), patient_position="HFS")
    assert shift.roll_deg == pytest.approx(-2.0)  # LPS z is Yt for HFS
    assert shift.lateral_mm == pytest.approx(-40 * np.cos(np.deg2rad(2)))
    assert shift.vertical_mm == pytest.approx(-40 * np.sin(np.deg2rad(2)))


def test_table_angle_turns_the_horizontal_drives_only() -> None:
    match = RigidTransform.from_parameters(translation_mm=(10.0, -3.0, 5.0))
    shift = couch_shift(
        match,
        planned_isocentre_lps=(0, 0, 0),
        machine_isocentre_lps=(0, 0, 0),
        patient_position="HFS",
        table_angle_deg=90.0,
    )
    # Xt is fixed +Y and Yt is fixed −X: the fixed shift (−10, −5, −3) is (−5, 10, −3) along them.
    assert (shift.lateral_mm, shift.longitudinal_mm, shift.vertical_mm) == pytest.approx((-5, 10, -3))


def _compose(a: CouchShift, b: CouchShift) -> RigidTransform:
    options = {"machine_isocentre_lps": (3.0, -8.0, 21.0), "patient_position": "FFP", "table_angle_deg": 20.0}
    return patient_motion_lps(a, **options) @ patient_motion_lps(b, **options)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    shift=st.tuples(*[st.floats(-20, 20)] * 3),
    rotation=st.tuples(*[st.floats(-2.5, 2.5)] * 3),
    rotations=st.sampled_from([(), ("yaw",), ("pitch", "roll", "yaw")]),
)
def test_residual_after_applied_is_the_whole_shift(
    shift: tuple[float, float, float], rotation: tuple[float, float, float], rotations: tuple[str, ...]
) -> None:
    couch = CouchShift.from_lists(shift, rotation)
    result = applied_shift(couch, TableLimits(rotations=rotations))
    assert result.within_limits
    assert not result.reasons
    np.testing.assert_allclose(
        _compose(result.residual, result.applied).matrix, _compose(couch, CouchShift()).matrix, atol=1e-8
    )
    for name, value in zip(("pitch", "roll", "yaw"), result.applied.rotation_deg, strict=True):
        assert value == pytest.approx(round(value, 1))
        assert name in rotations or value == 0
    assert all(value == int(value) for value in result.applied.shift_mm)
    # The isocentre is off only by the rounding (half a step per axis), whatever rotation was dropped.
    assert np.all(np.abs(result.residual.shift_mm) <= 0.5 * np.sqrt(3) + 1e-6)


def test_dropped_rotations_still_bring_the_isocentre() -> None:
    match = RigidTransform.from_parameters(translation_mm=(18, -12, 15), rotation_deg=(2, -1, 2.5))
    options = {"machine_isocentre_lps": np.zeros(3), "patient_position": "HFS"}
    shift = couch_shift(match, planned_isocentre_lps=(0, 0, 0), **options)  # type: ignore[arg-type]
    result = applied_shift(shift, TableLimits(rotations=(), translation_step_mm=1e-6))
    ends = patient_motion_lps(result.applied, **options).apply(match.apply([0, 0, 0]))  # type: ignore[arg-type]
    np.testing.assert_allclose(ends, 0, atol=1e-5)
    assert np.allclose(result.residual.shift_mm, 0, atol=1e-5)
    assert result.residual.angle_deg == pytest.approx(shift.angle_deg)


def test_rounding_is_half_away_from_zero_and_never_minus_zero() -> None:
    result = applied_shift(CouchShift(2.5, -2.5, -0.2, 0.25, -0.04, 0.0), TableLimits())
    assert result.proposed.shift_mm[0] in (2.0, 3.0)
    assert str(result.proposed.lateral_mm) == "0.0"
    assert str(result.proposed.roll_deg) == "0.0"
    plain = applied_shift(CouchShift(2.5, -2.5, -1.49), TableLimits())
    assert plain.proposed.shift_mm == (3.0, -3.0, -1.0)


@pytest.mark.parametrize(
    ("shift", "name"),
    [
        (CouchShift(vertical_mm=26), "vertical"),
        (CouchShift(lateral_mm=-40), "lateral"),
        (CouchShift(roll_deg=3.2), "roll"),
    ],
)
def test_beyond_the_limits_the_table_is_not_moved(shift: CouchShift, name: str) -> None:
    result = applied_shift(shift, TableLimits(rotations=()))
    assert not result.within_limits
    assert len(result.reasons) == 1
    assert name in result.reasons[0]
    assert "do not move, look" in result.reasons[0]
    assert result.applied == CouchShift()
    assert result.residual.shift_mm == pytest.approx(shift.shift_mm)
    assert result.residual.rotation_deg == pytest.approx(shift.rotation_deg)


def test_what_is_not_known_is_refused() -> None:
    match = RigidTransform.identity()
    with pytest.raises(GeometryError, match="patient position"):
        couch_shift(match, planned_isocentre_lps=(0, 0, 0), machine_isocentre_lps=(0, 0, 0), patient_position="")
    with pytest.raises(RegistrationError, match="machine isocentre"):
        couch_shift(
            match, planned_isocentre_lps=(0, 0, 0), machine_isocentre_lps=(0, np.nan, 0), patient_position="HFS"
        )
    with pytest.raises(GeometryError, match="angle must be finite"):
        patient_motion_lps(
            CouchShift(), machine_isocentre_lps=(0, 0, 0), patient_position="HFS", table_angle_deg=np.inf
        )
    with pytest.raises(RegistrationError, match="finite"):
        CouchShift(vertical_mm=np.nan)
    with pytest.raises(RegistrationError, match="unknown rotation"):
        TableLimits(rotations=("spin",))
    with pytest.raises(RegistrationError, match="positive"):
        TableLimits(translation_step_mm=0)
