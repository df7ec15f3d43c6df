"""Pencil kernels: axis integrals by brute force, a synthetic machine found again, the shipped model's fit."""

from __future__ import annotations

import numpy as np
import pytest

from imrt_core.machine import load_machine
from imrt_core.machine.axis_table import OffAxis, axis_table
from imrt_core.machine.pencil import AxisDoses, axis_integrals, fit_pencil_kernels


def test_axis_integral_against_brute_force() -> None:
    """A fine sum over the square, with a fluence that rises off axis."""
    off_axis = OffAxis((0.0, 50.0, 100.0), (1.0, 1.1, 0.9), 0.0)
    step = np.arange(-39.9, 40, 0.2)
    x, y = np.meshgrid(step, step)
    for width in (3.0, 20.0, 60.0):
        gauss = np.exp(-(x**2 + y**2) / (2 * width**2)) / (2 * np.pi * width**2)
        expected = np.sum(gauss * off_axis.at(np.hypot(x, y))) * 0.04
        assert axis_integrals(off_axis, np.array([80.0]), np.array([width]))[0, 0] == pytest.approx(expected, rel=2e-4)


def test_fit_finds_a_synthetic_machine() -> None:
    """Doses of the fitted form with known widths and amplitudes come back to a fifth of a percent."""
    off_axis = OffAxis((0.0, 300.0), (1.0, 1.05), 1.5)
    depth = np.array([0, 4, 8, 12, 16, 20, 30, 50, 80, 110, 150, 200, 250, 300.0])
    fields = np.array([10, 20, 30, 50, 80, 100, 150, 200, 300, 400.0])
    attenuation = np.exp(-0.0045 * depth) * (1 - 0.6 * np.exp(-depth / 4))
    amplitude = attenuation[:, None] * [0.7, 0.1, 0.1, 0.1] * (1 + depth[:, None] * [0, 0, 0.004, 0.01])
    widths = np.array([2.0, 7.0, 30.0, 100.0])

    def dose(sides: np.ndarray) -> np.ndarray:
        return np.asarray(amplitude @ axis_integrals(off_axis, sides, np.hypot(widths, 1.5)).T)

    fitted = fit_pencil_kernels(AxisDoses(depth, fields, dose(fields)), off_axis)
    assert np.abs(fitted.misfit_percent[depth > 15]).max() < 0.2
    between = np.array([15.0, 70.0, 120.0, 180.0, 260.0])  # fields that it never saw
    found = fitted.amplitude_gy_per_mu @ axis_integrals(off_axis, between, np.hypot(fitted.width_mm, 1.5)).T
    np.testing.assert_allclose(found[depth > 15], dose(between)[depth > 15], rtol=0.004)


@pytest.mark.parametrize("name", ["generic_6mv", "monaco_6mv_2619"])
def test_shipped_kernels_are_those_of_the_shipped_source(name: str) -> None:
    """Two engines, one model: relative doses on the axis within 1.5 % beyond the build-up, 10 to 400 mm."""
    model = load_machine(name).model
    assert model.source is not None
    off_axis = OffAxis.of(model)
    depth, fields = np.array([20.0, 60.0, 120.0, 200.0, 300.0]), np.array([10.0, 30.0, 100.0, 250.0, 400.0])
    table = axis_table(
        model.source, off_axis, depth_mm=depth, ssd_mm=model.sad_mm - depth, fields_mm=[(f, f) for f in fields]
    )
    integrals = axis_integrals(off_axis, fields, model.widths_mm(1.0))
    ratio = model.amplitudes(depth) @ integrals.T / table
    np.testing.assert_allclose(ratio / ratio[1, 2], 1.0, atol=0.015)
