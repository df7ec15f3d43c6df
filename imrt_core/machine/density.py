"""From Hounsfield units to density relative to water: the only place in the project that does it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MachineError, Scanner, Volume

#: Relative electron and mass density of dry air at 20 °C and 101.3 kPa (0.001205 g/cm³).
AIR = 0.0012
#: How far HU may exceed the curve's last point before they are refused (noise on saturated voxels).
ABOVE_TOLERANCE_HU = 100.0


@dataclass(frozen=True)
class DensityCurve:
    """HU → relative electron density and mass density, piecewise linear.

    Parameters
    ----------
    name : str
        For reports.
    points : tuple of (float, float, float)
        (HU, electron density relative to water, mass density in g/cm³), ascending in HU, densities not falling.
    imager : str
        ``"ct"``, ``"cbct"``, …: a key of the machine's imagers. A CBCT has a curve of its own.
    manufacturer, model, station : str
        Scanner that the curve belongs to; empty fits any.
    kvp : float or None
        Tube voltage; None fits any.
    source : str
        Where the numbers came from.

    Raises
    ------
    MachineError
        If the points do not ascend or densities are not positive and finite.
    """

    name: str
    points: tuple[tuple[float, float, float], ...]
    imager: str = "ct"
    manufacturer: str = ""
    model: str = ""
    station: str = ""
    kvp: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        table = np.array(self.points, dtype=float).reshape(-1, 3)
        if len(table) < 2 or not np.all(np.isfinite(table)) or np.any(table[:, 1:] <= 0):
            raise MachineError("a density curve needs finite points with positive densities", where=self.name)
        if any(b[0] <= a[0] or b[1] < a[1] or b[2] < a[2] for a, b in pairwise(self.points)):
            raise MachineError("a density curve must ascend", found=str(self.points), where=self.name)

    def specificity(self, scanner: Scanner, imager: str) -> int:
        """Return how many keys name this scanner, or −1 if one contradicts it."""
        if self.imager != imager:
            return -1
        count = 0
        for own, given in (
            (self.manufacturer, scanner.manufacturer),
            (self.model, scanner.model),
            (self.station, scanner.station),
        ):
            if own:
                if own.strip().lower() != given.strip().lower():
                    return -1
                count += 1
        if self.kvp is not None:
            if scanner.kvp is None or abs(self.kvp - scanner.kvp) > 1.0:
                return -1
            count += 1
        return count


def relative_electron_density(
    hu: Volume, curve: DensityCurve, *, external: Volume | None = None, saturate: bool = False
) -> Volume:
    """Turn HU into electron density relative to water.

    Parameters
    ----------
    hu : Volume
        Hounsfield units.
    curve : DensityCurve
        Of the scanner and imager that took the image. HU below its first point take the first density (noise in air).
    external : Volume or None
        Fractions 0 … 1 of the patient with supports and bolus, on the grid of ``hu``. Below 0.5 is air, whatever its
        HU (the CT's table is taken away). None leaves everything in.
    saturate : bool
        HU more than 100 above the curve's last point are refused unless this is set; they then take the last density.

    Returns
    -------
    Volume
        float32, on the grid of ``hu``.

    Raises
    ------
    MachineError
        If an HU is NaN or infinite, or beyond the curve; the message says where.
    """
    return _densities(hu, curve, 1, external, saturate)


def mass_density(hu: Volume, curve: DensityCurve, *, external: Volume | None = None, saturate: bool = False) -> Volume:
    """Turn HU into mass density in g/cm³. Arguments and errors as :func:`relative_electron_density`."""
    return _densities(hu, curve, 2, external, saturate)


def _densities(hu: Volume, curve: DensityCurve, column: int, external: Volume | None, saturate: bool) -> Volume:
    values = hu.array
    lowest, highest = float(values.min()), float(values.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        bad = ~np.isfinite(values)
        name = "NaN" if np.isnan(values[bad]).any() else "an infinite HU"
        raise MachineError(
            f"there is no density for {name}", found=_where(bad, hu), where="HU volume", code="no-density"
        )
    table = np.array(curve.points, dtype=float)
    if highest > table[-1, 0] + ABOVE_TOLERANCE_HU and not saturate:
        raise MachineError(
            "there is no density for an HU beyond the curve",
            found=f"{highest:g} HU at {_where(values == values.max(), hu)}",
            expected=f"at most {table[-1, 0]:g} HU (curve {curve.name}), or saturate",
            where="HU volume",
            code="no-density",
        )
    density = _interpolate(values, table[:, 0], table[:, column])
    if external is not None:
        if not hu.grid.matches(external.grid):
            raise MachineError("the external contour must be on the image's grid", where="external")
        if not np.any(external.array >= 0.5):
            raise MachineError("the external contour is empty", where="external")
        density[~(np.asarray(external.array) >= 0.5)] = AIR
    return hu.with_array(density)


def _interpolate(
    values: NDArray[np.generic], hu: NDArray[np.float64], density: NDArray[np.float64]
) -> NDArray[np.float32]:
    # One table look-up per voxel instead of a search: HU are whole numbers, or nearly so, over a short range.
    grid = np.arange(np.floor(hu[0]), np.ceil(hu[-1]) + 1.0)
    table = np.interp(grid, hu, density).astype(np.float32)
    slope = np.append(np.diff(table), np.float32(0))
    position = np.clip(values.astype(np.float32), grid[0], grid[-1]) - np.float32(grid[0])
    index = position.astype(np.int32)
    return np.asarray(table[index] + (position - index).astype(np.float32) * slope[index])


def _where(bad: NDArray[np.bool_], volume: Volume) -> str:
    k, j, i = np.argwhere(bad)[0]
    x, y, z = volume.grid.to_lps((i, j, k))
    return f"{int(bad.sum())} voxels, the first at LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm"
