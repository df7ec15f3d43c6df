"""Collapsed cone against Monte Carlo on a patient: ``python -m benchmarks.pyradmc NPZ [--histories N] [--save FILE]``.

pyRadMC [1]_, in an environment of its own, and our collapsed cone compute an open and a modulated beam (five rectangles
of different weights) of the same bare point source on the densities of an OpenKBP patient; every voxel is water of its
relative electron density in both. One factor, the mean over voxels above half the maximum, brings them to one scale.
Gamma is global 2 %/2 mm over voxels above 10 % of the maximum whose standard error is at most 1 %. Maximum and scale
are of voxels of that certainty too: in air, few photons make spikes above any dose. Beside it: what a second
Monte Carlo run with another seed passes, which no engine can exceed by more than chance.

Runs of Monte Carlo are kept in the cache folder by the hash of their input.

References
----------
.. [1] pyRadMC 0.2.1 (PyPI).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.openkbp_data import load
from benchmarks.peer_environment import peer_python
from imrt_core.dose.collapsed_cone import collapsed_cone_dose
from imrt_core.dose.fluence import FluenceMap
from imrt_core.evaluate import gamma
from imrt_core.geometry import BeamGeometry
from imrt_core.machine import load_machine
from imrt_core.machine.density import relative_electron_density
from imrt_core.machine.derive import bare_point_source
from imrt_core.patient import Grid, Volume
from imrt_core.physics.spectrum import Spectrum

Array = NDArray[np.float64]

PEER = Path(__file__).parent / "peers" / "pyradmc_fields.py"
SCHEMA_VERSION = 1
#: Thin-target-like 6 MV spectrum: edges in MeV, photons per bin.
EDGES_MEV = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0)
PHOTONS = (0.10, 0.15, 0.14, 0.20, 0.13, 0.14, 0.07, 0.04, 0.03)
#: Rectangles u0, u1, v0, v1 on the isocentre plane (mm) and their weights.
OPEN = ((-30.0, 30.0, -30.0, 30.0, 1.0),)
MODULATED = (
    (-30.0, 30.0, -30.0, 30.0, 0.5),
    (-30.0, 0.0, -30.0, 30.0, 0.6),
    (-30.0, -15.0, -10.0, 30.0, 0.5),
    (10.0, 30.0, 0.0, 20.0, 1.0),
    (0.0, 20.0, -30.0, -15.0, 0.8),
)
BEAMS = {"open": (40.0, OPEN), "modulated": (320.0, MODULATED)}
VOXEL_MM = 4.0
#: Air of Monte Carlo, which knows no vacuum.
AIR = 0.0012
SAD_MM = 1000.0
MOST_SIGMA = 0.01
_RASTER_MM = 1.0
_BORDER_MM = 20.0


@dataclass(frozen=True)
class BeamResult:
    """One beam.

    Parameters
    ----------
    gamma_2_2_percent, second_run_gamma_2_2_percent : float
        Ours, and a second Monte Carlo run, against the first.
    voxels : int
        Above 10 % of the maximum with a standard error of at most 1 %.
    mean_difference_percent, standard_deviation_percent : float
        Of the differences in these voxels, of the maximum, after scaling.
    largest_sigma_percent_at_half_maximum : float
        Standard error of the first run's worst voxel above half the maximum.
    histories, seconds : float
        Of one Monte Carlo run.
    """

    gamma_2_2_percent: float
    second_run_gamma_2_2_percent: float
    voxels: int
    mean_difference_percent: float
    standard_deviation_percent: float
    largest_sigma_percent_at_half_maximum: float
    histories: int
    seconds: float


def patient_density(npz: Path) -> tuple[Volume, tuple[float, float, float]]:
    """Return relative electron density on a grid of cubes, zero outside the patient, and the centre of the target."""
    patient = load(npz)
    masks = dict(patient.masks)
    curve = load_machine("generic_6mv").density_curve()
    red = relative_electron_density(patient.hu, curve, external=masks["External"], saturate=True)
    inside = np.argwhere(masks["External"].array > 0)
    lower, upper = (patient.hu.grid.to_lps(end[::-1]) for end in (inside.min(axis=0), inside.max(axis=0)))
    low = np.minimum(lower, upper) - VOXEL_MM
    count = np.ceil((np.abs(upper - lower) + 3 * VOXEL_MM) / VOXEL_MM).astype(int)
    grid = Grid(tuple(count[::-1].tolist()), (VOXEL_MM,) * 3, tuple(low.tolist()))
    target = np.argwhere(masks["PTV70"].array > 0).mean(axis=0)
    centre = patient.hu.grid.to_lps(target[::-1])
    return red.resampled_to(grid, outside=0.0), (float(centre[0]), float(centre[1]), float(centre[2]))


def ours(red: Volume, beam: BeamGeometry, fields: tuple[tuple[float, ...], ...]) -> Array:
    """Return our dose on the density's grid."""
    sides = np.abs(np.array(fields)[:, :4]).max() + _BORDER_MM
    edges = np.arange(-sides, sides + _RASTER_MM / 2, _RASTER_MM)
    weight = np.zeros((len(edges) - 1,) * 2)
    for u0, u1, v0, v1, part in fields:
        open_u, open_v = ((edges[:-1] >= lo - 1e-6) & (edges[1:] <= hi + 1e-6) for lo, hi in ((u0, u1), (v0, v1)))
        weight += part * np.outer(open_v, open_u)
    edges_mev = np.array(EDGES_MEV)
    spectrum = Spectrum(tuple((edges_mev[1:] + edges_mev[:-1]) / 2), PHOTONS)
    model = replace(bare_point_source(spectrum), jaw_transmission=0.0, mlc_transmission=0.0)
    dose = collapsed_cone_dose(red, [FluenceMap(beam, weight, edges, edges, 1.0)], model, dose_grid=red.grid)
    return np.asarray(dose.array, dtype=float)


