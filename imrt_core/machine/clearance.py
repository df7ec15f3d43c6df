"""Where gantry and table may stand together: a table of gantry ranges by table angle, IEC 61217 degrees.

It says where there is room, not where there is none: what no row allows is refused, known collision or not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imrt_core.patient import Beam, MachineError

#: Angles are read to this precision; a range includes its ends.
_TOLERANCE_DEG = 0.05
#: The gantry of an arc is looked at this often between two control points.
_ARC_STEP_DEG = 1.0

Range = tuple[float, float]


def in_range(angle_deg: float, range_deg: Range) -> bool:
    """Return whether an angle lies in a range that runs from its first end to ascending angles, over 0 if need be.

    Equal ends are one angle; (0, 360) is the whole circle.
    """
    first, last = range_deg
    if last - first >= 360.0:
        return True
    span = (last - first) % 360.0
    beyond = (angle_deg - first) % 360.0
    return beyond <= span + _TOLERANCE_DEG or beyond >= 360.0 - _TOLERANCE_DEG


@dataclass(frozen=True)
class ClearanceRange:
    """Gantry angles that are free for a range of table angles.

    Parameters
    ----------
    table_deg : tuple of float
        Patient Support Angles, from the first to ascending angles: (350, 10) is ±10° around 0.
    gantry_deg : tuple of (float, float)
        Ranges of gantry angles, likewise; (0, 360) is the whole circle.

    Raises
    ------
    MachineError
        If an angle is not between 0 and 360.
    """

    table_deg: Range
    gantry_deg: tuple[Range, ...]

    def __post_init__(self) -> None:
        for angles in (self.table_deg, *self.gantry_deg):
            if not all(np.isfinite(a) and 0.0 <= a <= 360.0 for a in angles):
                raise MachineError(
                    "an angle of the clearance table is out of range", found=str(angles), expected="0 … 360"
                )
        if not self.gantry_deg:
            raise MachineError("a row of the clearance table allows no gantry angle", found=f"table {self.table_deg}")


@dataclass(frozen=True)
class Clearance:
    """A clearance table.

    Parameters
    ----------
    ranges : tuple of ClearanceRange
        What is free. Where rows overlap, every one that holds the table angle must allow the gantry angle.
    source : str
        Where it came from: measured on which machine, or declared.

    Raises
    ------
    MachineError
        If there is no row, or no source.
    """

    ranges: tuple[ClearanceRange, ...]
    source: str

    def __post_init__(self) -> None:
        if not self.ranges:
            raise MachineError("a clearance table needs a row", found="none")
        if not self.source.strip():
            raise MachineError("a clearance table needs its source", expected="measured where, or declared")

    def refusal(self, gantry_deg: float, table_deg: float) -> str | None:
        """Return why gantry and table may not stand so; None where they may."""
        rows = [row for row in self.ranges if in_range(table_deg, row.table_deg)]
        if not rows:
            return f"table {table_deg:g}° is not in the clearance table"
        for row in rows:
            if not any(in_range(gantry_deg, free) for free in row.gantry_deg):
                free = ", ".join(f"{a:g}° to {b:g}°" for a, b in row.gantry_deg)
                return f"gantry {gantry_deg:g}° with table {table_deg:g}° has no clearance (free: {free})"
        return None


def clearance_refusal(clearance: Clearance | None, gantry_deg: float, table_deg: float) -> str | None:
    """Return why a machine refuses a pair of angles; without a table it knows coplanar beams only (table 0)."""
    if clearance is not None:
        return clearance.refusal(gantry_deg, table_deg)
    return None if in_range(table_deg, (0.0, 0.0)) else f"table {table_deg:g}° and the machine has no clearance table"


def positions_of(beam: Beam) -> tuple[tuple[float, float], ...]:
    """Return every (gantry, table) of a beam, an arc also between its control points."""
    found: list[tuple[float, float]] = []
    for point, after in zip(beam.control_points, [*beam.control_points[1:], None], strict=True):
        found.append((point.gantry_deg, point.table_deg))
        if after is None or point.gantry_direction == "NONE":
            continue
        sign = 1.0 if point.gantry_direction == "CW" else -1.0
        swept = (sign * (after.gantry_deg - point.gantry_deg)) % 360.0
        steps = int(np.ceil(swept / _ARC_STEP_DEG))
        found += [((point.gantry_deg + sign * swept * n / steps) % 360.0, point.table_deg) for n in range(1, steps)]
    return tuple(dict.fromkeys(found))
