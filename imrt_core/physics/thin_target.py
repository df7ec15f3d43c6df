"""Photon spectra of linacs from first principles: bremsstrahlung of a thin target behind target and filter.

A thin target's spectrum behind two filters follows Monte Carlo spectra of flattened clinical beams closely; that of a
filter alone is declared, not measured [1]_. Used for declared models only: fitted ones take their spectrum from depth
doses.

References
----------
.. [1] Ali ESM, Rogers DWO. Functional forms for photon spectra of clinical linacs. Phys Med Biol 57 (2012) 31-50.
.. [2] Koch HW, Motz JW. Bremsstrahlung cross-section formulas and related data. Rev Mod Phys 31 (1959) 920-955,
   formula 3BS(e) (Schiff, integrated over angles, with screening).
.. [3] Hubbell JH, Seltzer SM. Tables of X-ray mass attenuation coefficients. NISTIR 5632 (1995), tungsten, copper.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from imrt_core.patient import MachineError

from .point_kernels import water_point_kernels
from .spectrum import Spectrum
from .water import ELECTRON_MASS_MEV

Array = NDArray[np.float64]

_ENERGY_MEV = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0)
#: Mass attenuation in cm²/g at these energies [3].
_ATTENUATION: dict[str, tuple[float, ...]] = {
    "tungsten": (
        *(4.438, 1.581, 0.7844, 0.3238, 0.1925, 0.1378, 0.1093, 0.08066, 0.06618, 0.05577),
        *(0.05000, 0.04433, 0.04075, 0.04038, 0.04103, 0.04210, 0.04472, 0.04747, 0.05384, 0.05893),
    ),
    "copper": (
        *(0.4584, 0.2217, 0.1559, 0.1119, 0.09413, 0.08362, 0.07625, 0.06605, 0.05901, 0.05261),
        *(0.04803, 0.04205, 0.03599, 0.03318, 0.03177, 0.03108, 0.03074, 0.03103, 0.03247, 0.03408),
    ),
}
_TUNGSTEN_Z = 74
#: Energies per bin of the spectrum over which the smooth form is averaged.
_FINE = 40


def bremsstrahlung(energy_mev: ArrayLike, electron_mev: float, *, z: int = _TUNGSTEN_Z) -> Array:
    """Return photons per energy interval from a thin target, relative (Koch and Motz).

    Parameters
    ----------
    energy_mev : array_like, shape (…,)
        Photon energies; zero at and beyond the electrons' kinetic energy.
    electron_mev : float
        Kinetic energy of the electrons.
    z : int
        Atomic number of the target.
    """
    k = np.asarray(energy_mev, dtype=float)
    before = electron_mev + ELECTRON_MASS_MEV
    possible = (k > 0) & (k < electron_mev)
    k = np.where(possible, k, electron_mev / 2)
    after = before - k
    screening = z ** (1 / 3) / 111
    energies = 2 * before * after / (k * ELECTRON_MASS_MEV)
    b = energies * screening
    log_m = -np.log(1 / energies**2 + screening**2)
    ratio, angle = after / before, np.arctan(b)
    wide = (1 + ratio**2 - 2 / 3 * ratio) * (log_m + 1 - 2 * angle / b)
    narrow = 2 / b**2 * np.log1p(b**2) + 4 * (2 - b**2) / (3 * b**3) * angle - 8 / (3 * b**2) + 2 / 9
    return np.where(possible, np.maximum(wide + ratio * narrow, 0.0) / k, 0.0)


def mass_attenuation(material: str, energy_mev: ArrayLike) -> Array:
    """Return cm²/g of ``"tungsten"`` or ``"copper"``, 0.1 to 20 MeV, interpolated in logarithms.

    Raises
    ------
    MachineError
        If the material is not tabled.
    """
    if material not in _ATTENUATION:
        raise MachineError("no attenuation of this material", found=material, expected=", ".join(_ATTENUATION))
    curve = PchipInterpolator(np.log(_ENERGY_MEV), np.log(_ATTENUATION[material]))
    return np.asarray(np.exp(curve(np.log(np.asarray(energy_mev, dtype=float)))))


def filtered_spectrum(electron_mev: float, filter_g_per_cm2: Mapping[str, float]) -> Spectrum:
    """Return the spectrum of a thin tungsten target behind filters, at the energies of the point kernels.

    Each photon is shared between the two energies next to it, linear in log energy, as kernels are interpolated.

    Parameters
    ----------
    electron_mev : float
        Kinetic energy of the electrons.
    filter_g_per_cm2 : mapping of str to float
        Mass per area of each material of :func:`mass_attenuation`.

    Raises
    ------
    MachineError
        If a material is not tabled, or the electrons' energy is not 1 MeV to the last energy of the kernels.
    """
    nodes = water_point_kernels().energy_mev
    if not 1.0 <= electron_mev <= nodes[-1]:
        raise MachineError(
            "no point kernels for these photons", found=f"{electron_mev:g} MeV", expected=f"1 … {nodes[-1]:g} MeV"
        )
    edges = np.log(np.append(nodes[nodes < electron_mev], electron_mev))
    part = (np.arange(_FINE) + 0.5) / _FINE
    log_energy = (edges[:-1, None] + np.diff(edges)[:, None] * part).ravel()
    energy = np.exp(log_energy)
    passing = sum(mass * mass_attenuation(name, energy) for name, mass in filter_g_per_cm2.items())
    # Per logarithmic interval: E times photons per energy interval.
    width = np.repeat(np.diff(edges) / _FINE, _FINE)
    photons = bremsstrahlung(energy, electron_mev) * energy * np.exp(-passing) * width
    i = np.clip(np.searchsorted(np.log(nodes), log_energy, side="right") - 1, 0, len(nodes) - 2)
    f = (log_energy - np.log(nodes[i])) / np.log(nodes[i + 1] / nodes[i])
    fluence = np.zeros(len(nodes))
    np.add.at(fluence, i, (1 - f) * photons)
    np.add.at(fluence, i + 1, f * photons)
    used = slice(0, int(np.flatnonzero(fluence)[-1]) + 1)
    return Spectrum(tuple(nodes[used]), tuple(fluence[used]))
