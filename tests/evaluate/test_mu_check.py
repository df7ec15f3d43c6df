"""Engine against the independent check: which point, which tables, what fails, what cannot be made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imrt_core.check import load_tables
from imrt_core.dose import PlanDose, plan_dose
from imrt_core.evaluate.mu_check import BeamMuCheck, MuCheck, check_metersets
from imrt_core.machine import load_machine
from imrt_core.patient import Beam, ControlPoint, Grid, Plan, Volume
from tests.dose.phantoms import water_box

MACHINE, TABLES = load_machine("generic_6mv"), load_tables("generic_6mv")
ISOCENTRE = (0.0, 100.0, 0.0)
WATER = water_box((240.0, 200.0, 240.0))


def field(number: int, gantry_deg: float, *, jaw_x_mm: tuple[float, float] = (-40.0, 40.0)) -> Beam:
    points = tuple(
        ControlPoint(w, gantry_deg, ISOCENTRE, jaw_x_mm=jaw_x_mm, jaw_y_mm=(-40.0, 40.0)) for w in (0.0, 1.0)
    )
    return Beam(number, f"field {number}", 100.0, points)


PLAN = Plan((field(1, 0.0), field(2, 90.0)))


def computed(plan: Plan, *, x_mm: tuple[int, int] = (-20, 20)) -> PlanDose:
    grid = Grid((9, 9, (x_mm[1] - x_mm[0]) // 5 + 1), (5.0, 5.0, 5.0), (x_mm[0], 80.0, -20.0))
    return plan_dose(plan, WATER, MACHINE, dose_grid=grid, patient_position="HFS", keep_beams=True)


@pytest.fixture(scope="module")
def dose() -> PlanDose:
    return computed(PLAN)


def test_open_fields_in_water_agree_at_the_isocentre(dose: PlanDose) -> None:
    found = check_metersets(
        PLAN,
        WATER,
        (TABLES,),
        fraction_dose_gy=dose.fraction_dose_gy,
        patient_position="HFS",
        computed=dose.beams,
    )
    assert found.passed is True and found.faults == ()
    assert [beam.point_lps for beam in found.beams] == [ISOCENTRE, ISOCENTRE]
    assert [b.engine_dose_gy for b in found.beams] == [b.dose_at_isocentre_gy for b in dose.beams]
    # By hand from the measured tables: 80 mm square, SSD 900 mm, 100 mm deep.
    by_hand = 100.0 * TABLES.open_field_dose(side_mm=80.0, depth_mm=100.0, ssd_mm=900.0)
    assert found.beams[0].check_dose_gy == pytest.approx(by_hand, rel=0.01)
    assert abs(found.largest_percent or 9.0) < 5.0


def test_an_engine_of_another_output_fails(dose: PlanDose) -> None:
    given = {"fraction_dose_gy": dose.fraction_dose_gy, "patient_position": "HFS", "computed": dose.beams}
    calibration = replace(TABLES.calibration, dose_gy_per_mu=1.1 * TABLES.calibration.dose_gy_per_mu)
    right = check_metersets(PLAN, WATER, (TABLES,), **given)  # type: ignore[arg-type]
    wrong = check_metersets(PLAN, WATER, (replace(TABLES, calibration=calibration),), **given)  # type: ignore[arg-type]
    assert wrong.passed is False and len(wrong.differing) == len(wrong.faults) == 2
    for good, bad in zip(right.beams, wrong.beams, strict=True):
        expected = 100 * ((1 + (good.difference_percent or 0) / 100) / 1.1 - 1)
        assert bad.difference_percent == pytest.approx(expected, abs=1e-6)
        assert bad.mu_for_engine_dose == pytest.approx(100 + expected)
        assert f"beam {bad.name}: engine {expected:+.1f} %" in wrong.differing[bad.number - 1]
    nothing = [replace(beam, dose_at_isocentre_gy=0.0) for beam in dose.beams]
    dark = check_metersets(PLAN, WATER, (TABLES,), **{**given, "computed": nothing})  # type: ignore[arg-type]
    assert dark.passed is False and dark.largest_percent == pytest.approx(-100.0, abs=1e-3)


def test_an_isocentre_under_a_jaw_is_left_for_a_point_in_the_field() -> None:
    """A beam alone gives the dose of the plan at that voxel; what the engine did not keep there is not judged."""
    plan = Plan((field(1, 0.0, jaw_x_mm=(10.0, 70.0)),))
    alone = computed(plan, x_mm=(15, 65))
    found = check_metersets(
        plan,
        WATER,
        (TABLES,),
        fraction_dose_gy=alone.fraction_dose_gy,
        patient_position="HFS",
        computed=alone.beams,
    )
    (beam,) = found.beams
    assert beam.passed is True, found.faults
    assert beam.point_lps is not None and 15.0 <= beam.point_lps[0] <= 65.0
    there = float(alone.fraction_dose_gy.sample(np.array(beam.point_lps)))
    assert beam.engine_dose_gy == pytest.approx(there, rel=1e-3)
    found = check_metersets(
        plan,
        WATER,
        (TABLES,),
        fraction_dose_gy=alone.fraction_dose_gy,
        computed=[replace(alone.beams[0], fraction_dose_gy=None)],
        patient_position="HFS",
    )
    assert found.passed is None and "was not kept" in found.faults[0]


def test_what_cannot_be_made_says_why(dose: PlanDose) -> None:
    given = {"fraction_dose_gy": dose.fraction_dose_gy, "patient_position": "HFS", "computed": dose.beams}
    harder = replace(PLAN, beams=(PLAN.beams[0], replace(PLAN.beams[1], nominal_energy_mv=10.0)))
    found = check_metersets(harder, WATER, (TABLES,), **given)  # type: ignore[arg-type]
    assert found.passed is None and found.beams[0].passed is True
    assert found.faults == ("beam field 2: not made, no measured tables for 10 MV STANDARD",)

    lung = Volume(np.full(WATER.array.shape, 0.3, dtype=np.float32), WATER.grid)
    found = check_metersets(PLAN, lung, (TABLES,), **given)  # type: ignore[arg-type]
    assert found.passed is None and all("density 0.30" in line for line in found.faults)

    wedged = replace(PLAN, beams=(replace(PLAN.beams[0], unsupported=("wedge",)), PLAN.beams[1]))
    found = check_metersets(wedged, WATER, (TABLES,), **given)  # type: ignore[arg-type]
    assert found.passed is None and "wedge" in found.faults[0] and found.beams[1].passed is True


@pytest.mark.parametrize(
    ("verdicts", "passed"),
    [((True, True), True), ((True, None), None), ((None, False), False), ((True, False), False), ((), None)],
)
def test_one_beam_that_differs_fails_the_plan(verdicts: tuple[bool | None, ...], passed: bool | None) -> None:
    beams = tuple(BeamMuCheck(n, str(n), 1.0, difference_percent=9.0, passed=v) for n, v in enumerate(verdicts))
    assert MuCheck(beams).passed is passed
