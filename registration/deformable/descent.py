"""The descent of the deformable match: resolutions, what weighs how much, and the Gauss-Newton steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import Grid, RegistrationError, RigidTransform, Volume

from .._pull_kernels import pull
from ..preprocess import Mask, PreparedImage, pulled
from ._kernels import accumulate, compress
from .lattice import cell_mean, every_second, lattice_grid, resample_vectors, solve_step
from .uncertainty import Quadratic


@dataclass(frozen=True)
class Level:
    """One resolution.

    Parameters
    ----------
    voxel_mm, sigma_mm : float
        Voxels and Gaussian smoothing of both images.
    cell_mm : float
        Spacing of the lattice.
    steps : int
        Gauss-Newton steps.
    cut_hu : float
        Residual at which the Geman-McClure weight falls to 1/4; wide at first, so that a displaced skin may pull.
    """

    voxel_mm: float
    sigma_mm: float
    cell_mm: float
    steps: int
    cut_hu: float


LEVELS = (Level(6.0, 4.0, 24.0, 10, 400.0), Level(4.0, 2.5, 12.0, 8, 250.0), Level(2.5, 1.5, 8.0, 5, 150.0))
#: Data weigh by 1/noise²: this many robust standard deviations of what differs in flat soft tissue at the finest level,
#: because what differs there (artefact, grain) reaches over several voxels and they do not count as independent.
NOISE_SIGMAS = 1.6
#: What is flat: soft tissue within this many HU of water, and gradients (compressed HU per mm) below this; and what is
#: an edge.
SOFT_HU, FLAT_HU_PER_MM, EDGE_HU_PER_MM = 300.0, 8.0, 20.0
#: Bounds of the noise: below, interpolation differs by as much; above, the image says little either way.
NOISE_RANGE_HU = (10.0, 60.0)
#: Gradient at which a voxel's weight is half, in noise per mm: less is noise that would drive a flat region.
GRADIENT_PER_MM = 0.25
#: Weight of the bending energy, mm²: with it an edge of 400 HU over 4 mm leads its surroundings within about 10 mm.
BENDING_MM2 = 400.0
#: Prior in 1/mm²: bone stays within about 1/sqrt of it of the rigid match.
BONE_PRIOR, UNSEEN_PRIOR, SEEN_PRIOR = 1.0, 1e-3, 1e-5
#: Displacement at which the prior of bone falls to a quarter: a bone that the image moves further is let go.
BONE_YIELD_MM = 1.0
#: Conjugate-gradient iterations of each step.
SOLVER_ITERATIONS = 40


def compressed(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return HU with soft tissue kept; beyond ±300 HU lung and air are compressed to 0.6, bone and metal to 0.25.

    Skin and bone would otherwise outweigh all soft tissue. Chosen by measurement on simulated head and neck, pelvis
    and lung fractions.
    """
    return compress(hu, soft_hu=300.0, low_share=0.6, high_share=0.25, range_hu=(-1000.0, 1500.0))


