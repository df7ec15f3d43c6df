"""What leaves the treatment head: spectrum, extra-focal photons and electrons; read by the collapsed-cone engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import erf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import MachineError
from imrt_core.physics.spectrum import Spectrum

#: Side of the field for which shares and fluence per MU are stated, on the isocentre plane.
REFERENCE_FIELD_MM = 100.0


@dataclass(frozen=True)
class HeadView:
    """How an extra-focal source is seen through one collimating plane.

    Parameters
    ----------
    sigma_mm : tuple of float
        Its width through a pinhole, as positions of collimator edges projected to the isocentre plane, X and Y.
    kappa : tuple of float
        A point (u, v) sees its centre through what projects to (κ_x·u, κ_y·v).
    """

    sigma_mm: tuple[float, float]
    kappa: tuple[float, float]


@dataclass(frozen=True)
class ExtraFocalSource:
    """Photons scattered in the head, as a Gaussian source below the target that collimators partly hide [1]_.

    Parameters
    ----------
    share : float
        Part of the photon fluence on the axis of a 10×10 cm field that comes from it.
    sigma_mm : float
        Its width.
    distance_mm : float
        Distance of the source from the target.
    collimator_mm : float
        Distance from the target of the upper plane that it is seen through.
    collimator_lower_xy_mm : tuple of float
        Of the lower plane, for edges across X and Y. From within the field the upper plane hides the source, from
        beside it the lower one; both together stand for jaws and leaves.

    References
    ----------
    .. [1] Ahnesjö A. Analytic modeling of photon scatter from flattening filters in photon therapy beams. Med Phys 21
       (1994) 1227-1235.
    """

    share: float = 0.0
    sigma_mm: float = 15.0
    distance_mm: float = 120.0
    collimator_mm: float = 400.0
    collimator_lower_xy_mm: tuple[float, float] = (500.0, 500.0)

    def __post_init__(self) -> None:
        placed = 0 < self.distance_mm < self.collimator_mm <= min(self.collimator_lower_xy_mm)
        if not (0 <= self.share < 1 and self.sigma_mm > 0 and placed):
            raise MachineError(
                "an extra-focal source needs a share of 0 … 1, a width, and a place above the collimators",
                found=str(self),
            )

    def views(self, sad_mm: float) -> tuple[HeadView, HeadView]:
        """Return the views through the upper and the lower plane; the part of the source seen is the lesser of both.

        That is exact beside one edge: each plane hides all of the source beyond a line, and the nearer line counts.
        """
        upper = (self.collimator_mm, self.collimator_mm)
        return self._view(upper, sad_mm), self._view(self.collimator_lower_xy_mm, sad_mm)

    def reference(self, sad_mm: float) -> float:
        """Return the part of the source that the axis sees through a 10×10 cm field."""
        half = REFERENCE_FIELD_MM / 2
        return min(
            erf(half / (sqrt(2) * v.sigma_mm[0])) * erf(half / (sqrt(2) * v.sigma_mm[1])) for v in self.views(sad_mm)
        )

    def _view(self, planes_mm: tuple[float, float], sad_mm: float) -> HeadView:
        enlarged = [(sad_mm - self.distance_mm) / (sad_mm - plane) for plane in planes_mm]
        sigma_x, sigma_y = (self.sigma_mm * sad_mm / (e * p) for e, p in zip(enlarged, planes_mm, strict=True))
        kappa_x, kappa_y = ((e - 1) / e * sad_mm / p for e, p in zip(enlarged, planes_mm, strict=True))
        return HeadView((sigma_x, sigma_y), (kappa_x, kappa_y))


@dataclass(frozen=True)
class ElectronContamination:
    """Electrons from head and air: dose that falls exponentially and spreads wider than the field's edge.

    Parameters
    ----------
    surface_gy_per_mu : float
        At the surface of a field without end, at the isocentre distance.
    depth_mm : float
        Depth over which it falls by e, water-equivalent.
    sigma_mm : float
        Spread on the isocentre plane: small fields get little of it.
    """

    surface_gy_per_mu: float = 0.0
    depth_mm: float = 8.0
    sigma_mm: float = 40.0

    def __post_init__(self) -> None:
        if not (self.surface_gy_per_mu >= 0 and self.depth_mm > 0 and self.sigma_mm > 0):
            raise MachineError("electron contamination needs a positive depth and width", found=str(self))


@dataclass(frozen=True)
class PhotonSource:
    """The beam that the collapsed-cone engine transports.

    Parameters
    ----------
    spectrum : Spectrum
        On the axis.
    photons_per_cm2_per_mu : float
        Fluence on the axis of a 10×10 cm field on the isocentre plane, in air.
    softening : float
        Strength of the softening off axis, 1 for the published curve [1]_, 0 for none (no flattening filter).
    extra_focal : tuple of ExtraFocalSource
        Photons from the head: often a narrow part (primary collimator) and a wide one (flattening filter).
    contamination : ElectronContamination
        Electrons from the head.

    References
    ----------
    .. [1] Tailor RC, Tello VM, Schroy CB, Vossler M, Hanson WF. A generic off-axis energy correction for linac photon
       beam dosimetry. Med Phys 25 (1998) 662-667.
    """

    spectrum: Spectrum
    photons_per_cm2_per_mu: float
    softening: float = 1.0
    extra_focal: tuple[ExtraFocalSource, ...] = ()
    contamination: ElectronContamination = field(default_factory=ElectronContamination)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.photons_per_cm2_per_mu) and self.photons_per_cm2_per_mu > 0):
            raise MachineError("the fluence per MU must be positive", found=str(self.photons_per_cm2_per_mu))
        if self.focal_share <= 0:
            raise MachineError("extra-focal sources leave nothing for the focus", found=f"{self.focal_share:.2f}")
        if not 0 <= self.softening <= 2:
            raise MachineError("softening off axis is out of range", found=str(self.softening), expected="0 … 2")

    @property
    def focal_share(self) -> float:
        """Part of the fluence on the axis of a 10×10 cm field that comes from the focus."""
        return 1.0 - sum(head.share for head in self.extra_focal)

    def attenuation_off_axis(self, radius_mm: ArrayLike, sad_mm: float) -> NDArray[np.float64]:
        """Return the attenuation coefficient at distances from the axis over that on it, as the class says."""
        angle = np.degrees(np.arctan(np.asarray(radius_mm, dtype=float) / sad_mm))
        angle = np.minimum(angle, 14.0)
        return np.asarray(1 + self.softening * (0.00181 * angle + 0.00202 * angle**2 - 0.0000942 * angle**3))