def monte_carlo(
    red: Volume, gantry_deg: float, isocentre_lps: tuple[float, ...], fields: tuple[tuple[float, ...], ...],
    *, histories: int, seed: int,
) -> dict[str, NDArray[np.float32]]:  # fmt: skip
    """Run pyRadMC, or return what an earlier run with this input left. Axes as ours."""
    angle = np.radians(gantry_deg)
    corner_cm = (np.array(red.grid.origin_lps) - VOXEL_MM / 2) / 10
    centre_cm = np.array(isocentre_lps) / 10 - corner_cm
    given = {
        "density": np.maximum(red.array, AIR).transpose(2, 1, 0).astype(np.float64),
        "spacing_cm": np.full(3, VOXEL_MM / 10),
        "origin_cm": np.zeros(3),
        "spectrum_edges": np.array(EDGES_MEV),
        "spectrum_p": np.array(PHOTONS),
        # Head first supine: gantry 0 above the patient (−y), 90 at the patient's left (+x).
        "focus_cm": centre_cm + SAD_MM / 10 * np.array((np.sin(angle), -np.cos(angle), 0.0)),
        "centre_cm": centre_cm,
        "u_axis": np.array((np.cos(angle), np.sin(angle), 0.0)),
        "v_axis": np.array((0.0, 0.0, 1.0)),
        "fields": np.array(fields) / (10.0, 10.0, 10.0, 10.0, 1.0),
        "histories": np.array(histories),
        "seed": np.array(seed),
    }
    digest = hashlib.sha256(b"".join(v.tobytes() for v in given.values()) + PEER.read_bytes()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "igrt" / "pyradmc"
    folder.mkdir(parents=True, exist_ok=True)
    done, source = folder / f"{digest}.npz", folder / f"{digest}-in.npz"
    if not done.exists():
        np.savez(source, **given)
        part = folder / f"{digest}.part.npz"
        subprocess.run([str(peer_python("pyradmc")), str(PEER), str(source), str(part)], check=True, stdout=sys.stderr)
        part.replace(done)
        source.unlink()
    with np.load(done, allow_pickle=False) as data:
        answer = {name: data[name] for name in data.files}
    return {**answer, **{name: answer[name].transpose(2, 1, 0) for name in ("dose", "sigma")}}


def compare(red: Volume, first: dict[str, NDArray[np.float32]], second: NDArray[np.float32], mine: Array) -> BeamResult:
    """Scale to one mean and judge."""
    dose = np.asarray(first["dose"], dtype=float)
    certain = first["sigma"] <= MOST_SIGMA * dose
    highest = dose[certain].max()
    reference = np.where(dose <= highest, dose, 0.0)
    sure, high = (certain & (dose > part * highest) for part in (0.1, 0.5))

    def scaled(other: Array) -> Array:
        return np.asarray(other * (reference[high].mean() / other[high].mean()))

    def passing(other: Array) -> float:
        result = gamma(
            Volume(reference.astype(np.float32), red.grid),
            Volume(scaled(other).astype(np.float32), red.grid),
            dose_percent=2.0,
            distance_mm=2.0,
            cutoff_percent=10.0,
            max_gamma=1.01,
        )
        return float(100 * np.mean(result.gamma.array[sure] <= 1.0))

    difference = 100 * (scaled(mine) - reference)[sure] / highest
    return BeamResult(
        gamma_2_2_percent=passing(mine),
        second_run_gamma_2_2_percent=passing(np.asarray(second, dtype=float)),
        voxels=int(sure.sum()),
        mean_difference_percent=float(difference.mean()),
        standard_deviation_percent=float(difference.std()),
        largest_sigma_percent_at_half_maximum=float(100 * (first["sigma"][high] / reference[high]).max()),
        histories=int(first["histories"]),
        seconds=float(first["seconds"]),
    )


def run(npz: Path, histories: int) -> dict[str, BeamResult]:
    """Compute both beams by both engines."""
    red, isocentre = patient_density(npz)
    results = {}
    for name, (gantry, fields) in BEAMS.items():
        Console(stderr=True).print(f"{name} beam: Monte Carlo, two runs of {histories:.2g} histories")
        first, second = (
            monte_carlo(red, gantry, isocentre, fields, histories=histories, seed=seed) for seed in (11, 7001)
        )
        beam = BeamGeometry(gantry, isocentre, "HFS", sad_mm=SAD_MM)
        results[name] = compare(red, first, second["dose"], ours(red, beam, fields))
    return results


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pyradmc", description=__doc__)
    parser.add_argument("npz", type=Path, help="OpenKBP patient")
    parser.add_argument("--histories", type=float, default=3e8, help="of each Monte Carlo run (default 3e8)")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path)
    options = parser.parse_args(arguments)
    results = run(options.npz, int(options.histories))
    answer = {
        "schema_version": SCHEMA_VERSION,
        "patient": options.npz.stem,
        "voxel_mm": VOXEL_MM,
        "beams": {name: asdict(result) for name, result in results.items()},
    }
    if options.save:
        options.save.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
        return 0
    table = Table(
        "beam", "gamma 2 %/2 mm (%)", "second run (%)", "voxels", "mean ± s.d. of difference (%)", "s per run"
    )
    for name, r in results.items():
        table.add_row(
            name,
            f"{r.gamma_2_2_percent:.1f}",
            f"{r.second_run_gamma_2_2_percent:.1f}",
            str(r.voxels),
            f"{r.mean_difference_percent:+.2f} ± {r.standard_deviation_percent:.2f}",
            f"{r.seconds:.0f}",
        )
    Console().print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
