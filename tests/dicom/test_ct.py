from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless
from scipy.spatial.transform import Rotation

from imrt_core.dicom import find_series, read_image, write_image
from imrt_core.patient import DicomError, Grid, IdentityError, PatientIdentity, PatientImage, Volume

from .objects import edit, having, image, lacking, save_vendor, stored_values, vendor_series, vendor_slice

STANDARD_ORIENTATIONS = {
    "transverse": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "prone or rotated by 180°": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "feet first": ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "coronal": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
}


@pytest.mark.parametrize("name", STANDARD_ORIENTATIONS)
def test_every_pixel_lies_where_dicom_says(tmp_path: Path, name: str) -> None:
    # DICOM C.7.6.2.1.1: P = S + X Δcolumn·column index + Y Δrow·row index, written out naively.
    row, column = STANDARD_ORIENTATIONS[name]
    vendor_series(tmp_path, row=row, column=column)
    found = read_image(tmp_path)
    assert np.linalg.det(np.asarray(found.hu.grid.direction)) == pytest.approx(1)
    origin, normal = np.array([-10.0, 20.0, -30.0]), np.cross(row, column)
    for k in range(4):
        for r in range(3):
            for c in range(5):
                place = origin + 3.0 * k * normal + 1.5 * c * np.array(row) + 2.0 * r * np.array(column)
                assert found.hu.sample(place) == pytest.approx(100 * k + 10 * r + c, abs=1e-3)


def test_what_the_headers_say_is_kept(tmp_path: Path) -> None:
    vendor_series(tmp_path)
    found = read_image(tmp_path)
    assert found.patient == PatientIdentity("P1", "Doe^Jane")
    assert found.patient_position == "HFS"
    assert found.acquired == "2024-01-02T03:04:05"
    assert found.scanner.kvp == 120.0
    assert found.slice_uids == ("1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3", "1.2.3.4.4")
    assert (found.study_uid, found.series_uid, found.frame_of_reference_uid) == ("1.2.3.1", "1.2.3.2", "1.2.3.3")
    assert found.hu.array.dtype == np.float32


