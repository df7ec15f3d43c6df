"""A folder of several formats, and folders that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from imrt_core.machine.scans import read_scans
from imrt_core.patient import MachineError

from .examples import pdd, profile
from .writers import mcc, table, w2cad


def test_all_formats_together(tmp_path: Path) -> None:
    (tmp_path / "a.mcc").write_text(mcc([pdd(), profile()]))
    (tmp_path / "b.ASC").write_text(w2cad([pdd(field_x_mm=60.0)]))
    (tmp_path / "c.csv").write_text(table(profile(kind="inline")))
    (tmp_path / "d.csv").write_text(",5x5,10x10\n6 MV,0.9,1\n")
    (tmp_path / "notes.txt").write_text("Measured on Saturday, by two people.\nx: none\n")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\0")
    (tmp_path / "older").mkdir()
    (tmp_path / ".hidden").write_bytes(b"\0")
    found = read_scans(tmp_path)
    assert [scan.kind for scan in found.scans] == ["pdd", "crossline", "pdd", "inline"]
    assert {scan.energy_mv for scan in found.scans} == {6.0}  # the W2CAD file states none
    assert len(found.output_factors) == 1
    assert found.sad_mm == 1000.0
    assert found.source == "a.mcc (PTW mcc); b.ASC (W2CAD); c.csv (plain table); d.csv (labelled table)"
    for name in ("notes.txt", "photo.jpg", "older"):
        assert any(warning.startswith(f"{name}: not read") for warning in found.warnings)
    assert not any("hidden" in warning for warning in found.warnings)


def test_empty_folder_and_none(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match=r"no measurements.*an empty folder"):
        read_scans(tmp_path)
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(MachineError, match=r"no measurements.*README.md"):
        read_scans(tmp_path)
    with pytest.raises(MachineError, match="no such folder"):
        read_scans(tmp_path / "nowhere")


def test_mixed_energies(tmp_path: Path) -> None:
    (tmp_path / "a.mcc").write_text(mcc([pdd()]))
    (tmp_path / "b.mcc").write_text(mcc([pdd()], ENERGY="10.00"))
    with pytest.raises(MachineError, match=r"mixes energies.*6 in a.mcc, 10 in b.mcc"):
        read_scans(tmp_path)


def test_energy_where_no_file_states_it(tmp_path: Path) -> None:
    path = tmp_path / "pdd.asc"
    path.write_text(w2cad([pdd()]))
    with pytest.raises(MachineError, match="no file states the energy"):
        read_scans(tmp_path)
    found = read_scans(tmp_path, energy_mv=15.0)
    assert (found.energy_mv, found.scans[0].energy_mv) == (15.0, 15.0)
    assert any("source-axis distance: 1000 mm assumed" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("name", "energy"), [("06MV_open.asc", 6.0), ("X15 PDD.asc", 15.0), ("open 10 MV.asc", 10.0), ("X06.asc", 6.0)]
)
def test_energy_from_the_name_is_a_warning(tmp_path: Path, name: str, energy: float) -> None:
    (tmp_path / name).write_text(w2cad([pdd()]))
    found = read_scans(tmp_path)
    assert found.energy_mv == energy
    assert any("taken from the name" in warning for warning in found.warnings)


def test_energy_asked_for_must_be_that_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.mcc").write_text(mcc([pdd()]))
    with pytest.raises(MachineError, match="mixes energies"):
        read_scans(tmp_path, energy_mv=10.0)


def test_mixed_distances_and_filters(tmp_path: Path) -> None:
    (tmp_path / "a.mcc").write_text(mcc([pdd()], FILTER="FF"))
    (tmp_path / "b.mcc").write_text(mcc([pdd()], FILTER="FFF"))
    with pytest.raises(MachineError, match="flattened and unflattened"):
        read_scans(tmp_path)
    (tmp_path / "b.mcc").write_text(mcc([pdd()], ISOCENTER="800"))
    with pytest.raises(MachineError, match="source-axis distances"):
        read_scans(tmp_path)


def test_a_scan_twice_and_two_machines_are_warnings(tmp_path: Path) -> None:
    (tmp_path / "a.mcc").write_text(mcc([pdd(machine="One")]))
    (tmp_path / "b.mcc").write_text(mcc([pdd(machine="Two")]))
    warnings = " ".join(read_scans(tmp_path).warnings)
    assert "measured twice: b.mcc: pdd 100 x 80 mm" in warnings
    assert "several machines: One, Two" in warnings


def test_a_broken_file_refuses_the_folder(tmp_path: Path) -> None:
    (tmp_path / "a.mcc").write_text(mcc([pdd()]))
    (tmp_path / "b.mcc").write_text(mcc([pdd()])[:-20])
    with pytest.raises(MachineError, match=r"b.mcc, line"):
        read_scans(tmp_path)


def test_incomplete_tpr_layout(tmp_path: Path) -> None:
    (tmp_path / "tpr.dat").write_text("0 10\n0 1\n")
    (tmp_path / "params.dat").write_text("SAD 1000\n")
    with pytest.raises(MachineError, match=r"of.dat"):
        read_scans(tmp_path)
