"""After the kernels have been compiled ahead, patients compile nothing."""

from __future__ import annotations

import importlib
import pkgutil

import numpy as np

import imrt_core
import registration
from imrt_core.dose import plan_dose
from imrt_core.evaluate import dvh
from imrt_core.machine import load_machine
from imrt_core.optimize import BeamDirection, PlanSettings, make_plan
from imrt_core.patient import Beam, ControlPoint, Goal, Plan
from imrt_core.precompile import compile_dose_kernels, compile_planning_kernels
from registration.precompile import compile_kernels
from tests.dose.phantoms import mixed_patient
from tests.optimize.cases import c_shape_patient

#: Not of the daily chain: commissioning's Monte Carlo, and the digital patients.
OTHERS = {"imrt_core.physics._transport", "imrt_core.phantom._inverse"}
#: Likewise: matrices with every entry stored, pencil kernels as a dose engine; and what callers have inlined.
NOT_CALLED = {
    "imrt_core.dose._map_kernels.add_map",
    "imrt_core.dose._product_kernels.dense_times",
    "imrt_core.dose._product_kernels.dense_transposed",
    "imrt_core.geometry._ray_kernels.cast_rays",
    "imrt_core.dose.collapsed_cone._sweep._one_plane",
}


def compiled() -> dict[str, int]:
    """Number of compiled signatures of every kernel of the daily chain that Python calls."""
    found = {}
    for package in (imrt_core, registration):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if info.name in OTHERS:
                continue
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                if hasattr(value, "signatures") and value.py_func.__module__ == info.name:
                    found[f"{info.name}.{name}"] = len(value.signatures)
    return found


def test_every_kernel_of_the_chain_is_compiled() -> None:
    compile_planning_kernels()
    compile_dose_kernels()
    compile_kernels()
    missing = {name for name, count in compiled().items() if count == 0}
    assert missing == NOT_CALLED


def test_a_plan_and_its_dose_compile_nothing_more() -> None:
    compile_planning_kernels()
    compile_dose_kernels()
    before = compiled()
    red, structures = c_shape_patient()
    machine = load_machine("generic_6mv")
    result = make_plan(
        red,
        structures,
        machine,
        goals=[Goal.parse("PTV50 D95%[Gy] >= 48"), Goal.parse("Core D0.03cc[Gy] <= 40 (hard)")],
        prescription_gy=[("PTV50", 50.0)],
        fractions=25,
        beams=[BeamDirection(gantry_deg=30.0), BeamDirection(gantry_deg=140.0)],
        isocentre_lps=(0.0, 0.0, 0.0),
        patient_position="HFS",
        settings=PlanSettings(optimisation_grid_mm=8.0, dose_grid_mm=6.0, max_iterations=3),
    )
    dvh(structures["Core"], result.course_dose_gy)
    patient = mixed_patient()
    points = tuple(
        ControlPoint(w, 30.0, (0.0, 0.0, 10.0), jaw_x_mm=(-20.0, 20.0), jaw_y_mm=(-20.0, 20.0)) for w in (0.0, 1.0)
    )
    field = Plan((Beam(1, "field", 100.0, points),))
    dose = plan_dose(field, patient, machine, dose_grid=patient.grid, patient_position="HFS")
    assert np.all(np.isfinite(dose.fraction_dose_gy.array))
    assert compiled() == before
