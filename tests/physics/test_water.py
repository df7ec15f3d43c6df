"""Cross sections and stopping powers against values of NIST's tables that the code does not hold."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.physics import water


@pytest.mark.parametrize(
    ("energy_mev", "cm2_per_g"),
    # NISTIR 5632, liquid water, total less coherent scattering below 0.2 MeV.
    [(0.2, 0.1353), (0.3, 0.1186), (0.5, 0.09687), (1.0, 0.07072), (1.25, 0.06323), (1.5, 0.05754), (3.0, 0.03969)],
)
def test_attenuation(energy_mev: float, cm2_per_g: float) -> None:
    assert water.attenuation(energy_mev) == pytest.approx(cm2_per_g, rel=0.007)


@pytest.mark.parametrize(
    ("energy_mev", "stopping"),
    # NIST ESTAR, liquid water, collision.
    [(0.01, 22.56), (0.1, 4.115), (0.5, 2.034), (1.0, 1.849), (2.0, 1.824), (5.0, 1.911), (10.0, 1.968), (20.0, 2.046)],
)
def test_collision_stopping_power(energy_mev: float, stopping: float) -> None:
    assert water.collision_stopping_power(energy_mev) == pytest.approx(stopping, rel=0.01)


def test_klein_nishina_approaches_thomson() -> None:
    """At low energy every free electron scatters with 0.6652 barn."""
    assert water.klein_nishina(1e-4) == pytest.approx(0.334285 * 0.66525, rel=1e-3)


def test_pair_production_starts_at_its_threshold() -> None:
    assert water.pair_production(1.0) == 0
    energy = np.linspace(1.03, 20.0, 200)
    assert np.all(np.diff(water.pair_production(energy)) > 0)


def test_electrons_scatter_less_the_faster_they_are() -> None:
    """First transport path of 1 MeV electrons in water: about 0.5 cm, from ICRU 35's scattering power, within 15 %."""
    path = 1 / water.transport_cross_section(np.array([0.1, 1.0, 10.0]))
    assert np.all(np.diff(path) > 0)
    assert path[1] == pytest.approx(0.51, rel=0.15)
