"""Fluence optimisation of TG-119 on the peer's own matrix and objectives, side by side in one run.

``python -m benchmarks.fluence [--grid-mm 5] [--json] [--save FILE] [--plot docs/fluence.svg]``

pyRadPlan computes its influence matrix (nine beams, 5 mm bixels) and optimises the objectives that come with its
phantom; it writes matrix, objectives, weights and history. Our optimiser, scipy's L-BFGS-B and IPOPT (500 iterations
each) then solve the same function from the same equal weights; our value of the peer's weights must equal the peer's
own. Each solver in a process of its own, one after the other; with ``--folder`` their results are kept, and those that
are there are not computed again.

``ours.seconds_to_peer_objective`` is the median time of a whole call (checks, choice of rows and the result over every
voxel included) that ends at or below the peer's final objective, kernels compiled; ``ratio`` is that over the time of
the peer's solver alone. A peer that cannot be installed is null, with the reason in ``not_run``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.peer_environment import PINS, peer_python

ROOT = Path(__file__).resolve().parents[1]
ITERATIONS = 500
OUR_ITERATIONS = 2000
#: Points of a curve that are kept.
POINTS = 150


def thinned(curve: NDArray[np.float64]) -> list[list[float]]:
    """At most :data:`POINTS` of the points (seconds, objective), close together at the start; first and last stay."""
    if len(curve) > POINTS:
        curve = curve[np.unique(np.rint(np.geomspace(1, len(curve), POINTS)).astype(int)) - 1]
    return [[round(float(t), 4), float(f"{value:.7g}")] for t, value in curve]


def seconds_to(curve: NDArray[np.float64], objective: float) -> float | None:
    """Seconds until the curve is at or below an objective; None if it never is."""
    reached = np.flatnonzero(curve[:, 1] <= objective)
    return float(curve[reached[0], 0]) if reached.size else None


def _own(folder: Path, solver: str, *more: str) -> tuple[dict[str, Any], NDArray[np.float64]]:
    out = folder / f"{solver}.npz"
    if not out.exists():
        command = [sys.executable, "-m", "benchmarks.fluence_run", str(folder), str(out), solver, *more]
        # an empty cache of kernels, so that the first call shows the compile time
        with tempfile.TemporaryDirectory(prefix="igrt-kernels-") as cache:
            environment = {**os.environ, "XDG_CACHE_HOME": cache}
            subprocess.run(command, check=True, cwd=ROOT, stdout=sys.stderr, env=environment)
    with np.load(out) as file:
        return json.loads(str(file["figures"])), file["iterations"]


def _ipopt(folder: Path) -> tuple[dict[str, Any], NDArray[np.float64]]:
    out = folder / "ipopt.npz"
    if not out.exists():
        command = [str(peer_python("ipopt")), str(PINS / "ipopt_fluence.py"), str(folder), str(out)]
        subprocess.run([*command, "--iterations", str(ITERATIONS)], check=True, stdout=sys.stderr)
    with np.load(out) as file:
        figures = {
            "objective": float(file["objective"]),
            "seconds": float(file["seconds"]),
            "cpu_seconds": float(file["cpu_seconds"]),
            "iterations": len(file["iterations"]) - 1,
            "evaluations": len(file["evaluations"]),
            "status": int(file["status"]),
        }
        return figures, file["iterations"]


def run(folder: Path, grid_mm: float, repeats: int) -> dict[str, Any]:
    """Run all solvers and return the answer; ``folder`` takes the peer's files, or has them already."""
    if not (folder / "problem.json").exists():
        script = PINS / "pyradplan_fluence.py"
        command = [str(peer_python("pyradplan")), str(script), str(folder), "--grid-mm", str(grid_mm)]
        subprocess.run(command, check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
    given = json.loads((folder / "problem.json").read_text())
    with np.load(folder / "history.npz") as file:
        curves = {"pyradplan": file["iterations"]}
    keys = ("objective", "seconds", "cpu_seconds", "iterations", "evaluations", "seconds_with_preparation")
    peers: dict[str, Any] = {"pyradplan": {key: given[key] for key in keys}}
    start, _ = _own(folder, "start")
    load = [round(os.getloadavg()[0], 1)]
    ours, curves["ours"] = _own(folder, "ours", "--iterations", str(OUR_ITERATIONS), "--repeats", str(repeats))
    load.append(round(os.getloadavg()[0], 1))
    peers["scipy"], curves["scipy"] = _own(folder, "scipy", "--iterations", str(ITERATIONS))
    not_run = {}
    try:
        peers["ipopt"], curves["ipopt"] = _ipopt(folder)
    except RuntimeError as error:
        peers["ipopt"], not_run["ipopt"] = None, str(error)
    wanted = float(given["objective"])
    for name, figures in peers.items():
        if figures is not None:
            figures["seconds_to_peer_objective"] = seconds_to(curves[name], wanted)
    reached, cpu = ours["seconds_to_peer_objective"], ours.get("cpu_seconds_to_peer_objective")
    return {
        "schema_version": 1,
        "grid_mm": grid_mm,
        "matrix": given["matrix"],
        "objectives": given["objectives"],
        "peer_solver": given["solver"],
        "objective_reproduced_within": abs(start["reproduced"]),
        "ours": ours,
        "peers": peers,
        "not_run": not_run,
        "ratio": None if reached is None else reached / given["seconds"],
        "cpu_ratio": None if cpu is None else cpu / given["cpu_seconds"],
        "load_average": load,
        "curves": {name: thinned(curve) for name, curve in curves.items()},
    }


def plot(answer: dict[str, Any], path: Path) -> None:
    """Draw objective against time for every solver."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "fluence"
    mpl.rcParams["font.size"] = 11
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8.0, 5.0), layout="constrained")
    names = {"ours": "ours", "pyradplan": "pyRadPlan 0.5.0", "scipy": "scipy L-BFGS-B", "ipopt": "IPOPT"}
    colours = {"ours": "#1f5fa8", "pyradplan": "#c0392b", "scipy": "#6b8e23", "ipopt": "#8e6bb0"}
    for name, curve in answer["curves"].items():
        t, value = np.array(curve).T
        axis.loglog(t, value, label=names[name], color=colours[name])
    axis.axhline(answer["peers"]["pyradplan"]["objective"], color="0.5", lw=0.8, ls="--")
    lowest = min(curve[-1][1] for curve in answer["curves"].values())
    axis.set_ylim(0.97 * lowest, 1e4)
    axis.set_xlabel("seconds since the solver's start")
    axis.set_ylabel("objective (Gy²)")
    axis.grid(which="both", alpha=0.3)
    axis.legend()
    axis.set_title("TG-119, matrix and objectives of pyRadPlan (dashed: its final objective)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def _table(answer: dict[str, Any]) -> Table:
    ours = answer["ours"]
    table = Table(
        title=f"Fluence, TG-119: ours reaches the peer's objective in {answer['ratio'] or float('nan'):.3f} of its time"
    )
    for column in ("solver", "seconds", "CPU s", "iterations", "objective", "seconds to the peer's objective"):
        table.add_column(column, justify="right")
    for name, figures in {"ours": ours, **answer["peers"]}.items():
        if figures is None:
            table.add_row(name, "not run", "", "", "", answer["not_run"][name][:60])
            continue
        reached = figures["seconds_to_peer_objective"]
        table.add_row(
            name,
            f"{figures['seconds']:.1f}",
            f"{figures['cpu_seconds']:.1f}",
            str(figures["iterations"]),
            f"{figures['objective']:.2f}",
            "–" if reached is None else f"{reached:.2f}",
        )
    return table


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fluence", description=__doc__)
    parser.add_argument("--grid-mm", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="keeps every solver's result here, and takes those that are there")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here")
    parser.add_argument("--plot", type=Path, help="objective against time, SVG")
    options = parser.parse_args()
    if options.folder:
        answer = run(options.folder, options.grid_mm, options.repeats)
    else:
        with tempfile.TemporaryDirectory(prefix="igrt-fluence-") as name:
            answer = run(Path(name), options.grid_mm, options.repeats)
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(answer, indent=1) + "\n")
    if options.plot:
        plot(answer, options.plot)
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        Console().print(_table(answer))


if __name__ == "__main__":
    main()
