"""Run inside IPOPT's own environment: the fluence problem that pyRadPlan wrote, solved by IPOPT.

``python ipopt_fluence.py FOLDER OUT.npz --iterations 500``; called by :mod:`benchmarks.fluence`. Imports nothing of
ours. FOLDER is that of ``pyradplan_fluence.py``; options are those that pyRadPlan gives to IPOPT where it is installed.
OUT.npz: time and objective of every evaluation and iteration, final weights, seconds, status.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from ipyopt import Problem
from scipy import sparse

OPTIONS = {
    "print_level": 0,
    "sb": "yes",
    "tol": 1e-10,
    "dual_inf_tol": 1e-4,
    "compl_inf_tol": 1e-4,
    "acceptable_iter": 5,
    "acceptable_tol": 1e-6,
    "acceptable_dual_inf_tol": 1e10,
    "acceptable_compl_inf_tol": 1e10,
    "acceptable_obj_change_tol": 1e-4,
    "mu_strategy": "adaptive",
    "hessian_approximation": "limited-memory",
    "limited_memory_max_history": 20,
    "limited_memory_initialization": "scalar2",
    "linear_solver": "mumps",
}


class Objective:
    """Squared terms over voxels; the dose of the latest weights is kept, since IPOPT asks for value and slope apart."""

    def __init__(self, folder: Path) -> None:
        self.matrix = sparse.load_npz(folder / "matrix.npz")
        objectives = json.loads((folder / "problem.json").read_text())["objectives"]
        with np.load(folder / "masks.npz") as masks:
            self.rows = [np.flatnonzero(masks[f"objective_{n}"]) for n in range(len(objectives))]
        self.over = [o["kind"] == "SquaredOverdosing" for o in objectives]
        self.levels = [o["d_max"] if over else o["d_ref"] for o, over in zip(objectives, self.over, strict=True)]
        self.factors = [o["priority"] / len(rows) for o, rows in zip(objectives, self.rows, strict=True)]
        self.latest = np.full(self.matrix.shape[1], np.nan)
        self.dose = np.zeros(self.matrix.shape[0])
        self.started = time.perf_counter()
        self.evaluations: list[tuple[float, float]] = []

    def excesses(self, weights: Any) -> list[Any]:
        """Deviation of every objective's voxels."""
        if not np.array_equal(weights, self.latest):
            self.latest, self.dose = weights.copy(), self.matrix @ weights
        found = [self.dose[rows] - level for rows, level in zip(self.rows, self.levels, strict=True)]
        return [np.maximum(e, 0.0) if over else e for e, over in zip(found, self.over, strict=True)]

    def value(self, weights: Any) -> float:
        """Sum of the objectives."""
        total = float(sum(f * (e @ e) for f, e in zip(self.factors, self.excesses(weights), strict=True)))
        self.evaluations.append((time.perf_counter() - self.started, total))
        return total

    def gradient(self, weights: Any, out: Any) -> Any:
        """Write the derivative with respect to the weights into ``out``."""
        slope = np.zeros(self.matrix.shape[0])
        for rows, factor, excess in zip(self.rows, self.factors, self.excesses(weights), strict=True):
            slope[rows] += 2.0 * factor * excess
        out[()] = slope @ self.matrix
        return out


def main() -> None:
    """Optimise, measure, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--iterations", type=int, default=500)
    options = parser.parse_args()
    objective = Objective(options.folder)
    with np.load(options.folder / "equal_weights.npz") as file:
        start = file["weights"]
    count, nothing = start.size, np.empty(0)
    iterations: list[tuple[float, float]] = []

    def after_iteration(*state: Any) -> bool:
        iterations.append((time.perf_counter() - objective.started, float(state[2])))
        return True

    problem = Problem(
        n=count,
        x_l=np.zeros(count),
        x_u=np.full(count, np.inf),
        m=0,
        g_l=nothing,
        g_u=nothing,
        sparsity_indices_jac_g=(nothing, nothing),
        sparsity_indices_h=(nothing, nothing),
        eval_f=objective.value,
        eval_grad_f=objective.gradient,
        eval_g=lambda _x, _out: None,
        eval_jac_g=lambda _x, _out: None,
        intermediate_callback=after_iteration,
        ipopt_options={**OPTIONS, "max_iter": options.iterations},
    )
    objective.started, cpu = time.perf_counter(), time.process_time()
    weights, value, status = problem.solve(x0=start.copy())
    np.savez(
        options.out,
        weights=weights,
        objective=value,
        status=status,
        seconds=time.perf_counter() - objective.started,
        cpu_seconds=time.process_time() - cpu,
        evaluations=np.array(objective.evaluations),
        iterations=np.array(iterations),
    )


if __name__ == "__main__":
    main()
