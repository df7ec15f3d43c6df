"""Time of a collapsed-cone dose: ``python -m benchmarks.forward TG119.npz [--grid-mm 3] [--json] [--save FILE]``.

TG-119's C-shape, nine beams from 0 to 320 degrees, one open bixel field of 5 mm squares per beam around the target: the
fluence of the influence benchmark at unit weights. Compile time is told apart.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numba
import numpy as np

from imrt_core.dose import BeamGeometry, FluenceMap, bixel_grid, collapsed_cone_dose, dose_grid_for
from imrt_core.machine import load_machine, relative_electron_density
from imrt_core.patient import Grid, Volume

ISOCENTRE = (-1.6911, -16.5853, 0.1421)
LIMIT_SECONDS = 5.0


def case(path: Path, grid_mm: float) -> tuple[Volume, list[FluenceMap], Grid]:
    """Return density, fluences and dose grid."""
    with np.load(path, allow_pickle=False) as data:
        x, y, z = (np.asarray(data[name], dtype=float) for name in ("x", "y", "z"))
        grid = Grid(
            (len(z), len(y), len(x)),
            (float(x[1] - x[0]), float(y[1] - y[0]), float(z[1] - z[0])),
            (float(x[0]), float(y[0]), float(z[0])),
        )
        hu, body, target = (
            np.ascontiguousarray(np.asarray(data[name], dtype=np.float32).transpose(2, 0, 1))
            for name in ("hu", "mask_BODY", "mask_OuterTarget")
        )
    machine = load_machine("generic_6mv")
    inside = Volume(body, grid)
    red = relative_electron_density(Volume(hu, grid), machine.density_curve(), external=inside, saturate=True)
    fluences = []
    for gantry in range(0, 360, 40):
        beam = BeamGeometry(float(gantry), ISOCENTRE, "HFS")
        bixels = bixel_grid(beam, Volume(target, grid), bixel_mm=5.0)
        first_u, first_v = bixels.lower
        nu, nv = bixels.size
        edges_u = 5.0 * np.arange(first_u, first_u + nu + 1, dtype=np.float64)
        edges_v = 5.0 * np.arange(first_v, first_v + nv + 1, dtype=np.float64)
        opening = bixels.to_lattice(np.ones(len(bixels))).astype(float)
        fluences.append(FluenceMap(beam, opening, edges_u, edges_v, 1.0))
    return red, fluences, dose_grid_for(grid, inside, spacing_mm=grid_mm)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.forward", description="Time of a collapsed-cone dose on TG-119."
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--grid-mm", type=float, default=3.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args()
    red, fluences, grid = case(options.file, options.grid_mm)
    model = load_machine("generic_6mv").model
    seconds = []
    for _ in range(options.repeats + 1):
        started = time.perf_counter()
        dose = collapsed_cone_dose(red, fluences, model, dose_grid=grid)
        seconds.append(time.perf_counter() - started)
    answer = {
        "seconds": float(np.median(seconds[1:])),
        "first_call_seconds": seconds[0],
        "threads": numba.get_num_threads(),
        "beams": len(fluences),
        "grid_mm": options.grid_mm,
        "voxels": int(np.count_nonzero(dose.array)),
        "limit_seconds": LIMIT_SECONDS,
    }
    if options.save:
        options.save.write_text(json.dumps(answer, indent=1) + "\n", "utf-8")
    print(json.dumps(answer) if options.json else "\n".join(f"{k}: {v}" for k, v in answer.items()))


if __name__ == "__main__":
    main()
