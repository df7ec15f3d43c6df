"""Compiled separable filters: Gaussian smoothing and the prefilter of cubic splines. Scipy's are their twins in tests.

Scipy's run on one thread with every line copied to double precision; half of a rigid match's time went there. One
thread writes one plane or slab of the output: results do not depend on the thread count.
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


@kernel(parallel=True)
def _smooth_in_planes(source: Array, weights_y: Array, weights_x: Array, out: Array) -> None:
    nz, ny, nx = source.shape
    ry, rx = weights_y.size // 2, weights_x.size // 2
    for k in numba.prange(nz):
        line = np.empty(nx + 2 * rx, dtype=np.float32)
        plane = np.zeros((ny, nx), dtype=np.float32)
        for j in range(ny):
            for i in range(rx):
                line[i] = source[k, j, 0]
                line[rx + nx + i] = source[k, j, nx - 1]
            for i in range(nx):
                line[rx + i] = source[k, j, i]
            for tap in range(weights_x.size):
                weight = weights_x[tap]
                for i in range(nx):
                    plane[j, i] += weight * line[i + tap]
        for j in range(ny):
            for i in range(nx):
                out[k, j, i] = 0.0
            for tap in range(weights_y.size):
                weight = weights_y[tap]
                other = min(max(j + tap - ry, 0), ny - 1)
                for i in range(nx):
                    out[k, j, i] += weight * plane[other, i]


@kernel(parallel=True)
def _smooth_along_z(source: Array, weights_z: Array, out: Array) -> None:
    nz, ny, nx = source.shape
    rz = weights_z.size // 2
    for j in numba.prange(ny):
        for k in range(nz):
            for i in range(nx):
                out[k, j, i] = 0.0
            for tap in range(weights_z.size):
                weight = weights_z[tap]
                other = min(max(k + tap - rz, 0), nz - 1)
                for i in range(nx):
                    out[k, j, i] += weight * source[other, j, i]


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


@kernel(parallel=True)
def _prefilter_in_planes(values: Array, pole: float, start: int) -> None:
    nz, ny, nx = values.shape
    gain = (1.0 - pole) * (1.0 - 1.0 / pole)
    last = pole / (pole * pole - 1.0)
    for k in numba.prange(nz):
        if nx > 1:
            for j in range(ny):
                total, power = 0.0, 1.0
                for n in range(start):
                    total += power * values[k, j, _mirrored(n, nx)]
                    power *= pole
                before = gain * total
                values[k, j, 0] = before
                for i in range(1, nx):
                    before = gain * values[k, j, i] + pole * before
                    values[k, j, i] = before
                after = last * (values[k, j, nx - 1] + pole * values[k, j, nx - 2])
                values[k, j, nx - 1] = after
                for i in range(nx - 2, -1, -1):
                    after = pole * (after - values[k, j, i])
                    values[k, j, i] = after
        if ny > 1:
            first = np.zeros(nx)
            power = gain
            for n in range(start):
                other = _mirrored(n, ny)
                for i in range(nx):
                    first[i] += power * values[k, other, i]
                power *= pole
            for i in range(nx):
                values[k, 0, i] = first[i]
            for j in range(1, ny):
                for i in range(nx):
                    values[k, j, i] = gain * values[k, j, i] + pole * values[k, j - 1, i]
            for i in range(nx):
                values[k, ny - 1, i] = last * (values[k, ny - 1, i] + pole * values[k, ny - 2, i])
            for j in range(ny - 2, -1, -1):
                for i in range(nx):
                    values[k, j, i] = pole * (values[k, j + 1, i] - values[k, j, i])


@kernel(parallel=True)
def _prefilter_along_z(values: Array, pole: float, start: int) -> None:
    nz, ny, nx = values.shape
    if nz < 2:
        return
    gain = (1.0 - pole) * (1.0 - 1.0 / pole)
    last = pole / (pole * pole - 1.0)
    for j in numba.prange(ny):
        first = np.zeros(nx)
        power = gain
        for n in range(start):
            other = _mirrored(n, nz)
            for i in range(nx):
                first[i] += power * values[other, j, i]
            power *= pole
        for i in range(nx):
            values[0, j, i] = first[i]
        for k in range(1, nz):
            for i in range(nx):
                values[k, j, i] = gain * values[k, j, i] + pole * values[k - 1, j, i]
        for i in range(nx):
            values[nz - 1, j, i] = last * (values[nz - 1, j, i] + pole * values[nz - 2, j, i])
        for k in range(nz - 2, -1, -1):
            for i in range(nx):
                values[k, j, i] = pole * (values[k + 1, j, i] - values[k, j, i])


@kernel(inline=True)
def _mirrored(n: int, count: int) -> int:
    """Return the index of sample n of a signal mirrored about its first and last sample."""
    place = n % (2 * count - 2)
    return min(place, 2 * count - 2 - place)


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


@kernel(parallel=True)
def _nearest_in_planes(squared: Array, steps_y: Array, steps_x: Array, out: Array) -> None:
    nz, ny, nx = squared.shape
    ry, rx = steps_y.size // 2, steps_x.size // 2
    for k in numba.prange(nz):
        plane = np.empty((ny, nx), dtype=np.float32)
        for j in range(ny):
            for i in range(nx):
                plane[j, i] = squared[k, j, i]
            for tap in range(steps_x.size):
                shift = tap - rx
                for i in range(max(0, -shift), min(nx, nx - shift)):
                    plane[j, i] = min(plane[j, i], squared[k, j, i + shift] + steps_x[tap])
        for j in range(ny):
            for i in range(nx):
                out[k, j, i] = plane[j, i]
            for other in range(max(j - ry, 0), min(j + ry + 1, ny)):
                step = steps_y[other - j + ry]
                for i in range(nx):
                    out[k, j, i] = min(out[k, j, i], plane[other, i] + step)


@kernel(parallel=True)
def _nearest_along_z(squared: Array, steps_z: Array, out: Array) -> None:
    nz, ny, nx = squared.shape
    rz = steps_z.size // 2
    for j in numba.prange(ny):
        for k in range(nz):
            for i in range(nx):
                out[k, j, i] = squared[k, j, i]
            for other in range(max(k - rz, 0), min(k + rz + 1, nz)):
                step = steps_z[other - k + rz]
                for i in range(nx):
                    out[k, j, i] = min(out[k, j, i], squared[other, j, i] + step)
            for i in range(nx):
                out[k, j, i] = np.sqrt(out[k, j, i])


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
    return out


def _squared_steps(step_mm: float, reach_mm: float) -> NDArray[np.float32]:
    radius = int(reach_mm / step_mm)
    return np.asarray((np.arange(-radius, radius + 1) * step_mm) ** 2, dtype=np.float32)
