"""Made structures, beams and avoidance from the protocol's YAML to the RTPLAN."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from imrt_core.dicom import read_plan, read_structures
from imrt_core.evaluate import dvh
from imrt_core.machine import load_machine
from imrt_core.optimize import AngleSearch, EquidistantBeams
from imrt_core.patient import (
    Contour,
    InputRefusedError,
    PlanningData,
    ProtocolError,
    Structure,
    StructureError,
)
from imrt_core.patient.contours import structure_volume_cc
from pipelines.cli.main import app
from pipelines.protocol import parse_protocol, with_beams
from pipelines.protocol_beams import SelectRule, beams_of, search_of
from pipelines.stages.anatomy import _made_anew
from pipelines.stages.planning import with_derived
from pipelines.stages.plans import plan_of_record
from pipelines.structure_names import match_structures, without
from registration import DayStructures, PropagatedStructure
from tests.pipelines import tiny

GEOMETRY: dict[str, Any] = {
    **tiny.PROTOCOL,
    "structures": {
        **tiny.PROTOCOL["structures"],  # type: ignore[dict-item]
        "SpinalCord_PRV": {"prv_of": "SpinalCord", "margin_mm": {"left": 3, "right": 3, "anterior": 8, "posterior": 3}},
        "PTV54": {"expand_of": "CTV70", "margin_mm": 15, "yields_to": ["PTV70", "SpinalCord_PRV"], "gap_mm": 2},
        "Ring": {"ring_of": "PTV70", "inner_mm": 8, "outer_mm": 25},
        "Parotid_L_opt": {"combine": "Parotid_L - PTV70+3mm"},
        "CTV70_core": {"contract_of": "CTV70", "margin_mm": 6},
        "Nothing": {"combine": "CTV70 - PTV70"},
    },
    "targets": [*tiny.PROTOCOL["targets"], {"name": "PTV54", "dose_gy": 54}],  # type: ignore[misc]
    "goals": [
        *tiny.PROTOCOL["goals"],  # type: ignore[misc]
        "PTV54 V51.3Gy[%] >= 80",
        "SpinalCord_PRV D0.03cc[Gy] <= 55",
        {"goal": "Ring Mean[Gy] < 60", "presence": "where-present"},
        {"goal": "Nothing Mean[Gy] < 10", "presence": "where-present"},
    ],
    "beams": {"equidistant": 5, "start_deg": 10},
    "avoid": {
        "sectors": [{"from_deg": 75, "to_deg": 100}],
        "not_through": [{"structure": "Parotid_L", "allowed_percent": 40}],
    },
}


def protocol(**changes: object) -> str:
    return yaml.safe_dump({**GEOMETRY, **changes})


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("geometry")
    tiny.write_course(folder / "plan")
    (folder / "p.yaml").write_text(protocol())
    arguments = [
        "--ct",
        folder / "plan" / "CT",
        "--structures",
        folder / "plan" / "RS.dcm",
        "--protocol",
        folder / "p.yaml",
    ]
    done = CliRunner().invoke(
        app, ["plan", *map(str, arguments), "--machine", "generic_6mv", "--out", str(folder / "out"), "--json"]
    )
    assert done.exit_code in (0, 4), done.output
    return json.loads(done.stdout), folder / "out"


def test_structures_made_here_are_planned_on_judged_and_written(planned: tuple[dict[str, Any], Path]) -> None:
    answer, out = planned
    made = {"SpinalCord_PRV", "PTV54", "Ring", "Parotid_L_opt", "CTV70_core"}
    assert set(answer["structures_made"]) == made
    structures = read_structures(out / "rtstruct.dcm")
    assert made <= set(structures.names) and structures["PTV54"].interpreted_type == "PTV"
    plan = read_plan(out / "rtplan.dcm")
    # the prescription names a structure made here, so the plan refers to the set that holds it
    assert plan.structure_set_uid == structures.sop_instance_uid
    assert {name for name, _ in plan.prescription_gy} == {"PTV70", "PTV54"}
    goals = {g["goal"].split(" ")[0] for g in answer["goals"]}
    assert {"PTV54", "SpinalCord_PRV", "Ring"} <= goals and "Nothing" not in goals
    assert any("Nothing Mean" in text and "empty" in text for text in answer["not_applicable"])


def test_the_beams_of_the_plan_are_those_that_may_be_used(planned: tuple[dict[str, Any], Path]) -> None:
    answer, out = planned
    found = [round(beam.control_points[0].gantry_deg, 3) for beam in read_plan(out / "rtplan.dcm").beams]
    assert found == [b["gantry_deg"] for b in answer["beams"]]
    assert not [g for g in found if 75 <= g <= 100]
    assert 10.0 in found and 82.0 not in found  # 82° would lie in the sector
    assert answer["lost_gantry_deg"]["sector 75° to 100°"] == 26
    assert answer["lost_gantry_deg"]["any"] >= 26
    assert any("The beam at 82° is moved to" in text for text in answer["warnings"])


def test_a_plan_that_came_is_held_against_the_protocol(planned: tuple[dict[str, Any], Path]) -> None:
    answer, out = planned
    plan = read_plan(out / "rtplan.dcm")
    angles = [b["gantry_deg"] for b in answer["beams"]]
    course: Any = SimpleNamespace(patient_position="HFS", prescription_gy={"PTV70": 70.0})

    def taken(sector: dict[str, float]) -> tuple[str, ...]:
        rules = parse_protocol(protocol(avoid={"sectors": [sector]}))
        planning = with_derived(replace(data(), plan=plan), rules)
        record = plan_of_record(planning, planning.data.ct.hu, course, rules, load_machine("generic_6mv"))
        assert record.origin == "received" and record.plan is plan
        return record.objections

    assert taken({"from_deg": angles[1] + 1, "to_deg": angles[2] - 1}) == ()
    against = taken({"from_deg": angles[1] - 1, "to_deg": angles[2] + 1})
    assert [text.split(":")[0] for text in against] == [f"Beam {plan.beams[n].name}" for n in (1, 2)]
    assert all("lies in the avoided sector" in text for text in against)


def data() -> PlanningData:
    return PlanningData(tiny.planning_image(), tiny.structures())


def test_evaluation_sees_the_structure_that_the_optimiser_saw() -> None:
    rules = parse_protocol(protocol())
    planning = with_derived(data(), rules)
    core = planning.data.structures["CTV70_core"]
    # a ball less 6 mm, its surface within a quarter of a slice of 4 mm
    drawn_cc = structure_volume_cc(planning.data.structures["CTV70"])
    radii_mm = [10 * (3 * cc / (4 * np.pi)) ** (1 / 3) for cc in (drawn_cc, structure_volume_cc(core))]
    assert radii_mm[0] - radii_mm[1] == pytest.approx(6.0, abs=1.0)
    uniform = planning.data.ct.hu.with_array(np.full(planning.data.ct.hu.grid.shape, 2.0, np.float32))
    assert dvh(core, uniform).volume_cc == pytest.approx(structure_volume_cc(core), rel=0.02)
    # anterior of the cord (−y) the margin is 8 mm, elsewhere 3 mm
    prv, cord = (
        np.concatenate([c.points_lps for c in planning.data.structures[n].contours])[:, 1]
        for n in ("SpinalCord_PRV", "SpinalCord")
    )
    assert cord.min() - prv.min() == pytest.approx(8.0, abs=0.7)
    assert prv.max() - cord.max() == pytest.approx(3.0, abs=0.7)


def test_on_the_day_it_is_made_of_the_day_s_structures() -> None:
    """The parotid lies 8 mm further left today; what was cut out of the planned one follows, targets do not change."""
    rules = parse_protocol(protocol())
    planning = with_derived(data(), rules)
    planned = planning.data.structures

    def moved(structure: Structure) -> Structure:
        shift = np.array([8.0, 0.0, 0.0]) if structure.name == "Parotid_L" else np.zeros(3)
        return replace(structure, contours=tuple(Contour(c.points_lps + shift) for c in structure.contours))

    rows = tuple(PropagatedStructure(s.name, "deformable", structure_volume_cc(s), 1.0) for s in planned)
    today = replace(planned, structures=tuple(moved(s) for s in planned))
    day = _made_anew(DayStructures(today, rows, True, ()), planning, rules, planning.data.ct.hu.grid)
    left = {
        name: [max(c.points_lps[:, 0].max() for c in those[name].contours) for those in (planned, day.structures)]
        for name in ("Parotid_L_opt", "PTV54", "Ring")
    }
    assert left["Parotid_L_opt"][1] - left["Parotid_L_opt"][0] == pytest.approx(8.0, abs=0.7)
    assert left["PTV54"][0] == left["PTV54"][1] and left["Ring"][0] == pytest.approx(left["Ring"][1], abs=1e-6)
    assert day.structures.names == planned.names
    assert [s.number for s in day.structures] == [s.number for s in planned]
    methods = {row.name: row.method for row in day.rows}
    assert methods["Parotid_L_opt"] == "made of today's structures" and methods["PTV54"] == "deformable"


def test_a_required_goal_on_a_structure_that_is_empty_is_refused() -> None:
    goals = [*GEOMETRY["goals"], "CTV70_core Mean[Gy] < 90", "Nothing Mean[Gy] < 10"]
    rules = parse_protocol(protocol(goals=[g for g in goals if not (isinstance(g, dict) and "Nothing" in g["goal"])]))
    planning = with_derived(data(), rules)
    assert planning.empty == ("Nothing",)
    with pytest.raises(StructureError, match="Nothing"):
        without(match_structures(rules, data().structures), rules, planning.empty)


@pytest.mark.parametrize(
    ("structure", "says"),
    [
        ({"combine": "PTV70 - Heart"}, r"no such structure: 'Heart' at column 9"),
        ({"combine": "PTV70 - CTV70 + Ring"}, r"mixed operators without brackets"),
        ({"ring_of": "PTV70", "inner_mm": 5, "outer_mm": 5}, "inner_mm < outer_mm"),
        ({"ring_of": "PTV70", "combine": "PTV70"}, "in one way"),
        ({"margin_mm": 5}, "nothing is made with it"),
        ({"combine": "New", "yields_to": ["PTV70"]}, "New → New"),
        ({"expand_of": "PTV70", "margin_mm": {"leftt": 5}}, "leftt"),
        ({"expand_of": "PTV70", "margin_mm": -5}, "greater than or equal to 0"),
        ({"expand_of": "Liver", "margin_mm": 5}, "without a rule: Liver"),
    ],
)
def test_faults_in_made_structures_are_named_when_the_protocol_is_read(structure: dict[str, Any], says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        parse_protocol(protocol(structures={**GEOMETRY["structures"], "New": structure}))


def test_the_examples_of_the_page_are_valid() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "planning_geometry.md").read_text()
    blocks = [yaml.safe_load(text.split("```")[0]) for text in page.split("```yaml")[1:]]
    structures = blocks[0]["structures"]
    drawn = ["CTV63", "PTV56", "Parotid_R", "Air", "Shoulders"]
    known = {**tiny.PROTOCOL["structures"], **{name: {} for name in drawn}, **structures}  # type: ignore[dict-item]
    made = [recipe.name for recipe in parse_protocol(yaml.safe_dump({**tiny.PROTOCOL, "structures": known})).recipes]
    assert set(made) == set(structures)
    text = page.split("```yaml")[2].split("```")[0]
    lines = [line for line in text.splitlines() if line.startswith("beams: {")]
    for line in (*lines, text.split("beams: {equidistant")[0]):
        beams = yaml.safe_load(line)["beams"]
        avoid = blocks[1]["avoid"]
        read = parse_protocol(yaml.safe_dump({**tiny.PROTOCOL, "structures": known, "beams": beams, "avoid": avoid}))
        assert read.avoid.sectors[0].to_deg == 210


def test_options_replace_the_beams_of_the_protocol() -> None:
    rules = parse_protocol(protocol())
    assert with_beams(rules, None) is rules
    assert beams_of(with_beams(rules, 9).beams) == EquidistantBeams(count=9)
    chosen = with_beams(rules, 7, select=True).beams
    assert isinstance(chosen, SelectRule) and beams_of(chosen) == EquidistantBeams(count=7)
    assert search_of(chosen) == AngleSearch()
    with pytest.raises(ProtocolError, match="--beams N"):
        with_beams(rules, None, select=True)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"beams": {"equidistant": 0}}, "greater than or equal to 1"),
        ({"beams": []}, "at least 1"),
        ({"beams": {"equidistant": 5, "avoid": 3}}, "avoid"),
        ({"avoid": {"not_through": [{"structure": "Heart"}]}}, "without a rule: Heart"),
        ({"avoid": {"sectors": [{"from_deg": 10, "to_deg": 400}]}}, "less than or equal to 360"),
    ],
)
def test_faults_in_beams_are_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputRefusedError, match=says):
        parse_protocol(protocol(**changes))
