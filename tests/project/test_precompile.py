from __future__ import annotations

import numpy as np

from imrt_core.dose import BeamGeometry, _map_kernels, _product_kernels, bixel_grid, influence_matrix, plan_dose
from imrt_core.dose.collapsed_cone import _sweep, engine, fan
from imrt_core.dose.precompile import compile_kernels
from imrt_core.machine import load_machine
from imrt_core.patient import Beam, ControlPoint, Plan

from .phantoms import mixed_patient


def compiled() -> dict[str, int]:
    """Number of compiled signatures of every kernel of the collapsed cone."""
    return {
        f"{module.__name__}.{name}": len(value.signatures)
        for module in (_sweep, engine, fan)
        for name, value in vars(module).items()
        if hasattr(value, "signatures")
    }


def test_a_dose_after_it_compiles_nothing() -> None:
    machine = load_machine("generic_6mv")
    compile_kernels(machine.model)
    before = compiled()
    assert sum(before.values()) >= 5
    red = mixed_patient()
    points = tuple(
        ControlPoint(w, 30.0, (0.0, 0.0, 10.0), jaw_x_mm=(-20.0, 20.0), jaw_y_mm=(-20.0, 20.0)) for w in (0.0, 1.0)
    )
    dose = plan_dose(Plan((Beam(1, "field", 100.0, points),)), red, machine, dose_grid=red.grid, patient_position="HFS")
    assert np.all(np.isfinite(dose.fraction_dose_gy.array))
    assert compiled() == before


def test_products_of_an_influence_matrix_compile_nothing() -> None:
    machine = load_machine("generic_6mv")
    compile_kernels(machine.model)
    products = (
        _product_kernels.groups_times_weights,
        _product_kernels.groups_transposed,
        _map_kernels.add_map_groups,
        _map_kernels.gather_map_groups,
    )
    before = [len(kernel.signatures) for kernel in products]
    red = mixed_patient()
    beam = BeamGeometry(30.0, (0.0, 0.0, 10.0), "HFS")
    target = np.linalg.norm(red.grid.voxel_centres_lps() - (0.0, 0.0, 10.0), axis=-1) < 20.0
    bixels = bixel_grid(beam, red.with_array(target.astype(np.float32)), bixel_mm=5.0, margin_mm=5.0)
    voxels = np.flatnonzero(red.array.ravel() > 0.5)
    matrix = influence_matrix(red, [beam], machine, bixels=[bixels], voxels=voxels, dose_grid=red.grid)
    dose = matrix.dose(np.ones(matrix.shape[1]))
    assert dose.max() > 0
    assert matrix.backproject(dose).max() > 0
    assert [len(kernel.signatures) for kernel in products] == before
