"""What one beam knows of every voxel: where it projects, how far and how deep it is, how wide kernels are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from imrt_core._numba import kernel
from imrt_core.geometry import BeamGeometry
from imrt_core.geometry._ray_kernels import look_up
from imrt_core.geometry.raytrace import RayVolume, depth_grid
from imrt_core.machine import BeamModel
from imrt_core.machine.beam_model import TABLE_STEP_MM

#: Kernel components up to this width in water come from secondary electrons and scale with the density near by;
#: wider ones come from scattered photons and scale with the mean over their free path.
ELECTRON_WIDTH_MM = 10.0
#: Mean density is limited to this range before it scales kernel widths: beyond, the scaling has no support.
DENSITY_RANGE = (0.25, 1.6)


@dataclass(frozen=True, eq=False)
class BeamState:
    """Voxels as one beam sees them; all arrays of shape (n,), float32.

    Parameters
    ----------
    u_mm, v_mm : ndarray
        Projection onto the isocentre plane, BLD X and Y.
    inverse_square : ndarray
        (SAD / r)², r along the beam axis.
    depth_mm : ndarray
        Radiological depth.
    log_scale_near, log_scale_far : ndarray
        log s with s = SAD / (r·ρ): how much wider kernels are on the isocentre plane than in water at the isocentre, ρ
        being the mean density upstream over the range of electrons and of scattered photons.
    """

    u_mm: NDArray[np.float32]
    v_mm: NDArray[np.float32]
    inverse_square: NDArray[np.float32]
    depth_mm: NDArray[np.float32]
    log_scale_near: NDArray[np.float32]
    log_scale_far: NDArray[np.float32]

    def amplitude(self, model: BeamModel, components: tuple[int, ...]) -> NDArray[np.float32]:
        """Return (SAD/r)²·A_k(depth) of every voxel, shape (n, components)."""
        deepest = float(self.depth_mm.max(initial=0.0))
        table = np.ascontiguousarray(model.amplitude_table(deepest)[:, list(components)])
        found = np.empty((len(self.depth_mm), len(components)), dtype=np.float32)
        _amplitude(table, self.depth_mm, self.inverse_square, found)
        return found

    @property
    def extent_mm(self) -> tuple[float, float, float, float]:
        """Smallest and largest u, smallest and largest v."""
        return float(self.u_mm.min()), float(self.u_mm.max()), float(self.v_mm.min()), float(self.v_mm.max())

    def log_scale(self, model: BeamModel, component: int) -> NDArray[np.float32]:
        """Return the log s that a kernel component scales with."""
        narrow = model.kernel_width_mm[component] <= ELECTRON_WIDTH_MM
        return self.log_scale_near if narrow else self.log_scale_far


def beam_state(rays: RayVolume, beam: BeamGeometry, points_lps: NDArray[np.float64]) -> BeamState:
    """Trace one beam to (n, 3) points in LPS mm."""
    cast = depth_grid(rays, beam, points_lps)
    count = len(points_lps)
    arrays = [np.empty(count, dtype=np.float32) for _ in range(6)]
    geometry = np.array(
        [beam.sad_mm, *cast.origin_mm, cast.pitch_mm, cast.top_mm, cast.step_mm, *np.log(DENSITY_RANGE)], dtype=float
    )
    _trace(
        np.ascontiguousarray(points_lps, dtype=np.float64),
        np.array(beam.isocentre_lps, dtype=float),
        np.array(beam.bld_from_lps),
        geometry,
        cast.depth_mm,
        cast.near,
        cast.far,
        *arrays,
    )
    return BeamState(*arrays)


@kernel(parallel=True)
def _trace(
    points: Any,
    isocentre: Any,
    rotation: Any,
    geometry: Any,
    depths: Any,
    near: Any,
    far: Any,
    u: Any,
    v: Any,
    inverse_square: Any,
    depth: Any,
    log_scale_near: Any,
    log_scale_far: Any,
) -> None:
    sad, u0, v0, pitch, top, step, log_low, log_high = geometry
    for n in prange(points.shape[0]):
        dx, dy, dz = points[n, 0] - isocentre[0], points[n, 1] - isocentre[1], points[n, 2] - isocentre[2]
        x = rotation[0, 0] * dx + rotation[0, 1] * dy + rotation[0, 2] * dz
        y = rotation[1, 0] * dx + rotation[1, 1] * dy + rotation[1, 2] * dz
        z = rotation[2, 0] * dx + rotation[2, 1] * dy + rotation[2, 2] * dz
        enlarge = sad / (sad - z)
        x *= enlarge
        y *= enlarge
        row, column, plane = (y - v0) / pitch, (x - u0) / pitch, (top - z) / step
        # Above the first plane there is only air: depth 0, density 1.
        plane = max(plane, 0.0)
        u[n], v[n] = x, y
        inverse_square[n] = enlarge * enlarge
        depth[n] = look_up(depths, row, column, plane)
        log_near = np.log(max(look_up(near, row, column, plane), np.float32(1e-6)))
        log_far = np.log(max(look_up(far, row, column, plane), np.float32(1e-6)))
        log_enlarge = np.log(enlarge)
        log_scale_near[n] = log_enlarge - min(max(log_near, log_low), log_high)
        log_scale_far[n] = log_enlarge - min(max(log_far, log_low), log_high)


@kernel(parallel=True)
def _amplitude(table: Any, depth: Any, inverse_square: Any, found: Any) -> None:
    for n in prange(depth.shape[0]):
        position = depth[n] / np.float32(TABLE_STEP_MM)
        i = min(int(position), table.shape[0] - 2)
        for c in range(table.shape[1]):
            value = table[i, c] + (position - np.float32(i)) * (table[i + 1, c] - table[i, c])
            found[n, c] = inverse_square[n] * value
