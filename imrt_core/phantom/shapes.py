"""Smooth solids for digital patients: level functions in mm, negative inside, on a warped atlas space.

Anatomy is described once, in atlas millimetres (LPS axes), as ellipsoids, tubes and stacked cross-sections. Each
patient is that atlas seen through a smooth random warp, so that neighbouring organs vary together and never collide.
Levels are first-order signed distances ``f·|p|`` with ``f = ρ (ρ − 1) / |∇|``, exact near the surface, which is all
that partial-volume painting needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

from imrt_core.patient import GeometryError, Grid

Slices = tuple[slice, slice, slice]
#: Level outside the box in which a solid is evaluated: far outside.
FAR_MM = 40.0
#: The box of a solid exceeds it by this much, so that walls and margins of a few mm can be taken from its level.
_PAD_MM = 8.0


@dataclass(frozen=True, eq=False)
class Space:
    """Atlas coordinates of every voxel of a patient's grid.

    Parameters
    ----------
    grid : Grid
        Axis-aligned grid.
    x, y, z : ndarray, shape (nz, ny, nx), float32
        Atlas position of each voxel, LPS mm.
    warp_mm : float
        Largest difference between atlas and patient position.
    """

    grid: Grid
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    warp_mm: float

    def box(self, lower_lps: ArrayLike, upper_lps: ArrayLike) -> Slices:
        """Return the slices of the voxels that may lie between two atlas corners (padded)."""
        reach = self.warp_mm + _PAD_MM
        lower = np.floor(self.grid.to_index(np.asarray(lower_lps, dtype=float) - reach)).astype(int)
        upper = np.ceil(self.grid.to_index(np.asarray(upper_lps, dtype=float) + reach)).astype(int) + 1
        size = self.grid.shape[::-1]
        i, j, k = (slice(int(np.clip(lower[a], 0, size[a])), int(np.clip(upper[a], 0, size[a]))) for a in range(3))
        return k, j, i

    def at(self, slices: Slices) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Return atlas x, y, z in a box."""
        return self.x[slices], self.y[slices], self.z[slices]


@dataclass(frozen=True, eq=False)
class Level:
    """A solid: level values (mm, negative inside) in a box of the grid, :data:`FAR_MM` elsewhere."""

    mm: NDArray[np.float32]
    slices: Slices
    shape: tuple[int, int, int]

    def full(self) -> NDArray[np.float32]:
        """Return the level on the whole grid."""
        level = np.full(self.shape, np.float32(FAR_MM))
        level[self.slices] = self.mm
        return level

    def inside(self) -> NDArray[np.bool_]:
        """Return the voxels whose centre is inside, on the whole grid."""
        mask = np.zeros(self.shape, dtype=bool)
        mask[self.slices] = self.mm < 0
        return mask

    def grown(self, distance_mm: float) -> Level:
        """Return the solid enlarged by a few mm (negative: reduced)."""
        return Level(self.mm - np.float32(distance_mm), self.slices, self.shape)

    def __or__(self, other: Level) -> Level:
        """Union."""
        slices = tuple(
            slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(self.slices, other.slices, strict=True)
        )
        shape = tuple(s.stop - s.start for s in slices)
        merged = np.full(shape, np.float32(FAR_MM))
        for part in (self, other):
            local = tuple(slice(p.start - s.start, p.stop - s.start) for p, s in zip(part.slices, slices, strict=True))
            np.minimum(merged[local], part.mm, out=merged[local])
        return Level(merged, (slices[0], slices[1], slices[2]), self.shape)

    def __and__(self, other: Level) -> Level:
        """Intersection."""
        return self.cut_by(other.full())

    def __sub__(self, other: Level) -> Level:
        """Remove another solid."""
        return self.cut_by(-other.full())

    def cut_by(self, level_mm: NDArray[np.float32]) -> Level:
        """Keep what lies inside a level (mm, negative inside) given on the whole grid."""
        return Level(np.maximum(self.mm, level_mm[self.slices]), self.slices, self.shape)


