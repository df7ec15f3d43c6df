"""Files that are no measurements: refused quickly, with a reason."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.machine.scans import AbsoluteDose, OutputFactors, PrimaryFluence, Scan, read_scans
from imrt_core.machine.scans.text import number
from imrt_core.patient import MachineError

from .examples import pdd, profile
from .writers import mcc, table, w2cad

NAMES = ("a.mcc", "06MV.asc", "a.csv", "a.dat")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\n\n",
        b"\0" * 100,
        b"BEGIN_SCAN_DATA\n\0",
        b"\xff\xfe\x00\xd8",
        b"\xef\xbb\xbf",
        bytes(range(256)),
        b"$NUMS 1e9\n",
        b"depth_mm,dose\n",
        b"# energy_mv: 6\n",
        b"1,2\n3,4\n",
    ],
)
def test_no_measurements(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MachineError):
        read_scans(tmp_path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", [b"1", b" ", b"_", b"# ", b"x", b"1,", b"<"])
def test_a_line_of_100_megabytes_is_refused_quickly(tmp_path: Path, name: str, fill: bytes) -> None:
    """By its size before it is read; a line at the limit of length does not take long either."""
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(fill * 100)
        file.truncate(100 * 2**20)  # sparse: the size is what counts
    start = time.perf_counter()
    with pytest.raises(MachineError, match="too large"):
        read_scans(tmp_path)
    heads = (b"", b"BEGIN_SCAN_DATA\nBEGIN_SCAN 1\n", b"$STOM\n", b"# energy_mv: 6\ndepth_mm,dose\n")
    for head in heads:
        for length in (99_000, 200_000):
            path.write_bytes(head + fill * (length // len(fill)))
            with pytest.raises(MachineError):
                read_scans(tmp_path)
    assert time.perf_counter() - start < 5.0


@settings(deadline=None, max_examples=200)  # each writes a file
@given(data=st.binary(max_size=400), name=st.sampled_from(NAMES), head=st.sampled_from(["", "mcc", "w2cad", "table"]))
def test_garbage_raises_nothing_else(data: bytes, name: str, head: str, folder: Path) -> None:
    """Any bytes, also in the middle of a good file: read or refused, no other exception."""
    for old in folder.iterdir():
        old.unlink()
    good = {"": "", "mcc": mcc([pdd()]), "w2cad": w2cad([pdd()]), "table": table(pdd())}[head].encode()
    at = len(data) * 7919 % (len(good) + 1)
    (folder / name).write_bytes(good[:at] + data + good[at:])
    try:
        read_scans(folder)
    except MachineError as error:
        assert error.message


@pytest.mark.parametrize(
    "word", ["nan", "inf", "1_000", "0x10", "１２", "1e999", "9" * 400, "1e", "", "--1", "1 2", "1,5"]
)
def test_words_that_are_no_numbers(word: str) -> None:
    with pytest.raises(MachineError):
        number(word, "here")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"field_x_mm": 0.0}, "field size X"),
        ({"field_y_mm": float("nan")}, "field size Y"),
        ({"ssd_mm": -1.0}, "distance from the source"),
        ({"depth_mm": 10.0}, "along the axis"),
        ({"value": np.full(31, np.nan)}, "not finite"),
        ({"value": np.full(31, 1e300)}, "no doses"),
        ({"value": np.zeros(31)}, "no doses"),
        ({"value": np.ones(30)}, "differ in length"),
        ({"position_mm": np.arange(31.0)[::-1]}, "do not ascend"),
        ({"position_mm": np.zeros(31)}, "do not ascend"),
        ({"position_mm": np.arange(31.0) * 100}, "longer than any"),
        ({"position_mm": np.arange(31.0) - 60}, "longer than any"),
        ({"position_mm": np.array([1.0]), "value": np.array([1.0])}, "at least 3"),
        ({"kind": "sideways"}, "unknown kind"),
        ({"energy_mv": 600.0}, "energy"),
    ],
)
def test_scans_that_cannot_be(changes: dict[str, object], named: str) -> None:
    with pytest.raises(MachineError) as error:
        pdd(**changes)
    assert named in str(error.value)
    assert error.value.where


def test_other_data_that_cannot_be() -> None:
    with pytest.raises(MachineError, match="no depth"):
        profile(depth_mm=None)
    ten = np.array([100.0])
    with pytest.raises(MachineError, match="field twice"):
        OutputFactors(np.full(2, 100.0), np.full(2, 100.0), np.ones(2), None, None, 100.0, 100.0)
    with pytest.raises(MachineError, match="output factor"):
        OutputFactors(ten, ten, np.array([0.0]), None, None, 100.0, 100.0)
    with pytest.raises(MachineError, match="Gy per MU"):
        AbsoluteDose(0.812, 100.0, 100.0, 100.0, 900.0)
    with pytest.raises(MachineError, match="out of range"):
        PrimaryFluence(np.array([-1.0, 1.0]), np.ones(2))


def test_arrays_cannot_be_changed() -> None:
    scan: Scan = pdd()
    with pytest.raises(ValueError, match="read-only"):
        scan.value[0] = 0.0
