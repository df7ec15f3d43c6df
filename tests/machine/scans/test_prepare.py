"""Preparation of curves, against analytic profiles."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import erfinv

from imrt_core.machine.scans import (
    Detector,
    at_effective_point,
    centred,
    field_edges,
    normalised,
    resampled,
    symmetrised,
    value_at,
)
from imrt_core.patient import MachineError

from .examples import pdd, profile


@given(centre=st.floats(-20, 20), sigma=st.floats(2.0, 6.0), half=st.floats(25, 60))
def test_edges_and_penumbra_of_error_functions(centre: float, sigma: float, half: float) -> None:
    """Straight lines over 0.5 mm are within 0.02 mm of the truth for these edges."""
    edges = field_edges(profile(centre_mm=centre, sigma_mm=sigma, half_mm=half), axis_mm=centre)
    penumbra = 2 * sigma * np.sqrt(2) * erfinv(0.6)
    assert edges.left_mm == pytest.approx(centre - half, abs=0.02)
    assert edges.right_mm == pytest.approx(centre + half, abs=0.02)
    assert edges.width_mm == pytest.approx(2 * half, abs=0.02)
    assert edges.penumbra_left_mm == pytest.approx(penumbra, abs=0.04)
    assert edges.penumbra_right_mm == pytest.approx(penumbra, abs=0.04)


@given(centre=st.floats(-20, 20))
def test_centring_finds_the_deviation_and_removes_it(centre: float) -> None:
    moved = centred(profile(centre_mm=centre))
    assert moved.cax_deviation_mm == pytest.approx(centre, abs=0.02)
    assert field_edges(moved.scan).centre_mm == pytest.approx(0.0, abs=1e-6)


def test_centring_of_a_tilted_profile_uses_the_dose_at_its_middle() -> None:
    """With the dose at the old origin as 100 % the middle would differ."""
    straight = profile(centre_mm=10.0)
    tilted = replace(straight, value=straight.value * (1 + 0.002 * straight.position_mm))
    found = centred(tilted)
    edges = field_edges(tilted, axis_mm=found.cax_deviation_mm)
    assert edges.centre_mm == pytest.approx(found.cax_deviation_mm, abs=1e-4)


def test_symmetrising_a_tilt_gives_the_even_part() -> None:
    even = profile()
    tilted = replace(even, value=even.value * (1 + 0.001 * even.position_mm))
    found = symmetrised(tilted)
    np.testing.assert_allclose(resampled(found.scan, even.position_mm).value, even.value, atol=1e-9)
    # 0.1 % for each mm, both sides, out to 0.8 of 50 mm
    assert found.largest_difference_percent == pytest.approx(2 * 0.1 * 40, rel=0.02)
    np.testing.assert_array_equal(found.scan.value, found.scan.value[::-1])


def test_resampling_follows_the_curve_without_overshoot() -> None:
    scan = profile()
    fine = resampled(scan, np.arange(-99.0, 99.0, 0.13))
    assert fine.value.max() <= scan.value.max()
    assert fine.value.min() >= scan.value.min()
    inner = slice(4, -4)
    back = np.interp(scan.position_mm[inner], fine.position_mm, fine.value)
    np.testing.assert_allclose(back, scan.value[inner], atol=0.15)
    with pytest.raises(MachineError, match="outside the scan"):
        resampled(scan, np.array([0.0, 50.0, 101.0]))


def test_normalising() -> None:
    scan = normalised(pdd(), at_mm=100.0, to=100.0)
    assert value_at(scan, 100.0) == 100.0
    assert scan.relative_to == "100 at 100 mm depth"
    assert value_at(scan, 200.0) == pytest.approx(100 * np.exp(-0.5), rel=2e-3)
    with pytest.raises(MachineError, match="outside the scan"):
        normalised(pdd(), at_mm=400.0)
    with pytest.raises(MachineError, match="cannot be normalised"):
        normalised(replace(pdd(), value=pdd().value - 50), at_mm=300.0)


def test_effective_point_of_a_chamber() -> None:
    """TRS-398: 0.6 of the radius, towards the source; for nothing but a cylindrical chamber of known size."""
    found = at_effective_point(pdd())
    assert found.shift_mm == pytest.approx(-0.6 * 2.75)
    np.testing.assert_allclose(found.scan.position_mm, pdd().position_mm - 1.65)
    np.testing.assert_array_equal(found.scan.value, pdd().value)
    for detector in (Detector(), Detector("D", "diode", 2.0), Detector("C", "cylindrical chamber")):
        with pytest.raises(MachineError, match="not known"):
            at_effective_point(pdd(detector=detector))
    with pytest.raises(MachineError, match="only a depth dose"):
        at_effective_point(profile())


def test_edges_that_are_not_there() -> None:
    with pytest.raises(MachineError, match="only a profile"):
        field_edges(pdd())
    flat = profile(position_mm=[-10.0, 0.0, 10.0], value=[90.0, 100.0, 90.0])
    with pytest.raises(MachineError, match=r"does not reach the edge.*90.0 %"):
        field_edges(flat)
