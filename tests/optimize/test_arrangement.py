"""Beam arrangements: sectors, structures in the way, clearance; moved, left out or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imrt_core.geometry.entrance import EntranceTest
from imrt_core.geometry.iec61217 import source_lps
from imrt_core.machine import Clearance, ClearanceRange, load_machine
from imrt_core.optimize import (
    AvoidanceSector,
    BeamAvoidance,
    BeamDirection,
    BeamObstacles,
    EquidistantBeams,
    NotThrough,
    arrange_beams,
    make_plan,
    objections,
)
from imrt_core.optimize.arrangement import angle_between
from imrt_core.patient import Beam, ControlPoint, Goal, Plan, PlanError, StructureError, StructureSet, Volume
from imrt_core.patient.contours import structure_from_mask
from imrt_core.patient.grid import Grid
from tests.optimize.cases import c_shape_patient

MACHINE = load_machine("generic_6mv")
GRID = Grid((41, 91, 91), (2.0, 2.0, 2.0), (-90.0, -90.0, -40.0))


def ball(name: str, centre: tuple[float, float, float], radius: float, kind: str = "ORGAN") -> object:
    apart = np.linalg.norm(GRID.voxel_centres_lps() - np.array(centre), axis=-1)
    mask = np.clip(0.5 + (radius - apart) / 2.0, 0, 1).astype(np.float32)
    return structure_from_mask(Volume(mask, GRID), name=name, interpreted_type=kind)


def patient(centre: tuple[float, float, float], radius: float = 10.0) -> StructureSet:
    return StructureSet((ball("PTV", (0, 0, 0), 15.0, "PTV"), ball("Organ", centre, radius)))  # type: ignore[arg-type]


def obstacles(structures: StructureSet, position: str = "HFS", **avoidance: object) -> BeamObstacles:
    return BeamObstacles(
        MACHINE,
        BeamAvoidance(**avoidance),  # type: ignore[arg-type]
        structures,
        ["PTV"],
        (0.0, 0.0, 0.0),
        position,
    )


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP"])
@pytest.mark.parametrize("table", [0.0, 60.0])
def test_a_beam_from_the_organ_s_side_passes_it_and_one_from_behind_does_not(position: str, table: float) -> None:
    """The organ 50 mm left of the target: the source's own place says which beams come through it."""
    through = EntranceTest(
        patient((50.0, 0.0, 0.0)),
        targets=["PTV"],
        avoided=["Organ"],
        isocentre_lps=(0.0, 0.0, 0.0),
        patient_position=position,
    )
    for gantry in range(0, 360, 10):
        source = source_lps(gantry_deg=gantry, table_deg=table, patient_position=position, isocentre_lps=(0, 0, 0))
        cosine = source[0] / np.linalg.norm(source)
        percent = through.percent_through("Organ", float(gantry), table)
        if cosine > np.cos(np.radians(12)):
            assert percent > 20
        # seen from the target's far edge the organ fills at most asin((15 + 10) / 50) = 30° (35° with divergence)
        if cosine < np.cos(np.radians(35)):
            assert percent == 0


def test_how_many_degrees_are_lost() -> None:
    """A ball of 10 mm at 50 mm, a target of 15 mm: some ray touches both within asin((10 + 15) / 50) of its side."""
    found = obstacles(patient((0.0, -50.0, 0.0)), not_through=(NotThrough(structure="Organ"),)).lost_deg()
    assert found["any"] == found["not through Organ"]
    assert found["any"] == pytest.approx(2 * np.degrees(np.arcsin(25 / 50)), abs=6)
    lenient = obstacles(
        patient((0.0, -50.0, 0.0)), not_through=(NotThrough(structure="Organ", allowed_percent=30.0),)
    ).lost_deg()
    assert 0 < lenient["any"] < found["any"]


def test_sectors_count_their_degrees_over_zero() -> None:
    sectors = (AvoidanceSector(from_deg=350, to_deg=10), AvoidanceSector(from_deg=5, to_deg=20))
    lost = obstacles(patient((0.0, 50.0, 0.0)), sectors=sectors).lost_deg()
    assert lost == {"sector 350° to 10°": 21, "sector 5° to 20°": 16, "any": 31}


def test_listed_beams_are_refused_by_name() -> None:
    there = obstacles(
        patient((50.0, 0.0, 0.0)),
        sectors=(AvoidanceSector(from_deg=170, to_deg=190),),
        not_through=(NotThrough(structure="Organ"),),
    )
    good = [
        BeamDirection(gantry_deg=0.0),
        BeamDirection(gantry_deg=270.0),
        BeamDirection(gantry_deg=350.0, table_deg=30.0),
    ]
    arranged = arrange_beams(good, there)
    assert arranged.beams == tuple(good)
    assert any("of 360 gantry degrees are not available at table 30°" in note for note in arranged.notes)
    bad = [
        *good,
        BeamDirection(gantry_deg=180.0),
        BeamDirection(gantry_deg=90.0),
        BeamDirection(gantry_deg=90.0, table_deg=30.0),
    ]
    with pytest.raises(PlanError) as caught:
        arrange_beams(bad, there)
    assert caught.value.code == "beam-blocked"
    for text in (
        "beam 4: gantry 180° lies in the avoided sector",
        "beam 5: ",
        "pass Organ before the target",
        "beam 6: gantry 90° with table 30° has no clearance",
    ):
        assert text in caught.value.found


