"""Kernels that read maps of convolved fluence at voxels, and their transpose.

Maps are arrays (nodes, components), level after level; a level is described by its row of ``levels`` (n, 6): BLD X and
Y of node [0, 0], nodes per mm, rows, columns, and where its map begins. ``scale``: log s of level 0, and the step
between levels. A voxel interpolates linearly along BLD X, BLD Y and log s.

Voxels that read the same nodes of the same two levels form a group: in it, the interpolated value is one polynomial in
the three fractions, with 8 coefficients per component, and the sum over voxels is one vector loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

#: Shares of the groups, each with a partial sum of its own in Aᵀ·g; fixed, so that sums do not depend on threads.
SHARES = 16
#: Groups are padded to whole vectors of this many voxels.
LANES = 8
#: How much a key leaves for the upper level's cell beside what the lower one's implies, along each axis.
_BESIDE = 4
#: Keys for every node: the upper cells beside it, and one for voxels that are on the upper level's map only.
KEYS = _BESIDE * _BESIDE + 1


@kernel()
def _level_of(scale: Any, levels: Any, log_scale: float) -> Any:
    """Return the lower level and the fraction of the way to the next."""
    z = (log_scale - scale[0]) / scale[1]
    z = min(max(z, 0.0), levels.shape[0] - 1.0)
    k = min(int(z), levels.shape[0] - 2)
    # Unsigned: numba then leaves out Python's wrap-around of negative indices, here and below.
    return np.uintp(k), np.float32(z - k)


@kernel()
def _on_level(levels: Any, k: Any, u: float, v: float) -> Any:
    """Position of a point on a level, in nodes, and whether it lies on the map."""
    x = (u - levels[k, np.uintp(0)]) * levels[k, np.uintp(2)]
    y = (v - levels[k, np.uintp(1)]) * levels[k, np.uintp(2)]
    return x, y, 0.0 <= x < levels[k, np.uintp(4)] - 1 and 0.0 <= y < levels[k, np.uintp(3)] - 1


@kernel()
def _node(levels: Any, k: Any, i: float, j: float) -> Any:
    """Flat index of a node."""
    return np.int64(levels[k, np.uintp(5)] + j * levels[k, np.uintp(4)] + i)


@kernel(parallel=True)
def add_map(maps: Any, levels: Any, scale: Any, u: Any, v: Any, log_scale: Any, amplitude: Any, dose: Any) -> None:
    """Add Σ amplitude × interpolated map to the dose of every voxel; ``amplitude`` (voxels, components)."""
    one = np.uintp(1)
    for n in prange(dose.shape[0]):
        k, upper = _level_of(scale, levels, log_scale[n])
        total = np.float32(0.0)
        for level in range(2):
            x, y, on_map = _on_level(levels, k + np.uintp(level), u[n], v[n])
            if on_map:
                j, i = np.floor(y), np.floor(x)
                fy, fx = np.float32(y - j), np.float32(x - i)
                at = np.uintp(_node(levels, k + np.uintp(level), i, j))
                below = at + np.uintp(levels[k + np.uintp(level), np.uintp(4)])
                part = np.float32(0.0)
                for c in range(maps.shape[1]):
                    near = maps[at, c] + fx * (maps[at + one, c] - maps[at, c])
                    far = maps[below, c] + fx * (maps[below + one, c] - maps[below, c])
                    part += amplitude[n, c] * (near + fy * (far - near))
                total += part * (upper if level else np.float32(1.0) - upper)
        dose[n] += total


@kernel(parallel=True)
def map_keys(levels: Any, scale: Any, u: Any, v: Any, log_scale: Any, nodes: int, key: Any) -> None:
    """Key of the nodes that every voxel reads; −1 where it is on no map. There are :data:`KEYS` per node."""
    for n in prange(key.shape[0]):
        k = _level_of(scale, levels, log_scale[n])[0]
        above = k + np.uintp(1)
        x, y, on_lower = _on_level(levels, k, u[n], v[n])
        across, down, on_upper = _on_level(levels, above, u[n], v[n])
        i, j = np.floor(x), np.floor(y)
        key[n] = -1
        if on_lower:
            # The upper level's nodes are not closer together: a cell of the lower one lies in two of its cells at most.
            left, top, _ = _on_level(
                levels,
                above,
                levels[k, np.uintp(0)] + i / levels[k, np.uintp(2)],
                levels[k, np.uintp(1)] + j / levels[k, np.uintp(2)],
            )
            beside = np.int64(np.floor(across) - np.floor(left)) + 1
            under = np.int64(np.floor(down) - np.floor(top)) + 1
            key[n] = (_node(levels, k, i, j) * _BESIDE + under) * _BESIDE + beside
        elif on_upper:
            key[n] = nodes * _BESIDE * _BESIDE + _node(levels, above, np.floor(across), np.floor(down))


@kernel(parallel=True)
def fill_map_groups(
    levels: Any,
    scale: Any,
    u: Any,
    v: Any,
    log_scale: Any,
    amplitude: Any,
    rows: Any,
    first: Any,
    pointer: Any,
    node: Any,
    change: Any,
    slots: Any,
) -> None:
    """Fill nodes and slots of every group from its voxels, ``rows[first[g]:first[g + 1]]``.

    ``node`` (groups, 4): lower node and the one a row further on the lower level, and on the upper; −1 off the map.
    ``change`` (groups, 4): how fractions on the upper level follow from those on the lower: factor and addend along u,
    along v. ``slots`` (3 + components, slots): fractions along u, v and log s, and amplitudes; 0 without a voxel.
    """
    for g in prange(first.shape[0] - 1):
        one = rows[first[g]]
        k = _level_of(scale, levels, log_scale[one])[0]
        above = k + np.uintp(1)
        x, y, on_lower = _on_level(levels, k, u[one], v[one])
        across, down, on_upper = _on_level(levels, above, u[one], v[one])
        base = k if on_lower else above
        i, j = (np.floor(x), np.floor(y)) if on_lower else (np.floor(across), np.floor(down))
        node[g, :] = -1
        if on_lower:
            node[g, 0] = _node(levels, k, i, j)
            node[g, 1] = _node(levels, k, i, j + 1)
        if on_upper:
            node[g, 2] = _node(levels, above, np.floor(across), np.floor(down))
            node[g, 3] = _node(levels, above, np.floor(across), np.floor(down) + 1)
        factor = levels[above, 2] / levels[base, 2]
        change[g, 0], change[g, 2] = factor, factor
        change[g, 1] = (levels[base, 0] + i / levels[base, 2] - levels[above, 0]) * levels[above, 2] - np.floor(across)
        change[g, 3] = (levels[base, 1] + j / levels[base, 2] - levels[above, 1]) * levels[above, 2] - np.floor(down)
        at = pointer[g]
        for place in range(first[g], first[g + 1]):
            n = rows[place]
            x, y, _ = _on_level(levels, base, u[n], v[n])
            slots[0, at], slots[1, at] = x - i, y - j
            slots[2, at] = _level_of(scale, levels, log_scale[n])[1]
            for c in range(amplitude.shape[1]):
                slots[3 + c, at] = amplitude[n, c]
            at += 1
        for rest in range(at, pointer[g + 1]):
            slots[:, rest] = 0.0


@kernel()
def _bilinear(maps: Any, at: int, below: int, c: Any) -> Any:
    """Coefficients of 1, x, y and x·y between four nodes; 0 off the map."""
    if at < 0:
        return np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    near, far, one = np.uintp(at), np.uintp(below), np.uintp(1)
    p0 = maps[near, c]
    p1 = maps[near + one, c] - p0
    p2 = maps[far, c] - p0
    return p0, p1, p2, maps[far + one, c] - maps[far, c] - p1


@kernel()
def _longest(pointer: Any) -> Any:
    longest = 0
    for g in range(pointer.shape[0] - 1):
        longest = max(longest, pointer[g + 1] - pointer[g])
    return longest


@kernel()
def _coefficients(maps: Any, node: Any, change: Any, c: Any, part: Any) -> Any:
    """Coefficients of 1, x, y and x·y on the lower level, and of what a whole step in log s adds; times ``part``."""
    p0, p1, p2, p3 = _bilinear(maps, node[0], node[1], c)
    q0, q1, q2, q3 = _bilinear(maps, node[2], node[3], c)
    su, ou, sv, ov = change[0], change[1], change[2], change[3]
    # The upper level in the lower one's fractions, less the lower level.
    r0 = q0 + ou * q1 + ov * (q2 + ou * q3) - p0
    r1 = su * (q1 + ov * q3) - p1
    r2 = sv * (q2 + ou * q3) - p2
    r3 = su * sv * q3 - p3
    return part * p0, part * p1, part * p2, part * p3, part * r0, part * r1, part * r2, part * r3


@kernel(parallel=True)
def add_map_groups(maps: Any, layout: Any, slots: Any, dose: Any) -> None:
    """Add Σ amplitude × interpolated map to the dose of every voxel; ``layout``: :attr:`MapGroups.arrays`."""
    order, first, pointer, node, change, share_pointer, _ = layout
    longest, stride = _longest(pointer), np.uintp(slots.shape[1])
    flat = slots.reshape(slots.size)
    one, two = np.uintp(1), np.uintp(2)
    components = np.uintp(maps.shape[1])
    for share in prange(share_pointer.shape[0] - 1):
        buffer = np.empty(longest, dtype=np.float32)
        for group in range(share_pointer[share], share_pointer[share + 1]):
            g = np.uintp(group)
            x_at = np.uintp(pointer[g])
            y_at, z_at = x_at + stride, x_at + two * stride
            count = np.uintp(LANES) * (np.uintp(pointer[g + one] - pointer[g]) // np.uintp(LANES))
            # Two components at a time: they share the fractions. An odd last one is paired with itself, times 0.
            for pair in range((components + one) // two):
                c = two * pair
                d = min(c + one, components - one)
                p = _coefficients(maps, node[g], change[g], c, np.float32(1.0))
                q = _coefficients(maps, node[g], change[g], d, np.float32(d - c))
                p0, p1, p2, p3, p4, p5, p6, p7 = p
                q0, q1, q2, q3, q4, q5, q6, q7 = q
                a_at, b_at = x_at + (c + np.uintp(3)) * stride, x_at + (d + np.uintp(3)) * stride
                if not pair:
                    for i in range(count):
                        x, y, z = flat[x_at + i], flat[y_at + i], flat[z_at + i]
                        near = p0 + x * p1 + y * (p2 + x * p3) + z * (p4 + x * p5 + y * (p6 + x * p7))
                        far = q0 + x * q1 + y * (q2 + x * q3) + z * (q4 + x * q5 + y * (q6 + x * q7))
                        buffer[i] = flat[a_at + i] * near + flat[b_at + i] * far
                else:
                    for i in range(count):
                        x, y, z = flat[x_at + i], flat[y_at + i], flat[z_at + i]
                        near = p0 + x * p1 + y * (p2 + x * p3) + z * (p4 + x * p5 + y * (p6 + x * p7))
                        far = q0 + x * q1 + y * (q2 + x * q3) + z * (q4 + x * q5 + y * (q6 + x * q7))
                        buffer[i] += flat[a_at + i] * near + flat[b_at + i] * far
            place = np.uintp(first[g])
            for i in range(np.uintp(first[g + one]) - place):
                dose[np.uintp(order[place + i])] += buffer[i]


@kernel()
def _to_nodes(maps: Any, lower: int, below: int, c: Any, p: Any) -> None:
    """Transpose of :func:`_bilinear`; ``maps`` begin at the share's first node."""
    near, far, one = np.uintp(lower), np.uintp(below), np.uintp(1)
    p0, p1, p2, p3 = p
    maps[near, c] += p0 - p1 - p2 + p3
    maps[near + one, c] += p1 - p3
    maps[far, c] += p2 - p3
    maps[far + one, c] += p3


