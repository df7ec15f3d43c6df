"""Slow, obvious twins for the tests of ``imrt_core.optimize``, and a toy pencil-beam model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

FloatArray = NDArray[np.float64]


def finite_difference_gradient(
    function: Callable[[FloatArray], float], at: FloatArray, *, step: float = 1e-5
) -> FloatArray:
    """Central differences, one component at a time."""
    gradient = np.zeros_like(at)
    for i in range(at.size):
        plus, minus = at.copy(), at.copy()
        plus[i] += step
        minus[i] -= step
        gradient[i] = (function(plus) - function(minus)) / (2 * step)
    return gradient


def toy_matrix(
    *,
    gantry_deg: tuple[float, ...] = (0, 40, 80, 120, 160, 200, 240, 280, 320),
    half_width_mm: float = 100.0,
    voxel_mm: float = 5.0,
    bixel_mm: float = 5.0,
    field_half_width_mm: float = 45.0,
) -> tuple[sparse.csr_array, FloatArray]:
    """One transverse slice of a water cylinder under parallel beams: attenuation times a Gaussian penumbra.

    Returns the matrix (voxels in the cylinder × bixels, Gy per MU) and the voxels' (x, y) in mm.
    """
    axis = np.arange(-half_width_mm + voxel_mm / 2, half_width_mm, voxel_mm)
    x, y = np.meshgrid(axis, axis)
    inside = np.hypot(x, y) < half_width_mm
    points = np.stack([x[inside], y[inside]], axis=1)
    offsets = np.arange(-field_half_width_mm + bixel_mm / 2, field_half_width_mm, bixel_mm)
    columns = []
    for angle in np.radians(gantry_deg):
        along = np.array([-np.sin(angle), np.cos(angle)])
        across = np.array([np.cos(angle), np.sin(angle)])
        lateral = points @ across
        # path from the cylinder's surface to the point, along the beam
        depth = points @ along + np.sqrt(half_width_mm**2 - lateral**2)
        for offset in offsets:
            profile = np.exp(-0.5 * ((lateral - offset) / 4.0) ** 2) / (4.0 * np.sqrt(2 * np.pi)) * bixel_mm
            value = 0.01 * np.exp(-0.005 * depth) * profile
            columns.append(np.where(value > 1e-6, value, 0.0))
    return sparse.csr_array(np.stack(columns, axis=1)), points


def fluence_by_time_steps(
    leaves_mm: FloatArray,
    cumulative_mu: FloatArray,
    x_mm: FloatArray,
    *,
    steps_per_mu: int = 200,
) -> FloatArray:
    """Open time in MU at points x for every leaf pair: walk through the delivery in small steps and look.

    ``leaves_mm`` has shape (control points, 2, pairs).
    """
    pairs = leaves_mm.shape[2]
    result = np.zeros((pairs, x_mm.size))
    total = cumulative_mu[-1]
    count = int(total * steps_per_mu)
    for step in range(count):
        mu = (step + 0.5) * total / count
        for pair in range(pairs):
            left = np.interp(mu, cumulative_mu, leaves_mm[:, 0, pair])
            right = np.interp(mu, cumulative_mu, leaves_mm[:, 1, pair])
            result[pair] += ((x_mm > left) & (x_mm < right)) * total / count
    return result
