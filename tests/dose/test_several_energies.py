"""A plan of two energies: each beam with its own machine, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imrt_core.dose import mixed_plan_dose, plan_dose
from imrt_core.machine import load_machine
from imrt_core.patient import Grid, MachineError, Plan, PlanError

from .phantoms import water_box
from .test_delivered import open_beam

SIX, TEN = load_machine("generic_6mv"), load_machine("generic_10mv")
WATER = water_box((150.0, 150.0, 150.0))
GRID = Grid((8, 12, 8), (10.0, 10.0, 10.0), (-35.0, 5.0, -35.0))
INSIDE = (0.0, 60.0, 0.0)
SOFT = open_beam(30.0, number=1, isocentre_lps=INSIDE)
HARD = replace(open_beam(0.0, number=2, isocentre_lps=INSIDE), nominal_energy_mv=10.0)
LAST = open_beam(330.0, number=3, isocentre_lps=INSIDE)


def test_each_beam_has_the_machine_of_its_energy() -> None:
    plan = Plan((SOFT, HARD, LAST))
    both = mixed_plan_dose(plan, WATER, (TEN, SIX), dose_grid=GRID, patient_position="HFS", engine="beamlet")
    alone = [
        plan_dose(Plan((beam,)), WATER, machine, dose_grid=GRID, patient_position="HFS", engine="beamlet")
        for beam, machine in ((SOFT, SIX), (HARD, TEN), (LAST, SIX))
    ]
    total = sum(dose.fraction_dose_gy.array for dose in alone)
    np.testing.assert_allclose(both.fraction_dose_gy.array, total, rtol=1e-5, atol=1e-7)
    assert [beam.name for beam in both.beams] == [beam.name for beam in plan.beams]
    assert [b.dose_at_isocentre_gy for b in both.beams] == [d.beams[0].dose_at_isocentre_gy for d in alone]
    assert both.model == f"{SIX.name} {SIX.version}, {TEN.name} {TEN.version}"
    assert sum("beam model not validated" in warning for warning in both.warnings) == 1


def test_what_is_refused() -> None:
    options = {"dose_grid": GRID, "patient_position": "HFS"}
    with pytest.raises(PlanError, match="beam 2") as caught:
        other = replace(SIX, model=replace(SIX.model, nominal_energy_mv=15.0))
        mixed_plan_dose(Plan((SOFT, HARD)), WATER, (SIX, other), **options)  # type: ignore[arg-type]
    assert caught.value.found == "10 MV STANDARD" and "6 MV STANDARD (generic_6mv)" in caught.value.expected
    with pytest.raises(MachineError, match="two machines"):
        mixed_plan_dose(Plan((SOFT,)), WATER, (SIX, SIX), **options)  # type: ignore[arg-type]
    with pytest.raises(MachineError, match="needs a machine"):
        mixed_plan_dose(Plan((SOFT,)), WATER, (), **options)  # type: ignore[arg-type]
