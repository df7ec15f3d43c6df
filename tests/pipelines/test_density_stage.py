"""Densities in stages and commands: what reaches a person, and what a machine file or protocol can ask for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from imrt_core.dicom import write_image, write_plan, write_structures
from imrt_core.machine import Couch, CouchLayer, load_machine, write_machine
from imrt_core.patient import PlanningData
from pipelines.cli.main import app
from pipelines.protocol import Protocol
from pipelines.stages.planning import with_derived

from . import tiny
from .test_bad_input import some_plan

COUCH = Couch("plywood", (CouchLayer("top", 20.0, 0.5, 0.5),), width_mm=160.0)


def test_the_protocol_s_density_is_given_unless_the_structure_set_has_one() -> None:
    rules = {**tiny.PROTOCOL["structures"], "Parotid_L": {"relative_electron_density": 1.2}}  # type: ignore[dict-item]
    protocol = Protocol.model_validate({**tiny.PROTOCOL, "structures": rules})
    data = PlanningData(tiny.planning_image(), tiny.structures())
    planning = with_derived(data, protocol)
    assert planning.data.structures["Parotid_L"].relative_electron_density == 1.2
    assert any("Parotid_L" in note and "protocol" in note for note in planning.notes)
    own = replace(
        data.structures,
        structures=tuple(
            replace(s, relative_electron_density=0.9) if s.name == "Parotid_L" else s for s in data.structures
        ),
    )
    again = with_derived(replace(data, structures=own), protocol)
    assert again.data.structures["Parotid_L"].relative_electron_density == 0.9
    assert again.notes == ()


def test_dose_without_external_with_metal_and_a_couch(tmp_path: Path) -> None:
    """The command contours EXTERNAL, finds a crown, flags the beam through it, and says so; the couch is inserted."""
    image = tiny.planning_image()
    hu = np.array(image.hu.array)
    points = tiny.GRID.voxel_centres_lps()
    hu[np.linalg.norm(points - [22.0, -40.0, -15.0], axis=-1) < 7] = 3071.0
    image = replace(image, hu=image.hu.with_array(hu))
    drawn = tiny.structures(names=("PTV70", "CTV70", "SpinalCord"))
    write_image(image, tmp_path / "CT")
    write_structures(drawn, image=image, path=tmp_path / "RS.dcm")
    write_plan(some_plan(), image=image, path=tmp_path / "RP.dcm")
    machine = write_machine(replace(load_machine("generic_6mv"), couch=COUCH), tmp_path / "machine.toml")
    parts = ("--ct", tmp_path / "CT", "--plan", tmp_path / "RP.dcm", "--structures", tmp_path / "RS.dcm")
    more = ("--machine", machine, "--out", tmp_path / "RD.dcm", "--grid-mm", "6", "--metal", "gold alloy", "--json")
    result = CliRunner().invoke(app, ["dose", *map(str, parts), *map(str, more)])
    assert result.exit_code == 0, (result.stdout, result.stderr)
    said = "\n".join(json.loads(result.stdout)["warnings"])
    assert "External was not contoured" in said
    assert "gold alloy of" in said and "spacer of about 3 mm" in said
    assert "beam AP goes through metal: up to 1" in said
    assert "couch plywood inserted under EXTERNAL" in said
