"""How certain a deformation is, voxel by voxel: fields that explain the images about as well as the match does.

The last step of the match minimises a quadratic function of the displacement: data, priors and bending energy. Read as
a negative log-probability, its matrix M is the inverse covariance of the displacement's error up to one factor. To draw
an error takes one solution of M·x = b, with b random of covariance M ([1]_: noise in each term, then minimise). Draws
hold what neighbours have in common, so that anything computed from a field — a contour, a point, a DVH metric —
gets its spread by computing it from each of them.

On simulated truth (``benchmarks/deformable_uncertainty.py``) draws with the factor 1 have the spread of what matters
over centimetres, DVH metrics of organs, while single voxels err less: what the images leave open there is mostly of
short waves, that anatomy does not have. So draws stay as they are, and the map of voxels is scaled.

References
----------
.. [1] G. Papandreou, A. L. Yuille, "Gaussian sampling by local perturbations", Advances in Neural Information
   Processing Systems 23, 2010.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import DisplacementField, Grid, RigidTransform, Volume

from ._kernels import negative_laplacian
from .lattice import Vectors, resample_vectors, solve_step

#: Error of a single voxel over the spread of draws there. Chosen on digital patients of seed 0 (0.41, 0.32, 0.37).
VOXEL_SHARE = 0.4
#: Conjugate-gradient iterations of each draw: it needs an exact solution, a step of the match does not.
_ITERATIONS = 150


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The quadratic function of the last step, on its lattice.

    Parameters
    ----------
    lattice : Grid
        Planning frame.
    data : ndarray, shape (cz, cy, cx, 6)
        Data term, symmetric 3×3 (xx, xy, xz, yy, yz, zz), 1/mm².
    prior : ndarray, shape (cz, cy, cx)
        Weight that draws the displacement to zero, 1/mm².
    bending_mm2 : float
        Weight of the bending energy.
    """

    lattice: Grid
    data: Vectors
    prior: Vectors
    bending_mm2: float


@dataclass(frozen=True, eq=False)
class DisplacementSamples:
    """Errors that the displacement may have.

    Parameters
    ----------
    vectors_mm : ndarray of float32, shape (n, cz, cy, cx, 3)
        Draws, LPS mm along the planning axes, to be added to the displacement before the rigid match.
    lattice : Grid
        Where they are given; cubic splines between.
    initial : RigidTransform
        The rigid match that the deformation lies on.
    """

    vectors_mm: NDArray[np.float32]
    lattice: Grid
    initial: RigidTransform

    def spread_mm(self, grid: Grid) -> Volume:
        """Return the root mean square length of a voxel's error, for a grid along the lattice's axes.

        It is :data:`VOXEL_SHARE` of the draws' own.
        """
        squared = np.zeros(grid.shape, dtype=np.float32)
        for draw in self.vectors_mm:
            vectors = resample_vectors(draw, self.lattice, grid)
            squared += np.einsum("...c,...c", vectors, vectors)
        return Volume(VOXEL_SHARE * np.sqrt(squared / len(self.vectors_mm)), grid)

    def fields(self, moving_from_fixed: DisplacementField) -> Iterator[DisplacementField]:
        """Yield the match's field with each error added: T(p + u + e) = T(p + u) + R·e."""
        rotation = np.asarray(self.initial.rotation, dtype=np.float32)
        for draw in self.vectors_mm:
            error = resample_vectors(draw, self.lattice, moving_from_fixed.grid) @ rotation.T
            yield DisplacementField(moving_from_fixed.vectors_mm + error, moving_from_fixed.grid)


def draw_errors(quadratic: Quadratic, initial: RigidTransform, *, count: int, seed: int) -> DisplacementSamples:
    """Draw errors of the displacement.

    Parameters
    ----------
    quadratic : Quadratic
        Of the last step.
    initial : RigidTransform
        moving_from_fixed of the rigid match.
    count : int
        How many draws; the spread of a voxel is known to within 1/sqrt(6·count) of it.
    seed : int
        The same seed gives the same draws.
    """
    rng = np.random.default_rng(seed)
    lattice, shape = quadratic.lattice, (*quadratic.lattice.shape, 3)
    spacing = lattice.spacing_mm[::-1]
    root = _root(quadratic.data)
    draws = np.empty((count, *shape), dtype=np.float32)
    for number in range(count):
        noise = np.einsum("...ab,...b->...a", root, rng.standard_normal(shape))
        noise += np.sqrt(quadratic.prior)[..., None] * rng.standard_normal(shape)
        noise += np.sqrt(quadratic.bending_mm2) * negative_laplacian(rng.standard_normal(shape), spacing)
        draws[number] = solve_step(
            quadratic.data,
            noise,
            quadratic.prior,
            np.zeros(shape),
            bending_mm2=quadratic.bending_mm2,
            spacing_zyx_mm=spacing,
            iterations=_ITERATIONS,
            tolerance=1e-8,
        )
    return DisplacementSamples(draws, lattice, initial)


def _root(symmetric: Vectors) -> Vectors:
    """Return symmetric square roots (…, 3, 3) of matrices (…, 6) that are not negative."""
    full = symmetric[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(*symmetric.shape[:-1], 3, 3)
    values, vectors = np.linalg.eigh(full)
    return np.asarray(np.einsum("...ab,...b,...cb->...ac", vectors, np.sqrt(np.maximum(values, 0.0)), vectors))
