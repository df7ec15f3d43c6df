"""PTW mcc: what is read, turned, averaged and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.machine.scans.mcc import read_mcc
from imrt_core.machine.scans.types import Scan
from imrt_core.patient import MachineError

from .examples import pdd, profile, same, scans
from .writers import mcc

ANY = scans(kinds=("pdd", "crossline", "inline", "diagonal"))


def read(text: str, folder: Path, encoding: str = "utf-8") -> tuple[Scan, ...]:
    path = folder / "scans.mcc"
    path.write_bytes(text.encode(encoding))
    return read_mcc(path).scans


@settings(deadline=None, max_examples=40)  # each writes a file
@given(written=st.lists(ANY, min_size=1, max_size=4), line_end=st.sampled_from(["\n", "\r\n"]))
def test_round_trip(written: list[Scan], line_end: str, folder: Path) -> None:
    found = read(mcc(written).replace("\n", line_end), folder)
    for one, other in zip(written, found, strict=True):
        same(one, other)


@pytest.mark.parametrize(
    ("scan", "key", "turned"),
    [
        (profile(centre_mm=5), "CROSSPLANE_AXIS_DIR", "RIGHT_LEFT"),
        (profile(kind="inline", centre_mm=5), "INPLANE_AXIS_DIR", "GUN_TARGET"),
    ],
)
def test_axes_are_turned_to_iec(tmp_path: Path, scan: Scan, key: str, turned: str) -> None:
    """A field towards +X (+Y) lies at negative positions on an axis that starts there."""
    (found,) = read(mcc([scan], **{key: turned}), tmp_path)
    np.testing.assert_array_equal(found.position_mm, -scan.position_mm[::-1])
    np.testing.assert_array_equal(found.value, scan.value[::-1])


def test_crossplane_is_x_and_inplane_is_y(tmp_path: Path) -> None:
    (found,) = read(mcc([profile(field_x_mm=120.0, field_y_mm=40.0)]), tmp_path)
    assert (found.field_x_mm, found.field_y_mm) == (120.0, 40.0)


def test_unsorted_and_repeated_positions(tmp_path: Path) -> None:
    """Two readings at 20 mm become their mean, and the file says so."""
    text = mcc([pdd()]).replace("\t\t\t10.0\t", "\t\t\t20.0\t")
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if "BEGIN_DATA" in line) + 1
    lines[start : start + 31] = lines[start : start + 31][::-1]
    path = tmp_path / "scans.mcc"
    path.write_text("\n".join(lines))
    contents = read_mcc(path)
    (scan,) = contents.scans
    assert list(scan.position_mm[:3]) == [0.0, 20.0, 30.0]
    assert scan.value[1] == pytest.approx((95.1 + 90.5) / 2)
    assert "1 repeated positions averaged" in contents.warnings[0]
    assert "4.60 %" in contents.warnings[0]


def test_reference_readings_and_detector_numbers_are_left_out(tmp_path: Path) -> None:
    text = mcc([pdd()]).replace("\t0.0\t\t100.0\n", "\t0.0\t\t100.0\t\t12.7E+00\n")
    text = text.replace("95.1\n", "95.1\t\t#17\n", 1)
    same(pdd(), read(text, tmp_path)[0])


def test_names_in_any_encoding(tmp_path: Path) -> None:
    """Only names can hold other than ASCII."""
    for encoding in ("utf-8", "utf-8-sig", "latin-1", "utf-16"):
        (found,) = read(mcc([pdd(machine="Köln 1")]), tmp_path, encoding)
        assert found.machine == "Köln 1"


def test_unflattened_beams_are_told_apart(tmp_path: Path) -> None:
    assert [read(mcc([pdd()], FILTER=f), tmp_path)[0].flattened for f in ("FF", "FFF", "")] == [True, False, None]


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"WEDGE_ANGLE": "15.00"}, "WEDGE_ANGLE=15"),
        ({"MODALITY": "E"}, "MODALITY=E"),
        ({"MEAS_MEDIUM": "AIR"}, "MEAS_MEDIUM=AIR"),
        ({"FIELD_TYPE": "CIRCULAR"}, "FIELD_TYPE=CIRCULAR"),
        ({"COLL_OFFSET_INPLANE": "20"}, "COLL_OFFSET_INPLANE=20"),
        ({"SCAN_OFFAXIS_CROSSPLANE": "30"}, "SCAN_OFFAXIS_CROSSPLANE=30"),
        ({"SCAN_CURVETYPE": "FREE"}, "FREE"),
        ({"DEPTH_AXIS_DIR": "SIDEWAYS"}, "SIDEWAYS"),
        ({"SSD": ""}, "SSD"),
        ({"SSD": "nan"}, "(SSD)"),
        ({"FIELD_INPLANE": "0"}, "field size Y"),
        ({"ENERGY": "six"}, "(ENERGY)"),
        ({"ISOCENTER": "1e999"}, "(ISOCENTER)"),
    ],
)
def test_refused_with_the_keyword(tmp_path: Path, keys: dict[str, str], named: str) -> None:
    with pytest.raises(MachineError) as error:
        read(mcc([pdd(), pdd()], **keys), tmp_path)
    assert named in str(error.value)
    assert "scans.mcc" in error.value.where


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("END_SCAN_DATA", "", "END_SCAN_DATA"),
        ("\tEND_SCAN  1\n", "", "END_SCAN 1"),
        ("\tEND_SCAN  1\n", "\tEND_SCAN  2\n", "END_SCAN 1"),
        ("\t\tEND_DATA\n", "", "END_DATA"),
        ("\t\tBEGIN_DATA\n", "", "KEY=value"),
        ("BEGIN_SCAN_DATA", "SOMETHING", "BEGIN_SCAN_DATA"),
        ("\t\t\t20.0\t\t90.5", "\t\t\t20.0\t\t90,5", "a number"),
        ("\t\t\t20.0\t\t90.5", "\t\t\t20.0", "position, reading"),
        ("\t\t\t20.0\t\t90.5", "\t\t\t20.0\t\tNaN", "a number"),
        ("\t\t\t20.0\t\t90.5", "\t\t\t20.0\t\t1e999", "a number"),
        ("\t\t\t20.0\t\t90.5", "\t\t\t20.0\t\t90.5\t\tä", "a number"),
        ("\t\tMODALITY=X", "\t\tMODALITY", "KEY=value"),
    ],
)
def test_broken_files_name_the_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = mcc([pdd()])
    assert old in text
    with pytest.raises(MachineError) as error:
        read(text.replace(old, new, 1), tmp_path, "latin-1")
    assert expected in error.value.expected
    assert ", line " in error.value.where


def test_the_line_named_is_the_broken_one(tmp_path: Path) -> None:
    text = mcc([pdd()]).replace("\t\t\t20.0\t\t90.5", "\t\t\t20.0\t\tabc")
    line = next(n for n, row in enumerate(text.splitlines(), start=1) if "abc" in row)
    with pytest.raises(MachineError) as error:
        read(text, tmp_path)
    assert error.value.where.endswith(f"scans.mcc, line {line}")


def test_no_data(tmp_path: Path) -> None:
    lines = [line for line in mcc([pdd()]).splitlines() if not line.startswith("\t\t\t")]
    with pytest.raises(MachineError, match="no data"):
        read("\n".join(lines), tmp_path)


def test_cut_anywhere_gives_an_error_never_half_a_file(tmp_path: Path) -> None:
    text = mcc([pdd(), profile(position_mm=[-1.0, 0.0, 1.0], value=[1.0, 2.0, 1.0])]).rstrip()
    for end in range(0, len(text), 7):
        with pytest.raises(MachineError):
            read(text[:end], tmp_path)
