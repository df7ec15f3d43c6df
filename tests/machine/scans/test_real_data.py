"""Measured data of two machines, read whole; figures from outside the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imrt_core.machine.scans import (
    Measurements,
    at_effective_point,
    centred,
    field_edges,
    normalised,
    read_scans,
    value_at,
)


@pytest.fixture(scope="module")
def tank(shared_data: Path) -> Measurements:
    """6 MV PDDs and profiles at SSD 900 mm, with output factors and absolute dose."""
    return read_scans(shared_data / "beam_pymedphys")


def test_whole_folder(tank: Measurements) -> None:
    """18 scans in the files (counted with grep), both CSV tables; the plan is named as not read."""
    assert (tank.energy_mv, tank.sad_mm, len(tank.scans)) == (6.0, 1000.0, 18)
    assert [len(tank.of_kind(kind)) for kind in ("pdd", "crossline", "inline", "diagonal", "tpr")] == [2, 8, 8, 0, 0]
    assert {scan.ssd_mm for scan in tank.scans} == {900.0}
    assert {scan.depth_mm for scan in tank.of_kind("inline")} == {15.0, 50.0, 100.0, 200.0}
    assert {scan.machine for scan in tank.scans} == {"M2619"}
    assert any("06MV_plan.dcm" in warning for warning in tank.warnings)
    assert not any("With trigger" in scan.comment for scan in tank.scans)  # free text stays in the file


def test_first_and_last_rows(tank: Measurements) -> None:
    first = tank.scans[0]
    assert (first.kind, first.field_x_mm, first.depth_mm, len(first.value)) == ("crossline", 50.0, 15.0, 115)
    assert (first.position_mm[0], first.value[0]) == (-123.53, 38.513e-6)
    small, large = tank.of_kind("pdd")
    assert (small.field_x_mm, large.field_x_mm) == (50.0, 100.0)
    assert (large.position_mm[-1], large.value[-1]) == (350.0, 3.9913e-3)
    assert large.detector.name == "PTW 31002 Semiflex"
    assert large.detector.diameter_mm == 5.5
    assert first.detector.shape == "diode"
    assert first.detector.diameter_mm is None


def test_field_sizes_are_those_at_the_isocentre(tank: Measurements) -> None:
    """Edges projected to 1000 mm from the source give the nominal field within 1.1 mm, the same at every depth."""
    for side in (50.0, 100.0):
        for kind in ("crossline", "inline"):
            scans = [scan for scan in tank.of_kind(kind) if scan.field_x_mm == side]  # type: ignore[arg-type]
            widths = [field_edges(s).width_mm * 1000 / (s.ssd_mm + (s.depth_mm or 0.0)) for s in scans]
            assert max(abs(width - side) for width in widths) < 1.1
            assert np.ptp(widths) < 0.4


def test_the_curves_were_made_symmetric_by_the_tank_software(tank: Measurements) -> None:
    """The files state SYMMETRY_CORR."""
    for scan in tank.of_kind("crossline", "inline"):
        assert "SYMMETRY_CORR" in scan.comment
        assert abs(centred(scan).cax_deviation_mm) < 1e-3


def test_absolute_dose_agrees_with_the_planning_system(tank: Measurements) -> None:
    """The plan beside the scans gives 8.119 Gy for 1000 MU of 10 x 10 at 100 mm depth, SSD 900 mm."""
    found = {(dose.depth_mm, dose.ssd_mm): dose.gy_per_mu for dose in tank.absolute_doses}
    assert set(found) == {(None, 1000.0), (100.0, 1000.0), (100.0, 900.0)}
    assert found[100.0, 900.0] == pytest.approx(8.119 / 1000, rel=1e-3)
    assert {(dose.field_x_mm, dose.field_y_mm) for dose in tank.absolute_doses} == {(100.0, 100.0)}


def test_output_factors(tank: Measurements) -> None:
    """Depth and SSD are not stated and stay unknown; the measured diode readings at 100 mm give the same factor."""
    (factors,) = tank.output_factors
    np.testing.assert_array_equal(factors.field_x_mm, [50.0, 100.0])
    np.testing.assert_array_equal(factors.factor, [0.906, 1.0])
    assert (factors.normalised_x_mm, factors.depth_mm, factors.ssd_mm) == (100.0, None, None)
    axis = {s.field_x_mm: value_at(s, 0.0) for s in tank.of_kind("inline") if s.depth_mm == 100.0}
    assert axis[50.0] / axis[100.0] == pytest.approx(0.906, abs=1e-3)


def test_shift_to_the_effective_point(tank: Measurements) -> None:
    """0.6 times 2.75 mm."""
    shifted = at_effective_point(tank.of_kind("pdd")[1])
    assert shifted.shift_mm == pytest.approx(-1.65)
    scan = normalised(shifted.scan, at_mm=100.0)
    assert value_at(scan, 100.0) == pytest.approx(1.0)
    assert scan.relative_to == "1 at 100 mm depth"


def test_tpr_layout(shared_data: Path) -> None:
    found = read_scans(shared_data / "beam_artiste6mv")
    assert (found.energy_mv, found.sad_mm, len(found.scans)) == (6.0, 1000.0, 12)
    assert {scan.kind for scan in found.scans} == {"tpr"}
    by_field = {scan.field_x_mm: scan for scan in found.scans}
    assert value_at(by_field[100.0], 2.0) == 0.5951  # as in the table
    assert all(value_at(scan, 50.0) == pytest.approx(1.0, abs=1e-3) for scan in found.scans)
    (factors,) = found.output_factors
    assert (factors.depth_mm, factors.ssd_mm, factors.normalised_x_mm, len(factors.factor)) == (50.0, 950.0, 100.0, 17)
    assert found.primary_fluence is not None
    assert found.primary_fluence.fluence[1] == 1.001290323
    assert any("LICENSE" in warning for warning in found.warnings)
