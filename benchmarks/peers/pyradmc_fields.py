"""Run inside the peer's own environment: pyRadMC's dose of rectangular fields on a density volume.

``python pyradmc_fields.py IN.npz OUT.npz``; called by :mod:`benchmarks.pyradmc`. Imports nothing of ours. IN.npz:
density (g/cm³, axes x, y, z), spacing_cm and origin_cm (lower corner), spectrum_edges (MeV) and spectrum_p, focus_cm,
centre_cm (of the isocentre plane), u_axis, v_axis, fields (n, 5): u0, u1, v0, v1 in cm and a weight, histories, seed.
Every field gets histories in proportion to weight times area, so that fluence is the sum of weights. OUT.npz: dose
(MeV/g per unit of weight times area), its standard error, seconds, histories, provenance.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from pyradmc import AnalyticCrossSections, SpectralBeamSource, Spectrum, VoxelGrid, WarpEngine

BATCHES = 10


def main() -> None:
    """Transport and save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("given")
    parser.add_argument("out")
    options = parser.parse_args()
    with np.load(options.given, allow_pickle=False) as data:
        given = {name: data[name] for name in data.files}
    density = np.asarray(given["density"], dtype=float)
    grid = VoxelGrid(
        shape=density.shape,
        spacing=tuple(given["spacing_cm"].tolist()),
        origin=tuple(given["origin_cm"].tolist()),
        density=density,
        material=np.zeros(density.shape, dtype=np.int32),
    )
    spectrum = Spectrum(given["spectrum_edges"], given["spectrum_p"])
    # Without the highest density, steps are sampled for water and bone comes out wrong.
    engine = WarpEngine(grid, AnalyticCrossSections(geometry_densities=grid.max_density_by_material()))
    u_axis, v_axis = given["u_axis"], given["v_axis"]
    fields = given["fields"]
    shares = fields[:, 4] * (fields[:, 1] - fields[:, 0]) * (fields[:, 3] - fields[:, 2])
    dose, variance = np.zeros(density.shape), np.zeros(density.shape)
    started, emitted, provenance = time.perf_counter(), 0, ""
    for number, (field, share) in enumerate(zip(fields, shares, strict=True)):
        u0, u1, v0, v1, _ = field
        centre = given["centre_cm"] + (u0 + u1) / 2 * u_axis + (v0 + v1) / 2 * v_axis
        source = SpectralBeamSource(
            spectrum,
            tuple(given["focus_cm"].tolist()),
            tuple(centre.tolist()),
            float(u1 - u0),
            float(v1 - v0),
            tuple(u_axis.tolist()),
            tuple(v_axis.tolist()),
        )
        batch = max(round(float(given["histories"]) * share / shares.sum() / BATCHES), 1)
        histories = BATCHES * batch
        result = engine.run(source, histories, BATCHES, int(given["seed"]) + number)
        dose += share * result.dose
        variance += (share * result.dose_sigma) ** 2
        emitted += histories
        provenance = result.provenance.summary()
    np.savez_compressed(
        options.out,
        dose=dose.astype(np.float32),
        sigma=np.sqrt(variance).astype(np.float32),
        seconds=time.perf_counter() - started,
        histories=emitted,
        provenance=provenance,
    )


if __name__ == "__main__":
    main()