@kernel()
def _sums(flat: Any, values: Any, at: Any, stride: Any, amplitude_at: Any, count: Any) -> Any:
    """Return the sums over a group of value · amplitude times 1, x, y, x·y, and the same times z."""
    p0, p1, p2, p3 = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    r0, r1, r2, r3 = np.float32(0.0), np.float32(0.0), np.float32(0.0), np.float32(0.0)
    y_at, z_at = at + stride, at + stride + stride
    for i in range(count):
        x, y, z = flat[at + i], flat[y_at + i], flat[z_at + i]
        value = values[i] * flat[amplitude_at + i]
        upper = z * value
        vx, ux = value * x, upper * x
        p0 += value
        p1 += vx
        p2 += value * y
        p3 += vx * y
        r0 += upper
        r1 += ux
        r2 += upper * y
        r3 += ux * y
    return p0, p1, p2, p3, r0, r1, r2, r3


@kernel(parallel=True)
def gather_map_groups(values: Any, layout: Any, slots: Any, partial: Any) -> None:
    """Transpose of :func:`add_map_groups`: voxel values to maps, ``partial`` (shares, nodes, components).

    Each share has partial maps of its own, of the nodes that it reaches, in single precision; the caller adds them.
    """
    order, first, pointer, node, change, share_pointer, share_node = layout
    longest, stride = _longest(pointer), np.uintp(slots.shape[1])
    flat = slots.reshape(slots.size)
    one = np.uintp(1)
    for share in prange(share_pointer.shape[0] - 1):
        buffer = np.zeros(longest, dtype=np.float32)
        maps, start = partial[share], share_node[share]
        for group in range(share_pointer[share], share_pointer[share + 1]):
            g = np.uintp(group)
            begin = np.uintp(pointer[g])
            count = np.uintp(LANES) * (np.uintp(pointer[g + one] - pointer[g]) // np.uintp(LANES))
            place = np.uintp(first[g])
            voxels = np.uintp(first[g + one]) - place
            for i in range(voxels):
                buffer[i] = values[np.uintp(order[place + i])]
            for i in range(voxels, count):
                buffer[i] = 0.0
            su, ou, sv, ov = change[g, 0], change[g, 1], change[g, 2], change[g, 3]
            for c in range(np.uintp(partial.shape[2])):
                amplitude_at = begin + (c + np.uintp(3)) * stride
                p0, p1, p2, p3, r0, r1, r2, r3 = _sums(flat, buffer, begin, stride, amplitude_at, count)
                if node[g, 0] >= 0:
                    lower = p0 - r0, p1 - r1, p2 - r2, p3 - r3
                    _to_nodes(maps, node[g, 0] - start, node[g, 1] - start, c, lower)
                if node[g, 2] >= 0:
                    q1, q2 = ou * r0 + su * r1, ov * r0 + sv * r2
                    q3 = ou * q2 + su * (ov * r1 + sv * r3)
                    _to_nodes(maps, node[g, 2] - start, node[g, 3] - start, c, (r0, q1, q2, q3))
