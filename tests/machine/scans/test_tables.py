"""Plain tables: the layouts of docs/commissioning.md, and what is said when something is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.machine.scans import FileContents, Scan
from imrt_core.machine.scans.labelled import read_labelled
from imrt_core.machine.scans.labelled import recognise as is_labelled
from imrt_core.machine.scans.tables import read_table, recognise
from imrt_core.machine.scans.text import read_lines
from imrt_core.patient import MachineError

from .examples import same, scans
from .writers import table

KEYS = "# energy_mv: 6\n# field_mm: 100\n# ssd_mm: 900\n"
PDD = KEYS + "depth_mm,dose_percent\n0,50\n15,100\n100,67\n"


def read(text: str, folder: Path) -> FileContents:
    path = folder / "table.csv"
    path.write_text(text)
    lines = read_lines(path)
    assert recognise(lines)
    return read_table(path, lines)


@settings(deadline=None, max_examples=40)  # each writes a file
@given(
    written=scans(kinds=("pdd", "tpr", "crossline", "inline", "diagonal")),
    delimiter=st.sampled_from([",", ";", "\t", "  "]),
)
def test_round_trip(written: Scan, delimiter: str, folder: Path) -> None:
    """Decimal commas too, where the delimiter is a semicolon."""
    found = read(table(written, delimiter=delimiter), folder)
    same(written, found.scans[0])
    assert (found.energy_mv, found.scans[0].relative_to) == (6.0, "100 at the maximum")


@settings(deadline=None, max_examples=40)  # each writes a file
@given(written=scans(kinds=("pdd", "crossline")))
def test_centimetres(written: Scan, folder: Path) -> None:
    found = read(table(written, unit="cm"), folder)
    same(written, found.scans[0], atol_mm=1e-9)


def test_several_fields_in_one_table(tmp_path: Path) -> None:
    """A column for each field, in either unit."""
    text = (
        "# columns: tpr\n# ssd_mm: 1000\n# energy_mv: 6\n"
        "depth_cm; 4x4_cm; 10x5 cm; 100x100_mm\n0; 0,4; 0,5; 0,6\n5; 1; 1; 1\n10; 0,7; 0,75; 0,8\n"
    )
    scans_found = read(text, tmp_path).scans
    assert [(s.field_x_mm, s.field_y_mm) for s in scans_found] == [(40.0, 40.0), (100.0, 50.0), (100.0, 100.0)]
    assert {s.kind for s in scans_found} == {"tpr"}
    np.testing.assert_array_equal(scans_found[1].position_mm, [0.0, 50.0, 100.0])
    np.testing.assert_array_equal(scans_found[1].value, [0.5, 1.0, 0.75])


def test_output_factors(tmp_path: Path) -> None:
    text = "# depth_mm: 100\n# ssd_mm: 900\nfield_x [cm],field_y [cm],output_factor\n5,5,0.906\n10,10,1\n5,20,0.98\n"
    (found,) = read(text, tmp_path).output_factors
    np.testing.assert_array_equal(found.field_x_mm, [50.0, 100.0, 50.0])
    np.testing.assert_array_equal(found.field_y_mm, [50.0, 100.0, 200.0])
    assert (found.depth_mm, found.ssd_mm, found.normalised_x_mm, found.energy_mv) == (100.0, 900.0, 100.0, None)


def test_absolute_dose(tmp_path: Path) -> None:
    text = "# energy_mv: 6\n# field_mm: 100\n# sad_mm: 1000\n# ssd_mm: 900\ndepth_mm,cgy_per_mu\n100,0.812\n50,1.05\n"
    found = read(text, tmp_path)
    assert found.absolute_doses[0].gy_per_mu == pytest.approx(0.00812)
    assert [dose.depth_mm for dose in found.absolute_doses] == [100.0, 50.0]
    assert found.sad_mm == 1000.0


def test_primary_fluence(tmp_path: Path) -> None:
    found = read("# kind: primary fluence\nradius_mm,fluence\n0,1\n100,1.06\n", tmp_path).primary_fluence
    assert found is not None
    np.testing.assert_array_equal(found.radius_mm, [0.0, 100.0])


def test_detector(tmp_path: Path) -> None:
    keys = "# detector: Semiflex\n# detector_shape: cylindrical chamber\n# detector_diameter_mm: 5.5\n# flattened: no\n"
    (scan,) = read(keys + PDD, tmp_path).scans
    assert (scan.detector.name, scan.detector.diameter_mm, scan.flattened) == ("Semiflex", 5.5, False)
    with pytest.raises(MachineError, match="unknown shape"):
        read("# detector_shape: round\n" + PDD, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("depth_mm,dose_percent", "Depth [mm],PDD"),
        ("depth_mm,dose_percent", "Z (mm), Dose [%]"),
        ("# ssd_mm: 900", "# SSD: 90 cm"),
        ("# ssd_mm: 900", "# ssd [cm]: 90"),
        ("# field_mm: 100", "# field: 100 x 100 mm"),
        ("# field_mm: 100", "# field size (cm): 10x10"),
        ("# energy_mv: 6", "# Energy: 6 MV"),
    ],
)
def test_other_ways_to_write_the_same(tmp_path: Path, old: str, new: str) -> None:
    assert old in PDD
    found = read(PDD.replace(old, new), tmp_path)
    same(read(PDD, tmp_path).scans[0], found.scans[0])
    assert found.energy_mv == 6.0


def test_position_with_its_kind(tmp_path: Path) -> None:
    text = PDD.replace("depth_mm,", "position_mm,") + "# depth_mm: 100\n"
    assert read("# kind: inline\n" + text, tmp_path).scans[0].kind == "inline"
    with pytest.raises(MachineError, match="along what"):
        read("# kind: pdd\n" + text, tmp_path)


def test_unknown_keys_are_named(tmp_path: Path) -> None:
    (warning,) = read("# feild_mm: 100\n" + PDD, tmp_path).warnings
    assert "feild_mm" in warning


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("# field_mm: 100\n", "", "# field_mm"),
        ("# field_mm: 100\n", "# field_x_mm: 100\n", "# field_y_mm"),
        ("# ssd_mm: 900\n", "", "# ssd_mm"),
        ("# ssd_mm: 900\n", "# ssd: 900\n", "ssd_mm or ssd_cm"),
        ("# ssd_mm: 900\n", "# ssd_mm: far\n", "a number"),
        ("# ssd_mm: 900\n", "# ssd_mm: 900\n# ssd_mm: 1000\n", "twice"),
        ("# ssd_mm: 900\n", "# kind: tpr\n# ssd_mm: 900\n", "kind: tpr"),
        ("depth_mm,", "x_mm,", "# depth_mm"),
        ("depth_mm,", "depth,", "depth_mm or depth_cm"),
        ("dose_percent", "dose_cgy", "dose_cgy"),
        ("dose_percent", "5x5", "50x50_mm"),
        ("dose_percent\n0,50\n15,100\n100,67", "5x5,7x7\n0,50,1\n", "two columns"),
        ("dose_percent", "5x5_cm", "# columns"),
        ("15,100", "15,100,3", "wrong number of cells"),
        ("15,100", "15", "wrong number of cells"),
        ("15,100", "15,nan", "a number"),
        ("15,100", "15,1e400", "a number"),
        ("15,100", "15,-", "a number"),
        ("0,50\n15,100\n100,67\n", "", "no rows"),
        ("0,50\n15,100\n", "", "at least 3"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in PDD
    with pytest.raises(MachineError) as error:
        read(PDD.replace(old, new, 1), tmp_path)
    assert named in str(error.value)
    assert "table.csv" in error.value.where


def test_output_factors_without_normalisation(tmp_path: Path) -> None:
    text = "# depth_mm: 100\n# ssd_mm: 900\nfield_mm,output_factor\n50,0.906\n100,1.002\n"
    with pytest.raises(MachineError, match="normalised_at_mm"):
        read(text, tmp_path)
    (found,) = read("# normalised_at_mm: 95\n" + text, tmp_path).output_factors
    assert found.normalised_x_mm == 95.0
    with pytest.raises(MachineError, match="depth_mm"):
        read(text.replace("# depth_mm: 100\n", "").replace("1.002", "1"), tmp_path)


def labelled(text: str, folder: Path) -> FileContents:
    path = folder / "table.csv"
    path.write_text(text)
    lines = read_lines(path)
    assert is_labelled(lines)
    return read_labelled(path, lines)


def test_labelled_output_factors(tmp_path: Path) -> None:
    found = labelled(";30x30 mm;05 x 20;10x10 fields\n6 MV;0,86;0,98;1\n", tmp_path)
    (factors,) = found.output_factors
    np.testing.assert_array_equal(factors.field_x_mm, [30.0, 50.0, 100.0])
    np.testing.assert_array_equal(factors.field_y_mm, [30.0, 200.0, 100.0])
    np.testing.assert_array_equal(factors.factor, [0.86, 0.98, 1.0])
    assert found.energy_mv == 6.0


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (",5x5,10x10\n6 MV,0.9,1\n10 MV,0.92,1\n", "several energies"),
        (",5x5,10x10\n6 MV,0.9\n", "does not fit"),
        (",5x5,10x10\n6 MV,0.9,1.1\n", "no single field"),
        (",5x5,10x10\n6 MV,x,1\n", "a number"),
        ("10x10,d10 @ 90 SSD,dose\n6 MV,0.8,1\n", "'dose'"),
        (",d10 @ 90 SSD\n6 MV,0.8\n", "no field"),
        ("10x10,dmax @ 100 SSD,d10 @ 90 SSD,d10 @ 90 SSD / dmax @ 100 SSD\n6 MV,1,0.8,0.9\n", "does not agree"),
        ("10x10,d10 @ 90 SSD\n6 MV,81.2\n", "Gy per MU"),
        ("10x10,d10 @ 90 SSD,d10 @ 90 SSD\n6 MV,0.8,0.9\n", "one label"),
        ("10x10,dmax @ 100 SSD,d10 @ 90 SSD,d10 @ 90 SSD / dmax @ 100 SSD\n6 MV,0,0.8,0.9\n", "Gy per MU"),
    ],
)
def test_labelled_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(MachineError, match=r"table\.csv") as error:
        labelled(text, tmp_path)
    assert named in str(error.value)
