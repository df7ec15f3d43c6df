"""Pencil kernels of a beam model: Gaussians whose amplitudes depend on depth, fitted to doses on the axis.

At the isocentre the dose on the axis of a square field F is linear in the amplitudes::

    D(d, F) = Σ_k A_k(d)·I_k(F),   I_k(F) = ∫∫_F fluence(u, v) G(σ_k; u, v) du dv

The widths come from a derivative-free search, each trial solving for non-negative amplitudes depth by depth [1]_; the
amplitudes then come from one non-negative least-squares problem over all depths with a curvature penalty.

References
----------
.. [1] Lawson CL, Hanson RJ. Solving Least Squares Problems. SIAM 1995 (non-negative least squares).
.. [2] Bortfeld T, Schlegel W, Rhein B. Decomposition of pencil beam kernels for fast dose calculations in
   three-dimensional treatment planning. Med Phys 20 (1993) 311-318.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls
from scipy.special import erf, erfinv

from .axis_table import OffAxis

Array = NDArray[np.float64]

#: Depth up to which the dose builds up, mm.
BUILDUP_MM = 15.0
#: First guess of widths in water, mm.
_FIRST_WIDTHS_MM = (1.5, 6.0, 25.0, 90.0)
_BUILDUP_WEIGHT = 0.3
_CURVATURE_MM2 = 3.0


@dataclass(frozen=True, eq=False)
class AxisDoses:
    """Doses on the axis of square fields at the isocentre.

    Parameters
    ----------
    depth_mm : ndarray, shape (n,)
        Ascending from 0.
    field_mm : ndarray, shape (m,)
        Sides, ascending.
    gy_per_mu : ndarray, shape (n, m)
        At the isocentre under each depth of water.
    """

    depth_mm: Array
    field_mm: Array
    gy_per_mu: Array


@dataclass(frozen=True, eq=False)
class PencilKernels:
    """Fitted kernels.

    Parameters
    ----------
    width_mm : ndarray, shape (k,)
        In water, without the focus's blur.
    amplitude_gy_per_mu : ndarray, shape (n, k)
        At the depths of the doses.
    misfit_percent : ndarray, shape (n, m)
        Fitted over given dose, less 1.
    """

    width_mm: Array
    amplitude_gy_per_mu: Array
    misfit_percent: Array


def fit_pencil_kernels(doses: AxisDoses, off_axis: OffAxis, *, components: int = 4) -> PencilKernels:
    """Fit widths and amplitudes."""
    scale = float(doses.gy_per_mu.max())
    dose = doses.gy_per_mu / scale
    first = np.log(np.asarray(_FIRST_WIDTHS_MM[:components]))

    def integrals(widths: Array) -> Array:
        return axis_integrals(off_axis, doses.field_mm, np.hypot(widths, off_axis.source_sigma_mm))

    deep = doses.depth_mm > BUILDUP_MM

    def misfit(log_widths: Array) -> float:
        on_field = integrals(np.exp(log_widths))
        residual = np.array([_solve(on_field, row)[1] for row in dose[deep]])
        return float(np.sqrt(np.mean(residual**2)) + 0.3 * np.abs(residual).max())

    search = minimize(misfit, first, method="Nelder-Mead", options={"maxfev": 600, "xatol": 2e-3, "fatol": 1e-7})
    widths = np.sort(np.exp(search.x))
    on_field = integrals(widths)
    amplitude = _smooth_fit(doses.depth_mm, dose, on_field)
    return PencilKernels(widths, amplitude * scale, 100 * (amplitude @ on_field.T / dose - 1))


def _solve(on_field: Array, dose: Array) -> tuple[Array, Array]:
    matrix = on_field / dose[:, None]
    solution, _ = nnls(matrix, np.ones(len(dose)))
    return solution, matrix @ solution - 1


def axis_integrals(off_axis: OffAxis, field_mm: Array, width_mm: Array) -> Array:
    """Return I_k(F): normalised Gaussians × primary fluence over square fields, shape (fields, widths)."""
    nodes, weights = np.polynomial.legendre.leggauss(48)
    result = np.empty((len(field_mm), len(width_mm)))
    for row, side in enumerate(field_mm):
        for column, width in enumerate(width_mm):
            # Substitute the Gaussian's own cumulative distribution: nodes lie where the integrand is.
            half = erf(side / (2 * np.sqrt(2) * width))
            x = np.sqrt(2) * width * erfinv(nodes * half)
            fluence = off_axis.at(np.hypot(x[:, None], x[None, :]))
            result[row, column] = (weights @ fluence @ weights) * (half / 2) ** 2
    return result


def _smooth_fit(depth: Array, dose: Array, on_field: Array) -> Array:
    count, terms = len(depth), on_field.shape[1]
    rows: list[Array] = []
    targets: list[Array] = []
    for row in range(count):
        weight = _BUILDUP_WEIGHT if depth[row] <= BUILDUP_MM else 1.0
        wide = np.zeros((dose.shape[1], count, terms))
        wide[:, row] = on_field / dose[row][:, None] * weight
        rows.append(wide.reshape(dose.shape[1], -1))
        targets.append(np.full(dose.shape[1], weight))
    for row in range(1, count - 1):
        before, after = depth[row] - depth[row - 1], depth[row + 1] - depth[row]
        stencil = np.array([2 / before / (before + after), -2 / before / after, 2 / after / (before + after)])
        # In the build-up the dose itself is curved: hold it there a twentieth as stiff.
        stiffness = _CURVATURE_MM2 * (0.05 if depth[row] <= BUILDUP_MM + 5 else 1.0)
        for term in range(terms):
            curvature = np.zeros((1, count, terms))
            curvature[0, row - 1 : row + 2, term] = stencil * stiffness
            rows.append(curvature.reshape(1, -1))
            targets.append(np.zeros(1))
    solution, _ = nnls(np.vstack(rows), np.concatenate(targets), maxiter=50 * count * terms)
    return np.asarray(solution).reshape(count, terms)
