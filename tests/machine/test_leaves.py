"""Leaf models: in the machine file, by collimator, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imrt_core.machine import DECLARED_LEAVES, LeafModel, load_machine, parse_machine, write_machine
from imrt_core.machine.collimators import COLLIMATORS, named
from imrt_core.patient import MachineError, PlanError


def test_machine_without_leaves_has_sharp_ones_of_the_beam_model() -> None:
    machine = load_machine("generic_6mv")
    found = machine.leaf_model
    assert (found.transmission, found.leaf_end_offset_mm, found.tongue_groove_mm) == (
        machine.model.mlc_transmission,
        0.0,
        0.0,
    )


def test_leaves_in_the_machine_file(tmp_path: Path) -> None:
    machine = replace(load_machine("generic_6mv"), leaves=DECLARED_LEAVES["millennium-120"])
    text = write_machine(machine, tmp_path / "m.toml").read_text()
    assert parse_machine(text) == machine
    assert parse_machine(text).leaf_model == machine.leaves
    with pytest.raises(MachineError, match=r"leaves\.leaf_end_ofset_mm"):
        parse_machine(text.replace("leaf_end_offset_mm", "leaf_end_ofset_mm"))
    with pytest.raises(MachineError, match="leaf_end_offset_mm"):
        parse_machine(text.replace("leaf_end_offset_mm = 0.8", "leaf_end_offset_mm = 80.0"))


@pytest.mark.parametrize("values", [(1.0,), (float("nan"),), (0.01, -0.1), (0.01, 0.0, float("inf"))])
def test_leaf_models_that_are_not_physical(values: tuple[float, ...]) -> None:
    with pytest.raises(MachineError):
        LeafModel(*values)


def test_every_named_collimator_has_declared_leaves() -> None:
    assert {c.name for c in COLLIMATORS} == set(DECLARED_LEAVES)
    assert [c.mlc().pairs for c in COLLIMATORS] == [60, 60, 80]
    assert [c.boundaries_mm[-1] - c.boundaries_mm[0] for c in COLLIMATORS] == [400, 220, 400]
    assert named("hd-120").mlc(axis="Y").axis == "Y"
    with pytest.raises(PlanError, match="agility-160"):
        named("agility")


def test_a_tongue_lets_the_root_through() -> None:
    assert LeafModel(0.0144).tongue_transmission == pytest.approx(0.12)
