"""The influence matrix of TG-119 against pyRadPlan, side by side in one run.

``python -m benchmarks.influence [--grid-mm 5] [--storage uint16] [--json] [--save FILE]``

Nine beams (gantry 0, 40 … 320), 5 mm bixels, both with the peer's density, isocentre, voxels inside the contours and
bixel positions, and the same cutoff. The peer runs as it installs, in an environment of its own
(``benchmarks/peers/pyradplan.txt``); both sides run in processes of their own, one after the other. ``ours.seconds`` is
the median of the repeats with kernels compiled; ``compile_seconds`` what the first call took beyond, from an empty
kernel cache. ``mib`` is the size of the matrix in memory; ``peak_rss_mib`` that of the process. ``nnz`` counts entries
within the matrix, padding apart; our tail beyond the cutoff comes on top.

The machines differ (the peer's generic linac, our ``generic_6mv``), so each dose is divided by its own mean within
20 mm of the isocentre; ``dose_difference_percent`` is the mean absolute difference over voxels above 10 % of it.
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
SPHERE_MM = 20.0


def compare_doses(case: Any, ours: NDArray[np.float32]) -> dict[str, float]:
    """Compare unit-weight doses of the same voxels, each divided by its mean near the isocentre; in percent of that."""
    nx, ny, _ = (int(n) for n in case["dimensions"])
    voxels = case["voxels"].astype(np.int64)
    index = np.stack([voxels % nx, voxels // nx % ny, voxels // (nx * ny)], axis=1)
    points = index * case["resolution"] + case["origin"]
    near = np.linalg.norm(points - case["isocentres"][0], axis=1) <= SPHERE_MM
    peer = case["dose"][voxels].astype(float)
    peer /= peer[near].mean()
    mine = ours.astype(float) / ours[near].mean()
    difference = 100 * np.abs(mine - peer)[peer > 0.1]
    return {
        "mean": float(difference.mean()),
        "p95": float(np.percentile(difference, 95)),
        "max": float(difference.max()),
    }


def run(grid_mm: float, storage: str, *, bixel_mm: float, cutoff_mm: float, repeats: int) -> dict[str, Any]:
    """Run both sides and return the answer."""
    settings = ["--bixel-mm", str(bixel_mm), "--cutoff-mm", str(cutoff_mm)]
    with tempfile.TemporaryDirectory(prefix="igrt-influence-") as name:
        scratch = Path(name)
        case_file, out = scratch / "peer.npz", scratch / "ours.npz"
        script = PINS / "pyradplan_influence.py"
        peer_command = [str(peer_python("pyradplan")), str(script), str(case_file), "--grid-mm", str(grid_mm)]
        subprocess.run([*peer_command, *settings], check=True, stdout=sys.stderr, stderr=subprocess.DEVNULL)
        our_command = [sys.executable, "-m", "benchmarks.influence_run", str(case_file), str(out), "--storage", storage]
        subprocess.run(
            [*our_command, *settings, "--repeats", str(repeats)],
            check=True,
            cwd=ROOT,
            stdout=sys.stderr,
            env={**os.environ, "XDG_CACHE_HOME": str(scratch / "cache")},
        )
        ours = json.loads(out.with_suffix(".json").read_text())
        with np.load(case_file) as file:
            case = {key: file[key] for key in file.files}
        with np.load(out) as file:
            doses = compare_doses(case, file["dose"])
    peer = {
        "seconds": float(case["seconds"]),
        "cpu_seconds": float(case["cpu_seconds"]),
        "mib": float(case["matrix_bytes"]) / 2**20,
        "peak_rss_mib": float(case["peak_rss_bytes"]) / 2**20,
        "nnz": int(case["nnz"]),
        "threads": int(case["threads"]),
    }
    return {
        "schema_version": 1,
        "grid_mm": grid_mm,
        "bixel_mm": bixel_mm,
        "cutoff_mm": cutoff_mm,
        "beams": len(case["gantry_deg"]),
        "voxels": len(case["voxels"]),
        "bixels": len(case["rays"]),
        "ours": ours,
        "peer": {"name": "pyradplan 0.5.0", **peer},
        "ratio": ours["seconds"] / peer["seconds"],
        "cpu_ratio": ours["cpu_seconds"] / peer["cpu_seconds"],
        "memory_ratio": ours["mib"] / peer["mib"],
        "entry_ratio": ours["nnz"] / peer["nnz"],
        "dose_difference_percent": doses["mean"],
        "dose_difference": doses,
    }


def _table(answers: list[dict[str, Any]]) -> Table:
    table = Table(title="Influence matrix, TG-119, 9 beams, ours / pyRadPlan")
    head = (
        "grid mm",
        "entries 10⁶",
        "seconds",
        "peer/ours",
        "CPU s",
        "peer/ours",
        "MiB",
        "compile s",
        "dose Δ %",
        "A·w, Aᵀ·g",
    )
    for column in head:
        table.add_column(column, justify="right")
    for a in answers:
        ours, peer, products = a["ours"], a["peer"], a["ours"]["products"]
        table.add_row(
            f"{a['grid_mm']:g}",
            f"{ours['nnz'] / 1e6:.1f} / {peer['nnz'] / 1e6:.1f}",
            f"{ours['seconds']:.2f} / {peer['seconds']:.1f}",
            f"{1 / a['ratio']:.0f}",
            f"{ours['cpu_seconds']:.2f} / {peer['cpu_seconds']:.1f}",
            f"{1 / a['cpu_ratio']:.0f}",
            f"{ours['mib']:.0f} / {peer['mib']:.0f}",
            f"{ours['compile_seconds']:.0f}",
            f"{a['dose_difference_percent']:.2f}",
            f"{100 * products['dose_of_bandwidth']:.0f} %, {100 * products['backproject_of_bandwidth']:.0f} %",
        )
    return table


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end, whatever the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.influence", description=__doc__)
    parser.add_argument("--grid-mm", type=float, nargs="+", default=[5.0], help="dose grids; --json prints the first")
    parser.add_argument("--bixel-mm", type=float, default=5.0)
    parser.add_argument("--cutoff-mm", type=float, default=50.0)
    parser.add_argument("--storage", default="uint16", choices=["uint16", "float32", "hybrid", "hybrid-uint16"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here, all grids under `grids`")
    options = parser.parse_args()
    answers = []
    for grid_mm in options.grid_mm:
        settings = {"bixel_mm": options.bixel_mm, "cutoff_mm": options.cutoff_mm, "repeats": options.repeats}
        answers.append(run(grid_mm, options.storage, **settings))
        if options.save:
            options.save.parent.mkdir(parents=True, exist_ok=True)
            options.save.write_text(json.dumps({**answers[0], "grids": answers}, indent=1) + "\n")
    if options.json:
        sys.stdout.write(json.dumps(answers[0]) + "\n")
    else:
        Console().print(_table(answers))


if __name__ == "__main__":
    main()
