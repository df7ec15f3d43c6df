from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from imrt_core.dicom import read_dose, write_dose
from imrt_core.patient import DicomError, GeometryError, Grid, IdentityError, InputRefusedError

from .objects import dose, edit, having, image, lacking


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ct = image()
    return write_dose(dose(ct), image=ct, path=tmp_path / "rd.dcm", structures_uid="1.2.3.50", bits=32)


def test_round_trip(file: Path) -> None:
    written, found = dose(image()), read_dose(file)
    assert found.dose_gy.grid.matches(written.dose_gy.grid, tolerance_mm=1e-3)
    assert np.allclose(found.dose_gy.array, written.dose_gy.array, rtol=1e-6, atol=70e-9)
    for name in ("summation_type", "frame_of_reference_uid", "sop_instance_uid", "plan_uid"):
        assert getattr(found, name) == getattr(written, name)
    assert found.comment == "Dose to water; research software. For a test."


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 6)] * 3),
    maximum=st.floats(1e-6, 1e4),
)
def test_round_trip_in_any_orientation(
    tmp_path: Path, angles: tuple[float, float, float], spacing: tuple[float, float, float], maximum: float
) -> None:
    folder = tmp_path / "rd"
    shutil.rmtree(folder, ignore_errors=True)
    rotation = Rotation.from_euler("zxy", angles, degrees=True).as_matrix()
    grid = Grid((4, 3, 5), spacing, (10.0, -300.5, 77.7), tuple(map(tuple, rotation)))  # type: ignore[arg-type]
    ct = image()
    written = dose(ct, grid=grid)
    written = replace(written, dose_gy=written.dose_gy.with_array(written.dose_gy.array / 70 * maximum))
    found = read_dose(write_dose(written, image=ct, path=folder / "rd.dcm", bits=32))
    assert found.dose_gy.grid.matches(grid, tolerance_mm=1e-3)
    assert np.allclose(found.dose_gy.array, written.dose_gy.array, rtol=1e-6, atol=1e-9 * maximum)


def test_16_bits_by_default(tmp_path: Path) -> None:
    ct = image()
    file = write_dose(dose(ct), image=ct, path=tmp_path / "rd.dcm")
    difference = read_dose(file).dose_gy.array - dose(ct).dose_gy.array
    assert np.max(np.abs(difference)) <= 70 * 8e-6
    with pytest.raises(DicomError, match="found 8; expected 16 or 32"):
        write_dose(dose(ct), image=ct, path=tmp_path / "x.dcm", bits=8)


def test_same_input_gives_the_same_bytes(file: Path, tmp_path: Path) -> None:
    ct = image()
    again = write_dose(dose(ct), image=ct, path=tmp_path / "again.dcm", structures_uid="1.2.3.50", bits=32)
    assert again.read_bytes() == file.read_bytes()


def test_zero_dose(tmp_path: Path) -> None:
    ct = image()
    nothing = dose(ct)
    nothing = replace(nothing, dose_gy=nothing.dose_gy.with_array(nothing.dose_gy.array * 0))
    assert read_dose(write_dose(nothing, image=ct, path=tmp_path / "rd.dcm")).dose_gy.array.max() == 0


def test_comments_say_dose_to_water_and_research(file: Path) -> None:
    dataset = pydicom.dcmread(file)
    assert dataset.DoseComment.startswith("Dose to water; research software")
    assert dataset.ImageComments == "Research software, not a medical device. Dose to water. For a test."


def test_comment_is_not_repeated_when_written_again(file: Path, tmp_path: Path) -> None:
    again = write_dose(read_dose(file), image=image(), path=tmp_path / "again.dcm", bits=32)
    assert read_dose(again).comment == read_dose(file).comment


def _offsets(*offsets: float) -> Callable[..., None]:
    return having(GridFrameOffsetVector=list(offsets))


def test_absolute_offsets_are_z_coordinates(file: Path) -> None:
    relative = read_dose(file)
    edit(file, lambda ds: _offsets(*(float(ds.ImagePositionPatient[2]) + 3 * k for k in range(6)))(ds))
    absolute = read_dose(file)
    assert absolute.dose_gy.grid.matches(relative.dose_gy.grid, tolerance_mm=1e-6)
    assert np.array_equal(absolute.dose_gy.array, relative.dose_gy.array)