@st.composite
def _grids(draw: st.DrawFn) -> Grid:
    angles = [draw(st.floats(-180, 180)) for _ in range(3)]
    rotation = Rotation.from_euler("zxy", angles, degrees=True).as_matrix()
    return Grid(
        shape=(draw(st.integers(2, 6)), draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        spacing_mm=tuple(draw(st.floats(0.3, 6)) for _ in range(3)),  # type: ignore[arg-type]
        origin_lps=tuple(draw(st.floats(-900, 900)) for _ in range(3)),  # type: ignore[arg-type]
        direction=tuple(map(tuple, rotation)),  # type: ignore[arg-type]
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(grid=_grids(), seed=st.integers(0, 1000))
def test_round_trip_in_any_orientation_with_shuffled_names(tmp_path: Path, grid: Grid, seed: int) -> None:
    folder = tmp_path / "ct"
    shutil.rmtree(folder, ignore_errors=True)
    written = image(grid=grid, seed=seed)
    files = list(write_image(written, folder))
    names = [f"{n:02d}" for n in range(len(files))]
    random.Random(seed).shuffle(names)
    for file, name in zip(files, names, strict=True):
        file.rename(folder / name)
    found = read_image(folder)
    assert found.hu.grid.matches(written.hu.grid, tolerance_mm=1e-3)
    assert np.array_equal(found.hu.array, written.hu.array)
    assert found.slice_uids == written.slice_uids


def test_round_trip_keeps_identity(tmp_path: Path) -> None:
    written = image()
    write_image(written, tmp_path / "ct")
    found = read_image(tmp_path / "ct")
    for name in ("patient", "frame_of_reference_uid", "study_uid", "series_uid", "slice_uids", "patient_position"):
        assert getattr(found, name) == getattr(written, name)
    assert (found.acquired, found.scanner) == (written.acquired, written.scanner)


def test_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    bare = PatientImage(image().hu, PatientIdentity("ID1"), acquired="2024-01-01")
    first = [file.read_bytes() for file in write_image(bare, tmp_path / "a")]
    assert first == [file.read_bytes() for file in write_image(bare, tmp_path / "b")]
    other = replace(bare, hu=bare.hu.with_array(bare.hu.array + 1))
    assert read_image(write_image(other, tmp_path / "c")[0]).series_uid != read_image(tmp_path / "a").series_uid


def test_rescale_is_applied_slice_by_slice(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.RescaleSlope, ds.RescaleIntercept = str(k + 0.5), str(-1000 - k)

    vendor_series(tmp_path, change=change)
    hu = read_image(tmp_path).hu.array
    for k in range(4):
        assert np.allclose(hu[k], stored_values(k) * (k + 0.5) - 1000 - k)


def test_signed_pixels_of_12_bits_with_rubbish_above(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation, ds.RescaleIntercept = 12, 11, 1, "0"
        values = np.where(np.arange(15) % 2, -3, 5).astype("<i2").view("<u2")
        ds.PixelData = ((values & 0x0FFF) | 0x7000).astype("<u2").tobytes()

    vendor_series(tmp_path, change=change)
    assert np.array_equal(read_image(tmp_path).hu.array[0].ravel(), np.where(np.arange(15) % 2, -3, 5))


def test_padding_below_air_becomes_air_and_tissue_stays(tmp_path: Path) -> None:
    def change(k: int, ds: Dataset) -> None:
        ds.PixelRepresentation = 1
        values = stored_values(k).astype("<i2")
        values[0, 0] = -2000
        ds.PixelData = values.tobytes()
        ds.add_new("PixelPaddingValue", "SS", -2000)

    vendor_series(tmp_path, change=change)
    hu = read_image(tmp_path).hu.array
    assert np.all(hu[:, 0, 0] == -1024)
    assert hu[1, 1, 1] == 111

    def tissue(ds: Dataset) -> None:
        ds.PixelPaddingValue = 1024  # 0 HU

    for file in tmp_path.iterdir():
        edit(file, tissue)
    assert np.all(read_image(tmp_path).hu.array[0, 0, 1] == 1)


def test_implicit_vr_private_tags_and_invalid_values(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for k in range(3):
        ds = vendor_slice(k)
        ds.private_block(0x0029, "VENDOR", create=True).add_new(1, "LO", "secret")
        save_vendor(ds, tmp_path / f"{k}", syntax=ImplicitVRLittleEndian)
        data = (tmp_path / f"{k}").read_bytes()
        assert data.count(b"1.2.3.2\0") == 1
        (tmp_path / f"{k}").write_bytes(data.replace(b"1.2.3.2\0", b"1.02.3.2"))  # no valid UID: a leading zero
    caplog.clear()
    assert read_image(tmp_path).series_uid == "1.02.3.2"
    assert [series.complete for series in find_series(tmp_path)] == [True]
    # pydicom's complaints quote values, which may be a patient's name.
    assert not caplog.records


def test_big_endian(tmp_path: Path) -> None:
    for k in range(3):
        ds = vendor_slice(k)
        ds.PixelData = stored_values(k).astype(">u2").tobytes()
        save_vendor(ds, tmp_path / f"{k}.dcm", syntax=ExplicitVRBigEndian)
    assert np.array_equal(read_image(tmp_path).hu.array[2], stored_values(2) - 1024)


def test_files_without_preamble_and_meta_information(tmp_path: Path) -> None:
    for k in range(3):
        with (tmp_path / f"IM{k}").open("wb") as file:
            pydicom.dcmwrite(file, vendor_slice(k), implicit_vr=True, little_endian=True, enforce_file_format=False)
    assert not (tmp_path / "IM0").read_bytes()[128:].startswith(b"DICM")
    assert read_image(tmp_path).hu.array[1, 0, 0] == 100


def test_compressed_pixels_that_pydicom_decodes(tmp_path: Path) -> None:
    for file in vendor_series(tmp_path):
        edit(file, lambda ds: ds.compress(RLELossless))
    assert pydicom.dcmread(tmp_path / "im001.dcm").file_meta.TransferSyntaxUID == RLELossless
    assert np.array_equal(read_image(tmp_path).hu.array[3], stored_values(3) - 1024)


def test_compressed_pixels_that_cannot_be_decoded_are_refused_by_name(tmp_path: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8nonsense\xff\xd9 "])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = JPEGLSLossless

    for file in vendor_series(tmp_path):
        edit(file, change)
    with pytest.raises(DicomError, match="compressed") as caught:
        read_image(tmp_path)
    assert caught.value.code == "compressed-pixels"
    assert "JPEG-LS" in caught.value.found
    assert "im00" in caught.value.where


def test_patient_position_absent_is_none_and_an_option_fills_it(tmp_path: Path) -> None:
    vendor_series(tmp_path, change=lacking("PatientPosition"))
    assert read_image(tmp_path).patient_position is None
    assert read_image(tmp_path, patient_position="FFP").patient_position == "FFP"


def test_patient_position_contradictory_or_unsupported_is_refused(tmp_path: Path) -> None:
    files = vendor_series(tmp_path)
    with pytest.raises(IdentityError, match=r"contradicts.*HFS.*HFP"):
        read_image(tmp_path, patient_position="HFP")
    for file in files:
        edit(file, having(PatientPosition="HFDR"))
    with pytest.raises(IdentityError, match="HFDR"):
        read_image(tmp_path)


def test_a_single_file_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    file = vendor_series(tmp_path)[2]
    found = read_image(file)
    assert found.hu.grid.shape == (1, 3, 5)
    assert found.hu.grid.spacing_mm[2] == 3.0


def test_localizers_are_passed_over(tmp_path: Path) -> None:
    vendor_series(tmp_path)
    scout = vendor_slice(0, row=(1.0, 0.0, 0.0), column=(0.0, 0.0, -1.0))
    scout.ImageType, scout.SOPInstanceUID = ["ORIGINAL", "PRIMARY", "LOCALIZER"], "1.2.3.4.99"
    save_vendor(scout, tmp_path / "scout.dcm")
    assert read_image(tmp_path).hu.grid.shape[0] == 4


def test_hu_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = image()
    for bad in (np.nan, 40000.0):
        array = good.hu.array.copy()
        array[0, 0, 0] = bad
        with pytest.raises(DicomError, match="HU cannot be stored"):
            write_image(replace(good, hu=good.hu.with_array(array)), tmp_path / "ct")
    assert not (tmp_path / "ct").exists()


def test_resampled_image_with_the_old_slice_uids_is_refused(tmp_path: Path) -> None:
    good = image()
    fewer = Volume(good.hu.array[:3], good.hu.grid.cropped((0, 0, 0), (24, 20, 3)))
    with pytest.raises(DicomError, match="6 UIDs"):
        write_image(replace(good, hu=fewer), tmp_path / "ct")


def test_fractions_of_hu_are_rounded(tmp_path: Path) -> None:
    good = image()
    write_image(replace(good, hu=good.hu.with_array(good.hu.array + 0.4)), tmp_path / "ct")
    assert np.max(np.abs(read_image(tmp_path / "ct").hu.array - good.hu.array)) == 0
