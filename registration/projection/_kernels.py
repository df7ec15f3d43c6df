"""Compiled loops of the projection: cast here, compute there. Naive twins are in ``tests/naive_projection.py``.

One ray, one thread, sums in order: the result does not depend on the number of threads. Index coordinates are
(i, j, k) = array axes (2, 1, 0).
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from imrt_core._numba import kernel

Array = NDArray[Any]

#: Samples stay this far (index) inside the outermost voxel centres, so that the cell above always exists.
_HAIR = 1e-4


@kernel()
def _narrow(start: float, slope: float, upper: float, low: float, high: float) -> Any:
    """Narrow low … high to where ``start + t·slope`` lies between 0 and ``upper``."""
    if abs(slope) < 1e-12:
        return (low, high) if _HAIR <= start <= upper - _HAIR else (0.0, -1.0)
    one, other = (_HAIR - start) / slope, (upper - _HAIR - start) / slope
    return max(low, min(one, other)), min(high, max(one, other))


@kernel()
def _ray(index_from_day: Array, source: Array, pixel: Array, start: Array, slope: Array) -> float:
    """Fill the index of the source and the index per mm along the ray; returns the ray's length in mm."""
    length = 0.0
    for c in range(3):
        length += (pixel[c] - source[c]) ** 2
    length = np.sqrt(length)
    for c in range(3):
        start[c] = index_from_day[c, 3]
        slope[c] = 0.0
        for d in range(3):
            start[c] += index_from_day[c, d] * source[d]
            slope[c] += index_from_day[c, d] * (pixel[d] - source[d]) / length
    return length


@kernel()
def _clip(start: Array, slope: Array, shape: Any, length: float) -> Any:
    """Return where the ray enters and leaves the volume, and how much of it an endless volume along k would add."""
    low, high = _narrow(start[0], slope[0], shape[2] - 1.0, 0.0, length)
    low, high = _narrow(start[1], slope[1], shape[1] - 1.0, low, high)
    if low >= high:
        return 0.0, 0.0, 0.0
    whole = high - low
    low, high = _narrow(start[2], slope[2], shape[0] - 1.0, low, high)
    if low >= high:
        return 0.0, 0.0, whole
    return low, high, whole - (high - low)


@kernel(parallel=True)
def _integrate(array: Array, index_from_day: Array, source: Array, pixels: Array, step: float, found: Array) -> None:
    flat = array.reshape(array.size)
    below_k, below_j = np.int64(array.shape[1] * array.shape[2]), np.int64(array.shape[2])
    for n in numba.prange(pixels.shape[0]):
        start, slope = np.empty(3), np.empty(3)
        length = _ray(index_from_day, source, pixels[n], start, slope)
        low, high, missing = _clip(start, slope, array.shape, length)
        found[n, 1] = missing
        found[n, 0] = 0.0
        if low >= high:
            continue
        count = int(np.ceil((high - low) / step))
        part = (high - low) / count
        total = 0.0
        for s in range(count):
            t = low + (s + 0.5) * part
            x, y, z = start[0] + t * slope[0], start[1] + t * slope[1], start[2] + t * slope[2]
            i, j, k = np.int64(x), np.int64(y), np.int64(z)
            fx, fy, fz = np.float32(x - i), np.float32(y - j), np.float32(z - k)
            at = np.uintp(k * below_k + j * below_j + i)
            at_j, at_k = at + np.uintp(below_j), at + np.uintp(below_k)
            at_both, one = at_k + np.uintp(below_j), np.uintp(1)
            a = flat[at] + fx * (flat[at + one] - flat[at])
            b = flat[at_j] + fx * (flat[at_j + one] - flat[at_j])
            c = flat[at_k] + fx * (flat[at_k + one] - flat[at_k])
            d = flat[at_both] + fx * (flat[at_both + one] - flat[at_both])
            a += fy * (b - a)
            c += fy * (d - c)
            total += a + fz * (c - a)
        found[n, 0] = total * part