def test_absolute_offsets_where_the_normal_points_down(file: Path) -> None:
    # Feet first: row −x, column +y, so row × column = −z; frames listed by their z, downwards.
    def change(ds: Dataset) -> None:
        ds.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
        ds.GridFrameOffsetVector = [float(ds.ImagePositionPatient[2]) - 3 * k for k in range(6)]

    before = read_dose(file)
    edit(file, change)
    found = read_dose(file)
    place = np.add(before.dose_gy.grid.origin_lps, (-2 * 5, 2.5 * 7, -3 * 4))
    assert found.dose_gy.sample(place) == pytest.approx(float(before.dose_gy.array[4, 7, 5]))


def test_descending_relative_offsets_turn_the_frames_round(file: Path) -> None:
    before = read_dose(file)
    edit(file, _offsets(*(-3.0 * k for k in range(6))))
    found = read_dose(file)
    assert np.array_equal(found.dose_gy.array, before.dose_gy.array[::-1])
    assert found.dose_gy.grid.origin_lps[2] == pytest.approx(before.dose_gy.grid.origin_lps[2] - 15)


def refusal(file: Path) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as caught:
        read_dose(file)
    assert str(file) in caught.value.where
    return caught.value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (having(DoseUnits="RELATIVE"), "found RELATIVE; expected GY"),
        (having(DoseType="EFFECTIVE"), "found EFFECTIVE; expected PHYSICAL"),
        (having(DoseGridScaling="0"), "must be positive; found 0"),
        (lacking("DoseGridScaling"), "lacks DoseGridScaling"),
        (lacking("GridFrameOffsetVector"), "lacks GridFrameOffsetVector"),
        (having(PixelRepresentation=1), "signed dose"),
        (_offsets(0, 3, 6, 9, 12, 16), "found 3.000 to 4.000 mm; expected 3.000 mm between all slices"),
        (_offsets(0, 3, 6, 9, 12, 18), "found 6.000 mm from frame 5"),
        (_offsets(0, 3, 6, 9, 12), "found 5; expected 6"),
        (_offsets(5, 8, 11, 14, 17, 20), "neither relative nor absolute; found first value 5"),
        (having(NumberOfFrames=7, GridFrameOffsetVector=[3 * k for k in range(7)]), "expected 13440 bytes"),
        (having(NumberOfFrames=2_000_000, Rows=60000), "2000000"),
        (having(PixelData=b"\0" * 100), "found 100 bytes"),
    ],
)
def test_doses_that_cannot_be_used(file: Path, change: Callable[..., None], words: str) -> None:
    edit(file, change)
    assert words in str(refusal(file))


def test_summation_type_is_kept(file: Path) -> None:
    edit(file, having(DoseSummationType="BEAM"))
    assert read_dose(file).summation_type == "BEAM"


def test_every_truncation_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for size in (*range(0, 2500, 101), len(whole) - 1):
        file.write_bytes(whole[:size])
        assert isinstance(refusal(file), DicomError)


def test_writing_is_strict(tmp_path: Path) -> None:
    ct = image()
    path = tmp_path / "rd.dcm"
    good = dose(ct)
    for bad in (-1.0, np.nan, np.inf):
        array = good.dose_gy.array.copy()
        array[1, 2, 3] = bad
        with pytest.raises(GeometryError, match="finite and not negative"):
            write_dose(replace(good, dose_gy=good.dose_gy.with_array(array)), image=ct, path=path)
    with pytest.raises(IdentityError, match=r"found 1\.9"):
        write_dose(replace(good, frame_of_reference_uid="1.9"), image=ct, path=path)
    with pytest.raises(DicomError, match="found FRACTION; expected PLAN or FRACTION_SESSION"):
        write_dose(replace(good, summation_type="FRACTION"), image=ct, path=path)
    assert not list(tmp_path.iterdir())


def test_32_bits_differ_from_16_in_the_pixels_only(tmp_path: Path) -> None:
    # dciodvfy can check doses of 16 bits only (see test_dciodvfy); this carries its verdict over to 32.
    ct = image()
    wide, narrow = (
        pydicom.dcmread(write_dose(dose(ct), image=ct, path=tmp_path / f"{bits}.dcm", bits=bits)) for bits in (32, 16)
    )
    assert set(wide.keys()) == set(narrow.keys())
    changed = {element.keyword for element in wide if element != narrow[element.tag]}
    assert changed == {"BitsAllocated", "BitsStored", "HighBit", "DoseGridScaling", "PixelData"}
