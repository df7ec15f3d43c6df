"""Fit spectrum, head scatter and electron contamination to depth doses and output factors.

The dose on the axis is linear in the photon fluence per energy and in the electrons' surface dose, once the share and
the width of the extra-focal source and the shape of the contamination are given. So these few are searched, and each
trial solves one non-negative least-squares problem. The spectrum is held smooth: it is a smooth factor times a
thin-target shape, since depth doses tell no more than its trend [1]_.

References
----------
.. [1] Ali ESM, Rogers DWO. Functional forms for photon spectra of clinical linacs. Phys Med Biol 57 (2012) 31-50.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

from imrt_core.machine.axis_table import OffAxis, electrons_on_axis, focal_fluence, head_fluence
from imrt_core.machine.photon_source import ElectronContamination, ExtraFocalSource, PhotonSource
from imrt_core.patient import MachineError
from imrt_core.physics.depth_dose import axis_dose
from imrt_core.physics.point_kernels import water_point_kernels
from imrt_core.physics.spectrum import GY_PER_MEV_PER_G, Spectrum

from .measured import AbsolutePoint, AxisPoints, FieldFactors

Array = NDArray[np.float64]

#: Width of the narrow extra-focal source, and widths of the wide one that are tried, mm.
_NARROW_MM = 7.0
_WIDE_MM = (17.0, 24.0, 34.0)
#: Depth up to which electrons and the detector rule.
BUILDUP_MM = 15.0
_BUILDUP_WEIGHT = 0.15
_OUTPUT_WEIGHT = 2.0
_SMOOTHNESS = 0.02
_LOWEST_MEV = 0.15


@dataclass(frozen=True, eq=False)
class _Basis:
    """Gy per photon/cm² by energy at some points, for the focus and for each width of an extra-focal source."""

    focal: Array
    head: Array
    depth_mm: Array
    distance_mm: Array
    fields_mm: tuple[tuple[float, float], ...]

    def rows(self, wide: int, shares: tuple[float, float], electrons: ElectronContamination, sad_mm: float) -> Array:
        """Return (points, fields, energies + 1): dose per unit of every unknown."""
        photons = (1 - sum(shares)) * self.focal + shares[0] * self.head[0] + shares[1] * self.head[1 + wide]
        ec = np.stack(
            [sad_mm**2 * electrons_on_axis(electrons, f, self.depth_mm, self.distance_mm) for f in self.fields_mm],
            axis=-1,
        )
        return np.concatenate([photons, ec[..., None]], axis=-1)


def fit_photon_source(
    curves: Sequence[AxisPoints],
    factors: Sequence[FieldFactors],
    absolute: AbsolutePoint,
    off_axis: OffAxis,
    *,
    energy_mv: float,
    softening: float = 1.0,
) -> tuple[PhotonSource, float]:
    """Fit a photon source; return it and the root of its weighted sum of squares.

    Parameters
    ----------
    curves : sequence of AxisPoints
        Depth doses or TPRs.
    factors : sequence of FieldFactors
        May be empty: then there is no extra-focal source.
    absolute : AbsolutePoint
        Meaning of the MU.
    off_axis : OffAxis
        Primary fluence and focus.
    energy_mv : float
        Largest photon energy of the spectrum.
    softening : float
        As in :class:`PhotonSource`.

    Raises
    ------
    MachineError
        If there is no depth dose.
    """
    if not curves:
        raise MachineError("a beam model needs a depth dose or a TPR", found="none")
    nodes = water_point_kernels().energy_mev
    used = (nodes >= _LOWEST_MEV) & (nodes < energy_mv)
    shape = _thin_target(nodes[used], energy_mv)
    plain = PhotonSource(Spectrum((1.0,), (1.0,)), 1.0, softening=softening)
    heads = [ExtraFocalSource(0.1, sigma) for sigma in (_NARROW_MM, *_WIDE_MM)]

    def basis(fields: Sequence[tuple[float, float]], depth: Array, ssd: Array) -> _Basis:
        fluences = [focal_fluence(f, off_axis) for f in fields]
        fluences += [head_fluence(f, h, off_axis.sad_mm) for h in heads for f in fields]
        dose = axis_dose(
            depth,
            ssd,
            fluences,
            sad_mm=off_axis.sad_mm,
            steeper=lambda r: plain.attenuation_off_axis(r, off_axis.sad_mm),
        )
        scaled = GY_PER_MEV_PER_G * (dose[used] * shape[:, None, None]).transpose(1, 2, 0)
        count = len(fields)
        parts = [scaled[:, n * count : (n + 1) * count] for n in range(len(heads) + 1)]
        return _Basis(parts[0], np.array(parts[1:]), depth, ssd + depth, tuple(fields))

    grouped = _by_points(curves)
    on_curves = [(group, basis([c.field_mm for c in group], group[0].depth_mm, group[0].ssd_mm)) for group in grouped]
    on_factors = [(f, basis(f.fields_mm, np.array([f.depth_mm]), np.array([f.ssd_mm]))) for f in factors]
    depth = np.arange(5.0, 50.0, 1.0) if absolute.depth_mm is None else np.array([absolute.depth_mm])
    on_absolute = basis([absolute.field_mm], depth, np.full(len(depth), absolute.ssd_mm))
    # Depth doses are relative, each to itself: only output factors tell how much comes from the head.
    head_is_told = any(len(f.fields_mm) > 1 for f in factors)

    def solve(wide: int, parameters: Array) -> tuple[Array, float, tuple[float, float], ElectronContamination]:
        shares = _shares(parameters[:2]) if head_is_told else (0.0, 0.0)
        depth_mm, sigma_mm = np.clip(np.exp(parameters[2:]), (2.0, 10.0), (25.0, 200.0))
        electrons = ElectronContamination(1.0, float(depth_mm), float(sigma_mm))
        rows, target = [], []
        for group, at in on_curves:
            dose = at.rows(wide, shares, electrons, off_axis.sad_mm)
            for n, curve in enumerate(group):
                relative = curve.value / curve.value[curve.reference]
                weight = np.where(curve.depth_mm <= BUILDUP_MM, _BUILDUP_WEIGHT, 1.0) / np.sqrt(len(relative) / 20)
                row = dose[:, n] / relative[:, None] - dose[curve.reference, n]
                rows.append(row * (weight / absolute.gy_per_mu)[:, None])
                target.append(np.zeros(len(row)))
        for factor, at in on_factors:
            dose = at.rows(wide, shares, electrons, off_axis.sad_mm)[0]
            row = dose / factor.factor[:, None] - dose[factor.unit]
            rows.append(_OUTPUT_WEIGHT / absolute.gy_per_mu * row)
            target.append(np.zeros(len(row)))
        known = on_absolute.rows(wide, shares, electrons, off_axis.sad_mm)[:, 0]
        # At a maximum of unknown depth: where the present guess has it.
        peak = int(np.argmax(known[:, :-1].sum(axis=1)))
        rows.append(100.0 * known[peak : peak + 1] / absolute.gy_per_mu)
        target.append(np.array([100.0]))
        # Unknowns are scaled so that a plausible beam is 1 throughout.
        scale = np.append(np.full(used.sum(), absolute.gy_per_mu / known[peak, :-1].sum()), 0.1 * absolute.gy_per_mu)
        matrix = np.vstack(rows) * scale
        bend = np.zeros((used.sum() - 2, used.sum() + 1))
        for n in range(len(bend)):
            bend[n, n : n + 3] = (1, -2, 1)
        matrix = np.vstack([matrix, _SMOOTHNESS * bend])
        wanted = np.append(np.concatenate(target), np.zeros(len(bend)))
        found, misfit = nnls(matrix, wanted)
        return found * scale, float(misfit), shares, electrons

    start = np.array([0.02, 0.05, np.log(6.0), np.log(30.0)])
    trials = [
        minimize(
            lambda p, wide=wide: solve(wide, p)[1], start, method="Nelder-Mead", options={"maxfev": 250, "xatol": 1e-3}
        )
        for wide in (range(len(_WIDE_MM)) if head_is_told else [0])
    ]
    wide = int(np.argmin([trial.fun for trial in trials]))
    unknowns, misfit, shares, electrons = solve(wide, trials[wide].x)
    fluence = unknowns[:-1] * shape
    both = zip(shares, (_NARROW_MM, _WIDE_MM[wide]), strict=True)
    source = PhotonSource(
        Spectrum(tuple(nodes[used]), tuple(fluence)),
        float(fluence.sum()),
        softening=softening,
        extra_focal=tuple(ExtraFocalSource(w, s) for w, s in both if w > 1e-4),
        contamination=ElectronContamination(float(unknowns[-1]), electrons.depth_mm, electrons.sigma_mm),
    )
    return source, misfit


def _shares(parameters: Array) -> tuple[float, float]:
    narrow, wide = np.clip(parameters, 0.0, 0.25)
    return float(narrow), float(wide)


def _by_points(curves: Sequence[AxisPoints]) -> list[list[AxisPoints]]:
    """Group curves that share their points: kernels are then looked up once."""
    groups: list[list[AxisPoints]] = []
    for curve in curves:
        for group in groups:
            first = group[0]
            if np.array_equal(first.depth_mm, curve.depth_mm) and np.array_equal(first.ssd_mm, curve.ssd_mm):
                group.append(curve)
                break
        else:
            groups.append([curve])
    return groups


def _thin_target(energy_mev: Array, largest_mev: float) -> Array:
    """Return photons per node of a filtered thin-target spectrum, with the nodes' spacing."""
    spacing = np.gradient(energy_mev)
    shape = (1 / energy_mev) * (1 - energy_mev / largest_mev) * (1 - np.exp(-((energy_mev / 0.6) ** 1.5)))
    return np.asarray(np.maximum(shape, 1e-4) * spacing)
