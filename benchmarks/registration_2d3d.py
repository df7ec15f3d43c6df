"""``python -m benchmarks.registration_2d3d``: simulated kV pairs matched to their planning CT, errors against truth.

Radiographs are made by :mod:`imrt_core.phantom.radiography` (exact voxel lengths, three energies, blur, scatter, heel
effect, Poisson noise, patient beyond the CT); matches sample between voxels at one energy. Every pair has another
set-up error, uniform within ±20 mm and ±4° about each axis, another gantry angle, and its second image at 90° to it.
Digital patients are radiographed without the planning scanner's noise. OpenKBP patients are cut to the slices that
show them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from benchmarks.openkbp_data import load
from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import RigidTransform, Volume
from imrt_core.phantom import build_patient
from imrt_core.phantom.radiography import simulate_radiograph
from registration import register_radiographs
from registration.precompile import compile_kernels

ROOT = Path(__file__).resolve().parents[1]
SHIFT_MM, TURN_DEG = 20.0, 4.0
#: A match is a success below both.
SUCCESS_MM, SUCCESS_DEG = 1.0, 0.5
#: Panel of 400 × 300 mm in pixels of 0.776 mm, at 1500 mm.
SHAPE, PIXEL_MM = (384, 512), 0.776
OPENKBP = ("train_pt_37", "train_pt_40", "test_pt_254", "validation_pt_201")


@dataclass(frozen=True, eq=False)
class Case:
    """A patient: planning CT, what is radiographed, and the planned isocentre."""

    name: str
    planning_hu: Volume
    true_hu: Volume
    isocentre_lps: NDArray[np.float64]


def digital(site: str) -> Case:
    patient = build_patient(site)
    return Case(f"digital {site}", patient.planning.ct.hu, patient.tissue_hu, np.asarray(patient.isocentre_lps))


def openkbp(npz: Path) -> Case:
    hu = load(npz).hu
    area = np.count_nonzero(hu.array > -400, axis=(1, 2))
    # Some files hold slices with a contour's interior alone, the rest of the patient being cut away.
    shown = np.flatnonzero(area > 0.3 * np.median(area))
    first, last = int(shown[0]), int(shown[-1])
    _, ny, nx = hu.grid.shape
    cut = Volume(hu.array[first : last + 1], hu.grid.cropped((0, 0, first), (nx, ny, last + 1)))
    tissue = cut.grid.to_lps(np.argwhere(cut.array > -400)[:, ::-1])
    return Case(npz.stem, cut, cut, tissue.mean(axis=0))


def pair(case: Case, rng: np.random.Generator, seed: int) -> tuple[list[Radiograph], RigidTransform]:
    """Set the patient up wrongly and take two images; returns them and the true day_from_fixed."""
    move, turn = rng.uniform(-SHIFT_MM, SHIFT_MM, 3), rng.uniform(-TURN_DEG, TURN_DEG, 3)
    truth = RigidTransform.from_parameters(
        translation_mm=move - case.isocentre_lps, rotation_deg=turn, centre_lps=case.isocentre_lps
    )
    first = float(rng.uniform(-30, 30))
    views = [
        ProjectionView.from_iec(gantry_deg=angle, patient_position="HFS", shape=SHAPE, spacing_mm=(PIXEL_MM, PIXEL_MM))
        for angle in (first, first + 90)
    ]
    return [
        simulate_radiograph(case.true_hu, view, truth, seed=2 * seed + n, label=f"kV {n + 1}")
        for n, view in enumerate(views)
    ], truth


def one(case: Case, radiographs: list[Radiograph], truth: RigidTransform) -> dict[str, Any]:
    """Match a pair and compare with the truth at the planned isocentre."""
    wall, cpu = time.perf_counter(), time.process_time()
    match = register_radiographs(case.planning_hu, radiographs, isocentre_lps=case.isocentre_lps)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = match.moving_from_fixed
    off = found.apply(case.isocentre_lps) - truth.apply(case.isocentre_lps)
    turn = Rotation.from_matrix(found.rotation @ truth.rotation.T).magnitude()
    return {
        "error_mm": float(np.linalg.norm(off)),
        "error_deg": float(np.rad2deg(turn)),
        "passed": match.quality.passed,
        "correlations": list(match.quality.correlations),
        "seconds": wall,
        "cpu_seconds": cpu,
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    mm, deg, seconds, cpu = (
        np.array([run[key] for run in runs]) for key in ("error_mm", "error_deg", "seconds", "cpu_seconds")
    )
    good = (mm < SUCCESS_MM) & (deg < SUCCESS_DEG)
    passed = np.array([run["passed"] for run in runs])
    return {
        "pairs": len(runs),
        "median_mm": float(np.median(mm)),
        "p95_mm": float(np.percentile(mm, 95)),
        "max_mm": float(mm.max()),
        "median_deg": float(np.median(deg)),
        "p95_deg": float(np.percentile(deg, 95)),
        "max_deg": float(deg.max()),
        "success_percent": float(100 * good.mean()),
        "passed_percent": float(100 * passed.mean()),
        "passed_but_wrong": int(np.count_nonzero(passed & ~good)),
        "seconds_median": float(np.median(seconds)),
        "seconds_max": float(seconds.max()),
        "cpu_seconds_median": float(np.median(cpu)),
    }


def others(cases: list[Case], rng: np.random.Generator) -> dict[str, Any]:
    """Match every CT with another patient's images: how many would pass."""
    wrong, highest = 0, 0.0
    for n, case in enumerate(cases):
        images, _ = pair(cases[(n + 1) % len(cases)], rng, 1000 + n)
        quality = register_radiographs(case.planning_hu, images, isocentre_lps=case.isocentre_lps).quality
        wrong += quality.passed
        highest = max(highest, min(quality.correlations))
    return {"pairs": len(cases), "passed": wrong, "highest_correlation_of_the_worse_view": highest}