@dataclass(frozen=True, eq=False)
class _Stage:
    """Both images of one level, ready for :func:`accumulate`."""

    level: Level
    grid: Grid
    fixed_hu: NDArray[np.float32]
    gradient: NDArray[np.float32]
    moving_hu: NDArray[np.float32]
    moving_seen: Mask
    moving_index: NDArray[np.float64]
    inside: NDArray[np.float32]

    @classmethod
    def of(
        cls, level: Level, planning: PreparedImage, today: PreparedImage, initial: RigidTransform, body: Volume
    ) -> _Stage:
        image, moving = (scan.at(level.voxel_mm, level.sigma_mm) for scan in (planning, today))
        grid = image.hu.grid
        fixed_hu = compressed(image.hu.array)
        slopes = [np.gradient(fixed_hu, step, axis=axis) for axis, step in enumerate(grid.spacing_mm[::-1])]
        gradient = np.stack(slopes[::-1], axis=-1)
        if not grid.is_axis_aligned:
            gradient = gradient @ np.asarray(grid.direction, dtype=np.float32).T
        # The skin and what lies before it: a band of two voxels about the body.
        patient = pulled(body, grid, outside=0.0) > 0.5
        reach = [2 * int(2.0 * level.voxel_mm / step) + 1 for step in grid.spacing_mm[::-1]]
        near = ndimage.maximum_filter(patient.astype(np.uint8), size=reach) > 0
        return cls(
            level=level,
            grid=grid,
            fixed_hu=fixed_hu,
            gradient=gradient,
            moving_hu=compressed(moving.hu.array),
            moving_seen=moving.seen,
            moving_index=moving.hu.grid.index_from_lps @ initial.matrix,
            inside=(near & image.seen).astype(np.float32),
        )

    @property
    def squared_slope(self) -> NDArray[np.float32]:
        """Squared length of the gradient, (HU/mm)²."""
        return np.asarray(np.einsum("...c,...c", self.gradient, self.gradient))

    def pulled(
        self, array: NDArray[np.float32], onto: Grid, vectors_mm: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Sample an array of the moving grid on a grid of the planning frame, through the match so far."""
        return np.asarray(
            pull(
                array,
                self.moving_index,
                onto.lps_from_index,
                onto.shape,
                vectors_mm=vectors_mm,
                nearest=False,
                outside=0.0,
            )
        )


def noise_hu(stage: _Stage, vectors: NDArray[np.float64] | None = None, lattice: Grid | None = None) -> float:
    """Return the noise that data are weighed by: robust spread of what differs between the images.

    Without a match so far, only flat soft tissue is looked at: it differs by grain, artefact and shading that is left,
    and hardly by motion. With one, edges too: there, what the match cannot explain (partial volume of coarse voxels,
    tissue that came or went) must not be explained by bending. The geometric mean of both spreads counts.
    """
    lower, upper = NOISE_RANGE_HU
    # A spread is known from every second voxel along each axis.
    some = (slice(None, None, 2),) * 3
    grid = every_second(stage.grid)
    fixed_hu, inside = stage.fixed_hu[some], stage.inside[some] > 0
    squared = np.einsum("...c,...c", stage.gradient[some], stage.gradient[some])
    flat = inside & (np.abs(fixed_hu) < SOFT_HU) & (squared < FLAT_HU_PER_MM**2)
    field = None
    if vectors is not None and lattice is not None:
        field = resample_vectors(vectors.astype(np.float32), lattice, grid)
    shown = stage.pulled(stage.moving_seen.astype(np.float32), grid, field) > 0.99
    difference = stage.pulled(stage.moving_hu, grid, field) - fixed_hu
    parts = [flat] if field is None else [flat, inside & (squared > EDGE_HU_PER_MM**2)]
    spreads = []
    for part in parts:
        values = difference[part & shown]
        if values.size > 1000:
            spreads.append(1.4826 * float(np.median(np.abs(values - np.median(values)))))
    if not spreads:
        return float(np.sqrt(lower * upper))
    return float(np.clip(NOISE_SIGMAS * np.exp(np.mean(np.log(np.maximum(spreads, 0.1)))), lower, upper))


def displacement_lattice(
    planning: PreparedImage, today: PreparedImage, initial: RigidTransform, body: Volume, bones: Volume
) -> tuple[NDArray[np.float64], Quadratic]:
    """Return the displacement lattice (mm) in the planning frame, before the rigid match, and its last quadratic.

    Parameters
    ----------
    planning, today : PreparedImage
        Images on one HU scale.
    initial : RigidTransform
        moving_from_fixed.
    body, bones : Volume
        Masks on the grid of ``planning``.

    Raises
    ------
    RegistrationError
        If the images share less than 50 cm³ of the patient.
    """
    stages = [_Stage.of(level, planning, today, initial, body) for level in LEVELS]
    noise = noise_hu(stages[-1])
    vectors: NDArray[np.float64] | None = None
    lattice: Grid | None = None
    quadratic: Quadratic | None = None
    for stage in stages:
        if stage is stages[-1] and vectors is not None and lattice is not None:
            noise = noise_hu(stage, vectors, lattice)
        cells, factors = lattice_grid(stage.grid, stage.level.cell_mm)
        vectors = (
            np.zeros((*cells.shape, 3))
            if vectors is None or lattice is None
            else resample_vectors(vectors, lattice, cells)
        )
        lattice = cells
        shown = stage.pulled(stage.moving_seen.astype(np.float32), cells)
        visible = shown * cell_mean(stage.inside, factors, cells.shape)
        shared = float(visible.sum()) * cells.voxel_volume_cc
        if shared < 50.0:
            raise RegistrationError(
                "the image of the day shows too little of the patient after the rigid match",
                found=f"{shared:.0f} cm³ in common",
                expected=">= 50 cm³",
            )
        bone = BONE_PRIOR * cell_mean(pulled(bones, stage.grid, outside=0.0), factors, cells.shape)
        rest = np.where(visible > 0.5, SEEN_PRIOR, UNSEEN_PRIOR)
        squared = stage.squared_slope
        weight = stage.inside * squared / (squared + np.float32((GRADIENT_PER_MM * noise) ** 2))
        for _ in range(stage.level.steps):
            matrix, vector = accumulate(
                stage.fixed_hu,
                stage.gradient,
                weight,
                stage.moving_hu,
                stage.moving_seen,
                stage.moving_index,
                stage.grid.lps_from_index,
                vectors,
                factors,
                cut_hu=stage.level.cut_hu,
            )
            scale = 1.0 / (np.prod(factors) * noise**2)
            yielded = (1.0 + np.sum(np.square(vectors), axis=-1) / BONE_YIELD_MM**2) ** 2
            quadratic = Quadratic(cells, matrix * scale, bone / yielded + rest, BENDING_MM2)
            vectors = vectors + solve_step(
                quadratic.data,
                vector * scale,
                quadratic.prior,
                vectors,
                bending_mm2=quadratic.bending_mm2,
                spacing_zyx_mm=cells.spacing_mm[::-1],
                iterations=SOLVER_ITERATIONS,
            )
    assert vectors is not None and quadratic is not None
    return vectors, quadratic
