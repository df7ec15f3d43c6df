"""Slow and obvious twins of the projection's kernels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .naive_registration import trilinear

Array = NDArray[np.float64]


def _length_inside(
    start: Array, slope: Array, length: float, upper: Array, axes: tuple[int, ...]
) -> tuple[float, float]:
    """Where a ray is within 0 … upper along some axes; (0, 0) if nowhere."""
    low, high = 0.0, length
    hair = 1e-4  # samples stay within the outermost voxel centres
    for c in axes:
        if abs(slope[c]) < 1e-12:
            if not hair <= start[c] <= upper[c] - hair:
                return 0.0, 0.0
            continue
        ends = sorted(((hair - start[c]) / slope[c], (upper[c] - hair - start[c]) / slope[c]))
        low, high = max(low, ends[0]), min(high, ends[1])
    return (low, high) if low < high else (0.0, 0.0)


def integrate(array: Array, index_from_day: Array, source: Array, pixels: Array, step: float) -> tuple[Array, Array]:
    """Integral and (i, j, k) gradient, its moment and the length beyond the ends, ray by ray: (n, 8)."""
    found = np.zeros((len(pixels), 8))
    upper = np.array(array.shape[::-1]) - 1.0
    for n, pixel in enumerate(pixels):
        length = float(np.linalg.norm(pixel - source))
        start = index_from_day[:3, :3] @ source + index_from_day[:3, 3]
        slope = index_from_day[:3, :3] @ (pixel - source) / length
        low, high = _length_inside(start, slope, length, upper, (0, 1, 2))
        wide = _length_inside(start, slope, length, upper, (0, 1))
        found[n, 1] = (wide[1] - wide[0]) - (high - low)
        if high <= low:
            continue
        count = int(np.ceil((high - low) / step))
        part = (high - low) / count
        for s in range(count):
            t = low + (s + 0.5) * part
            at = start + t * slope
            found[n, 0] += part * trilinear(array, at)
            # Within a cell the interpolation is linear along each axis.
            base = np.floor(at)
            for c in range(3):
                ends = [np.where(np.arange(3) == c, base + e, at) for e in (0, 1)]
                rise = trilinear(array, ends[1]) - trilinear(array, ends[0])
                found[n, 2 + c] += part * rise
                found[n, 5 + c] += part * t * rise
    return found[:, :2], found[:, 2:]


def through_voxels(array: Array, index_from_ray: Array, source: Array, pixels: Array) -> Array:
    """Voxel values times exact lengths: cut each ray at every voxel border, look up the middle of every piece."""
    found = np.zeros(len(pixels))
    size = np.array(array.shape[::-1])
    for n, pixel in enumerate(pixels):
        start, end = (index_from_ray[:3, :3] @ p + index_from_ray[:3, 3] for p in (source, pixel))
        cuts = [0.0, 1.0]
        for c in range(3):
            for border in np.arange(size[c] + 1) - 0.5:
                if end[c] != start[c]:
                    cuts.append((border - start[c]) / (end[c] - start[c]))
        cuts = sorted(t for t in cuts if 0 <= t <= 1)
        for low, high in pairwise(cuts):
            at = np.floor(start + (low + high) / 2 * (end - start) + 0.5).astype(int)
            if np.all(at >= 0) and np.all(at < size):
                found[n] += (high - low) * array[at[2], at[1], at[0]]
        found[n] *= np.linalg.norm(pixel - source)
    return found
