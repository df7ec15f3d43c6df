"""Compiled separable filters: Gaussian smoothing and the prefilter of cubic splines. Scipy's are their twins in tests.

Scipy's run on one thread with every line copied to double precision; half of a rigid match's time went there. One
thread writes one plane or slab of the output: results do not depend on the thread count.

Every filter has one loop along x, within a row, and one across rows: for y the rows of a plane, for z the planes, each
seen as one long row of which a thread takes a part.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from imrt_core._numba import kernel

Array = NDArray[Any]

#: Gaussians end at this many sigmas.
TRUNCATE = 3.0
#: Pole of the cubic B-spline's inverse filter [1]_, and how many mirrored samples start it: 0.27^24 is 1e-14.
_POLE, _START = np.sqrt(3.0) - 2.0, 24


@kernel()
def _smooth_across(rows: Array, weights: Array, first: int, last: int, out: Array) -> None:
    """Smooth the columns first … last − 1 of rows, shape (n, m)."""
    count, reach = rows.shape[0], weights.size // 2
    for n in range(count):
        # Slices count from 0: numba then knows that no index wraps around, and the loops become vector loops.
        smooth = out[n, first:last]
        smooth[:] = 0.0
        for tap in range(weights.size):
            weight = weights[tap]
            row = rows[min(max(n + tap - reach, 0), count - 1), first:last]
            for i in range(smooth.size):
                smooth[i] += weight * row[i]


@kernel(parallel=True)
def _smooth_in_planes(source: Array, weights_y: Array, weights_x: Array, out: Array) -> None:
    nz, ny, nx = source.shape
    reach = weights_x.size // 2
    for k in numba.prange(nz):
        line = np.empty(nx + 2 * reach, dtype=np.float32)
        plane = np.zeros((ny, nx), dtype=np.float32)
        for j in range(ny):
            for i in range(reach):
                line[i] = source[k, j, 0]
                line[reach + nx + i] = source[k, j, nx - 1]
            for i in range(nx):
                line[reach + i] = source[k, j, i]
            for tap in range(weights_x.size):
                weight = weights_x[tap]
                for i in range(nx):
                    plane[j, i] += weight * line[i + tap]
        _smooth_across(plane, weights_y, 0, nx, out[k])


@kernel(parallel=True)
def _smooth_along_z(source: Array, weights_z: Array, out: Array) -> None:
    nz, ny, nx = source.shape
    planes, smoothed = source.reshape(nz, ny * nx), out.reshape(nz, ny * nx)
    for j in numba.prange(ny):
        _smooth_across(planes, weights_z, j * nx, (j + 1) * nx, smoothed)


def gaussian(array: Array, sigma_zyx: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return a Gaussian-smoothed array; beyond its ends the edge value holds.

    Parameters
    ----------
    array : ndarray, shape (nz, ny, nx)
        Read as float32.
    sigma_zyx : tuple of float
        In voxels; 0 leaves an axis alone.
    """
    source = np.ascontiguousarray(array, dtype=np.float32)
    along_z, along_y, along_x = (_weights(sigma) for sigma in sigma_zyx)
    flat, out = np.empty_like(source), np.empty_like(source)
    _smooth_in_planes(source, along_y, along_x, flat)
    _smooth_along_z(flat, along_z, out)
    return out


def _weights(sigma: float) -> NDArray[np.float32]:
    radius = int(TRUNCATE * sigma + 0.5)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-12)) ** 2)
    return np.asarray(taps / taps.sum(), dtype=np.float32)


@kernel(inline=True)
def _mirrored(n: int, count: int) -> int:
    """Return the index of sample n of a signal mirrored about its first and last sample."""
    place = n % (2 * count - 2)
    return min(place, 2 * count - 2 - place)


@kernel()
def _prefilter_across(rows: Array, pole: float, start: int, first: int, last: int) -> None:
    """Filter the columns first … last − 1 of rows, shape (n, m), in place."""
    count = rows.shape[0]
    if count < 2:
        return
    gain = (1.0 - pole) * (1.0 - 1.0 / pole)
    begin = np.zeros(last - first)
    power = gain
    for n in range(start):
        row = rows[_mirrored(n, count), first:last]
        for i in range(begin.size):
            begin[i] += power * row[i]
        power *= pole
    rows[0, first:last] = begin
    for n in range(1, count):
        row, before = rows[n, first:last], rows[n - 1, first:last]
        for i in range(begin.size):
            row[i] = gain * row[i] + pole * before[i]
    end = pole / (pole * pole - 1.0)
    row, before = rows[count - 1, first:last], rows[count - 2, first:last]
    for i in range(begin.size):
        row[i] = end * (row[i] + pole * before[i])
    for n in range(count - 2, -1, -1):
        row, after = rows[n, first:last], rows[n + 1, first:last]
        for i in range(begin.size):
            row[i] = pole * (after[i] - row[i])


