"""A beam's own view of the patient: where it comes from and how points project onto its isocentre plane."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import GeometryError

from .iec61217 import bld_from_lps


@dataclass(frozen=True)
class BeamGeometry:
    """One direction of irradiation.

    Parameters
    ----------
    gantry_deg : float
        IEC 61217.
    isocentre_lps : tuple of float
        mm.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    collimator_deg, table_deg : float
        IEC 61217.
    sad_mm : float
        Source-axis distance.

    Raises
    ------
    GeometryError
        If a number is not finite, the distance not positive or the position unknown.
    """

    gantry_deg: float
    isocentre_lps: tuple[float, float, float]
    patient_position: str
    collimator_deg: float = 0.0
    table_deg: float = 0.0
    sad_mm: float = 1000.0

    def __post_init__(self) -> None:
        point = tuple(float(v) for v in self.isocentre_lps)
        if len(point) != 3 or not np.all(np.isfinite(point)):
            raise GeometryError("the isocentre must be a finite point", found=str(self.isocentre_lps))
        if not np.isfinite(self.sad_mm) or self.sad_mm <= 0:
            raise GeometryError("the source-axis distance must be positive", found=str(self.sad_mm), expected="mm")
        object.__setattr__(self, "isocentre_lps", point)
        _ = self.bld_from_lps  # refuses unknown positions and angles that are not finite

    @cached_property
    def bld_from_lps(self) -> NDArray[np.float64]:
        """3×3 rotation; its rows are the beam's X, Y (leaf plane) and Z (towards the source) axes in LPS."""
        matrix = bld_from_lps(
            gantry_deg=self.gantry_deg,
            collimator_deg=self.collimator_deg,
            table_deg=self.table_deg,
            patient_position=self.patient_position,
        )
        matrix.setflags(write=False)
        return matrix

    @cached_property
    def source_lps(self) -> NDArray[np.float64]:
        """The source in LPS mm."""
        source: NDArray[np.float64] = np.asarray(self.isocentre_lps) + self.bld_from_lps[2] * self.sad_mm
        source.setflags(write=False)
        return source

    def to_bld(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Map (…, 3) LPS points to BLD coordinates (mm, origin at the isocentre)."""
        from_isocentre = np.asarray(points_lps, dtype=float) - np.asarray(self.isocentre_lps)
        return np.asarray(from_isocentre @ self.bld_from_lps.T, dtype=np.float64)

    def to_lps(self, points_bld: ArrayLike) -> NDArray[np.float64]:
        """Map (…, 3) BLD points to LPS mm."""
        return np.asarray(np.asarray(points_bld, dtype=float) @ self.bld_from_lps + np.asarray(self.isocentre_lps))

    def project(self, points_lps: ArrayLike) -> NDArray[np.float64]:
        """Project (…, 3) LPS points from the source onto the isocentre plane.

        Returns
        -------
        ndarray, shape (…, 2)
            BLD X and Y in mm at the isocentre plane.

        Raises
        ------
        GeometryError
            If a point lies at or behind the source.
        """
        bld = self.to_bld(points_lps)
        distance = self.sad_mm - bld[..., 2]
        if np.any(distance <= 0):
            raise GeometryError("a point lies behind the source", found=f"{float(distance.min()):.1f} mm")
        projected: NDArray[np.float64] = bld[..., :2] * (self.sad_mm / distance)[..., None]
        return projected
