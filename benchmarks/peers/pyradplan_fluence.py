"""Run inside the peer's own environment: pyRadPlan's fluence optimisation of TG-119, with its matrix and objectives.

``python pyradplan_fluence.py FOLDER --grid-mm 5``; called by :mod:`benchmarks.fluence`. Imports nothing of ours. The
plan is the package's own: its phantom with the objectives that come with it, its generic machine, its default problem
and solver settings. FOLDER gets ``matrix.npz`` (the dose-influence matrix as the peer keeps it, scipy.sparse),
``masks.npz`` (one Boolean array over the matrix's rows per objective), ``history.npz`` (time and objective of every
evaluation and iteration, final weights) and ``problem.json`` (objectives with parameters, solver, figures).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from pyRadPlan import PhotonPlan, calc_dose_influence, fluence_optimization, generate_stf, load_tg119
from pyRadPlan.optimization.problems import NonLinearFluencePlanningProblem
from pyRadPlan.optimization.solvers import OptimizerSciPy
from scipy import sparse

GANTRY_DEG = tuple(range(0, 360, 40))


class Recorder:
    """Notes the time of every evaluation and iteration, and the processor time of the solver alone."""

    def __init__(self) -> None:
        self.evaluations: list[tuple[float, float]] = []
        self.iterations: list[tuple[float, float]] = []
        self.problem: Any = None
        self.started = self.stopped = self.cpu_started = self.cpu_stopped = 0.0

    def attach(self) -> None:
        """Wrap the peer's methods; nothing of what they compute is changed."""
        evaluate, callback = NonLinearFluencePlanningProblem._objective_function, OptimizerSciPy._callback
        solve = OptimizerSciPy.solve

        def objective_function(problem: Any, x: Any) -> Any:
            self.problem = problem
            value = evaluate(problem, x)
            self.evaluations.append((time.perf_counter() - self.started, float(value)))
            return value

        # scipy looks at this argument's name
        def after_iteration(solver: Any, intermediate_result: Any) -> None:
            self.iterations.append((time.perf_counter() - self.started, float(intermediate_result.fun)))
            callback(solver, intermediate_result)

        def timed_solve(solver: Any, x0: Any) -> Any:
            self.cpu_started, self.started = time.process_time(), time.perf_counter()
            found = solve(solver, x0)
            self.stopped, self.cpu_stopped = time.perf_counter(), time.process_time()
            return found

        NonLinearFluencePlanningProblem._objective_function = objective_function
        OptimizerSciPy._callback = after_iteration
        OptimizerSciPy.solve = timed_solve


def main() -> None:
    """Optimise, measure, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--grid-mm", type=float, default=5.0)
    parser.add_argument("--bixel-mm", type=float, default=5.0)
    options = parser.parse_args()
    ct, cst = load_tg119()
    plan = PhotonPlan(machine="Generic")
    plan.prop_stf = {
        "gantry_angles": list(GANTRY_DEG),
        "couch_angles": [0] * len(GANTRY_DEG),
        "bixel_width": options.bixel_mm,
    }
    plan.prop_dose_calc = {"dose_grid": {"resolution": dict.fromkeys("xyz", options.grid_mm)}}
    # The default is IPOPT, which the package does not install; it then takes this one, and says so.
    plan.prop_opt = {"solver": "scipy"}
    steering = generate_stf(ct, cst, plan)
    dij = calc_dose_influence(ct, cst, steering, plan)
    recorder = Recorder()
    recorder.attach()
    info: dict[str, Any] = {}
    started, cpu_started = time.perf_counter(), time.process_time()
    weights = fluence_optimization(ct, cst, steering, dij, plan, opt_info=info)
    whole, whole_cpu = time.perf_counter() - started, time.process_time() - cpu_started
    matrix = dij.physical_dose.flat[0]
    problem = recorder.problem
    objectives: list[dict[str, Any]] = []
    masks: dict[str, Any] = {}
    for mask, members in problem._objective_list:
        for objective in members:
            masks[f"objective_{len(objectives)}"] = mask
            parameters = {
                k: v for k, v in objective.model_dump(mode="json").items() if isinstance(v, (int, float, str))
            }
            objectives.append({"kind": type(objective).__name__, "voxels": int(mask.sum()), **parameters})
    options.folder.mkdir(parents=True, exist_ok=True)
    sparse.save_npz(options.folder / "matrix.npz", matrix, compressed=False)
    np.savez(options.folder / "masks.npz", **masks)
    np.savez(
        options.folder / "history.npz",
        weights=np.asarray(weights, dtype=float),
        evaluations=np.array(recorder.evaluations),
        iterations=np.array(recorder.iterations),
    )
    solver, result = problem.solver, info["result_info"]
    figures = {
        "objectives": objectives,
        "solver": {
            "name": solver.name,
            "method": str(solver.method),
            "max_iter": solver.max_iter,
            "tolerance": solver.abs_obj_tol,
            "message": str(result["message"]),
        },
        "objective": float(result["fun"]),
        "iterations": int(info["num_iter"]),
        "evaluations": len(recorder.evaluations),
        "seconds": recorder.stopped - recorder.started,
        "cpu_seconds": recorder.cpu_stopped - recorder.cpu_started,
        "seconds_with_preparation": whole,
        "cpu_seconds_with_preparation": whole_cpu,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": len(os.sched_getaffinity(0)),
        "matrix": {
            "format": matrix.format,
            "dtype": str(matrix.dtype),
            "index_dtype": str(matrix.indices.dtype),
            "shape": list(matrix.shape),
            "nnz": int(matrix.nnz),
        },
    }
    (options.folder / "problem.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
