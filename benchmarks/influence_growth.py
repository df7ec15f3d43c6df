"""How time and memory of our influence matrix grow with dose grid, bixel width and number of beams.

``python -m benchmarks.influence_growth [--data FOLDER] [--json] [--save FILE] [--plot docs/influence_growth.svg]``

TG-119 (``tg119_matrad/tg119.npz`` of the shared data), isocentre in the middle of the outer target, all voxels of the
body, cutoff 50 mm, 16-bit entries. ``--head-and-neck NPZ`` adds the large case: 2.5 mm bixels on a 2.5 mm grid for an
OpenKBP patient, nine beams on the three targets, in the storages named with ``--storages``, one after the other; their
unit-weight doses are compared with the first one's (largest difference in percent of the maximum).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.openkbp_data import load
from imrt_core.dose import BeamGeometry, Storage, bixel_grid, body_mask, dose_grid_for, influence_matrix
from imrt_core.machine import load_machine
from imrt_core.patient import Grid, Volume

ROOT = Path(__file__).resolve().parents[1]
#: Reference point of the sweeps: each changes one of the three.
GRID_MM, BIXEL_MM, BEAMS = 5.0, 5.0, 9
GRIDS_MM, BIXELS_MM, BEAM_COUNTS = (8.0, 6.0, 5.0, 4.0, 3.0), (10.0, 7.5, 5.0, 4.0, 3.0), (1, 3, 5, 9, 13, 18)


@dataclass(frozen=True)
class Case:
    """A patient: density, target mask and isocentre."""

    red: Volume
    target: Volume
    isocentre_lps: tuple[float, float, float]


@dataclass(frozen=True)
class Point:
    """One matrix and its figures."""

    sweep: str
    grid_mm: float
    bixel_mm: float
    beams: int
    storage: str
    seconds: float
    cpu_seconds: float
    mib: float
    entries: int
    voxels: int
    bixels: int
    dose_seconds: float
    backproject_seconds: float
    peak_rss_mib: float
    dose_difference_percent: float | None = None


def tg119(folder: Path) -> Case:
    """Read TG-119; axes of the file are y, x, z."""
    with np.load(folder / "tg119_matrad" / "tg119.npz") as file:
        hu, table = file["hu"].transpose(2, 0, 1), file["hlut"]
        target = file["mask_OuterTarget"].transpose(2, 0, 1)
        origin = (float(file["x"][0]), float(file["y"][0]), float(file["z"][0]))
        dx, dy, dz = (float(v) for v in file["res"])
    red = np.interp(hu, table[:, 0], table[:, 1]).astype(np.float32)
    grid = Grid(red.shape, (dx, dy, dz), origin)
    return _case(Volume(red, grid), Volume(target.astype(np.float32), grid))


def open_kbp(npz: Path) -> Case:
    """Read an OpenKBP patient; density by a straight line through air and water, the target is PTV70, 63 and 56."""
    patient = load(npz)
    red = np.clip((patient.hu.array + 1000.0) / 1000.0, 0.0, 2.5).astype(np.float32)
    target = np.any([mask.array >= 0.5 for name, mask in patient.masks if name.startswith("PTV")], axis=0)
    return _case(patient.hu.with_array(red), patient.hu.with_array(target.astype(np.float32)))


def _case(red: Volume, target: Volume) -> Case:
    inside = np.argwhere(np.asarray(target.array) >= 0.5)[:, ::-1]
    centre = target.grid.to_lps(inside).mean(axis=0)
    return Case(red, target, (float(centre[0]), float(centre[1]), float(centre[2])))


def measure(
    case: Case, sweep: str, *, grid_mm: float, bixel_mm: float, beams: int, storage: Storage, repeats: int
) -> tuple[Point, NDArray[np.float32]]:
    """Compute one matrix ``repeats`` times; medians, and the dose of unit weights."""
    machine = load_machine("generic_6mv")
    body = case.red.with_array(body_mask(case.red, case.red.grid).astype(np.float32))
    grid = dose_grid_for(case.red.grid, body, spacing_mm=grid_mm)
    voxels = np.flatnonzero(body_mask(case.red, grid))
    directions = [BeamGeometry(360.0 * n / beams, case.isocentre_lps, "HFS") for n in range(beams)]
    bixels = [bixel_grid(beam, case.target, bixel_mm=bixel_mm) for beam in directions]
    rows: list[tuple[float, float, float, float]] = []
    for _ in range(repeats):
        start, cpu = time.perf_counter(), time.process_time()
        matrix = influence_matrix(
            case.red, directions, machine, bixels=bixels, voxels=voxels, dose_grid=grid, storage=storage
        )
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        start = time.perf_counter()
        dose = matrix.dose(np.ones(matrix.shape[1], dtype=np.float32))
        middle = time.perf_counter()
        matrix.backproject(dose)
        rows.append((seconds, cpu, middle - start, time.perf_counter() - middle))
        mib, entries, shape = matrix.nbytes / 2**20, matrix.entries, matrix.shape
        del matrix
    seconds, cpu, dose_s, back_s = (float(v) for v in np.median(rows, axis=0))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = (seconds, cpu, mib, entries, *shape, dose_s, back_s, peak)
    return Point(sweep, grid_mm, bixel_mm, beams, storage, *figures), dose


def sweeps(case: Case, repeats: int) -> list[Point]:
    """Measure all points; the first call compiles and is not counted."""
    point: dict[str, Any] = {"grid_mm": GRID_MM, "bixel_mm": BIXEL_MM, "beams": BEAMS, "storage": "uint16"}
    measure(case, "compile", **{**point, "grid_mm": 10.0}, repeats=1)
    found = []
    for sweep, values in (("grid_mm", GRIDS_MM), ("bixel_mm", BIXELS_MM), ("beams", BEAM_COUNTS)):
        found += [measure(case, sweep, **{**point, sweep: value}, repeats=repeats)[0] for value in values]
    return found


def plot(points: list[dict[str, Any]], path: Path) -> None:
    """Draw CPU time (steadier than the clock where other programs run) and memory against each of the three."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "influence"
    mpl.rcParams["font.size"] = 11
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure, axes = plt.subplots(2, 3, figsize=(11.5, 6.4), layout="constrained", sharey="row")
    titles = {"grid_mm": "dose grid spacing (mm)", "bixel_mm": "bixel width (mm)", "beams": "beams"}
    for column, (sweep, title) in enumerate(titles.items()):
        chosen = sorted((p for p in points if p["sweep"] == sweep), key=lambda p: float(p[sweep]))
        x = [p[sweep] for p in chosen]
        for row, (key, name) in enumerate((("cpu_seconds", "CPU time (s)"), ("mib", "memory (MiB)"))):
            axis = axes[row, column]
            axis.loglog(x, [p[key] for p in chosen], "o-", color="#1f5fa8")
            axis.set_xticks(x, [f"{value:g}" for value in x])
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.grid(which="both", alpha=0.3)
            if column == 0:
                axis.set_ylabel(name)
            if row == 1:
                axis.set_xlabel(title)
    fixed = f"{GRID_MM:g} mm grid, {BIXEL_MM:g} mm bixels and {BEAMS} beams where not varied"
    figure.suptitle(f"Influence matrix of TG-119, 50 mm cutoff, 16 bits; {fixed}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run the benchmark; exits 0 when it ran to the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.influence_growth", description=__doc__)
    data = Path(os.environ.get("IGRT_SHARED_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=data, help="folder of real data")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--head-and-neck", type=Path, help="OpenKBP .npz")
    parser.add_argument("--storages", nargs="+", default=["hybrid-uint16", "uint16"])
    parser.add_argument("--only-head-and-neck", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    points = [] if options.only_head_and_neck else sweeps(tg119(options.data), options.repeats)
    if options.head_and_neck:
        case = open_kbp(options.head_and_neck)
        first = np.zeros(0, dtype=np.float32)
        for storage in options.storages:
            settings: dict[str, Any] = {"grid_mm": 2.5, "bixel_mm": 2.5, "beams": 9, "storage": storage}
            point, dose = measure(case, "head-and-neck", **settings, repeats=1)
            first = dose if storage == options.storages[0] else first
            difference = 100 * float(np.abs(dose - first).max() / first.max())
            points.append(replace(point, dose_difference_percent=difference))
    answer: dict[str, Any] = {
        "schema_version": 1,
        "threads": numba.get_num_threads(),
        "points": [asdict(p) for p in points],
    }
    if options.save:
        if options.only_head_and_neck and options.save.exists():
            kept = [p for p in json.loads(options.save.read_text())["points"] if p["sweep"] != "head-and-neck"]
            answer["points"] = kept + answer["points"]
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(answer, indent=1) + "\n")
    if options.plot and not options.only_head_and_neck:
        plot(answer["points"], options.plot)
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return
    table = Table("sweep", "grid mm", "bixel mm", "beams", "storage", "seconds", "MiB", "entries 10⁶", title="Growth")
    for p in points:
        figures = f"{p.seconds:.2f}", f"{p.mib:.0f}", f"{p.entries / 1e6:.1f}"
        table.add_row(p.sweep, f"{p.grid_mm:g}", f"{p.bixel_mm:g}", str(p.beams), p.storage, *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
