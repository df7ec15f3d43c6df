"""The check of plans: a commercial system's ten fields, verdicts, points that do not suit, better points, output."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imrt_core.check import check_plan, load_tables, proposed_points
from imrt_core.dicom import read_plan
from imrt_core.patient import Beam, GeometryError, Grid, MultileafCollimator, Plan, PlanError, Volume

from .phantoms import square_beam, water_tank

GENERIC, MONACO = load_tables("generic_6mv"), load_tables("monaco_6mv_2619")
POINT = (0.0, -200.0, 0.0)
TANK = water_tank()

#: Difference of the commercial system's dose from the check, percent, by field; found with these tables.
FIELDS = (20, 30, 40, 50, 70, 100, 150, 200, 300, 400)
AGAINST_GENERIC = (3.7, 2.9, 2.3, 1.2, 0.6, 0.7, 1.6, -0.2, 0.0, -0.1)


def one(beam: Beam) -> Plan:
    return Plan((beam,), label="check", sop_instance_uid="1.2.3")


@pytest.mark.shared_data
def test_ten_square_fields_of_a_commercial_system(shared_data: Path) -> None:
    """BeamDose of Monaco (SSD 900 mm, 100 mm deep): within 5 % from 20 to 400 mm by another machine's tables."""
    plan = read_plan(shared_data / "beam_pymedphys" / "06MV_plan.dcm")
    planned = {b.number: b.beam_dose_gy for b in plan.beams if b.beam_dose_gy is not None}
    options = {"points_lps": POINT, "patient_position": "HFS", "planned_gy": planned}
    found = check_plan(plan, TANK, GENERIC, **options)
    assert found.verdict == "agrees"
    assert [b.verdict for b in found.beams] == ["agrees"] * 10
    differences = [b.difference_percent for b in found.beams]
    assert differences == pytest.approx(AGAINST_GENERIC, abs=0.1)
    for beam, side in zip(found.beams, FIELDS, strict=True):
        assert beam.collimator_mm == pytest.approx(side, abs=0.5)
        assert beam.mu_for_planned_dose == pytest.approx(1000 * (1 + beam.difference_percent / 100))  # type: ignore[operator]

    # By the machine's own data, as far as they go: 50 to 100 mm within 1.5 %, the others not judged.
    own = check_plan(plan, TANK, MONACO, **options)
    judged = dict(zip(FIELDS, own.beams, strict=True))
    assert [side for side, beam in judged.items() if beam.verdict == "agrees"] == [50, 70, 100]
    assert max(abs(judged[side].difference_percent or 9) for side in (50, 70, 100)) < 1.5
    assert all("measured 50 to 100 mm" in b.reasons[0] for side, b in judged.items() if side not in (50, 70, 100))
    assert own.verdict == "unsuitable"


@pytest.mark.parametrize(
    ("factor", "verdict"), [(1.0, "agrees"), (1.04, "agrees"), (1.07, "differs"), (0.9, "differs")]
)
def test_a_wrong_meterset_is_found(factor: float, verdict: str) -> None:
    expected = 100 * GENERIC.open_field_dose(side_mm=100, depth_mm=100, ssd_mm=900)
    beam = square_beam(100.0, mu=100.0 * factor)
    found = check_plan(one(beam), TANK, GENERIC, points_lps=POINT, patient_position="HFS", planned_gy={1: expected})
    assert found.beams[0].verdict == found.verdict == verdict
    assert found.beams[0].mu_for_planned_dose == pytest.approx(100.0, rel=5e-3)


def test_without_an_engine_dose_nothing_is_compared() -> None:
    found = check_plan(one(square_beam(100.0)), TANK, GENERIC, points_lps={1: POINT}, patient_position="HFS")
    assert found.verdict == "not compared"
    assert found.beams[0].difference_percent is None
    assert json.loads(json.dumps(found.as_dict()))["beams"][0]["check_dose_gy"] == found.beams[0].check_dose_gy
    assert "not compared" in found.text()


def lung_at_the_point() -> Volume:
    array = np.array(TANK.array)
    array[40:65, 15:26, 40:65] = 0.25
    return TANK.with_array(array)


@pytest.mark.parametrize(
    ("beam", "red", "point", "words"),
    [
        (square_beam(100.0), TANK, (0.0, -200.0, 43.0), "% per mm"),
        (square_beam(100.0), TANK, (0.0, -200.0, 80.0), "of the open fluence"),
        (square_beam(100.0), lung_at_the_point(), POINT, "density 0.25"),
        (square_beam(100.0), TANK, (0.0, -292.0, 0.0), "build-up"),
        (square_beam(100.0, isocentre_lps=(0.0, 0.0, 0.0)), TANK, (0.0, 20.0, 0.0), "320 mm deep, measured to 300"),
        (square_beam(7.0), TANK, POINT, "equivalent side"),
    ],
)
def test_points_that_do_not_suit(beam: Beam, red: Volume, point: tuple[float, float, float], words: str) -> None:
    found = check_plan(one(beam), red, GENERIC, points_lps=point, patient_position="HFS", planned_gy={1: 5.0})
    assert found.verdict == "unsuitable"
    assert any(words in reason for reason in found.beams[0].reasons)
    assert any(words in line for line in found.text().splitlines())


