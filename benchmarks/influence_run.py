"""Our side of the influence benchmark, in a process of its own: ``python -m benchmarks.influence_run CASE OUT``.

CASE is the peer's file (density, dose grid, voxels, bixels); OUT gets the figures (JSON beside it) and the unit-weight
dose. The kernel cache should be empty, so that the first call shows the compile time.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.bandwidth import read_bandwidth_gb_s
from imrt_core.dose import BeamGeometry, Bixels, InfluenceMatrix, Storage, influence_matrix
from imrt_core.machine import load_machine
from imrt_core.patient import Grid, Volume


def _triple(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def compute(case: Any, storage: Storage, *, bixel_mm: float, cutoff_mm: float) -> InfluenceMatrix:
    """Compute our matrix of the peer's case: its density, voxels, isocentre and bixel positions."""
    density = case["density"]
    red = Volume(density, Grid(density.shape, _triple(case["density_spacing"]), _triple(case["density_origin"])))
    nx, ny, nz = (int(n) for n in case["dimensions"])
    grid = Grid((nz, ny, nx), _triple(case["resolution"]), _triple(case["origin"]))
    beams, bixels = [], []
    for number, gantry in enumerate(case["gantry_deg"]):
        isocentre = _triple(case["isocentres"][number])
        beams.append(BeamGeometry(float(gantry), isocentre, "HFS", sad_mm=float(case["sad"][number])))
        # The peer's bixels are centred on whole multiples of the width, ours half way between: moved by half of one.
        positions = case["rays"][case["rays"][:, 0] == number, 1:]
        index = np.rint(positions / bixel_mm).astype(np.int32)
        bixels.append(Bixels(bixel_mm, index, (-bixel_mm / 2, -bixel_mm / 2)))
    return influence_matrix(
        red,
        beams,
        load_machine("generic_6mv"),
        bixels=bixels,
        voxels=case["voxels"].astype(np.int64),
        dose_grid=grid,
        cutoff_mm=cutoff_mm,
        storage=storage,
    )


def main() -> None:
    """Compute, measure, save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.influence_run", description=__doc__)
    parser.add_argument("case", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--storage", default="uint16")
    parser.add_argument("--bixel-mm", type=float, default=5.0)
    parser.add_argument("--cutoff-mm", type=float, default=50.0)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    with np.load(options.case) as file:
        case = {name: file[name] for name in file.files}
    settings = {"bixel_mm": options.bixel_mm, "cutoff_mm": options.cutoff_mm}
    start = time.perf_counter()
    matrix = compute(case, options.storage, **settings)
    weights = np.ones(matrix.shape[1], dtype=np.float32)
    dose = matrix.dose(weights)
    gradient = matrix.backproject(dose)
    first = time.perf_counter() - start
    seconds, cpu, product_seconds = [], [], []
    for _ in range(options.repeats):
        del matrix
        start, start_cpu = time.perf_counter(), time.process_time()
        matrix = compute(case, options.storage, **settings)
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bandwidth = []
    for _ in range(options.repeats):
        bandwidth.append(read_bandwidth_gb_s(repeats=2))
        start = time.perf_counter()
        matrix.dose(weights)
        middle = time.perf_counter()
        matrix.backproject(dose)
        product_seconds.append((middle - start, time.perf_counter() - middle))
    dose_s, back_s = np.min(product_seconds, axis=0)
    adjoint = float(dose.astype(float) @ dose.astype(float)) / float(gradient @ weights) - 1
    figures = {
        "seconds": float(np.median(seconds)),
        "seconds_best": min(seconds),
        "cpu_seconds": float(np.median(cpu)),
        "compile_seconds": first - float(np.median(seconds)) - float(dose_s + back_s),
        "mib": matrix.nbytes / 2**20,
        "peak_rss_mib": peak / 1024,
        "nnz": matrix.entries,
        "threads": numba.get_num_threads(),
        "storage": options.storage,
        "products": {
            "bandwidth_gb_s": max(bandwidth),
            "dose_seconds": float(dose_s),
            "backproject_seconds": float(back_s),
            "dose_of_bandwidth": matrix.nbytes / 1e9 / float(dose_s) / max(bandwidth),
            "backproject_of_bandwidth": matrix.nbytes / 1e9 / float(back_s) / max(bandwidth),
            "adjointness": adjoint,
        },
    }
    np.savez(options.out, dose=dose)
    options.out.with_suffix(".json").write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
