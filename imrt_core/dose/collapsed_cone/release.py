"""What a spectrum releases along a ray, and the cones along which it travels: tables made once per spectrum."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from imrt_core.physics.spectrum import Spectrum

from .cones import PRIMARY_RINGS, SCATTER_RINGS, Cones, cones_of

#: Step of the tables in water-equivalent depth, and their end; deeper takes the last value's decay.
STEP_MM = 1.0
_DEEPEST_MM = 800.0
#: Depth of water behind which the spectrum counts as hard.
HARD_DEPTH_MM = 200.0


@dataclass(frozen=True, eq=False)
class Release:
    """Tables of one spectrum.

    Parameters
    ----------
    table : ndarray, shape (depths, 4)
        Energy released per mass for unit fluence at 0, 1, 2 … mm, MeV/g per photon/cm²: to first electrons with the
        soft and with the hard spectrum's kernel, to later photons with the soft and with the hard one's.
    primary, scatter : Cones
        Along which the two parts travel.
    """

    table: NDArray[np.float32]
    primary: Cones
    scatter: Cones


@lru_cache(maxsize=16)
def release_of(spectrum: Spectrum) -> Release:
    """Return the tables of a spectrum.

    How hard the spectrum is at a depth is told by its mean energy: the kernel is mixed linearly between that of the
    surface and that behind :data:`HARD_DEPTH_MM` of water.
    """
    depth_mm = np.arange(0.0, _DEEPEST_MM + STEP_MM, STEP_MM)
    hard = spectrum.hardened(HARD_DEPTH_MM)
    rise = hard.mean_energy_mev - spectrum.mean_energy_mev
    if rise > 1e-6:
        mean = np.array([spectrum.hardened(d).mean_energy_mev for d in depth_mm])
        part = (mean - spectrum.mean_energy_mev) / rise
    else:
        part = np.zeros_like(depth_mm)
    released = spectrum.released(depth_mm)
    table = np.stack(
        [released[:, n] * share for n in range(2) for share in (1 - part, part)],
        axis=1,
    )
    kernels = np.stack([spectrum.point_kernel(), hard.point_kernel()], axis=1)
    return Release(
        table.astype(np.float32),
        cones_of(kernels[0], PRIMARY_RINGS, complete=True),
        cones_of(kernels[1], SCATTER_RINGS),
    )
