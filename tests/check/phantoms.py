"""Water and beams that the tests of the check share."""

from __future__ import annotations

from typing import Any

import numpy as np

from imrt_core.patient import Beam, ControlPoint, Grid, Volume


def water_tank(*, surface_y_mm: float = -300.0, density: float = 1.0) -> Volume:
    """Half a metre of water below a plane, gantry 0; voxel edges lie on the surface."""
    grid = Grid((105, 105, 105), (5.0, 5.0, 5.0), (-260.0, surface_y_mm + 2.5, -260.0))
    return Volume(np.full(grid.shape, density, dtype=np.float32), grid)


def square_beam(side_mm: float, *, mu: float = 1000.0, isocentre_lps: Any = (0.0, -200.0, 0.0), **state: Any) -> Beam:
    """Jaws only."""
    options = {
        "jaw_x_mm": (-side_mm / 2, side_mm / 2),
        "jaw_y_mm": (-side_mm / 2, side_mm / 2),
        "gantry_deg": 0.0,
        **state,
    }
    points = tuple(ControlPoint(w, isocentre_lps=isocentre_lps, **options) for w in (0.0, 1.0))
    return Beam(1, f"{side_mm:g}", mu, points)
