"""Slow, obviously right twins of the kernels of geometry and dose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry import BeamGeometry
from imrt_core.machine import BeamModel
from imrt_core.patient import Volume


def expand(mask: Volume, sides: tuple[float, float, float, float, float, float]) -> NDArray[np.float64]:
    """Grow a mask voxel by voxel: every pair of voxels is looked at."""
    left, right, anterior, posterior, superior, inferior = sides
    points = mask.grid.voxel_centres_lps()
    grown = mask.array.astype(float)
    for source in np.argwhere(mask.array > 0):
        neighbours = tuple(slice(max(n - 1, 0), n + 2) for n in source)
        if mask.array[neighbours].max() < 0.5:
            continue  # no surface passes here
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
                    gauge += (value / semi_axis) ** 2 if semi_axis > 1e-6 else np.inf
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


def upstream_density(red: Volume, beam: BeamGeometry, point: NDArray[np.float64], length_mm: float) -> float:
    """Exponentially weighted mean of density upstream of a point, over a length along the axis.

    It is 1 until one voxel below the skin, the first density of 0.4.
    """
    solid = red.with_array(np.where(red.array >= 0.01, red.array, 0.0))
    along = -beam.bld_from_lps[2]
    source = beam.source_lps
    direction = (point - source) / ((point - source) @ along)  # per mm along the beam axis
    step = 0.1
    distances = np.arange(0.5 * step, (point - source) @ along, step)
    densities = solid.sample(source + distances[:, None] * direction, outside=0.0)
    below = min(red.grid.spacing_mm)
    mean, skin = 1.0, np.inf
    for distance, value in zip(distances, densities, strict=True):
        if value >= 0.4:
            skin = min(skin, distance)
        if distance >= skin + below:
            mean += (value - mean) * (1 - np.exp(-step / length_mm))
    return mean


def influence(
    model: BeamModel,
    beam: BeamGeometry,
    red: Volume,
    bixels_mm: NDArray[np.float64],
    point: NDArray[np.float64],
) -> list[float]:
    """Dose of bixels (lower u, v, upper u, v) at one point, Gy per MU, term by term in double precision."""
    depth = radiological_depth(red, beam.source_lps, point)
    x, y, z = beam.to_bld(point)
    enlarge = beam.sad_mm / (beam.sad_mm - z)
    near, far = (min(max(upstream_density(red, beam, point, length), 0.25), 1.6) for length in (20.0, 100.0))
    doses = []
    for low_u, low_v, high_u, high_v in bixels_mm:
        total = 0.0
        for amplitude, width in zip(model.amplitudes(depth), model.kernel_width_mm, strict=True):
            density = near if width <= 10 else far
            sigma = math.hypot(model.source_sigma_mm, width * enlarge / density) * math.sqrt(2)
            part = amplitude
            for low, high, at in ((low_u, high_u, x * enlarge), (low_v, high_v, y * enlarge)):
                part *= 0.5 * (math.erf((high - at) / sigma) - math.erf((low - at) / sigma))
            total += part
        middle = np.hypot((low_u + high_u) / 2, (low_v + high_v) / 2)
        doses.append(float(enlarge**2 * total * model.off_axis_fluence(middle)))
    return doses


def gaussian_map_dose(
    sigma_mm: NDArray[np.float64],
    edges_u_mm: NDArray[np.float64],
    edges_v_mm: NDArray[np.float64],
    weights: NDArray[np.float64],
    u_mm: NDArray[np.float64],
    v_mm: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Convolve cells with a Gaussian at every point, cell by cell; each point has a width of its own."""
    dose = np.zeros(len(u_mm))
    for n, (u, v, sigma) in enumerate(zip(u_mm, v_mm, sigma_mm, strict=True)):
        for row in range(weights.shape[0]):
            for column in range(weights.shape[1]):
                part = weights[row, column]
                for low, high, at in (
                    (edges_u_mm[column], edges_u_mm[column + 1], u),
                    (edges_v_mm[row], edges_v_mm[row + 1], v),
                ):
                    part *= 0.5 * (
                        math.erf((high - at) / sigma / math.sqrt(2)) - math.erf((low - at) / sigma / math.sqrt(2))
                    )
                dose[n] += part
    return dose


def gaussian_over_cells(
    below: NDArray[np.float64], above: NDArray[np.float64], sigma: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Integrate a Gaussian around each point over one cell; ``below``, ``above`` (n, 2): point − edges."""
    erf = np.vectorize(math.erf)
    root = sigma[:, None] * math.sqrt(2)
    return np.asarray(np.prod(0.5 * (erf(below / root) - erf(above / root)), axis=1))


def naive_sweep(density, soft, hard, volume, across, shift, rate, share, back):  # type: ignore[no-untyped-def]
    """Collapsed-cone transport, one direction, plane, cell and exponential after the other."""
    planes, rows, columns = density.shape
    dose = np.zeros(density.shape)
    for n in range(len(shift)):
        for j in range(rate.shape[2]):
            state = np.zeros((rows, columns))
            for step in range(planes):
                plane = planes - 1 - step if back[n] else step
                arrived = np.zeros((rows, columns))
                for row in range(rows):
                    for column in range(columns):
                        y, x = row - shift[n, 0], column - shift[n, 1]
                        for a in (math.floor(y), math.floor(y) + 1):
                            for b in (math.floor(x), math.floor(x) + 1):
                                if 0 <= a < rows and 0 <= b < columns:
                                    arrived[row, column] += (1 - abs(y - a)) * (1 - abs(x - b)) * state[a, b]
                for row in range(rows):
                    at = row if across else plane
                    for column in range(columns):
                        rho = float(density[plane, row, column])
                        path = float(rate[n, at, j]) * rho
                        keep = (1 - math.exp(-path)) / path
                        energy = (
                            float(
                                share[n, at, 0, j] * soft[plane, row, column]
                                + share[n, at, 1, j] * hard[plane, row, column]
                            )
                            * rho
                            * float(volume[at])
                        )
                        absorbed = arrived[row, column] * (1 - math.exp(-path)) + energy * (1 - keep)
                        state[row, column] = arrived[row, column] + energy - absorbed
                        dose[plane, row, column] += absorbed / (rho * float(volume[at]))
    return dose