@kernel(parallel=True)
def _integrate_slopes(
    array: Array, index_from_day: Array, source: Array, pixels: Array, step: float, found: Array
) -> None:
    flat = array.reshape(array.size)
    below_k, below_j = np.int64(array.shape[1] * array.shape[2]), np.int64(array.shape[2])
    for n in numba.prange(pixels.shape[0]):
        start, slope = np.empty(3), np.empty(3)
        length = _ray(index_from_day, source, pixels[n], start, slope)
        low, high, missing = _clip(start, slope, array.shape, length)
        for c in range(8):
            found[n, c] = 0.0
        found[n, 1] = missing
        if low >= high:
            continue
        count = int(np.ceil((high - low) / step))
        part = (high - low) / count
        total, gx, gy, gz, mx, my, mz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for s in range(count):
            t = low + (s + 0.5) * part
            x, y, z = start[0] + t * slope[0], start[1] + t * slope[1], start[2] + t * slope[2]
            i, j, k = np.int64(x), np.int64(y), np.int64(z)
            fx, fy, fz = np.float32(x - i), np.float32(y - j), np.float32(z - k)
            at = np.uintp(k * below_k + j * below_j + i)
            at_j, at_k = at + np.uintp(below_j), at + np.uintp(below_k)
            at_both, one = at_k + np.uintp(below_j), np.uintp(1)
            da, db = flat[at + one] - flat[at], flat[at_j + one] - flat[at_j]
            dc, dd = flat[at_k + one] - flat[at_k], flat[at_both + one] - flat[at_both]
            a, b = flat[at] + fx * da, flat[at_j] + fx * db
            c2, d = flat[at_k] + fx * dc, flat[at_both] + fx * dd
            low_row, high_row = a + fy * (b - a), c2 + fy * (d - c2)
            across_low, across_high = da + fy * (db - da), dc + fy * (dd - dc)
            along_low, along_high = b - a, d - c2
            total += low_row + fz * (high_row - low_row)
            di = across_low + fz * (across_high - across_low)
            dj = along_low + fz * (along_high - along_low)
            dk = high_row - low_row
            gx += di
            gy += dj
            gz += dk
            mx += t * di
            my += t * dj
            mz += t * dk
        found[n, 0] = total * part
        found[n, 2], found[n, 3], found[n, 4] = gx * part, gy * part, gz * part
        found[n, 5], found[n, 6], found[n, 7] = mx * part, my * part, mz * part


def integrate(
    array: Array, index_from_day: Array, source: Array, pixels: Array, *, step_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Integrate a volume along rays.

    Parameters
    ----------
    array : ndarray, shape (nz, ny, nx)
        Attenuation per mm.
    index_from_day : ndarray, 4×4
        From the frame of the rays (mm) to the volume's index (i, j, k).
    source : ndarray, shape (3,)
        Where the rays begin.
    pixels : ndarray, shape (n, 3)
        Where they end.
    step_mm : float
        Longest distance between samples.

    Returns
    -------
    total, missing : ndarray, shape (n,)
        The integrals, and the length of ray (mm) that runs beyond the volume's first or last slice.
    """
    found = np.empty((len(pixels), 2))
    _integrate(*_cast(array, index_from_day, source, pixels), float(step_mm), found)
    return found[:, 0], found[:, 1]


def integrate_with_slopes(
    array: Array, index_from_day: Array, source: Array, pixels: Array, *, step_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Integrate a volume, its gradient, and its gradient times the distance from the source.

    Parameters
    ----------
    array, index_from_day, source, pixels, step_mm
        As :func:`integrate`.

    Returns
    -------
    total, missing : ndarray, shape (n,)
        As :func:`integrate`.
    gradient, moment : ndarray, shape (n, 3)
        Integrals of ∂/∂(i, j, k), and of t·∂/∂(i, j, k), t in mm from the source.
    """
    found = np.empty((len(pixels), 8))
    _integrate_slopes(*_cast(array, index_from_day, source, pixels), float(step_mm), found)
    return found[:, 0], found[:, 1], found[:, 2:5], found[:, 5:8]


def _cast(array: Array, index_from_day: Array, source: Array, pixels: Array) -> tuple[Array, Array, Array, Array]:
    return (
        np.ascontiguousarray(array, dtype=np.float32),
        np.ascontiguousarray(index_from_day, dtype=np.float64),
        np.ascontiguousarray(source, dtype=np.float64),
        np.ascontiguousarray(pixels, dtype=np.float64),
    )
