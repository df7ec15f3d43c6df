"""What a fit does to measured curves before it uses them; every change is returned with its size.

Definitions: field edges lie where a profile passes 50 % of the dose on the axis, the penumbra between 80 % and 20 %
of it [1]_. Positions between points come from straight lines: the points are dense where it matters.

References
----------
.. [1] IEC 60976, Medical electrical equipment – Medical electron accelerators – Functional performance
   characteristics.
.. [2] IAEA TRS-398, Absorbed dose determination in external beam radiotherapy: depth dose of photons with a
   cylindrical chamber is shifted towards the source by 0.6 times the radius of its cavity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from imrt_core.patient import MachineError

from .types import Scan

Array = NDArray[np.float64]

#: TRS-398: effective point of measurement of a cylindrical chamber in photons, in radii of its cavity.
EFFECTIVE_POINT_RADII = 0.6
#: Part of the field width inside which symmetry is judged.
_FLATTENED_PART = 0.8


@dataclass(frozen=True)
class FieldEdges:
    """Edges and penumbra of a profile, in mm in the plane of the detector.

    Parameters
    ----------
    left_mm, right_mm : float
        Where the profile passes 50 % of the dose on the axis.
    penumbra_left_mm, penumbra_right_mm : float
        Distance from 20 % to 80 %.
    axis_value : float
        The value of the scan taken as 100 %.
    """

    left_mm: float
    right_mm: float
    penumbra_left_mm: float
    penumbra_right_mm: float
    axis_value: float

    @property
    def width_mm(self) -> float:
        """Field width in the plane of the detector."""
        return self.right_mm - self.left_mm

    @property
    def centre_mm(self) -> float:
        """Middle of the field: the deviation of the field's centre from the origin of the positions."""
        return (self.left_mm + self.right_mm) / 2


@dataclass(frozen=True, eq=False)
class Centred:
    """A profile moved so that its edges lie symmetrically.

    Parameters
    ----------
    cax_deviation_mm : float
        Where the middle of the field was; positions were reduced by it.
    """

    scan: Scan
    cax_deviation_mm: float


@dataclass(frozen=True, eq=False)
class Symmetrised:
    """The mean of a profile and its mirror image.

    Parameters
    ----------
    largest_difference_percent : float
        Between both sides, in % of the dose on the axis, within 80 % of the field width.
    """

    scan: Scan
    largest_difference_percent: float


@dataclass(frozen=True, eq=False)
class Shifted:
    """A depth dose at the effective point of measurement.

    Parameters
    ----------
    shift_mm : float
        Added to the depths: negative, towards the source.
    """

    scan: Scan
    shift_mm: float


def value_at(scan: Scan, position_mm: float) -> float:
    """Return the value at a position, on the straight line between its neighbours.

    Raises
    ------
    MachineError
        If the position is outside the scan.
    """
    _inside(scan, np.array([position_mm]))
    return float(np.interp(position_mm, scan.position_mm, scan.value))


def field_edges(scan: Scan, *, axis_mm: float = 0.0) -> FieldEdges:
    """Return edges and penumbra of a profile.

    Parameters
    ----------
    scan : Scan
        A profile of an open field.
    axis_mm : float
        Position that counts as 100 %.

    Raises
    ------
    MachineError
        If the scan is no profile, or does not fall below 20 % of the axis on both sides.
    """
    _needs_profile(scan)
    axis_value = value_at(scan, axis_mm)
    if axis_value <= 0:
        raise MachineError("a profile has no dose on the axis", found=f"{axis_value:g}", where=scan.label)

    def crossing(level: float, side: int) -> float:
        return _crossing(scan, axis_mm, level * axis_value, side)

    return FieldEdges(
        left_mm=crossing(0.5, -1),
        right_mm=crossing(0.5, 1),
        penumbra_left_mm=crossing(0.8, -1) - crossing(0.2, -1),
        penumbra_right_mm=crossing(0.2, 1) - crossing(0.8, 1),
        axis_value=axis_value,
    )


def _crossing(scan: Scan, axis_mm: float, level: float, side: int) -> float:
    """Return where the profile first falls to a level, going outwards from the axis."""
    outside = scan.position_mm * side > axis_mm * side
    position = np.concatenate([[axis_mm], scan.position_mm[outside][::side]])
    value = np.concatenate([[value_at(scan, axis_mm)], scan.value[outside][::side]])
    below = np.flatnonzero(value <= level)
    if len(below) == 0:
        raise MachineError(
            "a profile does not reach the edge of its field",
            found=f"{100 * value.min() / value[0]:.1f} % of the axis at the lowest",
            expected="below 20 % on both sides",
            where=scan.label,
        )
    after = int(below[0])
    step = (value[after - 1] - level) / (value[after - 1] - value[after])
    return float(position[after - 1] + step * (position[after] - position[after - 1]))


