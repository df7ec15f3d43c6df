"""Tissue-phantom ratios from depth doses at a fixed source-surface distance.

A depth dose of a field of side s on the isocentre plane sees the field s_d = s·(SSD + d)/SAD at depth d::

    TPR(d, s_d) = P(d) / P(d0) · ((SSD + d) / (SSD + d0))² · S_p(s_d0) / S_p(s_d)

(Khan FM. The Physics of Radiation Therapy, chapter on TPR and TMR.) The side changes with depth, so that a table at
fixed sides interpolates between the measured fields at each depth, linear in the logarithm of the side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imrt_core.patient import MachineError

from .tables import TprTable

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DepthDose:
    """A depth dose on the axis of an open square field in water, in any unit."""

    side_mm: float
    depth_mm: Array
    dose: Array


def tpr_from_depth_doses(
    curves: Sequence[DepthDose],
    *,
    ssd_mm: float,
    sad_mm: float,
    reference_depth_mm: float,
    depth_mm: ArrayLike,
    field_mm: ArrayLike,
    phantom_scatter: Callable[[ArrayLike], Array],
) -> TprTable:
    """Return a TPR table at fixed field sides in the plane of the point.

    Parameters
    ----------
    curves : sequence of DepthDose
        At least two fields.
    ssd_mm, sad_mm : float
        Source-surface distance of the measurement; source-axis distance.
    reference_depth_mm : float
        Where TPR is 1.
    depth_mm, field_mm : array_like
        Axes of the table.
    phantom_scatter : callable
        S_p at the reference depth by side; only its ratio between s_d0 and s_d is used.

    Raises
    ------
    MachineError
        If there are fewer than two fields or a curve does not reach the depths.
    """
    if len(curves) < 2:
        raise MachineError("a TPR table needs depth doses of two fields", found=str(len(curves)))
    depths, sides = np.asarray(depth_mm, dtype=float), np.asarray(field_mm, dtype=float)
    away = (ssd_mm + depths) / sad_mm
    reference_away = (ssd_mm + reference_depth_mm) / sad_mm
    ordered = sorted(curves, key=lambda c: c.side_mm)
    ratios = []
    for curve in ordered:
        if curve.depth_mm[0] > depths[0] or curve.depth_mm[-1] < depths[-1]:
            raise MachineError(
                "a depth dose does not reach the depths of the table",
                found=f"{curve.depth_mm[0]:g} to {curve.depth_mm[-1]:g} mm",
                expected=f"{depths[0]:g} to {depths[-1]:g} mm",
                where=f"field of {curve.side_mm:g} mm",
            )
        dose = np.interp(depths, curve.depth_mm, curve.dose)
        reference = np.interp(reference_depth_mm, curve.depth_mm, curve.dose)
        scatter = phantom_scatter(curve.side_mm * reference_away) / phantom_scatter(curve.side_mm * away)
        ratios.append(dose / reference * (away / reference_away) ** 2 * scatter)
    table = np.empty((len(depths), len(sides)))
    for row in range(len(depths)):
        seen = np.log([curve.side_mm * away[row] for curve in ordered])
        values = np.array([ratio[row] for ratio in ratios])
        # Straight on beyond the outermost fields: (side) only moves by the magnification there.
        low = np.clip(np.searchsorted(seen, np.log(sides)) - 1, 0, len(seen) - 2)
        slope = (values[low + 1] - values[low]) / (seen[low + 1] - seen[low])
        table[row] = values[low] + slope * (np.log(sides) - seen[low])
    return TprTable(
        reference_depth_mm,
        tuple(float(v) for v in depths),
        tuple(float(v) for v in sides),
        tuple(tuple(round(float(v), 4) for v in line) for line in table),
    )
