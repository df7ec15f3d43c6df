"""Run inside the peer's own environment: pyRadPlan's dose-influence matrix of TG-119, its figures and its dose.

``python pyradplan_influence.py OUT.npz --grid-mm 5``; called by :mod:`benchmarks.influence`. Imports nothing of ours.
The file holds nnz, seconds (the dose-influence call, steering apart), CPU seconds, bytes of the matrix and of the
process, the unit-weight dose on the dose grid, the voxels inside the contours, the position of every bixel on the
isocentre plane, and the density that was traced.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from typing import Any

import numpy as np
import SimpleITK
from pyRadPlan import PhotonPlan, calc_dose_influence, generate_stf, load_tg119
from pyRadPlan.dose import engines

GANTRY_DEG = tuple(range(0, 360, 40))


def main() -> None:
    """Compute, measure, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--grid-mm", type=float, default=5.0)
    parser.add_argument("--bixel-mm", type=float, default=5.0)
    parser.add_argument("--cutoff-mm", type=float, default=50.0)
    options = parser.parse_args()
    ct, cst = load_tg119()
    plan = PhotonPlan(machine="Generic")
    plan.prop_stf = {
        "gantry_angles": list(GANTRY_DEG),
        "couch_angles": [0] * len(GANTRY_DEG),
        "bixel_width": options.bixel_mm,
    }
    resolution = dict.fromkeys("xyz", options.grid_mm)
    plan.prop_dose_calc = {"dose_grid": {"resolution": resolution}, "geometric_lateral_cutoff": options.cutoff_mm}
    steering = generate_stf(ct, cst, plan)
    kept: dict[str, Any] = {}
    # The engine is remembered so that its voxels and densities can be handed over; nothing of it is changed.
    original = engines.get_engine
    import pyRadPlan.dose._calc_dose as caller

    def remember(pln: Any) -> Any:
        kept["engine"] = original(pln)
        return kept["engine"]

    caller.get_engine = remember
    before = resource.getrusage(resource.RUSAGE_SELF)
    wall = time.perf_counter()
    dij = calc_dose_influence(ct, cst, steering, plan)
    seconds = time.perf_counter() - wall
    after = resource.getrusage(resource.RUSAGE_SELF)
    matrix = dij.physical_dose.flat[0]
    grid = dij.dose_grid
    engine = kept["engine"]
    density = engine.cube_wed
    rays = [(b, *np.asarray(ray.ray_pos_bev)[[0, 2]]) for b, beam in enumerate(steering.beams) for ray in beam.rays]
    np.savez(
        options.out,
        nnz=matrix.nnz,
        seconds=seconds,
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        matrix_bytes=matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes,
        peak_rss_bytes=after.ru_maxrss * 1024,
        rss_before_bytes=before.ru_maxrss * 1024,
        dose=np.asarray(matrix @ np.ones(matrix.shape[1], dtype=np.float32)).ravel(),
        voxels=np.asarray(engine._vdose_grid),
        dimensions=np.array(grid.dimensions),
        resolution=np.array([grid.resolution[axis] for axis in "xyz"]),
        origin=np.asarray(grid.origin),
        direction=np.asarray(grid.direction),
        rays=np.array(rays, dtype=float),
        gantry_deg=np.array(GANTRY_DEG, dtype=float),
        threads=len(os.sched_getaffinity(0)),
        isocentres=np.array([beam.iso_center for beam in steering.beams], dtype=float),
        sad=np.array([beam.sad for beam in steering.beams], dtype=float),
        density=SimpleITK.GetArrayFromImage(density).astype(np.float32),
        density_spacing=np.array(density.GetSpacing()),
        density_origin=np.array(density.GetOrigin()),
    )


if __name__ == "__main__":
    main()
