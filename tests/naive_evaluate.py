"""Slow, obviously right twins of the kernels of contours, DVH, gamma and accumulation."""

from __future__ import annotations

import itertools

import numpy as np

from imrt_core.patient import Grid, Volume


def inside_even_odd(points: np.ndarray, polygons: list[np.ndarray]) -> np.ndarray:
    """Whether (n, 2) points lie inside, by counting the edges to their right."""
    crossings = np.zeros(len(points), dtype=int)
    for polygon in polygons:
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            for n, (x, y) in enumerate(points):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) > x:
                    crossings[n] += 1
    return crossings % 2 == 1


def pixel_coverage(polygons: list[np.ndarray], *, corner, pixel, shape, divide: int = 16) -> np.ndarray:
    """Fraction of each pixel inside the polygons, by point sampling."""
    out = np.zeros(shape)
    offsets = (np.arange(divide) + 0.5) / divide
    for j, i in np.ndindex(*shape):
        x = corner[0] + (i + offsets) * pixel[0]
        y = corner[1] + (j + offsets) * pixel[1]
        points = np.array(list(itertools.product(x, y)))
        out[j, i] = inside_even_odd(points, polygons).mean()
    return out


def sub_voxels_of_mask(mask: Volume, *, divide: int) -> tuple[np.ndarray, np.ndarray]:
    """Point (LPS) and volume (cc) of every sub-voxel: n counts them all, and each sits at n·(1/g, 1/g², 1/g³) mod 1."""
    g = float(np.max(np.real(np.roots([1, 0, 0, -1, -1]))))
    nz, ny, nx = mask.grid.shape
    points, volumes = [], []
    every = itertools.product(range(nz * divide), range(ny * divide), range(nx * divide))
    for n, (z, y, x) in enumerate(every):
        within = np.array([n / g, n / g**2, n / g**3]) % 1
        points.append((np.array([x, y, z]) + within) / divide - 0.5)
        volumes.append(float(mask.array[z // divide, y // divide, x // divide]) * mask.grid.voxel_volume_cc / divide**3)
    return mask.grid.to_lps(np.array(points)), np.array(volumes)


def gamma(reference: Volume, evaluated: Volume, *, dose_gy, distance_mm: float, max_gamma: float) -> np.ndarray:
    """Gamma at every reference voxel by trying every lattice offset; ``dose_gy`` is a number or an array."""
    step = distance_mm / 10
    reach = int(np.ceil(10 * max_gamma))
    offsets = step * np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    distance = np.linalg.norm(offsets, axis=1)
    offsets = offsets @ np.asarray(evaluated.grid.direction).T
    nz, ny, nx = evaluated.grid.shape
    criterion = np.broadcast_to(dose_gy, reference.grid.shape)
    out = np.empty(reference.grid.shape)
    for k, j, i in np.ndindex(*reference.grid.shape):
        points = reference.grid.to_lps([i, j, k]) + offsets
        index = evaluated.grid.to_index(points)
        inside = np.all((index >= -1e-6) & (index <= np.array([nx, ny, nz]) - 1 + 1e-6), axis=1)
        miss = evaluated.sample(points[inside]) - reference.array[k, j, i]
        squares = (distance[inside] / distance_mm) ** 2 + (miss / criterion[k, j, i]) ** 2
        out[k, j, i] = min(np.sqrt(squares.min()), max_gamma) if len(squares) else max_gamma
    return out


def pulled_back(dose_gy: Volume, moved_from_fixed, grid: Grid, *, divide: int) -> np.ndarray:
    """Mean over sub-voxels of the dose at their moved points: piecewise linear, limited slopes, voxel means kept."""
    out = np.empty(grid.shape)
    offsets = (np.arange(divide) + 0.5) / divide - 0.5
    for k, j, i in np.ndindex(*grid.shape):
        values = []
        for dk, dj, di in itertools.product(offsets, offsets, offsets):
            index = dose_gy.grid.to_index(moved_from_fixed(grid.to_lps([i + di, j + dj, k + dk])))
            values.append(_reconstructed(dose_gy.array, index[::-1]))
        out[k, j, i] = np.mean(values)
    return out


def _reconstructed(array: np.ndarray, at: np.ndarray) -> float:
    nearest = np.floor(at + 0.5).astype(int)
    if np.any(nearest < 0) or np.any(nearest >= array.shape):
        return float("nan")
    here = float(array[tuple(nearest)])
    value = here
    for axis in range(3):
        before, after = nearest.copy(), nearest.copy()
        before[axis] -= 1
        after[axis] += 1
        if before[axis] < 0 or after[axis] >= array.shape[axis]:
            continue
        left, right = here - float(array[tuple(before)]), float(array[tuple(after)]) - here
        if left * right > 0:
            slope = np.sign(left) * min(2 * abs(left), 2 * abs(right), abs(left + right) / 2)
            value += slope * (at[axis] - nearest[axis])
    return value
