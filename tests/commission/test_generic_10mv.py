"""The declared 10 MV machine: near published 10 MV beams, marked as not validated, as its script builds it.

Published: PDD(10 cm) 73.0 % and maximum at 2.3 cm for 10×10 cm at SSD 100 cm (British Journal of Radiology Supplement
25, 10 MV); TPR20/10 = 1.2661·PDD20/10 − 0.0595 (IAEA TRS-398, section 6.3.1), 0.73 to 0.74 for such beams.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imrt_core.commission.generic_10mv import declared_source
from imrt_core.commission.profiles import CELL_MM, rectangle, water_tank
from imrt_core.dose.collapsed_cone import direction_dose
from imrt_core.dose.pencil_beam import add_pencil_dose
from imrt_core.machine import BeamModel, load_machine
from imrt_core.machine.axis_table import OffAxis, axis_table
from imrt_core.physics.thin_target import bremsstrahlung, filtered_spectrum, mass_attenuation

MACHINE = load_machine("generic_10mv")
MODEL = MACHINE.model
DEPTH_MM = np.array([*range(10, 40), 50.0, 100.0, 200.0])


def on_axis(model: BeamModel, depth_mm: np.ndarray, ssd_mm: float, *, engine: str) -> np.ndarray:
    """Gy per MU of 10×10 cm in a tank."""
    if engine == "superposition":
        off_axis = OffAxis.of(model)
        assert model.source is not None
        return axis_table(model.source, off_axis, depth_mm=depth_mm, ssd_mm=ssd_mm, fields_mm=[(100.0, 100.0)])[:, 0]
    water, beam = water_tank(ssd_mm, model.sad_mm)
    points = np.zeros((len(depth_mm), 3))
    points[:, 1] = depth_mm + ssd_mm - model.sad_mm
    opening = rectangle(beam, model, 100.0, 100.0)
    if engine == "collapsed-cone":
        return np.asarray(direction_dose(model, water, opening, points, cell_mm=CELL_MM).gy, dtype=float)
    dose = np.zeros(len(depth_mm), dtype=np.float32)
    add_pencil_dose(model, water, opening, points, dose)
    return dose.astype(float)


@pytest.mark.parametrize("engine", ["superposition", "collapsed-cone", "beamlet"])
def test_depth_dose_is_that_of_a_10_mv_beam(engine: str) -> None:
    dose = on_axis(MODEL, DEPTH_MM, 1000.0, engine=engine)
    if engine != "superposition":  # each engine is calibrated with itself
        assert dose.max() == pytest.approx(0.01, rel=0.002)
    assert 72.5 <= 100 * dose[DEPTH_MM == 100][0] / dose.max() <= 74.5
    assert 21 <= DEPTH_MM[dose.argmax()] <= 27
    pdd_20_10 = dose[DEPTH_MM == 200][0] / dose[DEPTH_MM == 100][0]
    assert 0.725 <= 1.2661 * pdd_20_10 - 0.0595 <= 0.745


@pytest.mark.parametrize("engine", ["superposition", "collapsed-cone"])
def test_quality_index_is_that_of_a_10_mv_beam(engine: str) -> None:
    at_10, at_20 = (on_axis(MODEL, np.array([d]), 1000.0 - d, engine=engine)[0] for d in (100.0, 200.0))
    assert 0.725 <= at_20 / at_10 <= 0.745


def test_spectrum_against_monte_carlo() -> None:
    """Mean energies of flattened beams on the axis lie near a third of the nominal ones (Sheikh-Bagheri 2002)."""
    assert MODEL.source is not None
    assert 2.6 <= MODEL.source.spectrum.mean_energy_mev <= 3.2
    assert 1.6 <= filtered_spectrum(5.7, {"tungsten": 3.0, "copper": 20.0}).mean_energy_mev <= 2.1


def test_thin_target_shape() -> None:
    """Nothing at and beyond the electrons' energy; k·dN/dk falls with k; more electrons' energy, harder photons."""
    k = np.linspace(0.05, 11.0, 200)
    photons = bremsstrahlung(k, 10.5)
    assert np.all(photons[k >= 10.5] == 0)
    assert np.all(photons >= 0)
    inside = k < 10.0
    assert np.all(np.diff((k * photons)[inside]) < 0)


def test_filters_harden() -> None:
    thin, thick = (filtered_spectrum(10.5, {"copper": mass}) for mass in (5.0, 30.0))
    assert thick.mean_energy_mev > thin.mean_energy_mev + 0.3
    # Between the tabled energies: tungsten at 1.25 MeV lies between its neighbours.
    assert 0.0500 < mass_attenuation("tungsten", 1.3) < 0.05577


def test_shipped_machine_is_declared_and_says_so() -> None:
    assert MODEL.nominal_energy_mv == 10.0
    assert not MODEL.validated
    assert "beam model not validated" in MODEL.validity_warnings[0]
    assert "compared with no measurement" in MODEL.provenance
    assert "NOT VALIDATED" in MACHINE.description
    assert set(vars(MODEL.residuals).values()) == {None}
    like = load_machine("generic_6mv")
    assert (MACHINE.mlc, MACHINE.limits, MACHINE.table) == (like.mlc, like.limits, like.table)
    assert like.model.validated
    assert like.model.validity_warnings == ()


def test_shipped_source_is_what_the_script_builds() -> None:
    built, shipped = declared_source(load_machine("generic_6mv").model), MODEL.source
    assert shipped is not None
    assert shipped.spectrum == built.spectrum
    assert shipped.extra_focal == built.extra_focal
    # Fluence per MU and electrons are scaled together when the collapsed cone is calibrated with itself.
    more = shipped.photons_per_cm2_per_mu / built.photons_per_cm2_per_mu
    wanted = more * built.contamination.surface_gy_per_mu
    assert shipped.contamination.surface_gy_per_mu == pytest.approx(wanted, rel=1e-4)
    scaled = replace(shipped.contamination, surface_gy_per_mu=built.contamination.surface_gy_per_mu)
    assert scaled == built.contamination
