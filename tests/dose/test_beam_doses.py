"""What is kept of single beams."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.dose import plan_dose
from imrt_core.geometry.raytrace import ray_volume
from imrt_core.machine import load_machine
from imrt_core.patient import MachineError, Plan

from .phantoms import mixed_patient
from .test_delivered import open_beam

MACHINE = load_machine("generic_6mv")


def test_doses_of_the_beams_add_up_and_scale() -> None:
    red = mixed_patient()
    plan = Plan((open_beam(30.0), open_beam(200.0, number=2, mu=60.0)))
    dose = plan_dose(plan, red, MACHINE, dose_grid=red.grid, patient_position="HFS", keep_beams=True)
    parts = [beam.fraction_dose_gy.array for beam in dose.beams if beam.fraction_dose_gy is not None]
    assert len(parts) == 2
    np.testing.assert_allclose(parts[0] + parts[1], dose.fraction_dose_gy.array, rtol=1e-5, atol=1e-7)
    half = dose.beams[0].scaled(0.5)
    assert half.mu == pytest.approx(50.0)
    assert half.dose_at_isocentre_gy == pytest.approx(0.5 * dose.beams[0].dose_at_isocentre_gy)
    assert half.fraction_dose_gy is not None
    np.testing.assert_allclose(half.fraction_dose_gy.array, 0.5 * parts[0], rtol=1e-6)


def test_rays_that_are_there_already_give_the_same_dose() -> None:
    red = mixed_patient()
    plan = Plan((open_beam(30.0),))
    plain = plan_dose(plan, red, MACHINE, dose_grid=red.grid, patient_position="HFS")
    again = plan_dose(plan, red, MACHINE, dose_grid=red.grid, patient_position="HFS", rays=ray_volume(red))
    assert all(beam.fraction_dose_gy is None for beam in plain.beams)
    np.testing.assert_array_equal(again.fraction_dose_gy.array, plain.fraction_dose_gy.array)


def test_rays_of_another_density_are_refused() -> None:
    red = mixed_patient()
    other = ray_volume(red.with_array(red.array * np.float32(0.5)))
    plan = Plan((open_beam(30.0),))
    with pytest.raises(MachineError, match="another density volume"):
        plan_dose(plan, red, MACHINE, dose_grid=red.grid, patient_position="HFS", rays=other)
