"""``python -m benchmarks.density``: error of the density of the day in HU and in dose, against simulated truth.

Digital patients are planned with static conformal beams of equal weight, imaged by a simulated cone beam on the last
day of the course (anatomy changed, set-up error), and matched. The same beams are computed on the true HU of that day
and on what each method makes of the image; the difference in the targets' D95 is in percent of the prescription.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.output import add_output_options, answered, headed
from benchmarks.simulated_day import carried, local_field
from imrt_core.density import density_of
from imrt_core.dose import plan_dose
from imrt_core.geometry import BeamGeometry
from imrt_core.machine import load_machine
from imrt_core.patient import Beam, ControlPoint, Plan, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure
from imrt_core.phantom import DigitalPatient, build_patient
from imrt_core.phantom.simulate import SimulatedFraction, simulate_fraction
from registration import DensityMethod, hu_of_day, register_deformable, register_rigid, warp_structures
from registration.precompile import compile_kernels

SITES = ("head-neck", "lung", "pelvis")
GANTRY_DEG = (0.0, 72.0, 144.0, 216.0, 288.0)
#: The planning CT's HU scale has the density curve of a nominal CT at 120 kV.
MACHINE = "generic_6mv"
MARGIN_MM = 6.0


def true_hu(patient: DigitalPatient, day: SimulatedFraction, like: Volume) -> Volume:
    """Return the tissue of the day on a grid of its frame; NaN beyond the planning CT."""
    pose, tissue = day.moving_from_fixed, patient.tissue_hu
    return carried(tissue, like.grid, deformation=local_field(day), moving_from_fixed=pose, outside=np.nan)


def beams(patient: DigitalPatient, day: SimulatedFraction, target: Volume) -> Plan:
    """Return jaw-shaped beams around the target of the day, 100 MU each."""
    isocentre = tuple(float(v) for v in day.moving_from_fixed.apply(patient.isocentre_lps))
    points = target.grid.to_lps(np.argwhere(target.array > 0.5)[:, ::-1])
    found = []
    for number, gantry in enumerate(GANTRY_DEG, 1):
        seen = BeamGeometry(gantry, isocentre, "HFS").project(points)  # type: ignore[arg-type]
        (x0, y0), (x1, y1) = seen.min(axis=0) - MARGIN_MM, seen.max(axis=0) + MARGIN_MM
        controls = tuple(
            ControlPoint(w, gantry, isocentre, jaw_x_mm=(float(x0), float(x1)), jaw_y_mm=(float(y0), float(y1)))  # type: ignore[arg-type]
            for w in (0.0, 1.0)
        )
        found.append(Beam(number, f"beam {number}", 100.0, controls))
    return Plan(tuple(found))


def d95(dose: NDArray[np.float64], inside: NDArray[np.bool_]) -> float:
    return float(np.percentile(dose[inside], 5.0))


def run_site(site: str, seed: int) -> dict[str, Any]:
    """Compare the methods on one patient and day."""
    patient = build_patient(site, seed=seed)
    last = patient.prescription.fractions
    day = simulate_fraction(patient, last, fractions=last, seed=seed)
    planning, image = patient.planning.ct, day.image.hu
    rigid = register_rigid(planning.hu, image).moving_from_fixed
    match = register_deformable(planning.hu, image, initial=rigid)
    grid = match.fixed_from_moving.grid
    truth = true_hu(patient, day, Volume(np.zeros(grid.shape, dtype=np.float32), grid))
    name = patient.prescription.targets_gy[0][0]
    structures = patient.planning.structures
    true_back = day.field.inverse_on(grid)
    there = warp_structures(structures, true_back, like=grid)
    target = mask_from_structure(there[name], grid)
    external = there.external()
    assert external is not None
    body = (mask_from_structure(external, grid).array > 0.5) & np.isfinite(truth.array)
    truth = truth.with_array(np.nan_to_num(truth.array, nan=-1000.0))
    machine = load_machine(MACHINE)
    plan = beams(patient, day, target)
    dose_grid = grid.resampled((3.0, 3.0, 3.0))
    inside = target.resampled_to(dose_grid, outside=0.0).array > 0.5

    def dose_on(hu: Volume) -> NDArray[np.float64]:
        curve = machine.density_curve(planning.scanner)
        red = density_of(hu, StructureSet((external,), there.frame_of_reference_uid), curve).red
        found = plan_dose(plan, red, machine, dose_grid=dose_grid, patient_position="HFS")
        return np.asarray(found.fraction_dose_gy.array, dtype=np.float64)

    expected = dose_on(truth)
    scale = 100.0 / float(np.median(expected[inside]))
    rows = []
    for method in DensityMethod:
        found = hu_of_day(planning.hu, image, match=match, grid=grid, method=method)
        apart = (found.hu.array - truth.array)[body]
        rows.append(
            {
                "method": method.value,
                "mean_hu": float(apart.mean()),
                "mean_absolute_hu": float(np.abs(apart).mean()),
                "d95_percent": scale * (d95(dose_on(found.hu), inside) - d95(expected, inside)),
                "passed": found.passed,
            }
        )
    return {"patient": f"digital {site} {seed}", "fraction": day.fraction, "target": name, "methods": rows}


def main() -> None:
    """Run the patients and print or save the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.density", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    add_output_options(parser)
    options = parser.parse_args()
    compile_kernels()
    cases = [run_site(site, seed) for site in SITES for seed in range(options.seeds)]
    if answered(cases, options):
        return
    table = headed(
        "Density of the day against simulated truth",
        "patient",
        "method",
        "mean (HU)",
        "mean absolute (HU)",
        "target D95 (% of prescription)",
    )
    for case in cases:
        for row in case["methods"]:
            numbers = (f"{row['mean_hu']:+.1f}", f"{row['mean_absolute_hu']:.1f}", f"{row['d95_percent']:+.2f}")
            table.add_row(case["patient"], row["method"], *numbers)
    Console().print(table)


if __name__ == "__main__":
    main()
