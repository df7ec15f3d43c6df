"""W2CAD: files by hand from the format's description, several measurements each."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.machine.scans.types import Scan
from imrt_core.machine.scans.w2cad import read_w2cad
from imrt_core.patient import MachineError

from .examples import pdd, profile, same, scans
from .writers import w2cad

BY_HAND = """$NUMS 003
#
# a file by hand
#
$STOM
#
# Comment: none
# Detector: CC 13 Field
#
%VERSION 02
%DATE 20-09-2011
%DETY CHA
%BMTY PHO
%FLSZ 060*120
%TYPE OPD
%AXIS Z
%PNTS 4
%STEP 050
%SSD  0900
<+000.0 +000.0 +015.0 +099.0>
<+000.0 +000.0 +010.0 +100.0>
<+000.0 +000.0 +005.0 +080.2>
<+000.0 +000.0 +000.0 +050.5>
$ENOM
$STOM
%DETY DIO
%BMTY PHO
%FLSZ 060 * 120
%TYPE OPP
%AXIS Y
%PNTS 3
%STEP 100
%SSD 1000
%DPTH 050
<+000.0 -010.0 +050.0 +099.0>
<+000.0 +000.0 +050.0 +100.0>
<+000.0 +010.0 +050.0 +098.0>
$ENOM
$STOM
%DETY DIA
%BMTY PHO
%FLSZ 400*400
%TYPE DPR
%AXIS D
%PNTS 3
%STEP 000
%SSD 1000
%DPTH 100
<-030.0 -040.0 +100.0 +101.0>
<+000.0 +000.0 +100.0 +100.0>
<+030.0 +040.0 +100.0 +102.0>
$ENOM
$ENOF
"""


def read(text: str, folder: Path) -> tuple[Scan, ...]:
    path = folder / "scans.asc"
    path.write_text(text)
    return read_w2cad(path).scans


def test_by_hand(tmp_path: Path) -> None:
    depth, inline, diagonal = read(BY_HAND, tmp_path)
    assert (depth.kind, depth.field_x_mm, depth.field_y_mm, depth.ssd_mm) == ("pdd", 60.0, 120.0, 900.0)
    assert (list(depth.position_mm), list(depth.value)) == ([0.0, 5.0, 10.0, 15.0], [50.5, 80.2, 100.0, 99.0])
    assert depth.detector.name == "CC 13 Field"
    assert depth.energy_mv is None
    assert (inline.kind, inline.depth_mm, inline.detector.shape) == ("inline", 50.0, "diode")
    assert list(inline.position_mm) == [-10.0, 0.0, 10.0]
    assert (diagonal.kind, diagonal.depth_mm) == ("diagonal", 100.0)
    assert list(diagonal.position_mm) == [-50.0, 0.0, 50.0]  # 3-4-5 triangles


@settings(deadline=None, max_examples=40)  # each writes a file
@given(written=st.lists(scans(kinds=("pdd", "crossline", "inline"), step_mm=0.1, decimals=1), min_size=1, max_size=4))
def test_round_trip(written: list[Scan], folder: Path) -> None:
    found = read(w2cad(written), folder)
    for one, other in zip(written, found, strict=True):
        same(one, other, atol_mm=1e-9)


@settings(deadline=None, max_examples=40)  # each writes a file
@given(written=scans(kinds=("diagonal",), step_mm=0.1, decimals=1))
def test_round_trip_of_diagonals(written: Scan, folder: Path) -> None:
    (found,) = read(w2cad([written]), folder)
    same(written, found, atol_mm=1e-3)


def test_depth_axis_may_point_up(tmp_path: Path) -> None:
    (found,) = read(re.sub(r"<(\S+ \S+) \+", r"<\1 -", w2cad([pdd()])), tmp_path)
    same(pdd(), found)


def test_wrong_step_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "scans.asc"
    path.write_text(w2cad([pdd()], STEP="010"))
    (warning,) = read_w2cad(path).warnings
    assert "points lie 10 mm apart, %STEP says 1 mm" in warning


def test_depth_from_the_points_where_not_stated(tmp_path: Path) -> None:
    (found,) = read(w2cad([profile()], DPTH=""), tmp_path)
    assert found.depth_mm == 100.0


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"TYPE": "WDD", "WDGL": "45"}, "%TYPE WDD %WDGL 45"),
        ({"TYPE": "WDP", "WDGL": "W1"}, "%TYPE WDP %WDGL W1"),
        ({"WDGL": "30"}, "%WDGL 30"),
        ({"BMTY": "ELE"}, "%BMTY ELE"),
        ({"TYPE": "BLD"}, "%TYPE BLD"),
        ({"TYPE": "OPP"}, "%AXIS Z"),
        ({"PNTS": "30"}, "31 points"),
        ({"FLSZ": "100"}, "100"),
        ({"SSD": "x"}, "(%SSD)"),
        ({"SSD": ""}, "%SSD"),
    ],
)
def test_refused_with_its_name(tmp_path: Path, keys: dict[str, str], named: str) -> None:
    with pytest.raises(MachineError) as error:
        read(w2cad([pdd()], **keys), tmp_path)
    assert named in str(error.value)
    assert "scans.asc, line" in error.value.where


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("$ENOM\n$STOM", "$STOM", "$ENOM"),
        ("$NUMS 002", "$NUMS 003", "3 by $NUMS"),
        ("$NUMS 002", "$NUMS two", "a number"),
        ("+0090.5>", "+0090.5", "<x y z dose>"),
        ("+0090.5>", "+00nan>", "a number"),
        ("+0090.5>", ">", "<x y z dose>"),
        ("%SSD", "SSD", "<x y z dose>"),
        ("$ENOF", "$ENOF\n$STOM", "nothing after"),
        ("$STOM\n", "", "$STOM"),
    ],
)
def test_broken_files(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = w2cad([pdd(), profile()])
    assert old in text
    with pytest.raises(MachineError) as error:
        read(text.replace(old, new, 1), tmp_path)
    assert expected in error.value.expected


def test_cut_anywhere_gives_an_error_never_half_a_file(tmp_path: Path) -> None:
    text = w2cad([pdd(), profile(position_mm=[-1.0, 0.0, 1.0], value=[1.0, 2.0, 1.0])])
    whole = text.index("$ENOF")
    for end in range(0, whole - 1, 7):
        with pytest.raises(MachineError):
            read(text[:end], tmp_path)


def test_scan_beside_the_axis_and_unclear_depth(tmp_path: Path) -> None:
    text = w2cad([profile()])
    with pytest.raises(MachineError, match="beside the axis"):
        read(text.replace(" +0000.0 ", " +0020.0 "), tmp_path)
    with pytest.raises(MachineError, match="not clear"):
        read(text.replace("%DPTH 100", "%DPTH 050"), tmp_path)


def test_two_files_of_one_scan_agree_in_value(tmp_path: Path) -> None:
    one = pdd()
    (found,) = read(w2cad([replace(one, value=np.round(one.value, 1))]), tmp_path)
    np.testing.assert_array_equal(found.value, one.value)