def test_equidistant_beams_move_to_the_nearest_free_angle_or_are_left_out() -> None:
    there = obstacles(patient((0.0, 50.0, 0.0)), sectors=(AvoidanceSector(from_deg=118, to_deg=125),))
    arranged = arrange_beams(EquidistantBeams(count=9), there)
    assert [b.gantry_deg for b in arranged.beams] == [0, 40, 80, 117, 160, 200, 240, 280, 320]
    assert arranged.notes[0].startswith("The beam at 120° is moved to 117°: gantry 120° lies in the avoided sector")
    assert arranged.lost_deg["any"] == 8
    fewer = arrange_beams(EquidistantBeams(count=9, may_drop=True), there)
    assert len(fewer.beams) == 8 and "left out" in fewer.notes[0]
    none = obstacles(patient((0.0, 50.0, 0.0)), sectors=(AvoidanceSector(from_deg=0, to_deg=360),))
    with pytest.raises(PlanError, match="no beam is left"):
        arrange_beams(EquidistantBeams(count=5), none)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 13), st.floats(0, 359), st.floats(0, 359), st.floats(0, 300))
def test_moved_beams_are_free_and_apart(count: int, start: float, first: float, width: float) -> None:
    there = obstacles(
        patient((0.0, 50.0, 0.0)), sectors=(AvoidanceSector(from_deg=first, to_deg=(first + width) % 360.0),)
    )
    arranged = arrange_beams(EquidistantBeams(count=count, start_deg=start), there)
    angles = [b.gantry_deg for b in arranged.beams]
    assert all(there.is_free(angle) for angle in angles)
    assert all(angle_between(a, b) >= 180.0 / count - 1e-6 for n, a in enumerate(angles) for b in angles[:n])
    assert len(angles) + sum("left out" in note for note in arranged.notes) == count


def arc(first: float, last: float, direction: str, table: float = 0.0) -> Plan:
    points = tuple(
        ControlPoint(
            cumulative_weight=weight,
            gantry_deg=gantry,
            gantry_direction=turn,
            table_deg=table,
            isocentre_lps=(0.0, 0.0, 0.0),
            jaw_x_mm=(-20.0, 20.0),
            jaw_y_mm=(-20.0, 20.0),
        )
        for weight, gantry, turn in ((0.0, first, direction), (1.0, last, "NONE"))
    )
    beam = Beam(number=1, name="arc", mu=100.0, control_points=points, nominal_energy_mv=6.0)
    return Plan(beams=(beam,), fractions_planned=1)


def test_a_plan_that_came_is_told_what_speaks_against_its_beams() -> None:
    free = Clearance((ClearanceRange((0.0, 0.0), ((300.0, 60.0),)),), "test")
    there = replace(obstacles(patient((50.0, 0.0, 0.0))), machine=replace(MACHINE, clearance=free))
    assert objections(arc(310.0, 50.0, "CW"), there) == ()
    # the other way round: 310 down to 50 passes 299 … 61, of 261 positions 239
    (text,) = objections(arc(310.0, 50.0, "CC"), there)
    assert text.startswith("Beam arc: gantry 299° with table 0° has no clearance") and "(239 of 261 positions)" in text
    (text,) = objections(arc(310.0, 50.0, "CW", 20.0), there)
    assert "table 20° is not in the clearance table" in text


def test_avoidance_is_held_against_a_plan_rule_by_rule() -> None:
    """The organ lies 50 mm left: rays touch it and the target within asin((10 + 15) / 50) = 30° of 90° and a bit."""
    avoided = {"sectors": (AvoidanceSector(from_deg=170, to_deg=190),), "not_through": (NotThrough(structure="Organ"),)}
    there = obstacles(patient((50.0, 0.0, 0.0)), **avoided)
    assert objections(arc(195.0, 50.0, "CW"), there) == ()
    found = objections(arc(20.0, 180.0, "CW"), there)
    assert len(found) == 2
    organ, sector = sorted(found, key=lambda text: "sector" in text)
    assert "pass Organ before the target" in organ
    assert int(organ.split("(")[1].split(" of")[0]) == pytest.approx(2 * np.degrees(np.arcsin(25 / 50)), abs=6)
    assert "gantry 170° lies in the avoided sector" in sector and "(11 of 161 positions)" in sector


def test_a_structure_that_is_not_there_is_refused() -> None:
    with pytest.raises(StructureError, match="Heart"):
        obstacles(patient((50.0, 0.0, 0.0)), not_through=(NotThrough(structure="Heart"),))


def test_planning_itself_refuses_a_collision() -> None:
    red, structures = c_shape_patient()
    with pytest.raises(PlanError, match="beam 2: gantry 90° with table 90° has no clearance"):
        make_plan(
            red,
            structures,
            MACHINE,
            goals=[Goal.parse("PTV50 D95%[Gy] >= 50")],
            prescription_gy=[("PTV50", 50.0)],
            fractions=25,
            beams=[BeamDirection(gantry_deg=0.0), BeamDirection(gantry_deg=90.0, table_deg=90.0)],
            isocentre_lps=(0.0, 0.0, 0.0),
            patient_position="HFS",
        )
