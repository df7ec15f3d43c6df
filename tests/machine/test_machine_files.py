"""Machine files: what they hold, what is refused, and that writing and reading agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imrt_core.machine import Machine, load_machine, parse_machine, shipped_machines, write_machine
from imrt_core.patient import MachineError, PlanError, Scanner


@pytest.fixture(scope="module")
def machine() -> Machine:
    return load_machine("generic_6mv")


def text_of(machine: Machine, folder: Path) -> str:
    return write_machine(machine, folder / "machine.toml").read_text()


def test_generic_machine(machine: Machine) -> None:
    assert "generic_6mv" in shipped_machines()
    assert machine.model.name == "generic_6mv"
    assert machine.mlc.pairs == 60
    widths = np.diff(machine.mlc.boundaries_mm)
    assert (widths == 5).sum() == 40
    assert (widths == 10).sum() == 20
    assert machine.mlc.boundaries_mm[0] == -200
    assert machine.machine_isocentre_lps("cbct") == (0, 0, 0)
    assert machine.machine_isocentre_lps("ct") is None


def test_written_machine_reads_back_equal(machine: Machine, tmp_path: Path) -> None:
    path = write_machine(replace(machine, description='a "quoted" \\ line\nand another'), tmp_path / "m.toml")
    again = load_machine(path)
    assert again.description == 'a "quoted" \\ line\nand another'
    assert replace(again, description=machine.description) == machine
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("format_version = 1", "format_version = 9", "format_version 9"),
        ("leaf_gap_mm = 0.5", "leaf_gapp_mm = 0.5", "limits.leaf_gapp_mm"),
        ("leaf_gap_mm = 0.5", 'leaf_gap_mm = "wide"', "limits.leaf_gap_mm"),
        ("leaf_gap_mm = 0.5", "leaf_gap_mm = -1.0", "leaf gap"),
        ("translation_step_mm = 1.0", "translation_step_mm = 0.0", "steps and limits"),
        ('cbct = "origin"', 'cbct = "centre"', "unknown rule"),
        ("source_sigma_mm = 1.99", "source_sigma_mm = nan", "not negative"),
        ("[model]", "[model", "not TOML"),
        ('name = "generic_6mv"', "", "name"),
    ],
)
def test_refused_files(machine: Machine, tmp_path: Path, old: str, new: str, message: str) -> None:
    text = text_of(machine, tmp_path)
    assert old in text
    with pytest.raises(MachineError, match=message):
        parse_machine(text.replace(old, new, 1))


def test_leaf_boundaries_must_ascend(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="ascend"):
        parse_machine(text_of(machine, tmp_path).replace("-200.0, -190.0, -180.0", "-200.0, -190.0, -190.0", 1))


def test_missing_machine_names_those_there() -> None:
    with pytest.raises(MachineError, match="generic_6mv") as caught:
        load_machine("no_such_machine")
    assert caught.value.found == "no_such_machine"


def test_most_exact_density_curve_wins(machine: Machine) -> None:
    general = machine.density_curves[0]
    named = replace(general, name="ours", manufacturer="ACME", kvp=120.0)
    richer = replace(machine, density_curves=(*machine.density_curves, named))
    assert richer.density_curve(Scanner(manufacturer="Acme", kvp=120.2)).name == "ours"
    assert richer.density_curve(Scanner(manufacturer="Acme", kvp=80.0)).name == general.name
    assert richer.density_curve().name == general.name
    assert richer.density_curve(imager="cbct").imager == "cbct"
    with pytest.raises(MachineError, match="no density curve"):
        machine.density_curve(imager="mri")
    with pytest.raises(MachineError, match="several"):
        replace(machine, density_curves=(general, general)).density_curve()
    with pytest.raises(MachineError, match="does not know"):
        machine.machine_isocentre_lps("mri")
