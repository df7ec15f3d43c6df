from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from imrt_core.dicom import read_structures, write_image, write_structures
from imrt_core.patient import (
    Contour,
    DicomError,
    IdentityError,
    InputRefusedError,
    Structure,
    StructureError,
    StructureSet,
)

from .objects import edit, image, structures


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ct = image()
    return write_structures(structures(ct), image=ct, path=tmp_path / "rs.dcm")


def test_round_trip(file: Path) -> None:
    written, found = structures(image()), read_structures(file)
    assert found.names == written.names
    for name in ("frame_of_reference_uid", "sop_instance_uid", "referenced_series_uid", "label", "approval_status"):
        assert getattr(found, name) == getattr(written, name)
    for a, b in zip(found, written, strict=True):
        assert (a.number, a.interpreted_type, a.color_rgb) == (b.number, b.interpreted_type, b.color_rgb)
        for x, y in zip(a.contours, b.contours, strict=True):
            assert np.max(np.abs(x.points_lps - y.points_lps)) <= 1e-4
    assert found["Parotid_L"].is_empty


def test_contours_refer_to_their_slices(file: Path, tmp_path: Path) -> None:
    ct = image()
    write_image(ct, tmp_path / "ct")
    for item in pydicom.dcmread(file).ROIContourSequence[0].ContourSequence:
        uid = item.ContourImageSequence[0].ReferencedSOPInstanceUID
        z = ct.hu.grid.to_lps([0, 0, ct.slice_uids.index(uid)])[2]
        assert abs(float(item.ContourData[2]) - z) < 1e-3


def test_same_input_gives_the_same_bytes_and_another_uid_elsewise(tmp_path: Path) -> None:
    ct = image()
    nameless = replace(structures(ct), sop_instance_uid="")
    first = write_structures(nameless, image=ct, path=tmp_path / "a.dcm")
    assert first.read_bytes() == write_structures(nameless, image=ct, path=tmp_path / "b.dcm").read_bytes()
    fewer = StructureSet(nameless.structures[:1], nameless.frame_of_reference_uid)
    other = write_structures(fewer, image=ct, path=tmp_path / "c.dcm")
    assert read_structures(first).sop_instance_uid != read_structures(other).sop_instance_uid != ""


def test_unreviewed_contours_say_so(tmp_path: Path) -> None:
    ct = image()
    file = write_structures(structures(ct), image=ct, path=tmp_path / "rs.dcm", unreviewed=True)
    dataset = pydicom.dcmread(file)
    assert dataset.StructureSetLabel == "UNREVIEWED"
    assert "UNREVIEWED" in dataset.StructureSetDescription
    assert "not a medical device" in dataset.StructureSetDescription
    assert all("unreviewed" in roi.ROIDescription for roi in dataset.StructureSetROISequence)
    assert dataset.ApprovalStatus == "UNAPPROVED"


def test_a_contour_of_more_than_64_kib(tmp_path: Path) -> None:
    ct = image()
    angle = np.linspace(0, 2 * np.pi, 5000, endpoint=False)
    points = np.stack([7.1234567 * np.cos(angle), 7.1234567 * np.sin(angle), np.full(5000, -100.123456)], axis=1)
    big = StructureSet((Structure("BODY", (Contour(points),), 1, "EXTERNAL"),), ct.frame_of_reference_uid)
    found = read_structures(write_structures(big, image=ct, path=tmp_path / "rs.dcm"))
    assert np.max(np.abs(found["BODY"].contours[0].points_lps - points)) <= 1e-4


def test_points_open_lines_and_small_contours_are_passed_over(file: Path) -> None:
    def change(ds: Dataset) -> None:
        contours = ds.ROIContourSequence[0].ContourSequence
        contours[0].ContourGeometricType = "POINT"
        contours[1].ContourGeometricType = "OPEN_PLANAR"
        contours[2].ContourGeometricType = "CLOSEDPLANAR_XOR"
        contours[3].NumberOfContourPoints = 2
        contours[3].ContourData = [1, 2, 3, 4, 5, 6]
        del ds.ROIContourSequence[0].ROIDisplayColor

    edit(file, change)
    assert len(read_structures(file)["PTV70"].contours) == 2


def test_roi_without_name_contours_or_observation(file: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.StructureSetROISequence[1].ROIName = ""
        del ds.ROIContourSequence[1]
        del ds.RTROIObservationsSequence[1]

    edit(file, change)
    found = read_structures(file)["ROI 7"]
    assert found.is_empty
    assert found.interpreted_type == ""


def refusal(file: Path) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as caught:
        read_structures(file)
    assert str(file) in caught.value.where
    return caught.value


def test_two_structures_of_one_name(file: Path) -> None:
    edit(file, lambda ds: setattr(ds.StructureSetROISequence[1], "ROIName", "PTV70"))
    error = refusal(file)
    assert isinstance(error, StructureError)
    assert error.found == "PTV70"


def test_two_frames(file: Path) -> None:
    edit(file, lambda ds: setattr(ds.StructureSetROISequence[1], "ReferencedFrameOfReferenceUID", "1.9"))
    error = refusal(file)
    assert isinstance(error, IdentityError)
    assert "1.9" in error.found


def test_contour_with_too_few_coordinates(file: Path) -> None:
    edit(file, lambda ds: setattr(ds.ROIContourSequence[0].ContourSequence[1], "ContourData", [1, 2, 3] * 39))
    error = refusal(file)
    assert (error.found, error.expected) == ("117 coordinates", "40 points of three")
    assert "PTV70" in error.where


def test_unknown_contour_type(file: Path) -> None:
    edit(file, lambda ds: setattr(ds.ROIContourSequence[0].ContourSequence[1], "ContourGeometricType", "SPLINE"))
    assert refusal(file).found == "SPLINE"


def test_every_truncation_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for size in range(0, len(whole) - 1, 211):
        file.write_bytes(whole[:size])
        assert isinstance(refusal(file), DicomError)


def test_every_truncation_with_undefined_lengths_is_noticed(file: Path) -> None:
    def undefined(ds: Dataset) -> None:
        for element in ds:
            if element.VR == "SQ":
                element.is_undefined_length = True
                for item in element.value:
                    item.is_undefined_length_sequence_item = True
                    undefined(item)

    edit(file, undefined)
    assert len(read_structures(file)) == 2
    whole = file.read_bytes()
    for size in range(0, len(whole) - 1, 211):
        file.write_bytes(whole[:size])
        assert isinstance(refusal(file), DicomError)


def test_another_object_is_refused_by_name(tmp_path: Path) -> None:
    file = write_image(image(), tmp_path / "ct")[0]
    error = refusal(file)
    assert (error.found, error.expected) == ("CT Image Storage", "RT Structure Set Storage")


def test_writing_refuses_another_frame_and_names_too_long(tmp_path: Path) -> None:
    ct = image()
    with pytest.raises(IdentityError, match=r"expected 1\.2"):
        write_structures(replace(structures(ct), frame_of_reference_uid="1.9"), image=ct, path=tmp_path / "x.dcm")
    long = StructureSet((Structure("N" * 65, ()),), ct.frame_of_reference_uid)
    with pytest.raises(DicomError, match="ROI name is too long"):
        write_structures(long, image=ct, path=tmp_path / "x.dcm")
    assert not list(tmp_path.iterdir())
