"""Compute the point kernels of water by Monte Carlo: ``python -m imrt_core.physics.generate [--histories N]``.

Same seeds, same kernels, on any number of threads.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import water
from ._transport import BATCH, point_kernel
from .point_kernels import DATA_FILE, PointKernels

Array = NDArray[np.float64]

ENERGY_MEV = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 18.0)
#: Polar angle of ring edges, degrees from the photon's direction.
RING_DEG = (
    0,
    2,
    4,
    6,
    8,
    10,
    12.5,
    15,
    17.5,
    20,
    23,
    26,
    30,
    34,
    38,
    42,
    47,
    52,
    58,
    64,
    70,
    80,
    90,
    105,
    120,
    140,
    180,
)
SHELL_CM = (0.0, *np.geomspace(0.02, 60.0, 70))
_TABLE_POINTS = 400
_LEAST_MEV, _MOST_MEV = 0.009, 20.0


def physics_table() -> tuple[Array, float, float]:
    """Return the rows that the transport kernel reads over log energy, the first log energy, and points per unit."""
    energy = np.geomspace(_LEAST_MEV, _MOST_MEV, _TABLE_POINTS)
    rows = [
        water.klein_nishina(energy),
        water.photoelectric(energy),
        water.pair_production(energy),
        water.collision_stopping_power(energy),
        water.radiative_stopping_power(energy),
        water.transport_cross_section(energy),
    ]
    log = np.log(energy)
    return np.array(rows), float(log[0]), float((_TABLE_POINTS - 1) / (log[-1] - log[0]))


def generate(*, histories: int, energy_mev: tuple[float, ...] = ENERGY_MEV) -> PointKernels:
    """Compute kernels: energy per interaction in each ring and shell, as a part of the photon's energy."""
    table, first, per_log = physics_table()
    cosines = np.cos(np.radians(RING_DEG))
    cosines[-1] = -1.0 - 1e-12
    radii2 = np.asarray(SHELL_CM) ** 2
    batches = max(histories // BATCH, 1)
    fraction = np.empty((len(energy_mev), 2, len(RING_DEG) - 1, len(SHELL_CM) - 1))
    for n, energy in enumerate(energy_mev):
        # In parts, so that the tallies of all batches stay small.
        total = np.zeros(fraction.shape[1:])
        tally = np.zeros((batches, *fraction.shape[1:]))
        point_kernel(energy, batches, radii2, cosines, table, first, per_log, tally)
        total += tally.sum(axis=0)
        fraction[n] = total / (batches * BATCH * energy)
        print(f"{energy:6.3f} MeV: primary {fraction[n, 0].sum():.4f}, scatter {fraction[n, 1].sum():.4f}")
    return PointKernels(np.asarray(energy_mev), np.asarray(RING_DEG, dtype=float), np.asarray(SHELL_CM), fraction)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Compute the point kernels of water by Monte Carlo.")
    parser.add_argument("--histories", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=DATA_FILE)
    options = parser.parse_args()
    generate(histories=options.histories).save(options.out)
