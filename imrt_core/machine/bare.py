"""A bare point source: the beam of Monte Carlo references, without head, focus or flattening filter."""

from __future__ import annotations

import numpy as np

from imrt_core.physics.spectrum import Spectrum

from .axis_table import OffAxis, axis_table
from .beam_model import BeamModel, CommissionedRange
from .pencil import AxisDoses, fit_pencil_kernels
from .photon_source import PhotonSource

#: Depths and square fields at which pencil kernels are fitted, mm.
PENCIL_DEPTH_MM = (*range(0, 31, 2), *range(40, 401, 10))
PENCIL_FIELD_MM = (5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0, 300.0, 400.0)


def bare_point_source(spectrum: Spectrum, *, name: str = "bare point source") -> BeamModel:
    """Return a beam model of a point source of uniform fluence, 1 photon/cm² per MU at 1 m; both engines can use it."""
    off_axis = OffAxis((0.0, 600.0), (1.0, 1.0), 0.0)
    source = PhotonSource(spectrum, 1.0, softening=0.0)
    depth, field = np.array(PENCIL_DEPTH_MM, dtype=float), np.array(PENCIL_FIELD_MM)
    table = axis_table(
        source, off_axis, depth_mm=depth, ssd_mm=off_axis.sad_mm - depth, fields_mm=[(f, f) for f in field]
    )
    kernels = fit_pencil_kernels(AxisDoses(depth, field, table), off_axis)
    return BeamModel(
        name=name,
        version="1.0",
        nominal_energy_mv=float(np.ceil(max(spectrum.energy_mev))),
        kernel_width_mm=tuple(kernels.width_mm.tolist()),
        depth_mm=tuple(depth.tolist()),
        amplitude_gy_per_mu=tuple(tuple(row) for row in kernels.amplitude_gy_per_mu.tolist()),
        fluence_radius_mm=off_axis.radius_mm,
        fluence=off_axis.fluence,
        commissioned=CommissionedRange((field[0], field[-1]), (0.0, depth[-1]), off_axis.radius_mm[-1]),
        provenance="computed from the spectrum by superposition of point kernels",
        source=source,
    )
