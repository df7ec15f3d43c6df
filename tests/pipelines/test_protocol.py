from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from imrt_core.optimize.objectives import SquaredOverdose, SquaredUnderdose
from imrt_core.patient import Contour, ProtocolError, Structure, StructureError, StructureSet
from pipelines.protocol import load_protocol, parse_protocol, protocol_text, shipped_protocols
from pipelines.stages.plans import objectives_of
from pipelines.structure_names import match_structures, renamed

SITES = ("abdomen", "brain", "gynaecology", "head-and-neck", "lung", "pelvis")


def square(name: str, kind: str = "ORGAN") -> Structure:
    points = np.array([[0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]], dtype=float)
    return Structure(name, (Contour(points), Contour(points + np.array([0, 0, 2]))), interpreted_type=kind)


def head_and_neck(*extra: str, without: tuple[str, ...] = ()) -> StructureSet:
    names = ["PTV70", "SpinalCord", "Brainstem", "Parotid_L", "Parotid_R", *extra]
    return StructureSet(tuple(square(n, "PTV" if n.startswith("PTV") else "ORGAN") for n in names if n not in without))


def test_every_site_ships() -> None:
    assert shipped_protocols() == SITES


@pytest.mark.parametrize("name", SITES)
def test_shipped_protocols_are_valid(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.name == name
    assert 20 <= protocol.fractions <= 40
    assert len({b.gantry_deg for b in protocol.beams}) >= 5
    targets = {t.name for t in protocol.targets}
    assert targets <= {g.parsed.structure for g in protocol.goals}
    # every target has something that pushes its dose up
    up = {o.structure for o in protocol.objectives if o.kind in ("underdose", "uniform", "dvh_min")}
    # Without objectives of its own, a protocol leaves them to its goals.
    assert not protocol.objectives or targets <= up


def test_goals_of_the_issue_are_there() -> None:
    goals = {g.goal for g in load_protocol("head-and-neck").goals}
    assert {
        "PTV70 V70Gy[%] >= 95",
        "Parotid_L Mean[Gy] < 26",
        "SpinalCord D0.03cc[Gy] <= 45 (hard)",
        "Bone_Mandible V60Gy[%] < 20",
        "Cochlea_L_PRV03 Mean[Gy] < 45",
    } <= goals


def test_names_match_without_case_blanks_and_underscores() -> None:
    structures = StructureSet(
        (square("ptv 70", "PTV"), square("CORD"), square("brain stem"), square("LeftParotid"), square("parotid-rt"))
    )
    matched = match_structures(load_protocol("head-and-neck"), structures)
    assert matched.roi_names == {
        "PTV70": "ptv 70",
        "SpinalCord": "CORD",
        "Brainstem": "brain stem",
        "Parotid_L": "LeftParotid",
        "Parotid_R": "parotid-rt",
    }
    assert renamed(structures, matched.roi_names).names == (
        "PTV70",
        "SpinalCord",
        "Brainstem",
        "Parotid_L",
        "Parotid_R",
    )


def test_exact_name_wins_over_alias_and_two_aliases_are_refused() -> None:
    protocol = load_protocol("head-and-neck")
    assert match_structures(protocol, head_and_neck("Cord")).roi_names["SpinalCord"] == "SpinalCord"
    two = head_and_neck("Cord", "Myelon", without=("SpinalCord",))
    with pytest.raises(StructureError, match="more than one region") as caught:
        match_structures(protocol, two)
    assert caught.value.found == "Cord, Myelon"


@pytest.mark.parametrize("name", ["PTV70", "SpinalCord", "Parotid_L"])
def test_a_required_structure_that_is_absent_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        match_structures(load_protocol("head-and-neck"), head_and_neck(without=(name,)))
    assert caught.value.code == "structure-missing"
    assert name in caught.value.message and name not in caught.value.found.split(", ")


def test_a_where_present_structure_that_is_absent_is_named() -> None:
    matched = match_structures(load_protocol("head-and-neck"), head_and_neck())
    assert matched.prescription_gy == {"PTV70": 70.0}
    assert {g.structure for g in matched.goals} == {
        "PTV70",
        "SpinalCord",
        "SpinalCord_PRV05",  # derived from the cord
        "Brainstem",
        "Parotid_L",
        "Parotid_R",
    }
    assert any("Larynx" in text and "not applicable" in text for text in matched.not_applicable)
    assert any("PTV56 (56 Gy) not applicable" in text for text in matched.not_applicable)


def test_an_empty_structure_is_refused() -> None:
    structures = StructureSet((*head_and_neck(), Structure("Larynx", ())))
    with pytest.raises(StructureError, match="empty") as caught:
        match_structures(load_protocol("head-and-neck"), structures)
    assert caught.value.code == "structure-empty"


def edited(**changes: object) -> str:
    content = yaml.safe_load(protocol_text("head-and-neck"))
    content.update(changes)
    return yaml.safe_dump(content)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"goals": ["Nowhere Mean[Gy] < 3"]}, "Nowhere"),
        ({"goals": ["PTV70 V70Gy >= 95"]}, "unreadable goal|unknown dose-volume"),
        ({"goals": [{"goal": "PTV70 D2%[Gy] <= 75 (hard)", "presence": "where-present"}]}, "cannot be optional"),
        ({"beams": [{"gantry_deg": 0}, {"gantry_deg": 0}]}, "twice"),
        ({"beams": [{"gantry_deg": 400}]}, "gantry_deg"),
        ({"decision": {"nonsense": 1}}, "nonsense"),
        ({"format_version": 2}, "unknown protocol format"),
        ({"format_version": None}, "unknown protocol format"),
        ({"surprise": 1}, "surprise"),
        ({"fractions": 0}, "fractions"),
    ],
)
def test_inconsistent_protocols_are_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        parse_protocol(edited(**changes))


