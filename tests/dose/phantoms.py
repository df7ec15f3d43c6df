"""Small phantoms that the dose tests share."""

from __future__ import annotations

import numpy as np

from imrt_core.patient import Grid, Volume


def water_box(
    size_mm: tuple[float, float, float], *, spacing_mm: float = 5.0, top_lps: tuple[float, float, float] = (0, 0, 0)
) -> Volume:
    """Water with its anterior face (smallest y) centred on ``top_lps``, with a border of air."""
    counts = [round(s / spacing_mm) for s in size_mm]
    red = np.full([n + 4 for n in counts[::-1]], 0.0012, dtype=np.float32)
    red[2:-2, 2:-2, 2:-2] = 1.0
    origin = (
        top_lps[0] - size_mm[0] / 2 - 1.5 * spacing_mm,
        top_lps[1] - 1.5 * spacing_mm,
        top_lps[2] - size_mm[2] / 2 - 1.5 * spacing_mm,
    )
    return Volume(red, Grid(red.shape, (spacing_mm,) * 3, origin))


def mixed_patient() -> Volume:
    """Ellipse of water with a bone rod and a lung-like ball, 5 mm voxels, off centre."""
    grid = Grid((25, 31, 37), (5.0, 5.0, 5.0), (-80.0, -75.0, -50.0))
    points = grid.voxel_centres_lps()
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    red = np.where((x / 75) ** 2 + (y / 60) ** 2 < 1, 1.0, 0.0012)
    red[np.hypot(x - 20, y - 15) < 12] = 1.5
    red[np.sqrt((x + 30) ** 2 + (y + 10) ** 2 + z**2) < 22] = 0.3
    return Volume(red.astype(np.float32), grid)