@kernel()
def _prefilter_row(row: Array, pole: float, start: int) -> None:
    count = row.size
    if count < 2:
        return
    gain = (1.0 - pole) * (1.0 - 1.0 / pole)
    before, power = 0.0, gain
    for n in range(start):
        before += power * row[_mirrored(n, count)]
        power *= pole
    row[0] = before
    for i in range(1, count):
        before = gain * row[i] + pole * before
        row[i] = before
    after = pole / (pole * pole - 1.0) * (row[count - 1] + pole * row[count - 2])
    row[count - 1] = after
    for i in range(count - 2, -1, -1):
        after = pole * (after - row[i])
        row[i] = after


@kernel(parallel=True)
def _prefilter_in_planes(values: Array, pole: float, start: int) -> None:
    nz, ny, nx = values.shape
    for k in numba.prange(nz):
        for j in range(ny):
            _prefilter_row(values[k, j], pole, start)
        _prefilter_across(values[k], pole, start, 0, nx)


@kernel(parallel=True)
def _prefilter_along_z(values: Array, pole: float, start: int) -> None:
    nz, ny, nx = values.shape
    planes = values.reshape(nz, ny * nx)
    for j in numba.prange(ny):
        _prefilter_across(planes, pole, start, j * nx, (j + 1) * nx)


def spline_coefficients(array: Array) -> NDArray[np.float32]:
    """Return the coefficients of the cubic B-spline through an array that is mirrored about its end samples.

    Parameters
    ----------
    array : ndarray, shape (nz, ny, nx)
        Read as float32.

    References
    ----------
    .. [1] M. Unser, A. Aldroubi, M. Eden, B-spline signal processing: part II, IEEE Trans. Signal Process. 41 (1993).
    """
    out = np.array(array, dtype=np.float32, order="C")
    _prefilter_in_planes(out, _POLE, _START)
    _prefilter_along_z(out, _POLE, _START)
    return out


@kernel()
def _nearest_across(rows: Array, steps: Array, first: int, last: int, out: Array) -> None:
    """Minimise squared distances over rows, shape (n, m), in the columns first … last − 1."""
    count, reach = rows.shape[0], steps.size // 2
    for n in range(count):
        nearest = out[n, first:last]
        nearest[:] = rows[n, first:last]
        for other in range(max(n - reach, 0), min(n + reach + 1, count)):
            step, row = steps[other - n + reach], rows[other, first:last]
            for i in range(nearest.size):
                nearest[i] = min(nearest[i], row[i] + step)


@kernel(parallel=True)
def _nearest_in_planes(squared: Array, steps_y: Array, steps_x: Array, out: Array) -> None:
    nz, ny, nx = squared.shape
    reach = steps_x.size // 2
    for k in numba.prange(nz):
        plane = np.empty((ny, nx), dtype=np.float32)
        for j in range(ny):
            for i in range(nx):
                plane[j, i] = squared[k, j, i]
            for tap in range(steps_x.size):
                shift = tap - reach
                for i in range(max(0, -shift), min(nx, nx - shift)):
                    plane[j, i] = min(plane[j, i], squared[k, j, i + shift] + steps_x[tap])
        _nearest_across(plane, steps_y, 0, nx, out[k])


@kernel(parallel=True)
def _nearest_along_z(squared: Array, steps_z: Array, out: Array) -> None:
    nz, ny, nx = squared.shape
    planes, nearest = squared.reshape(nz, ny * nx), out.reshape(nz, ny * nx)
    for j in numba.prange(ny):
        _nearest_across(planes, steps_z, j * nx, (j + 1) * nx, nearest)


def distance_within(mask: Array, spacing_zyx_mm: tuple[float, float, float], reach_mm: float) -> NDArray[np.float32]:
    """Return the distance of every voxel centre to the nearest voxel of a mask, at most ``reach_mm``.

    Exact up to there: the nearest voxel lies within the reach along every axis, and squared distances are minimised
    axis by axis.

    Parameters
    ----------
    mask : ndarray of bool, shape (nz, ny, nx)
        0 mm inside.
    spacing_zyx_mm : tuple of float
        Voxel size.
    reach_mm : float
        What is further away has this distance.
    """
    squared = np.where(mask, np.float32(0.0), np.float32(reach_mm * reach_mm))
    along_z, along_y, along_x = (_squared_steps(step, reach_mm) for step in spacing_zyx_mm)
    flat, out = np.empty_like(squared), np.empty_like(squared)
    _nearest_in_planes(squared, along_y, along_x, flat)
    _nearest_along_z(flat, along_z, out)
    return np.sqrt(out)


def _squared_steps(step_mm: float, reach_mm: float) -> NDArray[np.float32]:
    radius = int(reach_mm / step_mm)
    return np.asarray((np.arange(-radius, radius + 1) * step_mm) ** 2, dtype=np.float32)
