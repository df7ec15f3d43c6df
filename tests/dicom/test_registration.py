from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from imrt_core.dicom import read_machine_isocentre, read_registration, write_machine_isocentre, write_registration
from imrt_core.patient import IdentityError, InputRefusedError, PatientIdentity, RigidTransform

from .objects import day_image, edit, having, image, save_vendor

MATCH = RigidTransform.from_parameters(
    translation_mm=(10.0, -5.0, 3.0), rotation_deg=(1.0, 2.0, -3.0), centre_lps=(20.0, 30.0, 40.0)
)
ISOCENTRE = (12.5, -7.25, 101.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ct = image()
    return write_registration(
        MATCH, fixed=ct, moving=day_image(ct), path=tmp_path / "reg.dcm", machine_isocentre_lps=ISOCENTRE
    )


def test_round_trip(file: Path) -> None:
    ct = image()
    found = read_registration(file)
    assert np.allclose(found.moving_from_fixed.matrix, MATCH.matrix, atol=1e-9)
    assert found.fixed_frame_uid == ct.frame_of_reference_uid
    assert found.moving_frame_uid == day_image(ct).frame_of_reference_uid
    assert found.machine_isocentre_lps == pytest.approx(ISOCENTRE, abs=1e-9)
    assert found.patient == ct.patient
    assert found.created == "2024-05-06T07:08:09"


def test_direction_of_the_matrices(file: Path) -> None:
    # DICOM C.20.2.1.1: an item's matrix maps its frame to the registered one, here the planning CT's.
    ct = image()
    dataset = pydicom.dcmread(file)
    assert dataset.FrameOfReferenceUID == ct.frame_of_reference_uid
    items = {item.FrameOfReferenceUID: item for item in dataset.RegistrationSequence}
    item = items[day_image(ct).frame_of_reference_uid]
    stored = item.MatrixRegistrationSequence[0].MatrixSequence[0].FrameOfReferenceTransformationMatrix
    on_the_day = MATCH.apply((5.0, 6.0, 7.0))
    assert np.array(stored, dtype=float).reshape(4, 4) @ [*on_the_day, 1] == pytest.approx([5, 6, 7, 1])


@pytest.mark.parametrize(
    ("position", "up_lps", "gantry_lps"),
    [
        ("HFS", (0, -1, 0), (0, 0, 1)),
        ("HFP", (0, 1, 0), (0, 0, 1)),
        ("FFS", (0, -1, 0), (0, 0, -1)),
        ("FFP", (0, 1, 0), (0, 0, -1)),
    ],
)
def test_machine_axes_in_the_image(
    tmp_path: Path, position: str, up_lps: tuple[int, int, int], gantry_lps: tuple[int, int, int]
) -> None:
    ct = image(position=position)
    file = write_machine_isocentre(ISOCENTRE, image=ct, path=tmp_path / "iso.dcm")
    assert read_machine_isocentre(file, frame_of_reference_uid=ct.frame_of_reference_uid) == pytest.approx(ISOCENTRE)
    item = pydicom.dcmread(file).RegistrationSequence[1]
    assert item.FrameOfReferenceUID.name == "IEC 61217 Fixed Coordinate System Frame of Reference"
    matrix = np.array(
        item.MatrixRegistrationSequence[0].MatrixSequence[0].FrameOfReferenceTransformationMatrix, dtype=float
    ).reshape(4, 4)
    assert tuple(matrix[:3, 2]) == up_lps  # IEC Z is up
    assert tuple(matrix[:3, 1]) == gantry_lps  # IEC Y points to the gantry
    assert np.linalg.det(matrix) == pytest.approx(1)


def test_isocentre_is_found_in_the_frame_that_is_asked_for(file: Path) -> None:
    ct = image()
    day = day_image(ct).frame_of_reference_uid
    assert read_machine_isocentre(file, frame_of_reference_uid=day) == pytest.approx(ISOCENTRE, abs=1e-9)
    expected = MATCH.inverse().apply(ISOCENTRE)
    found = read_machine_isocentre(file, frame_of_reference_uid=ct.frame_of_reference_uid)
    assert found == pytest.approx(tuple(expected), abs=1e-9)
    assert read_machine_isocentre(file, frame_of_reference_uid="1.9") is None


def test_a_registration_written_the_other_way_round(tmp_path: Path) -> None:
    # A vendor's object whose registered frame is the image of the day.
    ct = image()
    day = day_image(ct)
    file = write_registration(MATCH.inverse(), fixed=day, moving=ct, path=tmp_path / "reg.dcm")
    found = read_registration(file, fixed_frame_uid=ct.frame_of_reference_uid)
    assert np.allclose(found.moving_from_fixed.matrix, MATCH.matrix, atol=1e-9)
    assert found.moving_frame_uid == day.frame_of_reference_uid
    assert found.machine_isocentre_lps is None


def test_several_matrices_apply_in_order(file: Path) -> None:
    first = RigidTransform.from_parameters(rotation_deg=(0, 0, 90))
    second = RigidTransform.from_parameters(translation_mm=(1, 2, 3))

    def change(ds: Dataset) -> None:
        parts = ds.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence
        parts.append(Dataset())
        parts[1].FrameOfReferenceTransformationMatrixType = "RIGID"
        for part, step in zip(parts, (first, second), strict=True):
            part.FrameOfReferenceTransformationMatrix = [f"{v:.10f}" for v in step.matrix.ravel()]

    edit(file, change)
    expected = second.apply(first.apply((4.0, 5.0, 6.0)))
    assert read_registration(file).moving_from_fixed.inverse().apply((4.0, 5.0, 6.0)) == pytest.approx(expected)


def test_same_input_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    ct = image()
    again = write_registration(
        MATCH, fixed=ct, moving=day_image(ct), path=tmp_path / "again.dcm", machine_isocentre_lps=ISOCENTRE
    )
    assert again.read_bytes() == file.read_bytes()


def refusal(file: Path, **options: str) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as caught:
        read_registration(file, **options)
    assert caught.value.where == str(file)
    return caught.value


def _scaled(ds: Dataset) -> None:
    part = ds.RegistrationSequence[1].MatrixRegistrationSequence[0].MatrixSequence[0]
    part.FrameOfReferenceTransformationMatrixType = "RIGID_SCALE"
    part.FrameOfReferenceTransformationMatrix = [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_scaled, "not rigid; found RIGID_SCALE"),
        (lambda ds: ds.RegistrationSequence.pop(1), "found 1 frames; expected 2"),
        (lambda ds: ds.RegistrationSequence.clear(), "without matrices"),
        (having(FrameOfReferenceUID="1.9"), "found 3 frames"),
    ],
)
def test_registrations_that_cannot_be_used(file: Path, change: Callable[[Dataset], object], words: str) -> None:
    edit(file, change)
    assert words in str(refusal(file))