def test_a_point_behind_lung_is_judged_with_a_note() -> None:
    red = np.array(TANK.array)
    red[:, 5:15] = 0.25
    found = check_plan(one(square_beam(100.0)), TANK.with_array(red), GENERIC, points_lps=POINT, patient_position="HFS")
    assert found.beams[0].reasons == ()
    assert re.match(r"100 mm of tissue count as 6[23] mm of water", found.beams[0].notes[0])


def test_a_better_point_is_proposed() -> None:
    """Dose in a half-blocked field: the proposed point lies in the flat open part, in tissue, and suits the beam."""
    beam = square_beam(160.0, jaw_x_mm=(0.0, 80.0))
    grid = Grid((40, 20, 60), (5.0, 5.0, 5.0), (-147.5, -280.0, -97.5))
    x, y, z = np.moveaxis(grid.voxel_centres_lps(), -1, 0)
    edge = 1 / (1 + np.exp(-x / 4)) / (1 + np.exp((x - 80) / 4)) / (1 + np.exp((np.abs(z) - 80) / 4))
    dose = Volume(7.0 * np.exp(-0.002 * (y + 280)) * edge, grid)
    red = np.array(TANK.array)
    red[:, 5:10, :] = 0.3  # lung where the dose is highest
    density = TANK.with_array(red)
    found = check_plan(one(beam), density, GENERIC, points_lps=POINT, patient_position="HFS", fraction_dose_gy=dose)
    assert found.verdict == "unsuitable"
    better = found.proposed_point
    assert better is not None
    assert 12 < better.point_lps[0] < 68
    assert better.point_lps[1] > -252
    assert "Better point" in found.text()
    again = check_plan(one(beam), density, GENERIC, points_lps=better.point_lps, patient_position="HFS")
    assert again.beams[0].reasons == ()


def test_no_point_to_propose() -> None:
    grid = Grid((5, 5, 5), (5.0, 5.0, 5.0), (0.0, -250.0, 0.0))
    flat = Volume(np.ones(grid.shape), grid)
    with pytest.raises(GeometryError, match="soft tissue"):
        proposed_points(flat, TANK.with_array(np.full(TANK.array.shape, 0.2, dtype=np.float32)))
    with pytest.raises(GeometryError, match="no dose"):
        proposed_points(flat.with_array(np.zeros(grid.shape)), TANK)
    assert len(proposed_points(flat, TANK, count=3)) == 3


def test_modulation_at_the_point_is_told() -> None:
    """A leaf edge through the point."""
    mlc = MultileafCollimator(tuple(float(v) for v in range(-100, 101, 10)))
    leaves = np.stack([np.full(20, -50.0), np.full(20, 50.0)])
    leaves[1, 10:] = 1.0
    points = tuple(replace(p, leaves_mm=leaves) for p in square_beam(100.0).control_points)
    beam = Beam(1, "b", 100.0, points, mlc=mlc)
    found = check_plan(one(beam), TANK, GENERIC, points_lps=(0.0, -200.0, 4.0), patient_position="HFS")
    assert "edge or modulation" in found.beams[0].reasons[0]


def test_bad_requests() -> None:
    plan = one(square_beam(100.0))
    with pytest.raises(PlanError, match="needs a point"):
        check_plan(plan, TANK, GENERIC, points_lps={2: POINT}, patient_position="HFS")
    with pytest.raises(PlanError, match="needs a point"):
        check_plan(plan, TANK, GENERIC, points_lps=(0.0, float("nan"), 0.0), patient_position="HFS")
    with pytest.raises(PlanError, match="positive"):
        check_plan(plan, TANK, GENERIC, points_lps=POINT, patient_position="HFS", planned_gy={1: float("nan")})
    with pytest.raises(PlanError, match="another patient position"):
        check_plan(replace(plan, patient_position="FFS"), TANK, GENERIC, points_lps=POINT, patient_position="HFS")


def test_beams_with_their_own_points() -> None:
    beams = tuple(replace(square_beam(100.0, gantry_deg=g), number=n, name=str(n)) for n, g in ((1, 0.0), (2, 30.0)))
    found = check_plan(Plan(beams), TANK, GENERIC, points_lps={1: POINT, 2: (0.0, -180.0, 0.0)}, patient_position="HFS")
    assert [b.point_lps[1] for b in found.beams] == [-200.0, -180.0]
