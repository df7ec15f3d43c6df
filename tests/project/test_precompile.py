"""After the kernels have been compiled ahead, patients compile nothing."""

from __future__ import annotations

import importlib
import pkgutil
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

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

#: Not of the daily chain: commissioning's Monte Carlo, the digital patients, and matrices that others computed.
OTHERS = {
    "imrt_core.physics._transport",
    "imrt_core.phantom._inverse",
    "imrt_core.phantom._siddon",
    "imrt_core.optimize._sparse_kernels",
}
#: Likewise: matrices with every entry stored, pencil kernels as a dose engine.
NOT_CALLED = {
    "imrt_core.dose._map_kernels.add_map",
    "imrt_core.dose._product_kernels.dense_times",
    "imrt_core.dose._product_kernels.dense_transposed",
    "imrt_core.geometry._ray_kernels.cast_rays",
}


def kernels() -> dict[str, Any]:
    """Every kernel of the daily chain."""
    found = {}
    for package in (imrt_core, registration):
        for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if info.name not in OTHERS:
                for name, value in vars(importlib.import_module(info.name)).items():
                    if hasattr(value, "signatures") and value.py_func.__module__ == info.name:
                        found[f"{info.name}.{name}"] = value
    return found


def compiled() -> dict[str, int]:
    """Number of compiled signatures of every kernel; none of those that only kernels from the cache call."""
    return {name: len(kernel.signatures) for name, kernel in kernels().items()}


def called_by_kernels() -> set[str]:
    """Kernels that other kernels call."""
    found = kernels()
    names = {id(kernel): name for name, kernel in found.items()}
    callees = set()
    for kernel in found.values():
        code, scope = kernel.py_func.__code__, kernel.py_func.__globals__
        callees |= {names[id(scope[n])] for n in code.co_names if n in scope and id(scope[n]) in names}
    return callees


def missing_after_compiling() -> set[str]:
    """Kernels that Python calls and that compiling ahead leaves out."""
    compile_planning_kernels()
    compile_dose_kernels()
    compile_kernels()
    return {name for name, count in compiled().items() if count == 0} - called_by_kernels()


def test_every_kernel_of_the_chain_is_compiled() -> None:
    # In a process of its own: here, other tests may have compiled what is missing.
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as alone:
        assert alone.submit(missing_after_compiling).result() == NOT_CALLED


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
