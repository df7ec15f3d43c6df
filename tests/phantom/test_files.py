from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from imrt_core.dicom import read_course, read_image
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.patient import RigidTransform
from imrt_core.phantom import DigitalPatient, SimulatedFraction
from imrt_core.phantom.files import write_fraction, write_patient, write_truth


def test_patient_round_trip(head_neck: DigitalPatient, tmp_path: Path) -> None:
    course = read_course(write_patient(head_neck, tmp_path / "plan"))
    mine = head_neck.planning
    assert course.ct.hu.grid.matches(mine.ct.hu.grid)
    assert np.array_equal(course.ct.hu.array, mine.ct.hu.array)
    assert course.ct.patient == mine.ct.patient
    assert course.ct.patient_position == "HFS"
    assert course.structures.names == mine.structures.names
    assert [s.interpreted_type for s in course.structures] == [s.interpreted_type for s in mine.structures]
    for read, written in zip(course.structures, mine.structures, strict=True):
        assert all(
            np.abs(a.points_lps - b.points_lps).max() < 1e-3
            for a, b in zip(read.contours, written.contours, strict=True)
        )
    # Whoever reads the folder plans about the same point.
    assert target_isocentre_lps(course.structures) == head_neck.isocentre_lps
    assert course.plan is None and course.course_dose is None


def test_fraction_round_trip(head_neck_last: SimulatedFraction, tmp_path: Path) -> None:
    image = read_image(write_fraction(head_neck_last, tmp_path / "fx35"))
    assert np.array_equal(image.hu.array, head_neck_last.image.hu.array)
    assert image.hu.grid.matches(head_neck_last.image.hu.grid)
    assert image.frame_of_reference_uid == head_neck_last.image.frame_of_reference_uid
    assert image.patient_position == "HFS"
    assert image.scanner.model == "Simulated CBCT"


def test_truth_can_be_recomputed_from_the_file(head_neck_last: SimulatedFraction, tmp_path: Path) -> None:
    path = write_truth(tmp_path / "truth.json", [head_neck_last])
    document = json.loads(path.read_text())
    assert document["schema_version"] == 1
    (fraction,) = document["fractions"]
    assert fraction["dir"] == "fx35" and fraction["fraction"] == 35
    matrix = np.array(fraction["moving_from_fixed_lps"])
    assert RigidTransform.from_matrix(matrix) == head_neck_last.moving_from_fixed
    planned, machine = np.array(fraction["planned_isocentre_lps"]), np.array(fraction["machine_isocentre_lps"])
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # HFS
    back = axes @ matrix[:3, :3].T @ axes.T
    lateral, longitudinal, vertical = -back @ axes @ (matrix[:3, :3] @ planned + matrix[:3, 3] - machine)
    assert np.allclose(fraction["shift_mm"], [vertical, longitudinal, lateral])
    pitch, roll, yaw = np.radians(fraction["rotation_deg"])
    assert np.isclose(back[2, 1], np.sin(pitch))
    assert np.isclose(back[2, 0], -np.cos(pitch) * np.sin(roll))
    assert np.isclose(back[0, 1], -np.sin(yaw) * np.cos(pitch))
    assert not list(tmp_path.glob(".truth*"))
