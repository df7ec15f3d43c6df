"""Photons and electrons in water: cross sections and stopping power, from published tables and formulas.

All per unit density, cm²/g and MeV cm²/g; energies in MeV.

References
----------
.. [1] Hubbell JH, Seltzer SM. Tables of X-ray mass attenuation coefficients. NISTIR 5632 (1995), liquid water.
.. [2] Berger MJ, Seltzer SM. Stopping powers and ranges of electrons and positrons. NBSIR 82-2550-A (1982); ICRU
   Report 37 (1984): collision stopping power, density effect after Sternheimer, radiative stopping power of water.
.. [3] Klein O, Nishina Y. Z Phys 52 (1929) 853.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[np.float64]

ELECTRON_MASS_MEV = 0.51099895
#: Electrons per gram of water × 10⁻²⁴ cm² (one barn).
_ELECTRONS_BARN = 0.334285
_CLASSICAL_RADIUS_SQUARED_BARN = 0.0794078

# Total attenuation with coherent scattering [1], MeV and cm²/g.
_TOTAL = np.array(
    [
        (2.0, 0.04942),
        (3.0, 0.03969),
        (4.0, 0.03403),
        (5.0, 0.03031),
        (6.0, 0.02770),
        (8.0, 0.02429),
        (10.0, 0.02219),
        (15.0, 0.01941),
        (20.0, 0.01813),
    ]
)
# Photoelectric absorption [1].
_PHOTOELECTRIC = np.array(
    [
        (0.010, 4.944),
        (0.015, 1.369),
        (0.020, 0.5437),
        (0.030, 0.1457),
        (0.040, 0.0568),
        (0.050, 0.0272),
        (0.060, 0.01493),
        (0.080, 0.00577),
        (0.100, 0.00276),
        (0.150, 7.31e-4),
        (0.200, 2.89e-4),
        (0.300, 8.16e-5),
    ]
)
# Radiative stopping power of electrons [2].
_RADIATIVE = np.array(
    [
        (0.01, 0.003898),
        (0.1, 0.005842),
        (0.5, 0.009207),
        (1.0, 0.01280),
        (2.0, 0.02678),
        (5.0, 0.08174),
        (10.0, 0.1832),
        (20.0, 0.4086),
    ]
)
# Density effect of liquid water after Sternheimer [2]: mean excitation energy, then C, x0, x1, a, m.
_EXCITATION_MEV = 75.0e-6
_STERNHEIMER = (3.5017, 0.24, 2.8004, 0.09116, 3.4773)
_Z_OVER_A = 0.55509


def klein_nishina(energy_mev: ArrayLike) -> Array:
    """Return the cross section of incoherent scattering by free electrons, cm²/g (Klein and Nishina)."""
    k = np.asarray(energy_mev, dtype=float) / ELECTRON_MASS_MEV
    log = np.log1p(2 * k)
    first = (1 + k) / k**2 * (2 * (1 + k) / (1 + 2 * k) - log / k)
    barn = 2 * np.pi * _CLASSICAL_RADIUS_SQUARED_BARN * (first + log / (2 * k) - (1 + 3 * k) / (1 + 2 * k) ** 2)
    return np.asarray(_ELECTRONS_BARN * barn)


def photoelectric(energy_mev: ArrayLike) -> Array:
    """Return photoelectric absorption, cm²/g: power laws between the table's points and beyond them."""
    energy = np.log(np.asarray(energy_mev, dtype=float))
    x, y = np.log(_PHOTOELECTRIC).T
    slope = (y[-1] - y[-2]) / (x[-1] - x[-2])
    value = np.interp(energy, x, y) + np.where(energy > x[-1], slope * (energy - x[-1]), 0.0)
    return np.asarray(np.exp(value))


def pair_production(energy_mev: ArrayLike) -> Array:
    """Return pair and triplet production, cm²/g: what the table holds beyond the other two processes.

    Below the table's first point it falls to the threshold as the power of the excess energy that joins its slope.
    """
    energy = np.asarray(energy_mev, dtype=float)
    threshold = 2 * ELECTRON_MASS_MEV
    nodes = _TOTAL[:, 0]
    pair = _TOTAL[:, 1] - klein_nishina(nodes) - photoelectric(nodes)
    above = PchipInterpolator(nodes, pair)(np.clip(energy, nodes[0], nodes[-1]))
    below = pair[0] * (np.clip(energy - threshold, 0, None) / (nodes[0] - threshold)) ** 2.2
    return np.asarray(np.where(energy < nodes[0], below, above))


def attenuation(energy_mev: ArrayLike) -> Array:
    """Return the attenuation coefficient without coherent scattering, cm²/g."""
    return klein_nishina(energy_mev) + photoelectric(energy_mev) + pair_production(energy_mev)


def collision_stopping_power(energy_mev: ArrayLike) -> Array:
    """Return the mass collision stopping power of electrons, MeV cm²/g (Berger and Seltzer)."""
    tau = np.asarray(energy_mev, dtype=float) / ELECTRON_MASS_MEV
    beta2 = tau * (tau + 2) / (tau + 1) ** 2
    excitation = _EXCITATION_MEV / ELECTRON_MASS_MEV
    x = np.log10(np.sqrt(tau * (tau + 2)))
    c, x0, x1, a, m = _STERNHEIMER
    delta = np.where(x < x0, 0.0, 2 * np.log(10) * x - c + np.where(x < x1, a * np.clip(x1 - x, 0, None) ** m, 0.0))
    f = 1 - beta2 + (tau**2 / 8 - (2 * tau + 1) * np.log(2)) / (tau + 1) ** 2
    number = np.log(tau**2 * (tau + 2) / (2 * excitation**2)) + f - delta
    return np.asarray(0.153537 * _Z_OVER_A / beta2 * number)


def radiative_stopping_power(energy_mev: ArrayLike) -> Array:
    """Return the mass radiative stopping power of electrons, MeV cm²/g (Berger and Seltzer)."""
    x, y = np.log(_RADIATIVE).T
    return np.asarray(np.exp(np.interp(np.log(np.asarray(energy_mev, dtype=float)), x, y)))


def transport_cross_section(energy_mev: ArrayLike) -> Array:
    """Return the inverse first transport path of elastic scattering, cm²/g: 1/λ₁, screened Rutherford [4]_.

    Z(Z + 1) counts scattering by atomic electrons; Molière's screening angle.

    References
    ----------
    .. [4] Bethe HA. Molière's theory of multiple scattering. Phys Rev 89 (1953) 1256.
    """
    tau = np.asarray(energy_mev, dtype=float) / ELECTRON_MASS_MEV
    momentum2 = tau * (tau + 2)  # in units of m c
    beta2 = momentum2 / (tau + 1) ** 2
    total = np.zeros_like(tau)
    for z, atoms in ((1, 2.0), (8, 1.0)):
        per_gram = atoms * 6.02214e23 / 18.01528 * 1e-24
        alpha_z = z / 137.036
        screening = (z ** (1 / 3) / (0.885 * 137.036)) ** 2 / (4 * momentum2) * (1.13 + 3.76 * alpha_z**2 / beta2)
        strength = 2 * np.pi * _CLASSICAL_RADIUS_SQUARED_BARN * z * (z + 1) / (momentum2 * beta2)
        total = total + per_gram * strength * (np.log1p(1 / screening) - 1 / (1 + screening))
    return np.asarray(total)
