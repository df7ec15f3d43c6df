"""Photon spectra: what they release in water at a depth, and what their kernels look like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import MachineError

from . import water
from .point_kernels import water_point_kernels

Array = NDArray[np.float64]

#: Gy for a release of 1 MeV/g.
GY_PER_MEV_PER_G = 1.602176634e-10


@dataclass(frozen=True)
class Spectrum:
    """Photon fluence in energy bins, relative.

    Parameters
    ----------
    energy_mev : tuple of float
        Energies, ascending.
    fluence : tuple of float
        Number of photons at each; made to sum to 1.

    Raises
    ------
    MachineError
        If there is none, one is negative or not finite, or energies do not ascend within 0.01 to 20 MeV.
    """

    energy_mev: tuple[float, ...]
    fluence: tuple[float, ...]

    def __post_init__(self) -> None:
        energy, fluence = np.asarray(self.energy_mev, dtype=float), np.asarray(self.fluence, dtype=float)
        if energy.shape != fluence.shape or energy.ndim != 1 or not len(energy):
            raise MachineError("a spectrum needs one fluence per energy", found=f"{energy.shape}, {fluence.shape}")
        if not np.all(np.isfinite(energy + fluence)) or np.any(np.diff(energy) <= 0):
            raise MachineError("energies of a spectrum must ascend", found=str(self.energy_mev))
        if energy[0] < 0.01 or energy[-1] > 20.0:
            raise MachineError("energy out of range", found=f"{energy[0]:g} … {energy[-1]:g} MeV", expected="0.01 … 20")
        if np.any(fluence < 0) or fluence.sum() <= 0:
            raise MachineError("the fluence of a spectrum must not be negative", found=str(self.fluence))
        object.__setattr__(self, "energy_mev", tuple(float(e) for e in energy))
        # What sums to 1 already stays as it is, so that a file reads back equal.
        total = fluence.sum() if abs(fluence.sum() - 1) > 1e-9 else 1.0
        object.__setattr__(self, "fluence", tuple(float(f) for f in fluence / total))

    @property
    def mean_energy_mev(self) -> float:
        """Mean over photons."""
        return float(np.dot(self.energy_mev, self.fluence))

    @cached_property
    def _release(self) -> tuple[Array, Array, Array]:
        """Attenuation in 1/mm, and energy released per g/cm² of fluence: by first electrons, by later photons."""
        energy = np.asarray(self.energy_mev)
        mu = water.attenuation(energy)
        # The part that the first electrons get, from the same Monte Carlo as the kernels.
        kernels = water_point_kernels()
        primary = np.interp(np.log(energy), np.log(kernels.energy_mev), kernels.primary_fraction)
        total = np.asarray(self.fluence) * energy * mu
        return mu / 10.0, total * primary, total * (1 - primary)

    def released(self, depth_mm: ArrayLike) -> Array:
        """Return energy released per mass at depths in water, MeV/g per photon/cm², shape (…, 2): primary, scatter.

        Fluence falls exponentially, energy by energy; no inverse square.
        """
        mu, primary, scatter = self._release
        through = np.exp(-np.asarray(depth_mm, dtype=float)[..., None] * mu)
        return np.stack([through @ primary, through @ scatter], axis=-1)

    def hardened(self, depth_mm: float) -> Spectrum:
        """Return the spectrum behind a depth of water."""
        through = np.exp(-depth_mm * self._release[0])
        return Spectrum(self.energy_mev, tuple(np.asarray(self.fluence) * through))

    def point_kernel(self) -> Array:
        """Return the energy in each ring and shell, normalised to what each part releases, shape (2, rings, shells)."""
        kernels = water_point_kernels()
        _, primary, scatter = self._release
        each = kernels.at(self.energy_mev)
        weight = primary + scatter
        total = np.tensordot(weight, each, axes=(0, 0))
        return np.asarray(total / np.array([primary.sum(), scatter.sum()])[:, None, None])
