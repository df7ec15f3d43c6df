"""The beam model: what a treatment machine's photon beam does in water, as numbers that a person can read.

Dose to water per MU at a point P at radiological depth d, seen from the source at (u, v) on the isocentre plane, in a
plane at distance r from the source (measured along the beam axis)::

    D(P) / MU = (SAD / r)² · Σ_k A_k(d) · [Φ ⊗ G(σ_k)](u, v)

Φ is the delivered fluence relative to the open beam on the axis (aperture × transmission × primary off-axis
fluence), G a normalised two-dimensional Gaussian. Its width on the isocentre plane is
``σ_k² = σ_source² + (s·w_k)²`` with w_k the width of kernel component k in water and s = SAD / (r · ρ), ρ the local
mean electron density (lateral density scaling, see :mod:`imrt_core.dose`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from imrt_core.patient import MachineError

from .photon_source import PhotonSource

#: Depth step of the tables that the engines use, mm.
TABLE_STEP_MM = 1.0


@dataclass(frozen=True)
class CommissionedRange:
    """Where the model was compared with measurements; dose elsewhere carries a warning.

    Parameters
    ----------
    field_mm : tuple of float
        Smallest and largest side of a square field.
    depth_mm : tuple of float
        Radiological depth.
    off_axis_mm : float
        Distance from the axis on the isocentre plane.
    """

    field_mm: tuple[float, float]
    depth_mm: tuple[float, float]
    off_axis_mm: float


@dataclass(frozen=True)
class Calibration:
    """What one MU means: ``dose_gy_per_mu`` at the depth of maximum of a square field."""

    dose_gy_per_mu: float = 0.01
    field_mm: float = 100.0
    ssd_mm: float = 1000.0


@dataclass(frozen=True)
class Residuals:
    """Largest absolute difference between the fitted model and the measurements; None where nothing was measured.

    Parameters
    ----------
    pdd_percent : float or None
        Depth dose or TPR, in percent of the local value, beyond 15 mm.
    buildup_percent : float or None
        The same, up to 15 mm.
    output_factor_percent : float or None
        Percent of the local value.
    profile_percent, penumbra_mm : float or None
        Inside the field, and 20 % to 80 % distance.
    """

    pdd_percent: float | None = None
    buildup_percent: float | None = None
    output_factor_percent: float | None = None
    profile_percent: float | None = None
    penumbra_mm: float | None = None


@dataclass(frozen=True)
class BeamModel:
    """A named, versioned photon beam.

    Parameters
    ----------
    name, version : str
        Both go with every dose.
    nominal_energy_mv : float
        As in the RTPLAN's Nominal Beam Energy.
    fluence_mode : str
        ``"STANDARD"`` (flattened) or ``"FFF"``.
    sad_mm : float
        Source-axis distance at which the model was measured.
    source_sigma_mm : float
        Blur of field edges by the size of the source, on the isocentre plane.
    source_sigma_xy_mm : tuple of float or None
        The same along X and Y of the collimator where they differ; read by the collapsed-cone engine. Leaf ends and
        jaws leave penumbras of their own, which this holds too.
    kernel_width_mm : tuple of float
        w_k in water, ascending.
    depth_mm : tuple of float
        Nodes of the amplitudes, ascending from 0.
    amplitude_gy_per_mu : tuple of tuple of float
        A_k at each node, ``[depth][component]``, not negative.
    fluence_radius_mm, fluence : tuple of float
        Primary off-axis fluence on the isocentre plane, relative to the axis; zero beyond the last radius.
    mlc_transmission, jaw_transmission : float
        Fraction of the open fluence that a closed leaf or jaw lets through.
    commissioned : CommissionedRange
        Range of the measurements.
    calibration : Calibration
        Meaning of the MU.
    residuals : Residuals
        How well the fit agrees with its measurements.
    provenance : str
        Where the measurements came from and what was assumed.
    source : PhotonSource or None
        What the collapsed-cone engine transports; None where the model has only pencil kernels.
    validated : bool
        False for a model that is declared and was compared with no measurement: every dose carries a warning, and
        courses refuse it unless told otherwise.

    Raises
    ------
    MachineError
        If a table is inconsistent.
    """

    name: str
    version: str
    nominal_energy_mv: float
    kernel_width_mm: tuple[float, ...]
    depth_mm: tuple[float, ...]
    amplitude_gy_per_mu: tuple[tuple[float, ...], ...]
    fluence_radius_mm: tuple[float, ...]
    fluence: tuple[float, ...]
    commissioned: CommissionedRange
    source_sigma_mm: float = 0.0
    source_sigma_xy_mm: tuple[float, float] | None = None
    fluence_mode: str = "STANDARD"
    sad_mm: float = 1000.0
    mlc_transmission: float = 0.0
    jaw_transmission: float = 0.0
    calibration: Calibration = field(default_factory=Calibration)
    residuals: Residuals = field(default_factory=Residuals)
    provenance: str = ""
    source: PhotonSource | None = None
    validated: bool = True

    def __post_init__(self) -> None:
        amplitude = np.array([list(row) for row in self.amplitude_gy_per_mu], dtype=float)
        numbers = (*self.kernel_width_mm, *self.depth_mm, *self.fluence_radius_mm, *self.fluence, *amplitude.ravel())
        if not np.all(np.isfinite(numbers)) or np.any(np.asarray(numbers) < 0):
            raise self._error("tables must hold finite numbers that are not negative")
        if amplitude.shape != (len(self.depth_mm), len(self.kernel_width_mm)) or amplitude.size == 0:
            wanted = (len(self.depth_mm), len(self.kernel_width_mm))
            raise self._error(f"amplitudes {amplitude.shape} do not fit (depths, widths) {wanted}")
        if self.depth_mm[0] != 0 or len(self.depth_mm) < 3 or any(b <= a for a, b in pairwise(self.depth_mm)):
            raise self._error("depths must ascend from 0")
        if self.kernel_width_mm[0] <= 0 or any(b <= a for a, b in pairwise(self.kernel_width_mm)):
            raise self._error("kernel widths must be positive and ascend")
        if len(self.fluence_radius_mm) != len(self.fluence) or any(b <= a for a, b in pairwise(self.fluence_radius_mm)):
            raise self._error("off-axis fluence needs ascending radii")
        if not self.sad_mm > 0 or not min(self.source_sigma_mm, *self.blur_mm) >= 0:
            raise self._error("source-axis distance must be positive and the source size not negative")
        if not (0 <= self.mlc_transmission < 1 and 0 <= self.jaw_transmission < 1):
            raise self._error("transmission must be 0 … 1")

    def _error(self, message: str) -> MachineError:
        return MachineError(message, where=f"beam model {self.name} {self.version}")

    @property
    def validity_warnings(self) -> tuple[str, ...]:
        """What every dose with this model must say; nothing for a model fitted to measurements."""
        if self.validated:
            return ()
        return (f"beam model not validated: {self.name} {self.version} is declared, compared with no measurement",)

    @property
    def blur_mm(self) -> tuple[float, float]:
        """Blur of field edges along X and Y of the collimator."""
        return self.source_sigma_xy_mm or (self.source_sigma_mm, self.source_sigma_mm)

    @property
    def components(self) -> int:
        """Number of kernel components."""
        return len(self.kernel_width_mm)

    @cached_property
    def _interpolator(self) -> PchipInterpolator:
        return PchipInterpolator(self.depth_mm, np.asarray(self.amplitude_gy_per_mu), axis=0, extrapolate=False)

    def amplitudes(self, depth_mm: ArrayLike) -> NDArray[np.float64]:
        """Return A_k at radiological depths, shape (…, components), Gy per MU on the isocentre plane.

        Between nodes by monotone cubic interpolation [1]_; beyond the last node each component falls exponentially at
        the rate of the last fifth of the table (outside the commissioned range: callers warn).

        References
        ----------
        .. [1] Fritsch FN, Carlson RE. Monotone piecewise cubic interpolation. SIAM J Numer Anal 17 (1980) 238-246.
        """
        depth = np.asarray(depth_mm, dtype=float)
        last = self.depth_mm[-1]
        values = np.asarray(self._interpolator(np.clip(depth, 0, last)), dtype=float)
        end, before = self._interpolator(last), self._interpolator(0.8 * last)
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where((end > 0) & (before > end), np.log(before / end) / (0.2 * last), 0.0)
        beyond = np.maximum(depth - last, 0)[..., None]
        return np.asarray(values * np.exp(-rate * beyond))

    def amplitude_table(self, max_depth_mm: float) -> NDArray[np.float32]:
        """Return A_k at 0, 1, 2 … mm up to at least ``max_depth_mm``, shape (n, components): what kernels read."""
        count = int(np.ceil(max(max_depth_mm, 1.0) / TABLE_STEP_MM)) + 2
        return self.amplitudes(np.arange(count) * TABLE_STEP_MM).astype(np.float32)

    def off_axis_fluence(self, radius_mm: ArrayLike) -> NDArray[np.float64]:
        """Return the primary fluence at distances from the axis on the isocentre plane, relative to the axis."""
        return np.asarray(
            np.interp(np.asarray(radius_mm, dtype=float), self.fluence_radius_mm, self.fluence, right=0.0)
        )

    def widths_mm(self, scale: ArrayLike) -> NDArray[np.float64]:
        """Return σ_k on the isocentre plane, shape (…, components), for s = SAD / (r·ρ)."""
        scaled = np.asarray(scale, dtype=float)[..., None] * np.asarray(self.kernel_width_mm, dtype=float)
        return np.asarray(np.hypot(self.source_sigma_mm, scaled))
