"""Tables: the measured values are carried over, derived ones follow from them, and bad files are refused."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from imrt_core.check import load_tables, parse_tables, shipped_tables
from imrt_core.check.depth_dose import DepthDose, tpr_from_depth_doses
from imrt_core.check.scatter_split import ScatterFit, collimator_factor, fit_scatter
from imrt_core.check.tables import Curve, TprTable
from imrt_core.patient import MachineError

GENERIC, MONACO = load_tables("generic_6mv"), load_tables("monaco_6mv_2619")


def numbers(path: Path) -> np.ndarray:
    lines = [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return np.array(lines, dtype=float)


def scan(path: Path) -> DepthDose:
    """The first depth dose of an mcc file."""
    text = path.read_text(errors="replace").partition("SCAN_CURVETYPE=PDD")[2]
    lines = text.partition("BEGIN_DATA")[2].partition("END_DATA")[0].split("\n")
    table = np.array([line.split()[:2] for line in lines if line.strip()], dtype=float)
    return DepthDose(50.0 if "05x05" in path.name else 100.0, table[:, 0], table[:, 1])


@pytest.mark.shared_data
def test_generic_tables_are_the_measured_ones(shared_data: Path) -> None:
    folder = shared_data / "beam_artiste6mv"
    tpr, factors = numbers(folder / "tpr.dat"), numbers(folder / "of.dat")
    fluence = numbers(folder / "primflu.dat")
    depth, side = np.meshgrid(tpr[1:, 0], tpr[0, 1:], indexing="ij")
    np.testing.assert_allclose(GENERIC.tissue_phantom_ratio(depth, side), tpr[1:, 1:], rtol=1e-12)
    np.testing.assert_allclose(GENERIC.total_output(factors[:, 0]), factors[:, 1], rtol=1e-12)
    np.testing.assert_allclose(GENERIC.off_axis_ratio(fluence[:, 0]), fluence[:, 1], atol=1e-6)


@pytest.mark.shared_data
def test_monaco_tables_follow_from_the_scans(shared_data: Path) -> None:
    folder = shared_data / "beam_pymedphys"
    fit = fit_scatter(GENERIC.tpr)
    deep = ScatterFit(fit.a_per_mm, fit.b, fit.c_mm, fit.mu_per_mm, fit.eta_per_mm2, 100.0, 0.0)
    found = tpr_from_depth_doses(
        [scan(folder / f"06MV_{side}.mcc") for side in ("05x05", "10x10")],
        ssd_mm=900.0,
        sad_mm=1000.0,
        reference_depth_mm=100.0,
        depth_mm=MONACO.tpr.depth_mm,
        field_mm=MONACO.tpr.field_mm,
        phantom_scatter=deep.phantom_scatter,
    )
    np.testing.assert_allclose(found.value, MONACO.tpr.value, atol=1e-3)


def test_calibrations() -> None:
    """1 cGy/MU at the depth of maximum, SSD 1000; and the measured 0.812 cGy/MU at 100 mm, SSD 900."""
    depth = np.arange(5.0, 40.0, 0.5)
    dose = [GENERIC.open_field_dose(side_mm=100, depth_mm=d, ssd_mm=1000) for d in depth]
    assert max(dose) == pytest.approx(0.01, rel=2e-4)
    assert MONACO.open_field_dose(side_mm=100, depth_mm=100, ssd_mm=900) == pytest.approx(0.00812, rel=1e-9)


def test_monaco_tables_predict_the_other_absolute_measurements() -> None:
    """Measured at SSD 1000 mm: 1 cGy/MU at the maximum, 0.675 of it at 100 mm. The scans are of SSD 900 mm."""
    depth = np.arange(10.0, 25.0, 0.5)
    dose = [MONACO.open_field_dose(side_mm=100, depth_mm=d, ssd_mm=1000) for d in depth]
    assert max(dose) == pytest.approx(0.01, rel=2e-3)
    assert MONACO.open_field_dose(side_mm=100, depth_mm=100, ssd_mm=1000) == pytest.approx(0.00675, rel=0.01)


def test_collimator_factors_follow_from_the_phantom_scatter() -> None:
    fit = fit_scatter(GENERIC.tpr)
    assert fit.largest_residual_percent < 1.5
    assert GENERIC.collimator_factor is not None
    found = collimator_factor(fit, GENERIC.output_factor)
    assert found.at_mm == GENERIC.collimator_factor.at_mm
    np.testing.assert_allclose(found.value, GENERIC.collimator_factor.value, atol=5e-4)


def test_scatter_fit_finds_the_scatter_of_a_made_table() -> None:
    """A table made from known primary and scatter: its phantom scatter comes back."""
    truth = ScatterFit(0.004, 0.8, 10.0, 0.005, 2e-6, 50.0, 0.0)
    depth, side = np.arange(20.0, 301.0, 10.0), np.array([20.0, 50.0, 100.0, 200.0, 400.0])

    def dose(d: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-0.005 * d + 2e-6 * d**2) * (1 + truth.scatter_to_primary(d, s)))

    value = dose(depth[:, None], side[None, :]) / dose(np.array([50.0])[:, None], side[None, :])
    table = TprTable(50.0, tuple(depth), tuple(side), tuple(map(tuple, value)))
    np.testing.assert_allclose(fit_scatter(table).phantom_scatter(side), truth.phantom_scatter(side), rtol=2e-4)


def test_tpr_from_depth_doses_of_a_made_beam() -> None:
    """Depth doses made of a known TPR and phantom scatter give that TPR back."""
    depth = np.arange(0.0, 351.0, 5.0)

    def scatter(side: object) -> np.ndarray:
        return np.asarray(0.9 + 0.1 * np.log(np.asarray(side, dtype=float)) / np.log(100.0))

    def tpr(d: np.ndarray, s: np.ndarray) -> np.ndarray:
        return np.asarray(np.exp(-0.005 * (d - 100) + 1e-5 * (d - 100) * np.log(s)))

    curves = []
    for side in (50.0, 100.0, 200.0):
        seen = side * (900 + depth) / 1000
        curves.append(DepthDose(side, depth, 7.0 * scatter(seen) * tpr(depth, seen) / (900 + depth) ** 2))
    found = tpr_from_depth_doses(
        curves,
        ssd_mm=900.0,
        sad_mm=1000.0,
        reference_depth_mm=100.0,
        depth_mm=depth,
        field_mm=[40.0, 80.0, 180.0],
        phantom_scatter=scatter,
    )
    np.testing.assert_allclose(found.value, tpr(depth[:, None], np.array([[40.0, 80.0, 180.0]])), atol=1e-4)
    with pytest.raises(MachineError, match="two fields"):
        tpr_from_depth_doses(
            curves[:1],
            ssd_mm=900.0,
            sad_mm=1000.0,
            reference_depth_mm=100.0,
            depth_mm=depth,
            field_mm=[50.0],
            phantom_scatter=scatter,
        )


def text_of(name: str) -> str:
    return (resources.files("imrt_core.check") / "data" / f"{name}.toml").read_text("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("format_version = 1", "format_version = 2", "format_version 2"),
        ("[tpr]", "[tpr", "not TOML"),
        ("[calibration]", "[calibratoin]", "calibrat"),
        ("dose_gy_per_mu = 0.01", "dose_gy_per_mu = 0.0", "calibration must be positive"),
        ("dose_gy_per_mu = 0.01", "dose_gy = 0.01", "dose_gy"),
        ("jaw_transmission = 0.004", "jaw_transmission = nan", "transmission must be"),
        ("leaf_end_offset_mm = 0.0", "leaf_end_offset_mm = 0.0\nleaf_width = 5.0", "leaf_width"),
        ("reference_depth_mm = 50.0", "reference_depth_mm = 60.0", "reference depth"),
        ("0.4393, 0.7052", "0.4393, nan", "not negative"),
        ("5.7433, 10.1112", "15.7433, 10.1112", "ascend"),
        ("0.5828, 0.5092", "0.5092", "TPR table|tpr"),
        ("measured_field_mm = [10.0, 400.0]", "measured_field_mm = [400.0, 10.0]", "ascend"),
    ],
)
def test_bad_files_are_refused(old: str, new: str, words: str) -> None:
    text = text_of("generic_6mv")
    assert old in text
    with pytest.raises(MachineError, match=words):
        parse_tables(text.replace(old, new, 1))


def test_unknown_tables_name_those_there(tmp_path: Path) -> None:
    assert shipped_tables() == ("generic_6mv", "monaco_6mv_2619")
    with pytest.raises(MachineError, match="generic_6mv, monaco_6mv_2619"):
        load_tables("nothing")
    own = tmp_path / "own.toml"
    own.write_text(text_of("generic_6mv"))
    assert load_tables(own) == GENERIC
    own.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MachineError, match="UTF-8"):
        load_tables(own)


def test_curves_need_a_value_for_each_point() -> None:
    with pytest.raises(MachineError, match="one value"):
        Curve((0.0, 1.0), (1.0,))
