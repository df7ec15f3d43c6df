"""Where a plan without an isocentre puts it."""

from __future__ import annotations

import numpy as np

from imrt_core.patient import StructureError, StructureSet


def target_isocentre_lps(structures: StructureSet) -> tuple[float, float, float]:
    """Return the centre of the bounding box of all PTVs, rounded to whole millimetres.

    The rule depends on contours only, so that a planner, a simulator and a reviewer find the same point.

    Parameters
    ----------
    structures : StructureSet
        At least one non-empty structure of interpreted type PTV.

    Returns
    -------
    tuple of float
        LPS mm.

    Raises
    ------
    StructureError
        If there is no PTV with contours.
    """
    points = [
        contour.points_lps
        for structure in structures
        if structure.interpreted_type.upper() == "PTV"
        for contour in structure.contours
    ]
    if not points:
        raise StructureError(
            "no isocentre can be chosen without a target",
            found=", ".join(f"{s.name} ({s.interpreted_type})" for s in structures) or "no structures",
            expected="a structure of type PTV with contours",
        )
    stacked = np.concatenate(points)
    x, y, z = np.round((stacked.min(axis=0) + stacked.max(axis=0)) / 2)
    return float(x), float(y), float(z)
