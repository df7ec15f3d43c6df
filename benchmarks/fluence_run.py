"""One solver of the fluence benchmark in a process of its own: ``python -m benchmarks.fluence_run FOLDER OUT SOLVER``.

FOLDER is the peer's; OUT.npz gets the figures and the curve (seconds, objective of every iteration). ``start`` writes
the equal weights at which ours, scipy and IPOPT begin. ``ours`` is called twice over: once to the end, and then with
the number of iterations after which the peer's objective was passed: the time of that whole call counts, from the
peer's matrix to the result over every voxel.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
from scipy.optimize import Bounds, minimize

from benchmarks.fluence_case import FluenceCase, read_case
from imrt_core.optimize import FluenceProgress, FluenceResult, equal_weights, optimize_fluence

#: Where ours stops by itself: relative decrease over ten iterations.
TOLERANCE = 1e-5


def _timed(call: Callable[[], Any]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    found = call()
    return found, time.perf_counter() - wall, time.process_time() - cpu


def ours(case: FluenceCase, iterations: int, repeats: int) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Run our optimiser to the end, then to the peer's objective."""

    def solve(limit: int, progress: Callable[[FluenceProgress], None] | None = None) -> FluenceResult:
        return optimize_fluence(
            case.matrix,
            case.objectives,
            structures=case.structures,
            max_iterations=limit,
            tolerance=TOLERANCE,
            progress=progress,
        )

    _, first, _ = _timed(lambda: solve(2))
    _, again, _ = _timed(lambda: solve(2))
    curve: list[tuple[float, float]] = []
    started = time.perf_counter()
    whole, seconds, cpu_seconds = _timed(
        lambda: solve(iterations, lambda p: curve.append((time.perf_counter() - started, p.objective)))
    )
    figures = {
        "objective": whole.objective,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "iterations": whole.iterations,
        "evaluations": whole.evaluations,
        "kkt_residual": whole.kkt_residual,
        "threads": numba.get_num_threads(),
        "compile_seconds": max(first - again, 0.0),
        "seconds_to_peer_objective": None,
    }
    wanted = float(case.peer["objective"])
    needed = next((n for n, (_, value) in enumerate(curve, 1) if value <= wanted), None)
    while needed is not None and needed <= whole.iterations:
        runs = [_timed(partial(solve, needed)) for _ in range(repeats)]
        reached = float(runs[0][0].objective)
        if reached <= wanted:
            figures |= {
                "seconds_to_peer_objective": float(np.median([r[1] for r in runs])),
                "cpu_seconds_to_peer_objective": float(np.median([r[2] for r in runs])),
                "seconds_to_peer_objective_best": min(r[1] for r in runs),
                "iterations_to_peer_objective": needed,
                "objective_there": reached,
            }
            break
        # rows that had been left out contribute there: a little further
        needed += 5
    return figures, curve


def scipy_lbfgsb(case: FluenceCase, iterations: int) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """Run scipy's L-BFGS-B as it comes, with scipy's products."""
    start = equal_weights(case.matrix, case.objectives, structures=case.structures)
    curve: list[tuple[float, float]] = []
    started = time.perf_counter()

    # scipy looks at this argument's name
    def after_iteration(intermediate_result: Any) -> None:
        curve.append((time.perf_counter() - started, float(intermediate_result.fun)))

    found, seconds, cpu_seconds = _timed(
        lambda: minimize(
            case.evaluate,
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(0.0, np.inf),
            callback=after_iteration,
            options={"maxiter": iterations, "ftol": 1e-9, "gtol": 1e-9, "maxfun": 10**6},
        )
    )
    figures = {
        "objective": float(found.fun),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "iterations": int(found.nit),
        "evaluations": int(found.nfev),
    }
    return figures, curve


def main() -> None:
    """Optimise, measure, save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fluence_run", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("solver", choices=["start", "ours", "scipy"])
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    case = read_case(options.folder)
    figures: dict[str, Any] = {}
    curve: list[tuple[float, float]] = []
    if options.solver == "start":
        figures["reproduced"] = case.check()
        start = equal_weights(case.matrix, case.objectives, structures=case.structures)
        np.savez(options.folder / "equal_weights.npz", weights=start)
    elif options.solver == "ours":
        figures, curve = ours(case, options.iterations, options.repeats)
    else:
        figures, curve = scipy_lbfgsb(case, options.iterations)
    np.savez(options.out, iterations=np.array(curve), figures=json.dumps(figures))


if __name__ == "__main__":
    main()
