"""Both dose engines against a Monte Carlo file: ``python -m benchmarks.monte_carlo FILE.npz --field-cm F``.

The file holds the dose of a bare point source in a 30 cm cube (arrays and way of comparison: README of the data). The
engines run on the same source. Both doses are normalised to the depth dose at 10 cm. Profiles of the file are the mean
over 2 cm across and over the two planes next to the stated depth, ours too.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from imrt_core.dose import plan_dose
from imrt_core.evaluate import gamma
from imrt_core.machine import load_machine
from imrt_core.machine.derive import bare_point_source
from imrt_core.patient import Beam, ControlPoint, Grid, Plan, Volume
from imrt_core.physics.spectrum import Spectrum

Array = NDArray[np.float64]

ENGINES = {"collapsed_cone": "collapsed-cone", "beamlet": "beamlet"}
BUILDUP_CM = 1.5
INTERFACE_CM = 0.5
#: Part of the field width within which profiles are compared.
INSIDE = 0.8


@dataclass(frozen=True, eq=False)
class Reference:
    """A Monte Carlo file.

    Parameters
    ----------
    z_cm, x_cm : ndarray
        Depths and lateral positions of voxel centres.
    dose : ndarray, shape (nx, ny, nz)
        Depth along the last axis.
    pdd : ndarray, shape (nz,)
        Mean over the central 2×2 cm.
    profiles : dict of float to ndarray
        By depth in cm.
    density : ndarray, shape (nz,)
        Relative to water.
    spectrum : Spectrum
        Of the source.
    """

    z_cm: Array
    x_cm: Array
    dose: Array
    pdd: Array
    profiles: dict[float, Array]
    density: Array
    spectrum: Spectrum

    @classmethod
    def read(cls, path: Path) -> Reference:
        """Read a file."""
        with np.load(path, allow_pickle=False) as data:
            edges = data["spectrum_edges"]
            return cls(
                *(np.asarray(data[name], dtype=float) for name in ("z_cm", "x_cm", "dose", "pdd")),
                {float(k.removeprefix("prof_d")): np.asarray(data[k]) for k in data.files if k.startswith("prof_d")},
                np.asarray(data["density_z"], dtype=float),
                Spectrum(tuple((edges[1:] + edges[:-1]) / 2), tuple(data["spectrum_p"])),
            )

    @property
    def interfaces_cm(self) -> Array:
        """Depths where the density changes."""
        step = np.flatnonzero(np.diff(self.density) != 0)
        return np.asarray((self.z_cm[step] + self.z_cm[step + 1]) / 2)

    def at_10_cm(self, pdd: Array) -> float:
        """Return a depth dose at 10 cm."""
        return float(np.interp(10.0, self.z_cm, pdd))


@dataclass(frozen=True)
class Comparison:
    """One engine against the file.

    Parameters
    ----------
    max_percent_beyond_buildup, max_percent_at_interfaces : float
        Largest difference in percent of the dose at 10 cm, away from and near interfaces (0 where there are none).
    mean_percent : float
        Mean difference beyond the build-up, with its sign: what is left without the reference's noise.
    penumbra_mm : float
        Largest difference of the 20 % to 80 % distances over the profiles.
    gamma_2_2_percent : float
        Global 2 %/2 mm, above 10 % of the maximum.
    """

    max_percent_beyond_buildup: float
    max_percent_at_interfaces: float
    mean_percent: float
    penumbra_mm: float
    gamma_2_2_percent: float


def engine_dose(reference: Reference, field_cm: float, engine: str) -> Array:
    """Return our dose on the file's voxels, shape (nx, ny, nz)."""
    nx, ny, nz = reference.dose.shape
    step = 10 * float(np.diff(reference.z_cm[:2])[0])
    # Gantry 0, head first supine: the beam goes along +y (posterior), depth 0 at the isocentre, SSD = SAD.
    grid = Grid(
        (ny, nz, nx), (step,) * 3, (10 * float(reference.x_cm[0]), 0.5 * step, 10 * float(reference.x_cm[0]))
    )
    density = np.broadcast_to(reference.density[None, :, None], grid.shape).astype(np.float32)
    half = 5 * field_cm
    state = {
        "gantry_deg": 0.0,
        "isocentre_lps": (0.0, 0.0, 0.0),
        "jaw_x_mm": (-half, half),
        "jaw_y_mm": (-half, half),
    }
    beam = Beam(1, "field", 1.0, tuple(ControlPoint(w, **state) for w in (0.0, 1.0)))  # type: ignore[arg-type]
    model = bare_point_source(reference.spectrum)
    machine = replace(load_machine("generic_6mv"), model=replace(model, nominal_energy_mv=beam.nominal_energy_mv))
    result = plan_dose(
        Plan((beam,)), Volume(density, grid), machine, dose_grid=grid, patient_position="HFS", engine=engine
    )
    return np.asarray(result.fraction_dose_gy.array.transpose(2, 0, 1), dtype=float)


