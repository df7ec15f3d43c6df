"""``python -m benchmarks.propagation``: structures of the day against the true ones, on digital patients.

The planning structures go to a simulated cone-beam CT of the last day of the course (anatomy changed, set-up error,
truncated view) through our rigid and deformable match, contours and all. The truth is each structure's mask on the
planning CT, carried by the field that made the day. Organs of 10 cc and more; those of which the image shows less than
99 % are listed apart, as what the image does not show can only be guessed.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.output import add_output_options, answered, headed
from benchmarks.simulated_day import carried, local_field
from imrt_core.evaluate.overlap import dice, hausdorff95_mm, mean_surface_distance_mm
from imrt_core.patient import Grid, Structure, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure
from imrt_core.phantom import SITES, build_patient, simulate_fraction
from registration import PropagationRules, propagate_structures, register_deformable, register_rigid
from registration.precompile import compile_kernels
from registration.preprocess import field_of_view

#: Targets follow the bones by default (CLINICAL.md): their place is a rule and no measurement of this match.
NO_ORGANS = ("PTV", "CTV", "GTV", "EXTERNAL")
LEAST_CC = 10.0
SEEN = 0.99
#: Beyond the contours, compared too: no organ here is off by as much.
MARGIN_MM = 25.0
#: Planes 1.5 mm apart: the surfaces' distances are not limited by the grid.
SPACING_MM = 1.5


def run_site(site: str, seed: int) -> dict[str, Any]:
    """Propagate one patient's organs and compare them."""
    patient = build_patient(site, seed=seed)
    last = patient.prescription.fractions
    day = simulate_fraction(patient, last, fractions=last, seed=seed)
    planning, image = patient.planning.ct.hu, day.image.hu
    rigid = register_rigid(planning, image).moving_from_fixed
    match = register_deformable(planning, image, initial=rigid)
    everything = patient.planning.structures
    organs = tuple(s for s in everything if s.interpreted_type.upper() not in NO_ORGANS and not s.is_empty)
    drawn = StructureSet(organs, everything.frame_of_reference_uid)
    found = propagate_structures(drawn, rigid=rigid, deformable=match, rules=PropagationRules()).structures
    whole = match.fixed_from_moving.grid.resampled((SPACING_MM,) * 3)
    seen = image.with_array(field_of_view(image).astype(np.float32))
    deformation = local_field(day)
    rows = []
    for organ in organs:
        grid = _around(found[organ.name], whole)
        planned = mask_from_structure(organ, deformation.grid)
        true = carried(planned, grid, deformation=deformation, moving_from_fixed=day.moving_from_fixed)
        inside = true.array >= 0.5
        volume_cc = float(inside.sum()) * grid.voxel_volume_cc
        if volume_cc < LEAST_CC:
            continue
        rigidly = _moved(planned, rigid.inverse().matrix, grid)
        ours = mask_from_structure(found[organ.name], grid)
        rows.append(
            {
                "organ": organ.name,
                "true_cc": volume_cc,
                "shown": float((seen.resampled_to(grid, outside=0.0).array[inside] > 0.5).mean()),
                "dice_rigid": dice(rigidly, true),
                "dice": dice(ours, true),
                "mean_distance_mm": mean_surface_distance_mm(ours, true),
                "hausdorff95_mm": hausdorff95_mm(ours, true),
            }
        )
    return {"patient": f"digital {site} {seed}", "fraction": last, "organs": rows}


def _around(structure: Structure, grid: Grid) -> Grid:
    index = grid.to_index(np.concatenate([contour.points_lps for contour in structure.contours]))
    reach = MARGIN_MM / SPACING_MM
    lower = np.maximum(np.floor(index.min(axis=0) - reach), 0).astype(int)
    upper = np.minimum(np.ceil(index.max(axis=0) + reach) + 1, grid.shape[::-1]).astype(int)
    return grid.cropped(lower, upper)


def _moved(mask: Volume, fixed_from_moving: np.ndarray[Any, Any], grid: Grid) -> Volume:
    points = grid.voxel_centres_lps() @ fixed_from_moving[:3, :3].T + fixed_from_moving[:3, 3]
    return Volume(mask.sample(points, outside=0.0).astype(np.float32), grid)


def main() -> None:
    """Run the patients and print or save the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.propagation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    add_output_options(parser)
    options = parser.parse_args()
    compile_kernels()
    cases = [run_site(site, seed) for site in SITES for seed in range(options.seeds)]
    if answered(cases, options):
        return
    table = headed(
        "Structures of the day against the true ones",
        "patient",
        "organ",
        "cc",
        "shown (%)",
        "Dice, rigid",
        "Dice",
        "mean distance (mm)",
        "HD95 (mm)",
    )
    for case in cases:
        for row in case["organs"]:
            numbers = f"{row['true_cc']:.0f}", f"{100 * row['shown']:.0f}", f"{row['dice_rigid']:.3f}"
            after = f"{row['dice']:.3f}", f"{row['mean_distance_mm']:.2f}", f"{row['hausdorff95_mm']:.1f}"
            table.add_row(case["patient"], row["organ"], *numbers, *after)
    Console().print(table)


if __name__ == "__main__":
    main()
