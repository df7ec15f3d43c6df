"""Kernels that walk rays through a density volume."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

#: Relative electron density that marks the skin: half way from air to tissue.
SKIN_LEVEL = 0.4
#: Water-equivalent depth at which the skin has been passed even where nothing reaches that level.
LIGHT_SKIN_MM = 3.0


@kernel()
def trilinear(array: Any, z: float, y: float, x: float) -> Any:
    """Trilinear value at an index that lies within the array, at least one voxel from its upper ends."""
    # Unsigned indices: numba then leaves out Python's wrap-around of negative ones, a third of the time here. By way of
    # a signed integer: the processor converts to and from that in one instruction.
    below_z, below_y, below_x = np.int64(z), np.int64(y), np.int64(x)
    fz, fy, fx = np.float32(z - below_z), np.float32(y - below_y), np.float32(x - below_x)
    k, j, i = np.uintp(below_z), np.uintp(below_y), np.uintp(below_x)
    one = np.uintp(1)
    k1, j1, i1 = k + one, j + one, i + one
    a, b = array[k, j, i], array[k, j1, i]
    c, d = array[k1, j, i], array[k1, j1, i]
    a += fx * (array[k, j, i1] - a)
    b += fx * (array[k, j1, i1] - b)
    c += fx * (array[k1, j, i1] - c)
    d += fx * (array[k1, j1, i1] - d)
    a += fy * (b - a)
    c += fy * (d - c)
    return a + fz * (c - a)


@kernel()
def look_up(array: Any, z: float, y: float, x: float) -> Any:
    """Trilinear value at a fractional array index; 0 beyond the outermost voxel centres."""
    nz, ny, nx = array.shape
    if 0.0 <= z < nz - 1 and 0.0 <= y < ny - 1 and 0.0 <= x < nx - 1:
        return trilinear(array, z, y, x)
    return np.float32(0.0)


@kernel()
def inside(start: float, slope: float, upper: float, first: int, last: int) -> Any:
    """Narrow first … last (exclusive) to the n with 0 <= start + n·slope < upper, a hair inside."""
    tiny = 1e-4  # samples are placed in single precision
    if abs(slope) < 1e-12:
        return (first, last) if tiny <= start < upper - tiny else (0, 0)
    low, high = (tiny - start) / slope, (upper - tiny - start) / slope
    if low > high:
        low, high = high, low
    if high < first or low > last:
        return 0, 0
    return max(first, int(np.ceil(low))), min(last, int(np.floor(high)) + 1)


@kernel(parallel=True)
def look_up_all(array: Any, index: Any, found: Any) -> None:
    for n in prange(index.shape[0]):
        found[n] = look_up(array, index[n, 0], index[n, 1], index[n, 2])


@kernel()
def sample(flat: Any, below_k: Any, below_j: Any, z: Any, y: Any, x: Any) -> Any:
    """As :func:`trilinear`, all in 32 bits: half the time. ``below_k``, ``below_j``: steps of k and j in ``flat``."""
    k, j, i = np.int32(z), np.int32(y), np.int32(x)
    fz, fy, fx = z - np.float32(k), y - np.float32(j), x - np.float32(i)
    one, step_j, step_k = np.uintp(1), np.uintp(below_j), np.uintp(below_k)
    at = np.uintp(k * below_k + j * below_j + i)
    at_j, at_k, at_both = at + step_j, at + step_k, at + step_j + step_k
    a, b, c, d = flat[at], flat[at_j], flat[at_k], flat[at_both]
    a += fx * (flat[at + one] - a)
    b += fx * (flat[at_j + one] - b)
    c += fx * (flat[at_k + one] - c)
    d += fx * (flat[at_both + one] - d)
    a += fy * (b - a)
    c += fy * (d - c)
    return a + fz * (c - a)


@kernel()
def cast_ray(
    flat: Any,
    shape: Any,
    a: Any,
    geometry: Any,
    keep: Any,
    skin_planes: int,
    u: float,
    v: float,
    depth: Any,
    near: Any,
    far: Any,
) -> None:
    """Walk the ray that crosses the isocentre plane at (u, v); fills depth, near and far at every plane.

    ``flat`` and ``shape``: the density array. ``a`` (4, 4): array index (i, j, k) from BLD. ``geometry``: u0, v0,
    pitch, top, step, SAD, of which the last three matter here. ``keep``: what is left of a mean after one step.
    """
    top, step, sad = geometry[3], geometry[4], geometry[5]
    planes = depth.shape[0]
    per_plane = step * np.sqrt(1.0 + (u * u + v * v) / (sad * sad))
    # A ray is a straight line in index space too: its first sample and the step to the next.
    z = top - 0.5 * step
    x, y = u * (sad - z) / sad, v * (sad - z) / sad
    i = a[0, 0] * x + a[0, 1] * y + a[0, 2] * z + a[0, 3]
    j = a[1, 0] * x + a[1, 1] * y + a[1, 2] * z + a[1, 3]
    k = a[2, 0] * x + a[2, 1] * y + a[2, 2] * z + a[2, 3]
    dx, dy = u * step / sad, v * step / sad
    di = a[0, 0] * dx + a[0, 1] * dy - a[0, 2] * step
    dj = a[1, 0] * dx + a[1, 1] * dy - a[1, 2] * step
    dk = a[2, 0] * dx + a[2, 1] * dy - a[2, 2] * step
    total, near_mean, far_mean = np.float32(0.0), np.float32(1.0), np.float32(1.0)
    keep_near, keep_far = np.float32(keep[0]), np.float32(keep[1])
    new_near, new_far, length = np.float32(1.0 - keep[0]), np.float32(1.0 - keep[1]), np.float32(per_plane)
    skin = planes
    first, last = inside(k, dk, shape[0] - 1.0, 0, planes - 1)
    first, last = inside(j, dj, shape[1] - 1.0, first, last)
    first, last = inside(i, di, shape[2] - 1.0, first, last)
    depth[: first + 1] = 0.0
    near[: first + 1] = 1.0
    far[: first + 1] = 1.0
    below_k, below_j = np.int32(shape[1] * shape[2]), np.int32(shape[2])
    k0, j0, i0 = np.float32(k + first * dk), np.float32(j + first * dj), np.float32(i + first * di)
    dk0, dj0, di0 = np.float32(dk), np.float32(dj), np.float32(di)
    for n in range(first, last):
        along = np.float32(n - first)
        value = sample(flat, below_k, below_j, k0 + along * dk0, j0 + along * dj0, i0 + along * di0)
        total += value * length
        if skin == planes and (value >= np.float32(SKIN_LEVEL) or total > np.float32(LIGHT_SKIN_MM)):
            skin = n
        if n >= skin + skin_planes:
            near_mean = keep_near * near_mean + new_near * value
            far_mean = keep_far * far_mean + new_far * value
        depth[n + 1] = total
        near[n + 1] = near_mean
        far[n + 1] = far_mean
    depth[max(first, last) + 1 :] = total
    near[max(first, last) + 1 :] = near_mean
    far[max(first, last) + 1 :] = far_mean


@kernel(parallel=True)
def cast_rays(
    array: Any, index_from_bld: Any, geometry: Any, keep: Any, skin_planes: int, depth: Any, near: Any, far: Any
) -> None:
    u0, v0, pitch = geometry[0], geometry[1], geometry[2]
    rows, columns, _ = depth.shape
    flat = array.reshape(array.size)
    for row in prange(rows):
        for column in range(columns):
            u, v = u0 + column * pitch, v0 + row * pitch
            out = depth[row, column], near[row, column], far[row, column]
            cast_ray(flat, array.shape, index_from_bld, geometry, keep, skin_planes, u, v, out[0], out[1], out[2])


@kernel(parallel=True)
def integrate_rays(array: Any, a: Any, source: Any, points: Any, ball: Any, step: float, found: Any) -> None:
    for n in prange(points.shape[0]):
        dx, dy, dz = points[n, 0] - source[0], points[n, 1] - source[1], points[n, 2] - source[2]
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        dx, dy, dz = dx / length, dy / length, dz / length
        # Only the part of the ray inside the ball that holds the patient.
        along = (ball[0] - source[0]) * dx + (ball[1] - source[1]) * dy + (ball[2] - source[2]) * dz
        start = min(max(along - ball[3], 0.0), length)
        count = max(int(np.ceil((length - start) / step)), 1)
        part = (length - start) / count
        total = 0.0
        for s in range(count):
            t = start + (s + 0.5) * part
            x, y, z = source[0] + t * dx, source[1] + t * dy, source[2] + t * dz
            total += look_up(
                array,
                a[2, 0] * x + a[2, 1] * y + a[2, 2] * z + a[2, 3],
                a[1, 0] * x + a[1, 1] * y + a[1, 2] * z + a[1, 3],
                a[0, 0] * x + a[0, 1] * y + a[0, 2] * z + a[0, 3],
            )
        found[n] = total * part