def centred(scan: Scan) -> Centred:
    """Move a profile so that the middle of its field is at 0.

    100 % is the dose at the middle found, so the middle is sought until it stands still.

    Raises
    ------
    MachineError
        As :func:`field_edges`.
    """
    middle = 0.0
    for _ in range(5):
        found = field_edges(scan, axis_mm=middle).centre_mm
        if abs(found - middle) < 1e-6:
            break
        middle = found
    return Centred(replace(scan, position_mm=scan.position_mm - middle), middle)


def symmetrised(scan: Scan) -> Symmetrised:
    """Return the mean of a (centred) profile and its mirror image, on the part both sides have.

    Raises
    ------
    MachineError
        As :func:`field_edges`.
    """
    edges = field_edges(scan)
    half = min(-scan.position_mm[0], scan.position_mm[-1])
    # One grid for both sides: all distances from the axis that occur, each once.
    distance = np.unique(np.round(np.abs(np.append(scan.position_mm, 0.0)), 6))
    distance = distance[distance <= half]
    right = np.interp(distance, scan.position_mm, scan.value)
    left = np.interp(-distance, scan.position_mm, scan.value)
    mean = (left + right) / 2
    inside = distance <= _FLATTENED_PART * edges.width_mm / 2
    difference = 100 * float(np.abs(left - right)[inside].max()) / edges.axis_value
    position = np.concatenate([-distance[:0:-1], distance])
    return Symmetrised(replace(scan, position_mm=position, value=np.concatenate([mean[:0:-1], mean])), difference)


def resampled(scan: Scan, position_mm: Array) -> Scan:
    """Return the scan at other positions, by a monotone cubic (no overshoot at steep edges).

    Raises
    ------
    MachineError
        If a position is outside the scan.
    """
    wanted = np.asarray(position_mm, dtype=np.float64)
    _inside(scan, wanted)
    value = PchipInterpolator(scan.position_mm, scan.value)(wanted)
    return replace(scan, position_mm=wanted, value=value)


def normalised(scan: Scan, *, at_mm: float, to: float = 1.0) -> Scan:
    """Scale a scan to a value at a depth (PDD, TPR) or at a distance from the axis (profile).

    Raises
    ------
    MachineError
        If the position is outside the scan or its value is not above 0.
    """
    value = value_at(scan, at_mm)
    if value <= 0:
        raise MachineError("a scan cannot be normalised", found=f"{value:g} at {at_mm:g} mm", where=scan.label)
    where = "off axis" if scan.is_profile else "depth"
    return replace(scan, value=scan.value * (to / value), relative_to=f"{to:g} at {at_mm:g} mm {where}")


def at_effective_point(scan: Scan) -> Shifted:
    """Shift a PDD by 0.6 radii of its cylindrical chamber towards the source (TRS-398).

    Only for scans whose depths are those of the chamber's centre: files do not say whether the tank's software
    shifted them already, so the caller decides.

    Raises
    ------
    MachineError
        If the scan is no PDD, or its detector is not stated as a cylindrical chamber with its diameter.
    """
    if scan.kind != "pdd":
        raise MachineError("only a depth dose is shifted", found=scan.kind, expected="pdd", where=scan.label)
    if scan.detector.shape != "cylindrical chamber" or scan.detector.diameter_mm is None:
        raise MachineError(
            "the effective point of measurement is not known",
            found=f"{scan.detector.name or 'detector'}: {scan.detector.shape or 'shape not stated'},"
            f" diameter {scan.detector.diameter_mm or 'not stated'}",
            expected="a cylindrical chamber with its diameter",
            where=scan.label,
        )
    shift = -EFFECTIVE_POINT_RADII * scan.detector.diameter_mm / 2
    return Shifted(replace(scan, position_mm=scan.position_mm + shift), shift)


def _needs_profile(scan: Scan) -> None:
    if not scan.is_profile:
        raise MachineError("only a profile has field edges", found=scan.kind, where=scan.label)


def _inside(scan: Scan, position_mm: Array) -> None:
    # A position written with two decimals may round beyond the last point.
    low, high = scan.position_mm[0] - 1e-6, scan.position_mm[-1] + 1e-6
    if not (position_mm.size and position_mm.min() >= low and position_mm.max() <= high):
        raise MachineError(
            "a position is outside the scan",
            found=", ".join(f"{p:g}" for p in position_mm[:3]) + " mm",
            expected=f"{low:g} to {high:g} mm",
            where=scan.label,
        )