def test_an_alias_of_two_structures_is_refused() -> None:
    content = yaml.safe_load(protocol_text("head-and-neck"))
    content["structures"]["Larynx"]["aliases"].append("BRAIN_STEM")
    with pytest.raises(ProtocolError, match="means both"):
        parse_protocol(yaml.safe_dump(content))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [", "\x00"])
def test_what_is_no_protocol_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        parse_protocol(text)


def test_a_file_is_read_and_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(edited(name="mine"))
    assert load_protocol(path).name == "mine"
    with pytest.raises(ProtocolError, match="head-and-neck"):
        load_protocol("no-such-protocol")


def test_objectives_of_a_protocol_are_built_and_checked_when_it_is_read() -> None:
    text = protocol_text("head-and-neck")
    own = """
objectives:
  - {structure: PTV70, kind: underdose, dose_gy: 70, weight: 100}
  - {structure: PTV63 - PTV70+5mm, kind: overdose, dose_gy: 66, weight: 20}
  - {structure: PTV56, kind: dvh_min, dose_gy: 56, volume_percent: 97, weight: 50}
"""
    protocol = parse_protocol(text + own)
    # The region needs both of its structures; PTV56 is not drawn.
    without_low = StructureSet((square("PTV70", "PTV"), square("PTV63", "PTV")))
    assert objectives_of(protocol, without_low) == (
        SquaredUnderdose(structure="PTV70", dose_gy=70.0, weight=100.0),
        SquaredOverdose(structure="PTV63 - PTV70+5mm", dose_gy=66.0, weight=20.0),
    )
    assert len(objectives_of(protocol, StructureSet((square("PTV70", "PTV"),))) or ()) == 1
    for wrong in ("volume_percent: 97, ", "kind: dvh_min, "):
        with pytest.raises(ProtocolError, match=r"volume_percent|kind"):
            parse_protocol(text + own.replace(wrong, ""))
    with pytest.raises(ProtocolError, match="unknown kind"):
        parse_protocol(text + own.replace("kind: dvh_min", "kind: cubic"))
