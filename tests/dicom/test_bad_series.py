"""Bad input: each is refused with what was found, what was expected, and where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from imrt_core.dicom import find_series, read_image, write_image
from imrt_core.patient import DicomError, IdentityError, InputRefusedError

from .objects import edit, having, image, lacking, save_vendor, vendor_series, vendor_slice


def refusal(path: Path, **options: str) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as caught:
        read_image(path, **options)
    assert caught.value.where
    return caught.value


def test_missing_slice(tmp_path: Path) -> None:
    vendor_series(tmp_path, 6)[2].unlink()
    error = refusal(tmp_path)
    assert error.code == "missing-slices"
    assert error.found == "6.000 mm from im005.dcm (at -27.000) to im003.dcm (at -21.000)"
    assert error.expected == "3.000 mm between all slices"


@pytest.mark.parametrize("lost", [0, -1])
def test_missing_slice_at_an_end_of_a_series_that_announces_its_size(tmp_path: Path, lost: int) -> None:
    write_image(image(), tmp_path / "ct")[lost].unlink()
    error = refusal(tmp_path / "ct")
    assert (error.code, error.found) == ("missing-slices", "5 slices")
    assert error.expected.startswith("6 slices")


def test_copy_of_a_slice_is_tolerated(tmp_path: Path) -> None:
    files = vendor_series(tmp_path)
    shutil.copy(files[1], tmp_path / "copy.dcm")
    assert read_image(tmp_path).hu.grid.shape[0] == 4
    # The same slice, written again by another program.
    edit(tmp_path / "copy.dcm", having(SeriesDescription="again"))
    assert read_image(tmp_path).hu.grid.shape[0] == 4


def test_two_contents_under_one_uid(tmp_path: Path) -> None:
    files = vendor_series(tmp_path)
    shutil.copy(files[1], tmp_path / "other.dcm")
    edit(tmp_path / "other.dcm", having(PixelData=b"\0" * 30))
    error = refusal(tmp_path)
    assert error.code == "duplicate-slices"
    assert error.found == "im003.dcm and other.dcm"


def test_two_slices_at_one_position(tmp_path: Path) -> None:
    files = vendor_series(tmp_path)
    shutil.copy(files[1], tmp_path / "other.dcm")
    edit(tmp_path / "other.dcm", having(SOPInstanceUID="1.2.3.99"))
    error = refusal(tmp_path)
    assert error.code == "duplicate-slices"
    assert "im003.dcm" in error.found
    assert "other.dcm" in error.found
    assert "-27.000 mm" in error.found


def test_non_uniform_spacing(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [-10, 20, -30 + 3 * k + (0.8 if k == 2 else 0)]

    vendor_series(tmp_path, change=change)
    error = refusal(tmp_path)
    assert error.code == "non-uniform-spacing"
    assert error.found == "2.200 to 3.800 mm"
    assert error.expected == "3.000 mm between all slices"


def test_positions_rounded_by_the_vendor_are_accepted(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [-10, 20, round(0.625 * k, 1)]

    vendor_series(tmp_path, 9, change=change)
    assert read_image(tmp_path).hu.grid.spacing_mm[2] == pytest.approx(0.625)


def test_gantry_tilt(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.ImagePositionPatient = [-10, 20 + 0.4 * k, -30 + 3 * k]

    vendor_series(tmp_path, change=change)
    error = refusal(tmp_path)
    assert error.code == "sheared-slices"
    assert error.found == "in-plane offset of (0, 1.2) mm"


def test_two_series(tmp_path: Path) -> None:
    vendor_series(tmp_path / "a")
    vendor_series(tmp_path / "b", 3, change=having(SeriesInstanceUID="1.2.3.77"))
    error = refusal(tmp_path)
    assert error.code == "several-series"
    assert error.found == "1.2.3.2 (4 slices); 1.2.3.77 (3 slices)"
    assert read_image(tmp_path, series_uid="1.2.3.77").hu.grid.shape[0] == 3
    assert refusal(tmp_path, series_uid="1.2.3.78").expected == "1.2.3.78"


def _orientation(ds: Dataset) -> None:
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (having(PatientID="P2"), IdentityError, "P2"),
        (having(FrameOfReferenceUID="1.9"), IdentityError, "1.9"),
        (having(PatientPosition="FFS"), IdentityError, "FFS"),
        (having(PixelSpacing=[2, 2]), DicomError, "[2.0, 2.0]"),
        (_orientation, DicomError, "[1.0, 0.0, 0.0, 0.0, 0.0, -1.0]"),
    ],
)
def test_a_slice_that_does_not_belong(
    tmp_path: Path, change: Callable[[Dataset], None], kind: type[InputRefusedError], words: str
) -> None:
    edit(vendor_series(tmp_path)[2], change)
    error = refusal(tmp_path)
    assert isinstance(error, kind)
    assert words in error.found
    assert "im002.dcm" in error.found


@pytest.mark.parametrize("size", [0, 100, 140, 400, 700, -10, -1])
def test_truncated_file(tmp_path: Path, size: int) -> None:
    file = vendor_series(tmp_path)[1]
    whole = file.read_bytes()
    file.write_bytes(whole[:size])
    error = refusal(tmp_path)
    assert error.code in ("truncated-file", "not-dicom")
    assert file.name in error.where
    assert error.found
    assert error.expected


def test_every_length_of_a_cut_file_is_noticed(tmp_path: Path) -> None:
    file = save_vendor(vendor_slice(0), tmp_path / "slice.dcm")
    whole = file.read_bytes()
    for size in range(0, len(whole), 7):
        file.write_bytes(whole[:size])
        with pytest.raises(InputRefusedError):
            read_image(file)


def test_text_renamed_to_dicom(tmp_path: Path) -> None:
    vendor_series(tmp_path)
    (tmp_path / "note.dcm").write_text("this is not an image, whatever its name says\n" * 20)
    error = refusal(tmp_path)
    assert error.code == "not-dicom"
    assert error.where.endswith("note.dcm")
    assert error.found == "900 bytes that are not DICOM"


def test_random_bytes(tmp_path: Path) -> None:
    for seed in range(20):
        (tmp_path / "IM1").write_bytes(os.urandom(50 + 100 * seed))
        assert refusal(tmp_path).code == "not-dicom"


def test_mr_slice_in_the_folder(tmp_path: Path) -> None:
    vendor_series(tmp_path)
    mr = vendor_slice(9)
    mr.SOPClassUID, mr.Modality, mr.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "MR", "1.2.3.5"
    save_vendor(mr, tmp_path / "mr.dcm")
    error = refusal(tmp_path)
    assert error.code == "not-ct"
    assert error.found == "MR Image Storage in mr.dcm"
    assert error.expected == "CT Image Storage"


def test_documents_beside_the_slices_are_passed_over(tmp_path: Path) -> None:
    vendor_series(tmp_path)
    for name in ("LICENSE", "notes.txt", "truth.json", ".DS_Store", "DICOMDIR", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"not DICOM")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "half.dcm").write_bytes(b"half")
    assert read_image(tmp_path).hu.grid.shape[0] == 4
    assert [series.complete for series in find_series(tmp_path)] == [True]


def test_a_slice_called_txt_is_still_a_slice(tmp_path: Path) -> None:
    files = vendor_series(tmp_path)
    files[0].rename(tmp_path / "slice.txt")
    assert read_image(tmp_path).hu.grid.shape[0] == 4


def test_empty_folder_and_no_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "no-image"
    assert refusal(tmp_path / "nothing").code == "not-found"


@pytest.mark.parametrize(("rows", "columns"), [(60000, 60000), (0, 5), (65535, 5)])
def test_absurd_dimensions_are_refused_before_memory_is_taken(tmp_path: Path, rows: int, columns: int) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.Rows, ds.Columns = rows, columns

    vendor_series(tmp_path, change=change)
    error = refusal(tmp_path)
    assert error.code == "absurd-size"
    assert error.found == f"4 slices of {rows} × {columns}"


def test_pixels_that_do_not_fit_the_dimensions(tmp_path: Path) -> None:
    vendor_series(tmp_path, change=having(Rows=4))
    error = refusal(tmp_path)
    assert error.found == "30 bytes"
    assert error.expected == "40 bytes for 1 × 4 × 5 pixels of 16 bits"


@pytest.mark.parametrize(
    "keyword",
    ["RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows"],
)
def test_missing_attribute_is_named(tmp_path: Path, keyword: str) -> None:
    vendor_series(tmp_path, change=lacking(keyword))
    error = refusal(tmp_path)
    assert error.code == "missing-attribute"
    assert error.expected == keyword


def test_no_pixels_at_all(tmp_path: Path) -> None:
    vendor_series(tmp_path, change=lacking("PixelData"))
    assert "no pixel data" in refusal(tmp_path).message


def test_a_number_that_is_none(tmp_path: Path) -> None:
    files = vendor_series(tmp_path)
    data = files[0].read_bytes()
    assert data.count(b"-1024 ") == 1
    files[0].write_bytes(data.replace(b"-1024 ", b"-10x4 "))
    error = refusal(tmp_path)
    assert error.message == "unreadable value of RescaleIntercept"
    assert "-10x4" in error.found
    assert files[0].name in error.where


def test_orientation_that_is_no_orientation(tmp_path: Path) -> None:
    vendor_series(tmp_path, change=having(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))
    error = refusal(tmp_path)
    assert error.code == "invalid-geometry"
    assert error.found == "(1, 0, 0, 1, 0, 0)"


def test_find_series_reports_what_is_wrong(tmp_path: Path) -> None:
    vendor_series(tmp_path / "good")
    vendor_series(tmp_path / "gap", 6, change=having(SeriesInstanceUID="1.2.3.77"))[3].unlink()
    short = vendor_series(tmp_path / "short", change=having(SeriesInstanceUID="1.2.3.88"))[0]
    short.write_bytes(short.read_bytes()[:-5])
    (tmp_path / "junk.dcm").write_text("junk")
    found = {series.series_uid: series for series in find_series(tmp_path)}
    assert found["1.2.3.2"].complete
    assert (found["1.2.3.2"].modality, len(found["1.2.3.2"].files)) == ("CT", 4)
    assert "slices are missing" in found["1.2.3.77"].problem
    assert "5 of 30 bytes of pixel data are missing" in found["1.2.3.88"].problem
    assert "not a DICOM file" in found[""].problem
    assert [series.complete for series in found.values()].count(True) == 1


def test_one_slice_is_not_a_complete_series(tmp_path: Path) -> None:
    vendor_series(tmp_path, 1)
    assert not find_series(tmp_path)[0].complete