def compare(reference: Reference, ours: Array, field_cm: float) -> Comparison:
    """Compare as the README of the data says."""
    centre = np.abs(reference.x_cm) < 1.0
    pdd = ours[np.ix_(centre, centre)].mean(axis=(0, 1))
    scale, ours_scale = 100 / reference.at_10_cm(reference.pdd), 100 / reference.at_10_cm(pdd)
    away = np.min(np.abs(reference.z_cm[:, None] - np.append(reference.interfaces_cm, np.inf)), axis=1)
    deep = reference.z_cm > BUILDUP_CM
    difference = ours_scale * pdd - scale * reference.pdd
    far = [difference[deep & (away > INTERFACE_CM)]]
    near = [difference[deep & (away <= INTERFACE_CM)], np.zeros(1)]
    penumbra = []
    for depth, profile in reference.profiles.items():
        upper = int(np.searchsorted(reference.z_cm, depth))
        strip = ours[:, centre][:, :, [upper - 1, upper]].mean(axis=(1, 2))
        half = field_cm / 2 * (1 + depth / 100)
        inside = np.abs(reference.x_cm) < INSIDE * half
        apart = np.min(np.abs(depth - np.append(reference.interfaces_cm, np.inf)))
        if depth >= BUILDUP_CM:
            side = near if apart <= INTERFACE_CM else far
            side.append((ours_scale * strip - scale * profile)[inside])
        penumbra.append(abs(_penumbra_mm(reference.x_cm, strip, half) - _penumbra_mm(reference.x_cm, profile, half)))
    grid = Grid(reference.dose.shape, (2.5, 2.5, 2.5), (0.0, 0.0, 0.0))
    agreement = gamma(
        Volume((scale * reference.dose).astype(np.float32), grid),
        Volume((ours_scale * ours).astype(np.float32), grid),
        dose_percent=2.0,
        distance_mm=2.0,
        cutoff_percent=10.0,
        max_gamma=1.01,
    )
    return Comparison(
        max_percent_beyond_buildup=float(np.abs(np.concatenate(far)).max()),
        max_percent_at_interfaces=float(np.abs(np.concatenate(near)).max()),
        mean_percent=float(np.concatenate(far).mean()),
        penumbra_mm=max(penumbra),
        gamma_2_2_percent=agreement.pass_percent,
    )


def _penumbra_mm(x_cm: Array, profile: Array, half_cm: float) -> float:
    """Return the mean distance between 20 % and 80 % of the axis dose on both sides."""
    level = profile[np.abs(x_cm) < 0.3 * half_cm].mean()
    widths = []
    for side in (1, -1):
        outward = side * x_cm > 0.5 * half_cm
        x, y = np.abs(x_cm[outward]), profile[outward] / level
        order = np.argsort(x)
        x, y = x[order], y[order]
        crossing = []
        for wanted in (0.8, 0.2):
            n = int(np.argmax(y < wanted))
            crossing.append(np.interp(wanted, [y[n], y[n - 1]], [x[n], x[n - 1]]))
        widths.append(crossing[1] - crossing[0])
    return 10 * float(np.mean(widths))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Both dose engines against a Monte Carlo file.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--field-cm", type=float, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    reference = Reference.read(options.file)
    found = {
        name: compare(reference, engine_dose(reference, options.field_cm, engine), options.field_cm)
        for name, engine in ENGINES.items()
    }
    if options.json:
        print(json.dumps({"file": options.file.name, **{name: asdict(c) for name, c in found.items()}}))
        return
    table = Table(title=f"{options.file.name}, {options.field_cm:g} cm: % of the dose at 10 cm")
    for column in ("engine", "max beyond 1.5 cm", "mean", "max at interfaces", "penumbra mm", "gamma 2 %/2 mm"):
        table.add_column(column)
    for name, c in found.items():
        table.add_row(
            ENGINES[name],
            f"{c.max_percent_beyond_buildup:.2f}",
            f"{c.mean_percent:+.2f}",
            f"{c.max_percent_at_interfaces:.2f}",
            f"{c.penumbra_mm:.2f}",
            f"{c.gamma_2_2_percent:.1f} %",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
