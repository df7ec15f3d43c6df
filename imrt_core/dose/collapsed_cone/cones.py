"""Cones: the directions along which energy travels, and the exponentials that it follows in each.

Energy that a point kernel deposits inside a cone is collapsed onto the cone's axis [1]_. Along the axis it is a sum of
exponentials of the water-equivalent path, so that transport is a recursion from cell to cell.

References
----------
.. [1] Ahnesjö A. Collapsed cone convolution of radiant energy for photon dose calculation in heterogeneous media.
   Med Phys 16 (1989) 577-592.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from imrt_core.physics.point_kernels import water_point_kernels

Array = NDArray[np.float64]

# Edges of rings of cones, degrees from the ray, and the number of cones in each ring.
Rings = tuple[tuple[float, ...], tuple[int, ...]]
PRIMARY_RINGS: Rings = ((0, 6, 15, 26, 38, 52, 70, 90, 120, 180), (1, 6, 8, 10, 12, 12, 12, 8, 4))
SCATTER_RINGS: Rings = (
    (0, 3, 7, 12, 18, 26, 36, 46, 58, 70, 80, 90, 105, 120, 140, 180),
    (1, 4, 6, 8, 10, 12, 12, 12, 12, 10, 10, 8, 8, 6, 4),
)
#: Distances of the middle of the lattice over the distance from the source, at which shares are given.
RATIOS = tuple(float(r) for r in np.geomspace(0.7, 1.0 / 0.7, 13))
_MIDDLE = len(RATIOS) // 2
#: Neighbouring rates of a cone differ by this factor at least: closer, their shares would cancel.
_LEAST_RATIO = 2.0


@dataclass(frozen=True, eq=False)
class Cones:
    """Directions and exponentials of one part of the kernel, for a soft and for a hard spectrum.

    A straight line meets diverging rays at an angle θ that falls with the distance r from the source, tan θ ∝ 1/r. So a
    cone's share of the energy is given for several :data:`RATIOS` of the distance of the middle of the lattice, where
    its direction is as stated, to r.

    Parameters
    ----------
    direction : ndarray, shape (cones, 3)
        Unit vectors; the third component is along the ray of the primary photon.
    share : ndarray, shape (ratios, cones, 2, exponentials)
        Part of the released energy that follows each exponential, soft and hard. May be negative: the sum over a cone
        is not.
    rate_per_mm : ndarray, shape (cones, exponentials)
        In water.
    """

    direction: Array
    share: Array
    rate_per_mm: Array


def cones_of(kernels: Array, rings: Rings, *, complete: bool = False) -> Cones:
    """Fit exponentials to point kernels of rings and shells.

    Parameters
    ----------
    kernels : ndarray, shape (2, rings, shells)
        Soft and hard, on the bins of the package's point kernels; energy in each bin as a part of the released energy.
    rings : tuple
        Ring edges in degrees (one of them 90), and the number of cones in each ring.
    complete : bool
        Whether all energy stays within the shells: then each cone's shares sum to its energy. Otherwise the
        exponentials go on beyond the last shell.
    """
    edges, counts = rings
    table = _WithinAngle(kernels)
    directions, shares, rates = [], [], []
    for ring, count in enumerate(counts):
        energy = np.array([table.between(*_seen(edges[ring : ring + 2], ratio)) for ratio in RATIOS])
        middle = energy[_MIDDLE]
        rate = _rates(middle)
        share = np.array([_shares(e, rate)[0].T for e in energy])
        if complete:
            share /= share.sum(axis=2, keepdims=True)
        share *= energy.sum(axis=2, keepdims=True)
        cosine = table.mean_cosine(*edges[ring : ring + 2]) if count > 1 else 1.0
        # Turned from ring to ring, and off the grid's axes and diagonals.
        azimuth = 2 * np.pi * (np.arange(count) + 0.5 * (ring % 2) + 0.21) / count
        sine = np.sqrt(1 - cosine**2)
        for angle in azimuth:
            directions.append((sine * np.cos(angle), sine * np.sin(angle), cosine))
            shares.append(share / count)
            rates.append(rate)
    return Cones(np.array(directions), np.stack(shares, axis=1), np.array(rates))


def _seen(angle_deg: tuple[float, ...], ratio: float) -> list[float]:
    """Return the angles to the rays elsewhere of lines at these angles in the middle: tan θ grows by the ratio."""
    radians = np.radians(angle_deg)
    return [float(v) for v in np.degrees(np.arctan2(np.sin(radians) * ratio, np.cos(radians)))]


class _WithinAngle:
    """Energy of each shell up to any polar angle, from the bins of the point kernels."""

    def __init__(self, kernels: Array) -> None:
        self.cosine = np.cos(np.radians(water_point_kernels().ring_deg))
        self.cumulative = np.concatenate([np.zeros_like(kernels[:, :1]), np.cumsum(kernels, axis=1)], axis=1)

    def between(self, lower_deg: float, upper_deg: float) -> Array:
        """Return shape (2, shells); within a bin energy is uniform in solid angle."""
        return self._up_to(upper_deg) - self._up_to(lower_deg)

    def mean_cosine(self, lower_deg: float, upper_deg: float) -> float:
        """Return the mean cosine, weighted by energy."""
        fine = np.linspace(lower_deg, upper_deg, 41)
        energy = np.diff([self._up_to(float(a)).sum() for a in fine])
        return float(np.average(np.cos(np.radians((fine[1:] + fine[:-1]) / 2)), weights=energy))

    def _up_to(self, angle_deg: float) -> Array:
        cosine = float(np.clip(np.cos(np.radians(angle_deg)), -1, 1))
        i = int(np.clip(np.searchsorted(-self.cosine, -cosine, side="right") - 1, 0, len(self.cosine) - 2))
        f = (self.cosine[i] - cosine) / (self.cosine[i] - self.cosine[i + 1])
        return np.asarray((1 - f) * self.cumulative[:, i] + f * self.cumulative[:, i + 1])


def _shares(energy: Array, rate: Array) -> tuple[Array, Array]:
    """Return the relative shares (exponentials, 2) that fit the energy within each radius best, and the misfit."""
    radius = 10.0 * water_point_kernels().shell_cm[1:]
    within = np.cumsum(energy / energy.sum(axis=1, keepdims=True), axis=1).T
    basis = -np.expm1(-radius[:, None] * rate)
    # Near the interaction the part counts, far from it the whole.
    weight = 1.0 / (0.1 + within.mean(axis=1, keepdims=True))
    found, *_ = np.linalg.lstsq(basis * weight, within * weight, rcond=None)
    return found, (basis @ found - within) * weight


def _rates(energy: Array) -> Array:
    """Return the three rates, each at least a factor apart, that fit both spectra's Σ share·(1 − exp(−rate·r)) best."""
    shell_mm = 10.0 * water_point_kernels().shell_cm
    mean = float(np.average((shell_mm[1:] + shell_mm[:-1]) / 2, weights=energy.sum(axis=0)))

    def rates(parameters: Array) -> Array:
        slow, gap, next_gap = np.exp(parameters)
        middle = slow * (_LEAST_RATIO + gap)
        return np.array([middle * (_LEAST_RATIO + next_gap), middle, slow])

    start = np.array([-np.log(1.5 * mean), 0.0, 1.0])
    bounds = ([-12, -8, -8], [4, 4, 4])
    return rates(least_squares(lambda p: _shares(energy, rates(p))[1].ravel(), start, bounds=bounds, max_nfev=500).x)
