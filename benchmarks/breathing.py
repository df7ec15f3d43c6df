"""``python -m benchmarks.breathing``: digital lung patients that breathe, their 4DCT followed and a 4D-CBCT matched.

Six phases of each patient: the tumour moves towards the head, backwards and a little sideways, the lungs' base
with it; ribs and spine stay. Phases have the planning scanner's noise, the 4D-CBCT that of a cone beam, cupping,
streaks and an offset of HU, a set-up error, and a baseline shift of the tumour. Truth is the field that made them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.output import add_output_options, answered, headed
from benchmarks.simulated_day import carried
from imrt_core.patient import DisplacementField, RigidTransform, Structure, StructureSet, Volume
from imrt_core.patient.contours import mask_from_structure
from imrt_core.phantom import DigitalPatient, build_patient
from imrt_core.phantom.canvas import scanned
from imrt_core.phantom.deformation import OrganChange, deformation_of_day
from imrt_core.phantom.imaging import Imager, degraded
from registration import internal_target_volume, match_breathing, respiratory_motion
from registration.precompile import compile_kernels

#: Share of the amplitude in six phases of equal time, from the end of inspiration.
SHARES = (0.0, 0.45, 0.85, 1.0, 0.9, 0.5)
#: Of the tumour, LPS; and by how much the base of the lungs rises.
AMPLITUDE_MM, BASE_MM = (1.0, 2.5, 12.0), 14.0
BASELINE_MM = (0.0, -3.0, -2.0)


@dataclass(frozen=True, eq=False)
class Breath:
    """One phase: the patient as he is, and where every point of the reference phase has gone."""

    tissue_hu: Volume
    field: DisplacementField


def breath(patient: DigitalPatient, share: float, shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Breath:
    """Return the patient in a phase, with another shift of the tumour."""
    structures, grid = patient.planning.structures, patient.tissue_hu.grid
    moved = tuple(share * a + s for a, s in zip(AMPLITUDE_MM, shift_mm, strict=True))
    sources = [OrganChange("GTV", shift_mm=moved, reach_mm=45.0)]  # type: ignore[arg-type]
    for name in ("Lung_L", "Lung_R"):
        height = float(np.ptp(np.concatenate([c.points_lps[:, 2] for c in structures[name].contours])))
        sources.append(
            OrganChange(name, scale=(1.0, 1.0, 1.0 - share * BASE_MM / height), anchor=(0.5, 0.5, 1.0), reach_mm=25.0)
        )
    field = deformation_of_day(sources, structures=structures, bone=patient.bone, grid=grid)
    return Breath(_seen(patient.tissue_hu, field), field)


def _seen(tissue_hu: Volume, field: DisplacementField, pose: RigidTransform | None = None) -> Volume:
    grid = tissue_hu.grid
    seen = carried(tissue_hu, grid, deformation=field, moving_from_fixed=pose, order=3, outside=-1000.0)
    return seen.with_array(np.clip(seen.array, -1000, 3071))


def _mean_displacement(field: DisplacementField, mask: Volume) -> NDArray[np.float64]:
    fraction = np.asarray(mask.array, dtype=np.float64)
    return np.asarray(np.average(field.vectors_mm.reshape(-1, 3), axis=0, weights=fraction.ravel()))


def run_patient(seed: int) -> dict[str, Any]:
    """Follow one patient and match a day."""
    patient = build_patient("lung", seed=seed)
    gtv: Structure = patient.planning.structures["GTV"]
    breaths = [breath(patient, share) for share in SHARES]
    rng = np.random.default_rng([seed, 7])
    phases = [b.tissue_hu.with_array(scanned(b.tissue_hu.array, b.tissue_hu.grid, rng=rng)) for b in breaths]
    started = time.perf_counter()
    found = respiratory_motion(phases, reference=0, structures=StructureSet((gtv,)), targets=["GTV"])
    seconds = time.perf_counter() - started
    mask = mask_from_structure(gtv, phases[0].grid)
    truth = np.array([_mean_displacement(b.field, mask) for b in breaths])
    places = np.array(found.structures[0].displacement_mm)
    itv = mask_from_structure(internal_target_volume(gtv, found, like=phases[0]), phases[0].grid).array > 0.5
    true_itv = np.logical_or.reduce([carried(mask, mask.grid, deformation=b.field).array > 0.5 for b in breaths])
    away = np.linalg.norm(truth - truth.mean(axis=0), axis=1)
    return {
        "patient": f"digital lung {seed}",
        "phases": len(SHARES),
        "true_amplitude_mm": np.ptp(truth, axis=0).round(2).tolist(),
        "amplitude_mm": np.round(found.structures[0].amplitude_mm, 2).tolist(),
        "displacement_error_max_mm": float(np.linalg.norm(places - truth, axis=1).max()),
        "mid_ventilation": found.mid_ventilation,
        "true_mid_ventilation": int(np.argmin(away)),
        "itv_dice": float(2.0 * np.sum(itv & true_itv) / (itv.sum() + true_itv.sum())),
        "passed": found.passed,
        "seconds": seconds,
        "seconds_per_phase": seconds / (len(SHARES) - 1),
        **_day(patient, phases[0], mask, truth, seed),
    }


def _day(
    patient: DigitalPatient, reference: Volume, mask: Volume, truth: NDArray[np.float64], seed: int
) -> dict[str, Any]:
    """Match a 4D-CBCT, and the same phases blurred into one image."""
    rng = np.random.default_rng([seed, 11])
    turn, move = rng.uniform(-2.0, 2.0, 3), rng.uniform(-10.0, 10.0, 3)
    centre = np.asarray(patient.isocentre_lps)
    pose = RigidTransform.from_parameters(translation_mm=move, rotation_deg=turn, centre_lps=centre)
    breaths = [breath(patient, share, BASELINE_MM) for share in SHARES]
    seen = [_seen(patient.tissue_hu, b.field, pose) for b in breaths]
    blurred = seen[0].with_array(np.asarray(np.mean([s.array for s in seen], axis=0, dtype=np.float32)))
    # a phase of a 4D-CBCT has a sixth of the projections: more noise
    imager = Imager(noise_hu=60.0)
    phases = [degraded(s, imager, rng=rng) for s in seen]
    day_truth = np.array([_mean_displacement(b.field, mask) for b in breaths])
    baseline = day_truth.mean(axis=0) - truth.mean(axis=0)
    answer: dict[str, Any] = {"true_baseline_mm": baseline.round(2).tolist()}
    for name, images in (("4d_cbct", phases), ("free_breathing", [degraded(blurred, Imager(), rng=rng)])):
        match = match_breathing(reference, images, target=mask, planned_mm=truth)
        bones = match.bones.moving_from_fixed.apply(centre) - pose.apply(centre)
        answer[name] = {
            "baseline_error_mm": float(np.linalg.norm(np.array(match.baseline_shift_mm) - baseline)),
            "bones_error_mm": float(np.linalg.norm(bones)),
            "passed": match.passed,
            "reasons": list(match.reasons),
        }
        if len(images) > 1:
            apart = np.array([phase.shift_mm for phase in match.phases]) - day_truth
            answer[name]["phase_error_max_mm"] = float(np.linalg.norm(apart, axis=1).max())
    return answer


def main() -> None:
    """Run the patients and print or save the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.breathing", description=__doc__)
    parser.add_argument("--patients", type=int, default=3)
    add_output_options(parser)
    options = parser.parse_args()
    compile_kernels()
    cases = [run_patient(seed) for seed in range(options.patients)]
    if answered(cases, options):
        return
    table = headed(
        "Breathing: errors against the field that made the phases",
        "patient",
        "displacement max (mm)",
        "ITV Dice",
        "baseline 4D-CBCT (mm)",
        "free-breathing (mm)",
        "s",
    )
    for case in cases:
        table.add_row(
            case["patient"],
            f"{case['displacement_error_max_mm']:.2f}",
            f"{case['itv_dice']:.3f}",
            f"{case['4d_cbct']['baseline_error_mm']:.2f}",
            f"{case['free_breathing']['baseline_error_mm']:.2f}",
            f"{case['seconds']:.0f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