def smooth_noise(
    shape: tuple[int, int, int], correlation_voxels: ArrayLike, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return a smooth random field of zero mean and unit variance: cubic B-splines with white-noise coefficients.

    Parameters
    ----------
    shape : tuple of int
        Of the field.
    correlation_voxels : array_like, shape () or (3,)
        Knot distance along each array axis, in voxels.
    rng : numpy.random.Generator
        Source of the coefficients.
    """
    step = np.maximum(np.broadcast_to(np.asarray(correlation_voxels, dtype=float), 3), 1.0)
    bases = [_spline_basis(n, float(h)) for n, h in zip(shape, step, strict=True)]
    field = rng.standard_normal(tuple(b.shape[1] for b in bases)).astype(np.float32)
    for basis in bases:
        # Each pass contracts the leading axis and appends it last; three passes restore the order.
        field = np.tensordot(field, basis, axes=([0], [1]))
    field -= field.mean()
    return np.ascontiguousarray(field / max(float(field.std()), 1e-6), dtype=np.float32)


def _spline_basis(size: int, step: float) -> NDArray[np.float32]:
    """Return the matrix (size, knots) of uniform cubic B-splines with the given knot distance."""
    knots = int(np.ceil(size / step)) + 3
    distance = np.abs(np.arange(size)[:, None] / step + 1.0 - np.arange(knots)[None, :])
    inner = 2 / 3 - distance**2 + distance**3 / 2
    outer = np.maximum(2 - distance, 0) ** 3 / 6
    return np.asarray(np.where(distance < 1, inner, outer), dtype=np.float32)


def warped_space(grid: Grid, *, rng: np.random.Generator, warp_mm: float = 1.5, size_spread: float = 0.025) -> Space:
    """Return the atlas space of one patient: size and shape vary with the generator's seed.

    Parameters
    ----------
    grid : Grid
        Axis-aligned planning grid, whose LPS coordinates are atlas coordinates before warping.
    rng : numpy.random.Generator
        Source of the patient's individuality.
    warp_mm : float
        Standard deviation of the smooth warp (correlation about 60 mm).
    size_spread : float
        Standard deviation of the overall size.
    """
    nz, ny, nx = grid.shape
    axes = [
        np.asarray(grid.origin_lps[a] + grid.spacing_mm[a] * np.arange(n), dtype=np.float32)
        for a, n in enumerate((nx, ny, nz))
    ]
    size = np.float32(np.clip(1 + size_spread * rng.standard_normal(), 0.95, 1.05))
    correlation = 60.0 / np.asarray(grid.spacing_mm[::-1])
    shapes = ((1, 1, nx), (1, ny, 1), (nz, 1, 1))
    warped, reach = [], 0.0
    for axis in range(3):
        shift = np.clip(smooth_noise(grid.shape, correlation, rng), -2.5, 2.5) * np.float32(warp_mm)
        plain = axes[axis].reshape(shapes[axis])
        warped.append(np.asarray(plain / size + shift, dtype=np.float32))
        reach = max(reach, float(np.abs(warped[-1] - plain).max()))
    return Space(grid, warped[0], warped[1], warped[2], reach)


def ellipsoid(
    space: Space, centre_lps: Sequence[float], semi_mm: Sequence[float], *, tilt_deg: float = 0.0, about: str = "x"
) -> Level:
    """Return an ellipsoid, optionally turned by ``tilt_deg`` (right-handed) about one axis through its centre."""
    centre, semi = np.asarray(centre_lps, dtype=np.float32), np.asarray(semi_mm, dtype=np.float32)
    reach = semi if tilt_deg == 0 else np.full(3, semi.max())
    slices = space.box(centre - reach, centre + reach)
    offset = [coordinate - c for coordinate, c in zip(space.at(slices), centre, strict=True)]
    if tilt_deg:
        a, b = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[about]
        cosine, sine = np.float32(np.cos(np.radians(tilt_deg))), np.float32(np.sin(np.radians(tilt_deg)))
        offset[a], offset[b] = cosine * offset[a] + sine * offset[b], cosine * offset[b] - sine * offset[a]
    return Level(_ellipsoid_level(offset, semi), slices, space.grid.shape)


def _ellipsoid_level(offset: Sequence[NDArray[np.float32]], semi: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = [o * o / (s * s) for o, s in zip(offset, semi, strict=True)]
    rho = np.sqrt(squares[0] + squares[1] + squares[2])
    gradient = np.sqrt(squares[0] / semi[0] ** 2 + squares[1] / semi[1] ** 2 + squares[2] / semi[2] ** 2)
    # At the centre itself the gradient vanishes: the level there is minus the shortest semi-axis.
    level = np.where(rho > 1e-3, rho * (rho - 1) / np.maximum(gradient, 1e-9), -semi.min())
    return np.asarray(level, dtype=np.float32)


def tube(space: Space, path_lps: ArrayLike, semi_mm: ArrayLike) -> Level:
    """Return the union of ellipsoids strung along a polyline.

    Parameters
    ----------
    space : Space
        Where to build it.
    path_lps : array_like, shape (n, 3)
        Knots in atlas mm; a monotone spline runs through them.
    semi_mm : array_like, shape (3,) or (n, 3)
        Semi-axes along x, y, z of the bead at each knot.
    """
    knots = np.asarray(path_lps, dtype=float)
    semis = np.broadcast_to(np.asarray(semi_mm, dtype=float), knots.shape)
    if len(knots) < 2:
        raise GeometryError("a tube needs at least two knots", found=str(len(knots)), expected=">= 2")
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    count = max(2, int(np.ceil(length[-1] / (0.5 * float(semis.min())))) + 1)
    at = np.linspace(0, length[-1], count)
    centres = PchipInterpolator(length, knots)(at)
    beads = PchipInterpolator(length, semis)(at)
    slices = space.box((centres - beads).min(axis=0), (centres + beads).max(axis=0))
    level = np.full(tuple(s.stop - s.start for s in slices), np.float32(FAR_MM))
    for centre, semi in zip(centres, beads, strict=True):
        bead = ellipsoid(space, centre, semi)
        local = tuple(slice(b.start - s.start, b.stop - s.start) for b, s in zip(bead.slices, slices, strict=True))
        np.minimum(level[local], bead.mm, out=level[local])
    return Level(level, slices, space.grid.shape)


def stack(space: Space, knots: ArrayLike, *, exponent: float = 2.0) -> Level:
    """Return a solid of superelliptic cross-sections along z.

    Parameters
    ----------
    space : Space
        Where to build it.
    knots : array_like, shape (n, 6)
        Rows of z, centre x, centre y, semi-axis x, semi-axis to anterior (−y), semi-axis to posterior (+y), in mm,
        by increasing z. Between the rows a monotone spline; the solid ends, rounded, at the first and last.
    exponent : float
        2 for ellipses, more for boxier sections.
    """
    table = np.asarray(knots, dtype=float)
    z0, z1 = table[0, 0], table[-1, 0]
    reach = np.max(table[:, 3:], axis=0)
    centre = table[:, 1:3]
    slices = space.box(
        (float((centre[:, 0] - reach[0]).min()), float((centre[:, 1] - reach[1]).min()), z0),
        (float((centre[:, 0] + reach[0]).max()), float((centre[:, 1] + reach[2]).max()), z1),
    )
    x, y, z = space.at(slices)
    step = 0.25
    fine = np.arange(z0, z1 + step, step)
    lut = PchipInterpolator(table[:, 0], table[:, 1:])(np.minimum(fine, z1)).astype(np.float32)
    index = np.clip(np.rint((z - np.float32(z0)) / np.float32(step)), 0, len(fine) - 1).astype(np.int32)
    dx, dy = x - lut[:, 0][index], y - lut[:, 1][index]
    semi_x = lut[:, 2][index]
    semi_y = np.where(dy < 0, lut[:, 3][index], lut[:, 4][index])
    u, v = np.abs(dx / semi_x), np.abs(dy / semi_y)
    power = np.float32(exponent)
    if exponent == 2.0:
        rho = np.sqrt(u * u + v * v)
        gradient = np.hypot(u / semi_x, v / semi_y) / np.maximum(rho, 1e-6)
    else:
        rho = (u**power + v**power) ** (1 / power)
        gradient = np.hypot(u ** (power - 1) / semi_x, v ** (power - 1) / semi_y) / np.maximum(rho ** (power - 1), 1e-6)
    level = np.where(rho > 1e-3, (rho - 1) / np.maximum(gradient, 1e-6), -np.minimum(semi_x, semi_y))
    ends = np.maximum(np.float32(z0) - z, z - np.float32(z1))
    return Level(np.maximum(level, ends).astype(np.float32), slices, space.grid.shape)


def smooth_union(first: Level, second: Level, *, blend_mm: float) -> Level:
    """Return the union of two solids with a fillet of about ``blend_mm`` (polynomial smooth minimum)."""
    union = first | second
    a = first.full()[union.slices]
    b = second.full()[union.slices]
    k = np.float32(blend_mm)
    h = np.maximum(k - np.abs(a - b), 0) / k
    return Level(np.minimum(a, b) - h * h * k / 4, union.slices, union.shape)
