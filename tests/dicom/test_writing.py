from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.valuerep import is_valid_ds

from imrt_core.dicom import read_image, uid_from, write_image, write_plan, write_structures
from imrt_core.dicom.writing import ds, put, save
from imrt_core.patient import DicomError

from .objects import image, plan, structures


@given(st.floats(-1e90, 1e90, allow_subnormal=False))
def test_decimal_strings_are_valid_precise_and_stable(number: float) -> None:
    text = ds(number)
    assert len(text) <= 16
    assert is_valid_ds(text)
    assert float(text) == pytest.approx(number, rel=1e-8, abs=1e-90)
    assert ds(float(text)) == text


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_decimal_strings_of_what_is_no_number(number: float) -> None:
    with pytest.raises(DicomError, match="cannot hold"):
        ds(number)


def test_negative_zero_is_zero() -> None:
    assert ds(-0.0) == "0"


@given(st.lists(st.text(), min_size=1), st.lists(st.text(), min_size=1))
def test_uids_follow_content(a: list[str], b: list[str]) -> None:
    assert (uid_from(*a) == uid_from(*b)) == (a == b)
    assert len(uid_from(*a)) <= 64
    assert pydicom.uid.UID(uid_from(*a)).is_valid


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SliceThickness", "12345678901234567"),
        ("PatientSex", "female, as far as is known"),
        ("StudyDate", "yesterday"),
        ("SOPInstanceUID", "not a UID"),
        ("RTPlanLabel", "longer than sixteen"),
        ("Rows", -1),
    ],
)
def test_invalid_values_are_not_written(tmp_path: Path, keyword: str, value: object) -> None:
    item = Dataset()
    with pytest.raises(DicomError, match=keyword):
        put(item, keyword, value)
        put(item, "SOPClassUID", "1.2.3")
        save(item, tmp_path / "x.dcm")


def _fail(*_arguments: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ct = image()
    old = write_plan(plan(ct), image=ct, path=tmp_path / "rp.dcm").read_bytes()
    monkeypatch.setattr("os.fsync", _fail)
    with pytest.raises(DicomError, match="No space left on device") as caught:
        write_image(ct, tmp_path / "ct")
    assert caught.value.code == "cannot-write"
    with pytest.raises(DicomError, match="cannot be written"):
        write_structures(structures(ct), image=ct, path=tmp_path / "rs.dcm")
    with pytest.raises(DicomError, match="cannot be written"):
        write_plan(plan(ct, label="other"), image=ct, path=tmp_path / "rp.dcm")
    assert [file.name for file in tmp_path.iterdir()] == ["rp.dcm"]
    assert (tmp_path / "rp.dcm").read_bytes() == old


def test_a_path_that_takes_no_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ct = image()
    with pytest.raises(DicomError) as caught:
        write_structures(structures(ct), image=ct, path=tmp_path / "file" / "rs.dcm")
    assert caught.value.code == "cannot-write"
    with pytest.raises(DicomError, match="cannot be written"):
        write_image(ct, tmp_path / "file")


def test_a_series_joins_what_is_in_a_folder(tmp_path: Path) -> None:
    ct = image()
    write_structures(structures(ct), image=ct, path=tmp_path / "rs.dcm")
    write_image(ct, tmp_path)
    assert len(list(tmp_path.iterdir())) == 7
    assert np.array_equal(read_image(tmp_path).hu.array, ct.hu.array)


def test_pydicom_is_left_as_it_was(tmp_path: Path) -> None:
    before = pydicom.config.settings.reading_validation_mode
    write_image(image(), tmp_path / "ct")
    read_image(tmp_path / "ct")
    with pytest.raises(DicomError):
        read_image(tmp_path / "nothing")
    assert pydicom.config.settings.reading_validation_mode == before
