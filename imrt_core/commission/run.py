"""Fit a beam model to measurements: focus, spectrum, head, electrons, off-axis fluence, pencil kernels, residuals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from imrt_core.machine import BeamModel, Calibration, CommissionedRange, Machine, Residuals, declared, write_machine
from imrt_core.machine.axis_table import OffAxis
from imrt_core.machine.derive import with_pencil_kernels, without_pencil_kernels
from imrt_core.machine.photon_source import PhotonSource
from imrt_core.machine.scans import Measurements

from .measured import (
    AbsolutePoint,
    AxisPoints,
    FieldFactors,
    absolute_point,
    depth_doses,
    field_factors,
    profiles,
)
from .profiles import ProfilePair, edge_offset_mm, improved_fluence, profile_pairs
from .residuals import AxisPair, FactorPair, axis_pairs, factor_pairs, largest
from .source_fit import fit_photon_source
from .with_engines import FOCUS_RANGE_MM, calibrated, focus_from_penumbra, planes_from_tails, with_planes

#: Blur by the focus where nothing measured tells it, mm.
DECLARED_FOCUS_MM = 1.5
#: Fields up to this side tell the width of the focus by their output factors.
_SMALL_FIELD_MM = 25.0
#: The smallest field whose output factor the fit follows; smaller ones are reported only.
_LEAST_FIELD_MM = 10.0

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Commissioned:
    """A fitted beam model and how it compares with what it was fitted to.

    Parameters
    ----------
    model : BeamModel
        With its residuals.
    depth : tuple of AxisPair
        Depth doses and TPRs.
    factors : tuple of FactorPair
        Output factors.
    profiles : tuple of ProfilePair
        Profiles by the collapsed-cone engine.
    notes : tuple of str
        What was declared or assumed.
    """

    model: BeamModel
    depth: tuple[AxisPair, ...]
    factors: tuple[FactorPair, ...]
    profiles: tuple[ProfilePair, ...]
    notes: tuple[str, ...]


def commission_model(
    measured: Measurements,
    *,
    name: str,
    version: str = "1.0",
    factors: Sequence[FieldFactors] | None = None,
    calibration: Calibration | None = None,
    progress: Progress = lambda _: None,
) -> Commissioned:
    """Fit a beam model.

    Parameters
    ----------
    measured : Measurements
        From :func:`imrt_core.machine.scans.read_scans`.
    name, version : str
        Of the model.
    factors : sequence of FieldFactors or None
        In place of the measured output factors.
    calibration : Calibration or None
        Meaning of one MU where no absolute dose was measured.
    progress : callable
        Told what is done next.

    Raises
    ------
    MachineError
        If there is no depth dose or TPR.
    """
    declared_dose = calibration or Calibration()
    curves = depth_doses(measured)
    measured_factors, notes = field_factors(measured)
    factors = measured_factors if factors is None else tuple(factors)
    absolute, more = absolute_point(
        measured,
        AbsolutePoint(declared_dose.dose_gy_per_mu, (declared_dose.field_mm,) * 2, None, declared_dose.ssd_mm),
    )
    scans = profiles(measured)
    notes += more
    if measured.primary_fluence is None:
        off_axis = OffAxis((0.0, 300.0), (1.0, 1.0), DECLARED_FOCUS_MM, measured.sad_mm)
    else:
        primary = measured.primary_fluence
        off_axis = OffAxis(
            tuple(primary.radius_mm.tolist()), tuple(primary.fluence.tolist()), DECLARED_FOCUS_MM, measured.sad_mm
        )
    fitted = [replace_fields(f, _LEAST_FIELD_MM) for f in factors]

    def fit(at: OffAxis) -> tuple[PhotonSource, float]:
        return fit_photon_source(curves, fitted, absolute, at, energy_mv=measured.energy_mv)

    small = any(min(f) <= _SMALL_FIELD_MM for table in fitted for f in table.fields_mm)
    if small and not scans:
        progress("focus and spectrum")
        search = minimize_scalar(
            lambda sigma: fit(replace(off_axis, source_sigma_mm=float(sigma)))[1],
            bounds=FOCUS_RANGE_MM,
            method="bounded",
            options={"xatol": 0.05},
        )
        off_axis = replace(off_axis, source_sigma_mm=round(float(search.x), 2))
    progress("spectrum")
    source, _ = fit(off_axis)
    model = _model(source, off_axis, measured, curves, factors, name=name, version=version, calibration=declared_dose)
    if scans:
        progress("profiles")
        for kind in ("crossline", "inline"):
            offsets = [edge_offset_mm(s, model.sad_mm) for s in scans if s.kind == kind]
            if offsets:
                notes += (f"{kind} edges lie {np.mean(offsets):+.2f} mm beyond the nominal ones",)
        if measured.primary_fluence is None:
            model = improved_fluence(model, profile_pairs(scans, model))
            notes += ("off-axis fluence from the profiles, held constant beyond them",)
        progress("tails of profiles")
        planes = planes_from_tails(model, scans)
        model = with_planes(model, planes)
        progress("focus")
        model = focus_from_penumbra(model, scans)
        if measured.primary_fluence is None:
            # Once more, now that the focus no longer rounds the shoulders of the profiles too much or too little.
            model = improved_fluence(model, profile_pairs(scans, model))
        off_axis = OffAxis.of(model)
        # The planes stay: the axis sees the source through the upper one alone.
        model = with_planes(replace(model, source=fit(off_axis)[0]), planes)
    elif not small:
        notes += (f"focus of {DECLARED_FOCUS_MM:g} mm declared: neither profiles nor small fields",)
    if not scans:
        notes += ("lower collimating plane of extra-focal sources declared: no profiles",)
    if measured.primary_fluence is None and not scans:
        notes += ("flat off-axis fluence declared: neither profiles nor primary fluence",)
    progress("pencil kernels")
    model = calibrated(with_pencil_kernels(model), absolute)
    progress("residuals")
    depth_pairs, output_pairs = axis_pairs(curves, model), factor_pairs(factors, model)
    pairs = profile_pairs(scans, model) if scans else ()
    residuals = Residuals(
        pdd_percent=largest([p.deep_percent for p in depth_pairs]),
        buildup_percent=largest([p.buildup_percent for p in depth_pairs]),
        output_factor_percent=largest([p.percent[p.least_field(_LEAST_FIELD_MM)] for p in output_pairs]),
        profile_percent=largest([p.difference_percent[p.inside] for p in pairs]),
        penumbra_mm=largest([np.array([p.penumbra_difference_mm]) for p in pairs]),
    )
    provenance = (
        f"Fitted by igrt commission to {measured.source}. "
        + "; ".join((*notes, *measured.warnings))
        + ". Leaf and jaw transmission declared, not measured."
    )
    return Commissioned(
        replace(model, residuals=residuals, provenance=provenance), depth_pairs, output_pairs, pairs, notes
    )


def replace_fields(factors: FieldFactors, least_mm: float) -> FieldFactors:
    """Return output factors without fields narrower than a side."""
    keep = [n for n, f in enumerate(factors.fields_mm) if min(f) >= least_mm or n == factors.unit]
    return replace(
        factors,
        fields_mm=tuple(factors.fields_mm[n] for n in keep),
        factor=factors.factor[keep],
        unit=keep.index(factors.unit),
    )


def _model(
    source: PhotonSource,
    off_axis: OffAxis,
    measured: Measurements,
    curves: Sequence[AxisPoints],
    factors: Sequence[FieldFactors],
    *,
    name: str,
    version: str,
    calibration: Calibration,
) -> BeamModel:
    sides = [s for c in curves for s in c.field_mm] + [s for f in factors for field in f.fields_mm for s in field]
    reach = [abs(float(p)) for s in profiles(measured) for p in (s.position_mm[0], s.position_mm[-1])]
    if measured.primary_fluence is not None:
        bright = measured.primary_fluence.fluence >= 0.5
        reach.append(float(measured.primary_fluence.radius_mm[bright].max()))
    plain = without_pencil_kernels(
        _rounded(source),
        off_axis,
        CommissionedRange(
            field_mm=(float(min(sides)), float(max(sides))),
            depth_mm=(0.0, float(max(c.depth_mm.max() for c in curves))),
            off_axis_mm=max(reach, default=max(sides) / 2),
        ),
        name=name,
        energy_mv=measured.energy_mv,
    )
    return replace(
        plain,
        version=version,
        mlc_transmission=declared.MLC_TRANSMISSION,
        jaw_transmission=declared.JAW_TRANSMISSION,
        calibration=calibration,
    )


def _rounded(source: PhotonSource) -> PhotonSource:
    """Round to what a person wants to read; far below what the measurements tell."""
    spectrum = replace(source.spectrum, fluence=tuple(round(f, 5) for f in source.spectrum.fluence))
    return replace(
        source,
        spectrum=spectrum,
        photons_per_cm2_per_mu=float(f"{source.photons_per_cm2_per_mu:.6g}"),
        extra_focal=tuple(replace(h, share=round(h.share, 5)) for h in source.extra_focal),
        contamination=replace(
            source.contamination,
            surface_gy_per_mu=float(f"{source.contamination.surface_gy_per_mu:.4g}"),
            depth_mm=round(source.contamination.depth_mm, 2),
            sigma_mm=round(source.contamination.sigma_mm, 1),
        ),
    )


def commission_machine(
    measured: Measurements,
    out: Path,
    *,
    name: str,
    version: str = "1.0",
    factors: Sequence[FieldFactors] | None = None,
    description: str = "",
    progress: Progress = lambda _: None,
) -> Commissioned:
    """Fit a beam model and write a machine file around it; what is no beam model is declared, to be edited.

    Parameters
    ----------
    measured : Measurements
        Scans.
    out : Path
        TOML to write.
    name, version, factors, progress
        As in :func:`commission_model`.
    description : str
        For people.
    """
    done = commission_model(measured, name=name, version=version, factors=factors, progress=progress)
    machine = Machine(
        name=name,
        version=version,
        description=description
        or f"{measured.energy_mv:g} MV beam, fitted; collimator, limits, table, density declared. Research software.",
        model=done.model,
        mlc=declared.millennium_120(),
        limits=declared.limits(),
        table=declared.table(),
        imagers=declared.imagers(),
        density_curves=declared.density_curves(),
    )
    write_machine(machine, out)
    return done