def test_registration_of_another_ct(file: Path) -> None:
    error = refusal(file, fixed_frame_uid="1.9")
    assert isinstance(error, IdentityError)
    assert error.expected == "1.9"


def test_another_object(tmp_path: Path) -> None:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.3", "1.2.3"
    error = refusal(save_vendor(ds, tmp_path / "deformable.dcm"))
    assert error.found == "Deformable Spatial Registration Storage"


def test_images_of_different_patients_are_not_registered(tmp_path: Path) -> None:
    ct = image()
    day = replace(day_image(ct), patient=PatientIdentity("ID2"))
    with pytest.raises(IdentityError, match="found ID2; expected ID1"):
        write_registration(MATCH, fixed=ct, moving=day, path=tmp_path / "reg.dcm")
    assert not list(tmp_path.iterdir())


def test_images_that_share_a_frame(tmp_path: Path) -> None:
    ct = image()
    day = replace(day_image(ct), frame_of_reference_uid=ct.frame_of_reference_uid)
    error = refusal(write_registration(MATCH, fixed=ct, moving=day, path=tmp_path / "reg.dcm"))
    assert error.found == ct.frame_of_reference_uid
    assert error.expected == "a frame of its own for each image"


def test_isocentre_without_patient_position_is_left_out(tmp_path: Path) -> None:
    ct = image()
    lost = replace(day_image(ct), patient_position=None)
    path = tmp_path / "reg.dcm"
    write_registration(MATCH, fixed=ct, moving=lost, path=path, machine_isocentre_lps=ISOCENTRE)
    assert read_registration(path).machine_isocentre_lps is None
    with pytest.raises(IdentityError, match="no patient position"):
        write_machine_isocentre(ISOCENTRE, image=lost, path=path)


def test_dates(tmp_path: Path) -> None:
    ct = replace(image(), acquired="")
    day = replace(day_image(image()), acquired="")
    path = tmp_path / "reg.dcm"
    write_registration(MATCH, fixed=ct, moving=day, path=path, created="2024-01-02")
    assert read_registration(path).created == "2024-01-02T00:00:00"
    write_registration(MATCH, fixed=ct, moving=day, path=path)
    assert pydicom.dcmread(path).ContentDate == "19000101"
    assert pydicom.dcmread(path).ContentDescription.endswith("Date unknown.")
