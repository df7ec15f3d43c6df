"""Metal in a CT: found by saturated voxels, given a declared density, and the streaks around it overridden.

Metal is what no tissue is: voxels at the end of the 12-bit scale (3071 HU) or beyond, on extended scales too; a curve
that ends earlier lowers the threshold to its own end, but never below :data:`DENSEST_TISSUE_HU`. Dental enamel and
petrous bone stay below. Scattered saturated voxels smaller than :data:`SMALLEST_CC` are noise, clips and markers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.machine import DensityCurve
from imrt_core.patient import MachineError, Volume

from .metals import Metal, backscatter_warning

Mask = NDArray[np.bool_]
Point = tuple[float, float, float]

#: End of the signed 12-bit scale: stored values 0 … 4095 with an intercept of −1024.
SATURATED_HU = 3071.0
#: Enamel and petrous bone at 120 kVp stay below this.
DENSEST_TISSUE_HU = 2900.0
SMALLEST_CC = 0.03
#: Parts closer than this are one piece of metal.
_JOIN_MM = 2.0
#: Dental work fills less than this; hips and spinal hardware more.
DENTAL_CC = 12.0


@dataclass(frozen=True)
class MetalFinding:
    """One piece of metal.

    Parameters
    ----------
    centre_lps : tuple of float
        Centre of its voxels, mm.
    volume_cc : float
        Of the saturated voxels: blooming makes it larger than the metal.
    extent_mm : tuple of float
        Box along LPS x, y, z.
    highest_hu : float
        In the image.
    size : str
        What is of that size, in words: a guess for the reader, never used in dose.
    metal : Metal
        Declared, or unknown.
    declared : bool
        Whether a person said which metal it is.
    streak_cc : float
        Volume of streak voxels around it (shared with other pieces in the same slices).
    """

    centre_lps: Point
    volume_cc: float
    extent_mm: Point
    highest_hu: float
    size: str
    metal: Metal
    declared: bool
    streak_cc: float = 0.0

    @property
    def is_dental_size(self) -> bool:
        """Whether mucosa may lie beside it, as far as its size tells."""
        return self.volume_cc < DENTAL_CC

    @property
    def place(self) -> str:
        """What and where, for warnings."""
        x, y, z = self.centre_lps
        return f"{self.metal.name} of {self.volume_cc:.1f} cc at LPS ({x:.0f}, {y:.0f}, {z:.0f}) mm"

    def warnings(self) -> tuple[str, ...]:
        """Return what a person must know: what it is taken for, what was overridden, and the backscatter."""
        what = "declared" if self.declared else "not declared; electron density may be 3.7 (titanium) to 11.5 (gold)"
        first = (
            f"{self.place} ({self.size}; up to {self.highest_hu:.0f} HU): relative electron density "
            f"{self.metal.relative_electron_density:g}, {what}; {self.streak_cc:.1f} cc of streaks in its slices "
            "overridden to soft tissue"
        )
        return (first, backscatter_warning(self.metal, self.place, mucosa=self.is_dental_size))


def metal_threshold_hu(curve: DensityCurve) -> float:
    """Return the HU from which voxels count as metal on a curve."""
    return float(np.clip(curve.points[-1][0], DENSEST_TISSUE_HU, SATURATED_HU))


def find_metal(
    hu: Volume, curve: DensityCurve, *, inside: Volume, metal: Metal, declared: bool
) -> tuple[tuple[MetalFinding, ...], Mask]:
    """Find metal inside the patient.

    Parameters
    ----------
    hu : Volume
        Hounsfield units, 12-bit or extended.
    curve : DensityCurve
        Whose end says where saturation begins.
    inside : Volume
        Fractions of the patient, on the same grid; metal beside him (table screws) does not count.
    metal : Metal
        What it is taken for.
    declared : bool
        Whether a person said so.

    Returns
    -------
    findings : tuple of MetalFinding
        Largest first, without streaks yet.
    mask : ndarray of bool
        Voxels of all findings.

    Raises
    ------
    MachineError
        If the patient is on another grid.
    """
    if not hu.grid.matches(inside.grid):
        raise MachineError("the patient must be on the image's grid", where="metal")
    values = np.asarray(hu.array)
    dense = (values >= metal_threshold_hu(curve)) & (np.asarray(inside.array) >= 0.5)
    if not dense.any():
        return (), np.zeros(values.shape, dtype=bool)
    turns = [max(0, int(_JOIN_MM / 2 / s)) for s in hu.grid.spacing_mm[::-1]]
    joined = ndimage.binary_dilation(dense, structure=np.ones([2 * t + 1 for t in turns]))
    labels, count = ndimage.label(joined, structure=np.ones((3, 3, 3)))
    labels = labels * dense
    found: list[MetalFinding] = []
    mask = np.zeros(values.shape, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(labels, max_label=count), start=1):
        if box is None:
            continue
        part = labels[box] == number
        volume_cc = float(part.sum()) * hu.grid.voxel_volume_cc
        if volume_cc < SMALLEST_CC:
            continue
        mask[box] |= part
        start = np.array([s.start for s in box])
        centre = hu.grid.to_lps((np.argwhere(part).mean(axis=0) + start)[::-1])
        size_mm = np.abs(np.asarray(hu.grid.direction)) @ (np.array(part.shape[::-1]) * hu.grid.spacing_mm)
        found.append(
            MetalFinding(
                centre_lps=(float(centre[0]), float(centre[1]), float(centre[2])),
                volume_cc=volume_cc,
                extent_mm=(float(size_mm[0]), float(size_mm[1]), float(size_mm[2])),
                highest_hu=float(values[box][part].max()),
                size=_size_in_words(volume_cc, float(size_mm.max())),
                metal=metal,
                declared=declared,
            )
        )
    return tuple(sorted(found, key=lambda f: -f.volume_cc)), mask


def _size_in_words(volume_cc: float, longest_mm: float) -> str:
    if volume_cc < 0.1:
        return "the size of a clip or marker"
    if volume_cc < DENTAL_CC and longest_mm < 80.0:
        return "the size of dental work"
    return "the size of a joint prosthesis or spinal hardware"
