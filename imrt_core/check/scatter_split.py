"""Tell phantom from collimator scatter where only total output factors and TPR were measured.

TPR of several fields hold the scatter-to-primary ratio SPR: with primary P(d),

    TPR(d, s) = P(d)/P(d0) · (1 + SPR(d, s)) / (1 + SPR(d0, s)),   S_p(s) = (1 + SPR(d0, s)) / (1 + SPR(d0, 100 mm))

SPR = a·d·s / (s + b·d + c) [1]_ and P(d) = exp(−μ·d + η·d²) (hardening) are fitted to the whole table, and then
S_c = S_cp / S_p. Below the smallest field at which a collimator factor has a meaning of its own, where electron
equilibrium is lost and the source is partly covered, S_c is held: the loss belongs to the opening.

References
----------
.. [1] Bjärngard BE, Petti PL. Description of the scatter component in photon-beam data. Phys Med Biol 33 (1988) 21-32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from .tables import Curve, TprTable

Array = NDArray[np.float64]

#: Depths and fields of the fit: beyond electron contamination, with lateral electron equilibrium, measured.
FIT_DEPTH_MM = (30.0, 250.0)
FIT_FIELD_MM = (20.0, 400.0)
#: Smallest setting with a collimator factor of its own: equilibrium holds and the source is seen whole.
SMALLEST_COLLIMATOR_MM = 40.0
REFERENCE_FIELD_MM = 100.0


@dataclass(frozen=True)
class ScatterFit:
    """Parameters of SPR and the primary, and how well they describe the table."""

    a_per_mm: float
    b: float
    c_mm: float
    mu_per_mm: float
    eta_per_mm2: float
    reference_depth_mm: float
    largest_residual_percent: float

    def scatter_to_primary(self, depth_mm: ArrayLike, side_mm: ArrayLike) -> Array:
        """SPR in water."""
        depth, side = np.asarray(depth_mm, dtype=float), np.asarray(side_mm, dtype=float)
        return np.asarray(self.a_per_mm * depth * side / (side + self.b * depth + self.c_mm))

    def phantom_scatter(self, side_mm: ArrayLike) -> Array:
        """S_p at the reference depth, 1 for 100 mm."""
        depth = self.reference_depth_mm
        reference = 1 + self.scatter_to_primary(depth, REFERENCE_FIELD_MM)
        return np.asarray((1 + self.scatter_to_primary(depth, side_mm)) / reference)


def fit_scatter(table: TprTable) -> ScatterFit:
    """Fit SPR and primary to a TPR table."""
    depth, side = np.array(table.depth_mm), np.array(table.field_mm)
    rows = (depth >= FIT_DEPTH_MM[0]) & (depth <= FIT_DEPTH_MM[1])
    columns = (side >= FIT_FIELD_MM[0]) & (side <= FIT_FIELD_MM[1])
    measured = np.array(table.value)[np.ix_(rows, columns)]
    depth, side, d0 = depth[rows, None], side[None, columns], table.reference_depth_mm

    def ratio(parameters: Array) -> Array:
        a, b, c, mu, eta = parameters
        primary = np.exp(-mu * (depth - d0) + eta * (depth**2 - d0**2))
        scatter = a * depth * side / (side + b * depth + c)
        return np.asarray(primary * (1 + scatter) / (1 + a * d0 * side / (side + b * d0 + c)) / measured - 1)

    start = np.array([0.003, 1.0, 20.0, 0.005, 1e-6])
    found = least_squares(lambda p: ratio(p).ravel(), start, x_scale=np.abs(start))
    a, b, c, mu, eta = (float(v) for v in found.x)
    return ScatterFit(a, b, c, mu, eta, d0, 100 * float(np.abs(found.fun).max()))


def collimator_factor(fit: ScatterFit, output_factor: Curve) -> Curve:
    """S_c = S_cp / S_p at the measured settings from 40 mm on."""
    side = np.array(output_factor.at_mm)
    use = side >= SMALLEST_COLLIMATOR_MM
    value = np.array(output_factor.value)[use] / fit.phantom_scatter(side[use])
    return Curve(tuple(float(v) for v in side[use]), tuple(round(float(v), 4) for v in value))
