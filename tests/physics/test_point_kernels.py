"""The Monte Carlo kernels: energy is kept, shared as published coefficients say, and goes where kinematics send it."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.physics import water
from imrt_core.physics.generate import generate
from imrt_core.physics.point_kernels import water_point_kernels
from imrt_core.physics.spectrum import Spectrum

KERNELS = water_point_kernels()


@pytest.mark.parametrize(
    ("energy_mev", "absorbed"),
    # NISTIR 5632: mass energy-absorption over attenuation coefficient of water.
    [(0.3, 0.03192 / 0.1186), (0.5, 0.03299 / 0.09687), (1.0, 0.03103 / 0.07072), (2.0, 0.02608 / 0.04942)],
)
def test_primary_part_is_what_the_electrons_get(energy_mev: float, absorbed: float) -> None:
    assert np.interp(energy_mev, KERNELS.energy_mev, KERNELS.primary_fraction) == pytest.approx(absorbed, rel=0.01)


def test_all_energy_stays_near_or_leaves_the_last_shell() -> None:
    total = KERNELS.fraction.sum(axis=(1, 2, 3))
    assert np.all(total < 1.0005)
    assert np.all(total > 0.9)
    # 60 cm are 4 to 10 mean free paths of scattered photons of up to 1 MeV.
    assert total[KERNELS.energy_mev <= 1.0].min() > 0.96


def test_first_electrons_go_no_further_than_their_range() -> None:
    """5 MeV photons: electrons of at most 4.8 MeV, whose range in water is 2.4 cm (ESTAR, CSDA 2.45 g/cm²)."""
    primary = KERNELS.fraction[list(KERNELS.energy_mev).index(5.0), 0].sum(axis=0)
    beyond = primary[KERNELS.shell_cm[:-1] > 2.6].sum() / primary.sum()
    assert beyond < 1e-3
    # Within 30 degrees of the photon goes most of it.
    ahead = KERNELS.fraction[list(KERNELS.energy_mev).index(5.0), 0][KERNELS.ring_deg[1:] <= 30].sum()
    assert 0.6 < ahead / primary.sum() < 0.9


def test_first_scatter_of_low_energy_is_symmetric_enough() -> None:
    """Photons of 0.1 MeV scatter nearly as Thomson's: no more than 1.8 times as much ahead as back."""
    scatter = KERNELS.fraction[0, 1]
    ahead = scatter[KERNELS.ring_deg[1:] <= 90].sum()
    assert 1.0 < ahead / (scatter.sum() - ahead) < 1.8


def test_generation_is_reproducible_and_agrees_with_what_ships() -> None:
    first, second = (generate(histories=4000, energy_mev=(1.0,)) for _ in range(2))
    np.testing.assert_array_equal(first.fraction, second.fraction)
    shipped = KERNELS.fraction[list(KERNELS.energy_mev).index(1.0)]
    assert first.fraction[0, 0].sum() == pytest.approx(shipped[0].sum(), abs=0.01)
    radial, expected = first.fraction[0, 0].sum(axis=0).cumsum(), shipped[0].sum(axis=0).cumsum()
    np.testing.assert_allclose(radial, expected, atol=0.012)


def test_spectrum_releases_what_its_lines_do() -> None:
    """Two lines are the sum of each; the mean hardens with depth."""
    both = Spectrum((0.5, 3.0), (0.6, 0.4))
    depth = np.array([0.0, 100.0, 300.0])
    parts = 0.6 * Spectrum((0.5,), (1.0,)).released(depth) + 0.4 * Spectrum((3.0,), (1.0,)).released(depth)
    np.testing.assert_allclose(both.released(depth), parts, rtol=1e-12)
    np.testing.assert_allclose(
        both.released(0.0).sum(), np.sum([0.6 * 0.5, 0.4 * 3.0] * water.attenuation([0.5, 3.0])), rtol=1e-12
    )
    assert both.hardened(200.0).mean_energy_mev > both.mean_energy_mev
