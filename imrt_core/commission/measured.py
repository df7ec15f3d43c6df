"""Measurements on the beam axis, as the fit of a photon source takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.machine.scans import AbsoluteDose, Measurements, OutputFactors, Scan, normalised
from imrt_core.patient import MachineError

Array = NDArray[np.float64]

#: Depth doses are compared at this depth where the measurements name none, mm.
REFERENCE_DEPTH_MM = 100.0
#: Points of a depth dose that the fit takes, mm: what lies between says nothing new.
_STEP_MM = 5.0


@dataclass(frozen=True, eq=False)
class AxisPoints:
    """Measured doses on the axis of one field, up to a common factor of each group.

    Parameters
    ----------
    field_mm : tuple of float
        Sides along X and Y on the isocentre plane.
    depth_mm, ssd_mm, value : ndarray, shape (n,)
        Where, and the reading.
    reference : int
        Index of the point to which the others are compared.
    """

    field_mm: tuple[float, float]
    depth_mm: Array
    ssd_mm: Array
    value: Array
    reference: int


@dataclass(frozen=True, eq=False)
class FieldFactors:
    """Output factors: the same point in several fields.

    Parameters
    ----------
    fields_mm : tuple of (float, float)
        Sides.
    factor : ndarray, shape (n,)
        Dose per MU relative to field ``unit``.
    unit : int
        Index of the field whose factor is 1.
    depth_mm, ssd_mm : float
        Where.
    """

    fields_mm: tuple[tuple[float, float], ...]
    factor: Array
    unit: int
    depth_mm: float
    ssd_mm: float


@dataclass(frozen=True)
class AbsolutePoint:
    """Dose per MU at a point on the axis; ``depth_mm`` None means at the depth of maximum."""

    gy_per_mu: float
    field_mm: tuple[float, float]
    depth_mm: float | None
    ssd_mm: float


def depth_doses(measured: Measurements) -> tuple[AxisPoints, ...]:
    """Return every depth dose and TPR.

    A TPR's points all lie at the same distance from the source, under surfaces of their own.
    """
    depth_mm = next((o.depth_mm for o in measured.output_factors if o.depth_mm is not None), REFERENCE_DEPTH_MM)
    return tuple(_points(scan, depth_mm) for scan in measured.of_kind("pdd", "tpr"))


def _points(scan: Scan, reference_mm: float) -> AxisPoints:
    inside = scan.position_mm >= 0
    depth, value = scan.position_mm[inside], scan.value[inside]
    if not depth[0] <= reference_mm <= depth[-1]:
        reference_mm = float(depth[len(depth) // 2])
    if scan.kind == "pdd" and np.median(np.diff(depth)) < _STEP_MM:
        wanted = np.append(np.arange(max(depth[0], 1.0), 30.0, 1.0), np.arange(30.0, depth[-1] + 1e-6, _STEP_MM))
        wanted = np.unique(np.append(wanted[(wanted >= depth[0]) & (wanted <= depth[-1])], reference_mm))
        value, depth = np.interp(wanted, depth, value), wanted
    surface = np.full(len(depth), scan.ssd_mm) if scan.kind == "pdd" else scan.ssd_mm - depth
    return AxisPoints(
        (scan.field_x_mm, scan.field_y_mm), depth, surface, value, int(np.argmin(np.abs(depth - reference_mm)))
    )


def field_factors(measured: Measurements) -> tuple[tuple[FieldFactors, ...], tuple[str, ...]]:
    """Return the output factors, and what was assumed where a file does not say depth or distance.

    Without a depth, 100 mm and the distance of the depth doses are assumed.
    """
    found, notes = [], []
    for table in measured.output_factors:
        depth, ssd = table.depth_mm, table.ssd_mm
        if depth is None or ssd is None:
            ssd = next((s.ssd_mm for s in measured.of_kind("pdd")), measured.sad_mm - REFERENCE_DEPTH_MM)
            depth = REFERENCE_DEPTH_MM
            notes.append(
                f"{table.source_file}: output factors state no depth or distance; {depth:g} mm, SSD {ssd:g} mm assumed"
            )
        found.append(_factors(table, depth, ssd))
    return tuple(found), tuple(notes)


def _factors(table: OutputFactors, depth_mm: float, ssd_mm: float) -> FieldFactors:
    fields = tuple(zip(table.field_x_mm.tolist(), table.field_y_mm.tolist(), strict=True))
    unit = np.hypot(table.field_x_mm - table.normalised_x_mm, table.field_y_mm - table.normalised_y_mm)
    return FieldFactors(fields, table.factor / table.factor[int(unit.argmin())], int(unit.argmin()), depth_mm, ssd_mm)


def absolute_point(measured: Measurements, declared: AbsolutePoint) -> tuple[AbsolutePoint, tuple[str, ...]]:
    """Return the absolute dose at a stated depth, else at the maximum, else the declared one with a note."""
    doses = sorted(measured.absolute_doses, key=lambda d: (d.depth_mm is None, abs(d.ssd_mm - measured.sad_mm)))
    if not doses:
        note = f"no absolute dose measured: {100 * declared.gy_per_mu:g} cGy/MU declared"
        return declared, (note,)
    return _absolute(doses[0]), ()


def _absolute(dose: AbsoluteDose) -> AbsolutePoint:
    if not dose.gy_per_mu > 0:
        raise MachineError("an absolute dose must be positive", found=f"{dose.gy_per_mu} Gy/MU", where=dose.source_file)
    return AbsolutePoint(dose.gy_per_mu, (dose.field_x_mm, dose.field_y_mm), dose.depth_mm, dose.ssd_mm)


def profiles(measured: Measurements) -> tuple[Scan, ...]:
    """Return the profiles along X and Y."""
    return tuple(normalised(scan, at_mm=0.0) for scan in measured.of_kind("crossline", "inline"))
