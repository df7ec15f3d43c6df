"""Slow, obviously right twins of the kernels of geometry and dose."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Volume


def expand(mask: Volume, sides: tuple[float, float, float, float, float, float]) -> NDArray[np.float64]:
    """Grow a mask voxel by voxel: every pair of voxels is looked at."""
    left, right, anterior, posterior, superior, inferior = sides
    points = mask.grid.voxel_centres_lps()
    grown = mask.array.astype(float)
    for source in np.argwhere(mask.array > 0):
        for target in np.ndindex(mask.grid.shape):
            step = points[target] - points[tuple(source)]
            length = float(np.linalg.norm(step))
            if length == 0:
                continue
            index_step = (np.array(target) - source)[::-1]
            width = float(np.linalg.norm(index_step * np.array(mask.grid.spacing_mm) ** 2)) / length
            semi_axes = [
                left if step[0] > 0 else right,
                posterior if step[1] > 0 else anterior,
                superior if step[2] > 0 else inferior,
            ]
            gauge = 0.0
            for value, semi_axis in zip(step, semi_axes, strict=True):
                if abs(value) > 1e-9:
                    gauge += (value / semi_axis) ** 2 if semi_axis > 0 else np.inf
            beyond = length / np.sqrt(gauge) - length
            value = beyond / width + float(mask.array[tuple(source)])
            grown[target] = max(grown[target], min(value, 1.0))
    return grown


def radiological_depth(red: Volume, source: NDArray[np.float64], point: NDArray[np.float64]) -> float:
    """Integrate along one ray in steps of 0.05 mm, air left out."""
    solid = red.with_array(np.where(red.array >= 0.01, red.array, 0.0))
    length = float(np.linalg.norm(point - source))
    count = round(length / 0.05)
    t = (np.arange(count) + 0.5) / count
    return float(np.sum(solid.sample(source + t[:, None] * (point - source), outside=0.0)) * length / count)
