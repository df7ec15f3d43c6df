"""The declared 10 MV test machine: ``python -m imrt_core.commission.generic_10mv [--out FILE]``.

No 10 MV measurements are at hand, so nothing is fitted. The spectrum is that of a thin tungsten target behind tungsten
and copper (:mod:`imrt_core.physics.thin_target`); what it gives lies near published 10 MV beams, and
``tests/commission/test_generic_10mv.py`` holds it there. What the spectrum does not decide is taken over from
``generic_6mv`` (head, focus, off-axis fluence) or declared (electrons, MU, transmission). For tests of software with
two energies, and of plans that use them; never for a patient.

References
----------
.. [1] Sheikh-Bagheri D, Rogers DWO. Monte Carlo calculation of nine megavoltage photon beam spectra using the BEAM
   code. Med Phys 29 (2002) 391-402: about 10.5 MeV electrons make a Varian 10 MV beam.
.. [2] British Journal of Radiology Supplement 25. Central axis depth dose data for use in radiotherapy: 1996.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from imrt_core.machine import BeamModel, Calibration, CommissionedRange, Machine, declared, load_machine, write_machine
from imrt_core.machine.axis_table import OffAxis, axis_table, electrons_on_axis
from imrt_core.machine.derive import (
    PENCIL_DEPTH_MM,
    PENCIL_FIELD_MM,
    with_pencil_kernels,
    without_pencil_kernels,
)
from imrt_core.machine.photon_source import ElectronContamination, PhotonSource
from imrt_core.patient import MachineError
from imrt_core.physics.thin_target import filtered_spectrum

from .measured import AbsolutePoint
from .with_engines import calibrated

NAME, VERSION = "generic_10mv", "1.0"
OUT = Path(__file__).parents[1] / "machine" / "data" / f"{NAME}.toml"

ELECTRON_MEV = 10.5
#: Declared: the target's own thickness of about 1.5 mm, and a flattening filter's on the axis of about 22 mm.
FILTER_G_PER_CM2 = {"tungsten": 3.0, "copper": 20.0}
#: Declared: 5 % of the maximum at the surface of 10×10 cm, 8 % of a field without end, as build-up of 10 MV beams asks.
ELECTRONS = ElectronContamination(surface_gy_per_mu=0.0008, depth_mm=10.0, sigma_mm=40.0)
CALIBRATION = Calibration()


def declared_source(like: BeamModel) -> PhotonSource:
    """Return the photon source, with the head of a 6 MV model, calibrated by the superposition on the axis.

    Raises
    ------
    MachineError
        If that model has no photon source.
    """
    if like.source is None:
        raise MachineError("the head is taken over from a photon source", found="none", where=like.name)
    spectrum = filtered_spectrum(ELECTRON_MEV, FILTER_G_PER_CM2)
    spectrum = replace(spectrum, fluence=tuple(round(f, 5) for f in spectrum.fluence))
    source = PhotonSource(spectrum, 1.0, softening=1.0, extra_focal=like.source.extra_focal)
    field, depth_mm, ssd_mm = (CALIBRATION.field_mm,) * 2, np.arange(15.0, 35.0), CALIBRATION.ssd_mm
    photons = axis_table(source, OffAxis.of(like), depth_mm=depth_mm, ssd_mm=ssd_mm, fields_mm=[field])[:, 0]
    electrons = electrons_on_axis(ELECTRONS, field, depth_mm, ssd_mm + depth_mm) * like.sad_mm**2
    # The smallest fluence that reaches the declared dose somewhere reaches it at the maximum.
    fluence = np.min((CALIBRATION.dose_gy_per_mu - ELECTRONS.surface_gy_per_mu * electrons) / photons)
    return replace(source, photons_per_cm2_per_mu=float(f"{fluence:.6g}"), contamination=ELECTRONS)


def build() -> Machine:
    """Return the machine."""
    like = load_machine("generic_6mv")
    model = without_pencil_kernels(
        declared_source(like.model),
        OffAxis.of(like.model),
        # Nothing was measured: the range is that of the tables that the model is made of.
        CommissionedRange(
            (PENCIL_FIELD_MM[0], PENCIL_FIELD_MM[-1]),
            (0.0, float(PENCIL_DEPTH_MM[-1])),
            like.model.commissioned.off_axis_mm,
        ),
        name=NAME,
        energy_mv=10.0,
    )
    model = replace(
        model,
        version=VERSION,
        validated=False,
        mlc_transmission=declared.MLC_TRANSMISSION,
        jaw_transmission=declared.JAW_TRANSMISSION,
        calibration=CALIBRATION,
        provenance=(
            "Declared, fitted to nothing and compared with no measurement. Spectrum: thin-target bremsstrahlung of "
            f"{ELECTRON_MEV:g} MeV electrons on tungsten (Koch & Motz, Rev Mod Phys 31 (1959) 920, 3BS(e)) behind "
            f"{FILTER_G_PER_CM2['tungsten']:g} g/cm² tungsten and {FILTER_G_PER_CM2['copper']:g} g/cm² copper "
            "(NISTIR 5632), the form of Ali & Rogers, Phys Med Biol 57 (2012) 31. Head, focus and off-axis fluence of "
            f"generic_6mv {like.model.version}; electron contamination, leaf and jaw transmission declared; "
            "1 cGy/MU at the maximum of 10x10 cm, SSD 100 cm, declared. The stated range is that of the tables, "
            "not of measurements. Made by python -m imrt_core.commission.generic_10mv."
        ),
    )
    point = AbsolutePoint(CALIBRATION.dose_gy_per_mu, (CALIBRATION.field_mm,) * 2, None, CALIBRATION.ssd_mm)
    return replace(
        like,
        name=NAME,
        version=VERSION,
        description=(
            "Declared 10 MV test beam on the collimator of generic_6mv, NOT VALIDATED: for tests of software only. "
            "Research software, not a medical device."
        ),
        model=calibrated(with_pencil_kernels(model), point),
    )


def main() -> None:
    """Write the machine file."""
    parser = argparse.ArgumentParser(description="Write the declared 10 MV test machine.")
    parser.add_argument("--out", type=Path, default=OUT)
    print(write_machine(build(), parser.parse_args().out))


if __name__ == "__main__":
    main()
