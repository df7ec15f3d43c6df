"""HU to density: known tissues, air outside the patient, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imrt_core.machine import DensityCurve, load_machine, mass_density, relative_electron_density
from imrt_core.patient import Grid, MachineError, Volume

CURVE = load_machine("generic_6mv").density_curve()
GRID = Grid((1, 1, 4), (2.0, 2.0, 2.0), (5.0, 6.0, 7.0))


def hu(*values: float) -> Volume:
    return Volume(np.array(values, dtype=np.float32).reshape(1, 1, -1), Grid((1, 1, len(values)), (2.0, 2.0, 2.0)))


def test_known_tissues() -> None:
    """ICRU 44 tissues at 120 kVp within 2 %: lung 0.26 g/cm³, adipose, water, muscle, cortical bone."""
    tissue = hu(-741.0, -100.0, 0.0, 50.0, 1400.0)
    np.testing.assert_allclose(mass_density(tissue, CURVE).array[0, 0], [0.26, 0.93, 1.0, 1.055, 1.92], rtol=0.02)
    np.testing.assert_allclose(
        relative_electron_density(tissue, CURVE).array[0, 0], [0.254, 0.93, 1.0, 1.045, 1.78], rtol=0.02
    )


@given(st.floats(-1000, 3071))
def test_linear_between_points(value: float) -> None:
    table = np.array(CURVE.points)
    found = relative_electron_density(hu(value), CURVE).array[0, 0, 0]
    assert found == pytest.approx(np.interp(value, table[:, 0], table[:, 1]), rel=2e-4, abs=2e-4)


def test_beyond_the_curve() -> None:
    """Noise below air is air, noise above saturation is the last density, more is refused unless asked for."""
    low = relative_electron_density(hu(-1024.0, -3000.0), CURVE).array
    np.testing.assert_allclose(low, CURVE.points[0][1])
    assert relative_electron_density(hu(3095.0), CURVE).array[0, 0, 0] == pytest.approx(CURVE.points[-1][1])
    with pytest.raises(MachineError, match=r"LPS \(2\.0, 0\.0, 0\.0\)") as caught:
        relative_electron_density(hu(0.0, 8000.0), CURVE)
    assert caught.value.code == "no-density"
    assert relative_electron_density(hu(8000.0), CURVE, saturate=True).array[0, 0, 0] == pytest.approx(2.7)


def test_nan_is_refused() -> None:
    with pytest.raises(MachineError, match="NaN"):
        relative_electron_density(hu(0.0, np.nan), CURVE)


def test_outside_the_external_is_air() -> None:
    image = Volume(np.full((1, 1, 4), 300.0, np.float32), GRID)
    external = Volume(np.array([[[0.0, 0.4, 0.6, 1.0]]], dtype=np.float32), GRID)
    found = relative_electron_density(image, CURVE, external=external).array[0, 0]
    np.testing.assert_allclose(found[:2], 0.0012)
    assert np.all(found[2:] > 1.1)
    with pytest.raises(MachineError, match="empty"):
        relative_electron_density(image, CURVE, external=external.with_array(np.zeros((1, 1, 4), np.float32)))
    with pytest.raises(MachineError, match="grid"):
        relative_electron_density(image, CURVE, external=external.with_grid(replace(GRID, origin_lps=(0.0, 0.0, 0.0))))


def test_curves_must_ascend() -> None:
    for points in (((0.0, 1.0, 1.0),), ((0.0, 1.0, 1.0), (0.0, 2.0, 2.0)), ((0.0, 1.0, 1.0), (9.0, 0.5, 1.0))):
        with pytest.raises(MachineError, match="curve"):
            DensityCurve("bad", points)
