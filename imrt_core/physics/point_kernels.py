"""Point kernels of water: where the energy of one photon interaction goes.

The primary part is the energy of the electrons that the interaction itself sets in motion, the scatter part that of
all later photons (Ahnesjö, Med Phys 16 (1989) 577; Mackie et al., Phys Med Biol 33 (1988) 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DATA_FILE = Path(__file__).parent / "data" / "water_point_kernels.npz"


@dataclass(frozen=True, eq=False)
class PointKernels:
    """Kernels of monoenergetic photons flying along the polar axis.

    Parameters
    ----------
    energy_mev : ndarray, shape (energies,)
        Photon energies, ascending.
    ring_deg : ndarray, shape (rings + 1,)
        Edges of polar angle, 0 to 180.
    shell_cm : ndarray, shape (shells + 1,)
        Edges of radius in water of density 1, from 0.
    fraction : ndarray, shape (energies, 2, rings, shells)
        Energy deposited per interaction as a part of the photon's energy; primary, then scatter.
    """

    energy_mev: Array
    ring_deg: Array
    shell_cm: Array
    fraction: Array

    def save(self, path: Path) -> None:
        """Write a numpy archive; single precision is far below the statistical error."""
        np.savez_compressed(
            path,
            energy_mev=self.energy_mev,
            ring_deg=self.ring_deg,
            shell_cm=self.shell_cm,
            fraction=self.fraction.astype(np.float32),
        )

    @property
    def primary_fraction(self) -> Array:
        """Part of the photon's energy that the first electrons deposit, shape (energies,)."""
        return np.asarray(self.fraction[:, 0].sum(axis=(1, 2)))

    def at(self, energy_mev: ArrayLike) -> Array:
        """Return kernels interpolated in log energy, shape (n, 2, rings, shells)."""
        x = np.log(np.clip(np.asarray(energy_mev, dtype=float), self.energy_mev[0], self.energy_mev[-1]))
        nodes = np.log(self.energy_mev)
        i = np.clip(np.searchsorted(nodes, x, side="right") - 1, 0, len(nodes) - 2)
        f = ((x - nodes[i]) / (nodes[i + 1] - nodes[i]))[:, None, None, None]
        return np.asarray((1 - f) * self.fraction[i] + f * self.fraction[i + 1])


@cache
def water_point_kernels() -> PointKernels:
    """Return the kernels that come with the package (made by ``python -m imrt_core.physics.generate``)."""
    with np.load(DATA_FILE, allow_pickle=False) as archive:
        return PointKernels(
            *(archive[name].astype(float) for name in ("energy_mev", "ring_deg", "shell_cm", "fraction"))
        )
