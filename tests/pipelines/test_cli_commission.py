"""``igrt commission`` end to end on a synthetic machine's depth doses, as a physicist would hand them over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from imrt_core.machine import load_machine
from imrt_core.machine.axis_table import OffAxis, axis_table
from pipelines.cli.main import app

DEPTH_MM = np.array([1, 3, 5, 7, 9, 11, 13, 15, 20, 25, 30, 40, 60, 80, 100, 130, 160, 200, 250, 300.0])


def write_depth_dose(folder: Path, side_mm: float) -> None:
    """Write the shipped model's depth dose at SSD 1 m as a plain table."""
    model = load_machine("monaco_6mv_2619").model
    assert model.source is not None
    dose = axis_table(
        model.source, OffAxis.of(model), depth_mm=DEPTH_MM, ssd_mm=1000.0, fields_mm=[(side_mm, side_mm)]
    )[:, 0]
    lines = ["# energy_mv: 6", f"# field_mm: {side_mm:g}", "# ssd_mm: 1000", "depth_mm,dose_percent"]
    lines += [f"{d:g},{100 * v / dose.max():.4f}" for d, v in zip(DEPTH_MM, dose, strict=True)]
    (folder / f"pdd_{side_mm:g}.csv").write_text("\n".join(lines) + "\n")


def test_commission_writes_a_machine_that_computes(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for side in (50.0, 100.0):
        write_depth_dose(scans, side)
    out = tmp_path / "made" / "synthetic.toml"
    done = CliRunner().invoke(app, ["commission", str(scans), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert set(answer["residuals"]) >= {"pdd_percent", "profile_percent", "output_factor_percent", "penumbra_mm"}
    assert answer["residuals"]["pdd_percent"] < 1.0
    assert answer["residuals"]["profile_percent"] is None
    assert answer["residuals"]["penumbra_mm"] is None
    assert [Path(p).name for p in answer["plots"]] == ["synthetic_depth.svg"]
    assert all(Path(p).is_file() for p in answer["plots"])
    assert any("declared" in note for note in answer["notes"])
    machine = load_machine(out)
    assert machine.model.source is not None
    assert machine.model.residuals.pdd_percent == pytest.approx(answer["residuals"]["pdd_percent"])
    again = CliRunner().invoke(app, ["commission", str(scans), "--out", str(out), "--json"])
    assert again.exit_code == 3
    assert "--force" in json.loads(again.stdout)["error"]["expected"] + json.loads(again.stdout)["error"]["message"]


def test_scans_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing measured yet")
    done = CliRunner().invoke(app, ["commission", str(tmp_path), "--out", str(tmp_path / "m.toml"), "--json"])
    assert done.exit_code == 3
    assert json.loads(done.stdout)["error"]["where"]
    assert not (tmp_path / "m.toml").exists()