def run(cases: list[Case], shifts: int, seed: int, report: Console) -> dict[str, Any]:
    """Match all pairs; the kernels are compiled before."""
    compile_kernels()
    patients: dict[str, Any] = {}
    every: list[dict[str, Any]] = []
    for case in cases:
        rng = np.random.default_rng([seed, zlib.crc32(case.name.encode())])
        runs = []
        for n in range(shifts):
            images, truth = pair(case, rng, seed * 1000 + n)
            runs.append(one(case, images, truth))
        patients[case.name] = {**summary(runs), "runs": runs}
        every += runs
        report.print(f"{case.name}: median {patients[case.name]['median_mm']:.2f} mm")
    return {
        "schema_version": 1,
        "range_mm": SHIFT_MM,
        "range_deg": TURN_DEG,
        "success": f"< {SUCCESS_MM:g} mm at the isocentre and < {SUCCESS_DEG:g}°",
        "all": summary(every),
        "patients": patients,
        "another_patient": others(cases, np.random.default_rng([seed, 7])),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
    }


def _table(answer: dict[str, Any]) -> Table:
    table = Table(title=f"2D/3D, ±{SHIFT_MM:g} mm ±{TURN_DEG:g}°; success {answer['success']}")
    for column in ("patient", "pairs", "mm median / 95 % / max", "° median / 95 % / max", "success", "passed", "s"):
        table.add_column(column)
    for name, row in {**answer["patients"], "all": answer["all"]}.items():
        table.add_row(
            name,
            str(row["pairs"]),
            " / ".join(f"{row[k]:.2f}" for k in ("median_mm", "p95_mm", "max_mm")),
            " / ".join(f"{row[k]:.2f}" for k in ("median_deg", "p95_deg", "max_deg")),
            f"{row['success_percent']:.1f} %",
            f"{row['passed_percent']:.1f} %",
            f"{row['seconds_median']:.1f}",
        )
    return table


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.registration_2d3d", description=__doc__)
    parser.add_argument("--shifts", type=int, default=20, help="pairs per patient")
    parser.add_argument("--patients", nargs="*", default=list(OPENKBP), help="OpenKBP patients")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here")
    options = parser.parse_args()
    data = Path(os.environ.get("IGRT_SHARED_DATA", ROOT / ".." / "shared" / "data")).resolve() / "openkbp"
    cases = [digital("head-neck"), digital("pelvis"), *(openkbp(data / f"{name}.npz") for name in options.patients)]
    answer = run(cases, options.shifts, options.seed, Console(stderr=True))
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(answer, indent=1) + "\n")
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        Console().print(_table(answer))


if __name__ == "__main__":
    main()
