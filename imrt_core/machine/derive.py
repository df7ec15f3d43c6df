"""Beam models that follow from a photon source: the pencil kernels of both engines' one model, and a bare source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imrt_core.patient import MachineError
from imrt_core.physics.spectrum import Spectrum

from .axis_table import OffAxis, axis_table
from .beam_model import BeamModel, CommissionedRange
from .pencil import AxisDoses, fit_pencil_kernels
from .photon_source import PhotonSource

#: Depths and square fields at which pencil kernels are fitted, mm.
PENCIL_DEPTH_MM = (*range(0, 31, 2), *range(40, 401, 10))
PENCIL_FIELD_MM = (5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0, 300.0, 400.0)


def without_pencil_kernels(
    source: PhotonSource, off_axis: OffAxis, commissioned: CommissionedRange, *, name: str, energy_mv: float
) -> BeamModel:
    """Return a model whose pencil kernels give no dose: for the collapsed cone alone, until they are computed."""
    return BeamModel(
        name=name,
        version="1.0",
        nominal_energy_mv=energy_mv,
        source_sigma_mm=off_axis.source_sigma_mm,
        sad_mm=off_axis.sad_mm,
        kernel_width_mm=(1.0,),
        depth_mm=(0.0, 1.0, 2.0),
        amplitude_gy_per_mu=((0.0,), (0.0,), (0.0,)),
        fluence_radius_mm=off_axis.radius_mm,
        fluence=off_axis.fluence,
        commissioned=commissioned,
        source=source,
    )


def with_pencil_kernels(model: BeamModel) -> BeamModel:
    """Return the model with pencil kernels computed from its photon source.

    Raises
    ------
    MachineError
        If it has none.
    """
    if model.source is None:
        raise MachineError("pencil kernels are computed from a photon source", found="none", where=model.name)
    off_axis = OffAxis.of(model)
    depth, field = np.array(PENCIL_DEPTH_MM, dtype=float), np.array(PENCIL_FIELD_MM)
    table = axis_table(
        model.source, off_axis, depth_mm=depth, ssd_mm=model.sad_mm - depth, fields_mm=[(f, f) for f in field]
    )
    kernels = fit_pencil_kernels(AxisDoses(depth, field, table), off_axis)
    return replace(
        model,
        kernel_width_mm=tuple(float(f"{w:.5g}") for w in kernels.width_mm),
        depth_mm=tuple(depth.tolist()),
        amplitude_gy_per_mu=tuple(tuple(float(f"{a:.6g}") for a in row) for row in kernels.amplitude_gy_per_mu),
    )


def bare_point_source(spectrum: Spectrum, *, name: str = "bare point source") -> BeamModel:
    """Return a point source of uniform fluence without head or filter, 1 photon/cm² per MU at 1 m.

    The beam of Monte Carlo references; both engines can use it.
    """
    off_axis = OffAxis((0.0, 600.0), (1.0, 1.0), 0.0)
    model = without_pencil_kernels(
        PhotonSource(spectrum, 1.0, softening=0.0),
        off_axis,
        CommissionedRange((PENCIL_FIELD_MM[0], PENCIL_FIELD_MM[-1]), (0.0, PENCIL_DEPTH_MM[-1]), 600.0),
        name=name,
        energy_mv=float(np.ceil(max(spectrum.energy_mev))),
    )
    return replace(
        with_pencil_kernels(model), provenance="computed from the spectrum by superposition of point kernels"
    )
