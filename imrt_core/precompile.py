"""Compile the kernels of planning, dose and evaluation before a patient needs them.

Each half runs on a patient of a few thousand voxels, through the same functions that patients go through, so that the
kernels are compiled for the same types. Halves are of about equal length, for two processes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.check import load_tables, shipped_tables
from imrt_core.dose import FluenceMap
from imrt_core.dose.collapsed_cone import collapsed_cone_dose
from imrt_core.evaluate import dvh, gamma
from imrt_core.evaluate.accumulation import pull_back
from imrt_core.evaluate.mu_check import check_metersets
from imrt_core.geometry import BeamGeometry
from imrt_core.geometry.margins import expand
from imrt_core.machine import load_machine
from imrt_core.optimize import BeamDirection, PlanSettings, make_plan
from imrt_core.patient import DisplacementField, Goal, Grid, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure, structure_from_mask

_MACHINE = "generic_6mv"
_GRID = Grid((13, 26, 26), (8.0, 8.0, 8.0), (-100.0, -100.0, -48.0))


def compile_planning_kernels() -> None:
    """Plan, sequence, judge and check a small patient: influence matrix, products, leaves, contours, histograms."""
    points = _GRID.voxel_centres_lps()
    radius = np.hypot(points[..., 0], points[..., 1])
    middle = np.abs(points[..., 2]) <= 24.0
    machine = load_machine(_MACHINE)
    body, target = _mask(radius < 85.0), _mask((radius < 25.0) & middle)
    structures = StructureSet(
        (
            structure_from_mask(body, name="External", number=1, interpreted_type="EXTERNAL"),
            structure_from_mask(expand(target, 4.0), name="PTV", number=2, interpreted_type="PTV"),
            structure_from_mask(_mask((np.abs(radius - 45.0) < 10.0) & middle), name="Organ", number=3),
        ),
        frame_of_reference_uid="1.2.3",
        sop_instance_uid="1.2.3.4",
    )
    result = make_plan(
        body,
        structures,
        machine,
        goals=[Goal.parse("PTV D95%[Gy] >= 1"), Goal.parse("Organ D0.03cc[Gy] <= 60 (hard)")],
        prescription_gy=[("PTV", 50.0)],
        fractions=25,
        beams=[BeamDirection(gantry_deg=angle) for angle in (0.0, 80.0)],
        isocentre_lps=(0.0, 0.0, 0.0),
        patient_position="HFS",
        settings=PlanSettings(optimisation_grid_mm=8.0, dose_grid_mm=8.0, bixel_mm=10.0, max_iterations=4),
    )
    dvh(mask_from_structure(structures["PTV"], _GRID), result.course_dose_gy)
    check_metersets(
        result.plan,
        body,
        [load_tables(name) for name in shipped_tables() if name == _MACHINE],
        fraction_dose_gy=result.fraction_dose_gy,
        patient_position="HFS",
        computed=result.beams,
    )


def compile_dose_kernels() -> None:
    """Compute a field with the collapsed cone, carry its dose along a deformation and compare it with itself."""
    body = _mask(np.ones(_GRID.shape, dtype=bool))
    edges = np.arange(-30.0, 30.1, 5.0)
    opening = FluenceMap(BeamGeometry(0.0, (0.0, 0.0, 0.0), "HFS"), np.ones((12, 12)), edges, edges, 1.0)
    dose = collapsed_cone_dose(body, [opening], load_machine(_MACHINE).model, dose_grid=_GRID)
    still = DisplacementField(np.zeros((*_GRID.shape, 3), dtype=np.float32), _GRID)
    pull_back(dose, still, grid=_GRID)
    gamma(dose, dose)


def _mask(inside: NDArray[np.bool_]) -> Volume:
    return Volume(inside.astype(np.float32), _GRID)
