"""Digital patients and a late fraction of each, built once."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from imrt_core.patient import Grid, Volume
from imrt_core.phantom import SITES, DigitalPatient, SimulatedFraction, build_patient, simulate_fraction


@cache
def patient_of(site: str) -> DigitalPatient:
    return build_patient(site)


@cache
def last_fraction_of(site: str) -> SimulatedFraction:
    patient = patient_of(site)
    return simulate_fraction(patient, patient.prescription.fractions, fractions=patient.prescription.fractions)


@pytest.fixture(params=SITES)
def patient(request: pytest.FixtureRequest) -> DigitalPatient:
    return patient_of(request.param)


@pytest.fixture(params=SITES)
def last_fraction(request: pytest.FixtureRequest) -> tuple[DigitalPatient, SimulatedFraction]:
    return patient_of(request.param), last_fraction_of(request.param)


@pytest.fixture
def head_neck() -> DigitalPatient:
    return patient_of("head-neck")


@pytest.fixture
def head_neck_last() -> SimulatedFraction:
    return last_fraction_of("head-neck")


@pytest.fixture(scope="session")
def small_head_neck() -> DigitalPatient:
    """The same patient on every second voxel of each axis: an eighth of the work."""
    patient = patient_of("head-neck")
    ct = patient.planning.ct
    shape = tuple(-(-n // 2) for n in ct.hu.grid.shape)
    sx, sy, sz = ct.hu.grid.spacing_mm
    grid = Grid((shape[0], shape[1], shape[2]), (2 * sx, 2 * sy, 2 * sz), ct.hu.grid.origin_lps)

    def thinned(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[::2, ::2, ::2])

    return replace(
        patient,
        planning=replace(
            patient.planning,
            ct=replace(ct, hu=Volume(thinned(ct.hu.array), grid), slice_uids=ct.slice_uids[::2]),
        ),
        bone=thinned(patient.bone),
        tissue_hu=Volume(thinned(patient.tissue_hu.array), grid),
    )
