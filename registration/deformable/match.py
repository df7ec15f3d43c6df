"""Deformable match of an image of the day to the planning CT, on top of the rigid match.

Robust Gauss-Newton least squares of image differences, coarse to fine, on a lattice with bending energy: the mean of
both images' gradients gives the step (efficient second-order minimisation [1]_), the 3×3 equations of each lattice cell
know in which directions a cell is certain, and conjugate gradients carry certain cells into uncertain ones. The CBCT's
shading (HU shift, cupping) is taken off first, intensities are compressed outside soft tissue, and Geman-McClure
weights silence what has no counterpart (gas, artefacts). Bones are held near the rigid match by a prior; outside the
day's field of view the prior draws the field back to the rigid match.

References
----------
.. [1] S. Benhimane, E. Malis, Real-time image-based tracking of planes using efficient second-order minimization,
   IROS 2004.
.. [2] B. Fischer, J. Modersitzki, Curvature based image registration, J. Math. Imaging Vis. 18 (2003).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from imrt_core.patient import DisplacementField, Grid, RegistrationError, RigidTransform, Volume

from .._pull_kernels import pull
from ..calibration import without_shading
from ..fields import composed, inverse_consistency, inverted, jacobian_figures, unfolded
from ..preprocess import Mask, PreparedImage, bone_region, patient_mask, smoothed
from ..quality import DeformableLimits, DeformableQuality, judge_deformation
from .descent import compressed, displacement_lattice
from .lattice import resample_vectors
from .uncertainty import DisplacementSamples, draw_errors


@dataclass(frozen=True, eq=False)
class DeformableMatch:
    """The anatomy of the day against the plan.

    Parameters
    ----------
    moving_from_fixed : DisplacementField
        On the fixed grid, planning → day, the rigid match included.
    fixed_from_moving : DisplacementField
        On the day grid, day → planning: its numerical inverse.
    quality : DeformableQuality
        Figures and verdict.
    seconds : float
        Wall time.
    samples : DisplacementSamples or None
        Errors that the field may have, where they were asked for.
    """

    moving_from_fixed: DisplacementField
    fixed_from_moving: DisplacementField
    quality: DeformableQuality
    seconds: float
    samples: DisplacementSamples | None = None


def day_grid(fixed: Grid, moving_from_fixed: RigidTransform, *, spacing_mm: float | tuple[float, float, float]) -> Grid:
    """Return an axis-aligned grid in the frame of the day that covers the planning grid's extent.

    Parameters
    ----------
    fixed : Grid
        Planning grid.
    moving_from_fixed : RigidTransform
        Rigid match.
    spacing_mm : float or tuple of float
        Voxel of the new grid (x, y, z).
    """
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3)
    nz, ny, nx = fixed.shape
    ends = np.array([[i, j, k] for i in (-0.5, nx - 0.5) for j in (-0.5, ny - 0.5) for k in (-0.5, nz - 0.5)])
    corners = moving_from_fixed.apply(fixed.to_lps(ends))
    lower, upper = corners.min(axis=0), corners.max(axis=0)
    count = np.maximum(np.ceil((upper - lower) / spacing - 1e-6), 1).astype(int)
    origin = (lower + upper) / 2 - (count - 1) / 2 * spacing
    return Grid(
        shape=(int(count[2]), int(count[1]), int(count[0])),
        spacing_mm=(float(spacing[0]), float(spacing[1]), float(spacing[2])),
        origin_lps=tuple(origin),
    )


def register_deformable(
    fixed: Volume,
    moving: Volume,
    *,
    initial: RigidTransform,
    fixed_body: Volume | None = None,
    day: Grid | None = None,
    limits: DeformableLimits | None = None,
    samples: int = 0,
    seed: int = 0,
) -> DeformableMatch:
    """Match deformably, starting from a rigid match.

    Parameters
    ----------
    fixed, moving : Volume
        Planning CT and image of the day, HU. A truncated field of view of the day holds one value or NaN outside.
    initial : RigidTransform
        moving_from_fixed of :func:`registration.register_rigid`.
    fixed_body : Volume, optional
        Mask of the patient (> 0.5) in the planning frame; found by threshold otherwise.
    day : Grid, optional
        Grid of the inverse field, in the frame of the day; by default :func:`day_grid` with the planning CT's voxels,
        at least 2 mm in the plane.
    limits : DeformableLimits, optional
        Limits of the verdict.
    samples : int
        How many errors that the field may have are drawn (:mod:`registration.deformable.uncertainty`).
    seed : int
        Of these draws.

    Returns
    -------
    DeformableMatch
        The same input gives the same result.

    Raises
    ------
    RegistrationError
        If an image is empty, or the two share no tissue after the rigid match.

    Notes
    -----
    First version: tissue does not slide along tissue, and all bones are drawn to one rigid match: a jaw that opened or
    a neck that flexed is followed only as far as the image pulls harder than the prior.
    """
    started = time.perf_counter()
    planning, today = PreparedImage.of(fixed, "fixed"), PreparedImage.of(moving, "moving")
    body = _body(planning, fixed_body)
    today = without_shading(planning, today, initial)
    bone = bone_region(smoothed(planning.hu, 1.0), body.array > 0.5)
    bones = planning.hu.with_array(bone.astype(np.float32))
    vectors, quadratic = displacement_lattice(planning, today, initial, body, bones)
    lattice = quadratic.lattice
    vectors, repaired = unfolded(vectors, lattice, body)

    working = planning.hu.grid
    local = DisplacementField(resample_vectors(vectors.astype(np.float32), lattice, working), working)
    forward = composed(local, initial, fixed.grid)
    spacing = fixed.grid.spacing_mm
    grid = day or day_grid(fixed.grid, initial, spacing_mm=(max(spacing[0], 2.0), max(spacing[1], 2.0), spacing[2]))
    backward = inverted(local, initial, grid)
    smallest, largest, folded = jacobian_figures(local, body)
    error_mean, error_max = inverse_consistency(forward, backward, body)
    quality = judge_deformation(
        limits=limits or DeformableLimits.for_voxel(max(working.spacing_mm)),
        jacobian_min=smallest,
        jacobian_max=largest,
        folded_percent=folded,
        inverse_error_mean_mm=error_mean,
        inverse_error_max_mm=error_max,
        **_figures(planning, today, initial, local, body, bone),
        smoothed_folds=repaired,
    )
    drawn = draw_errors(quadratic, initial, count=samples, seed=seed) if samples else None
    return DeformableMatch(forward, backward, quality, time.perf_counter() - started, drawn)


def _body(planning: PreparedImage, given: Volume | None) -> Volume:
    if given is None:
        mask = patient_mask(planning.hu).astype(np.float32)
        volume = planning.hu.with_array(mask)
    else:
        volume = given.resampled_to(planning.hu.grid, outside=0.0)
        volume = volume.with_array((volume.array > 0.5).astype(np.float32))
    if not volume.array.any():
        raise RegistrationError("there is no patient in the fixed image", found="an empty body mask")
    return volume


def _figures(
    planning: PreparedImage,
    today: PreparedImage,
    initial: RigidTransform,
    local: DisplacementField,
    body: Volume,
    bone: Mask,
) -> dict[str, float]:
    grid = local.grid
    inside = body.array > 0.5
    index = today.hu.grid.index_from_lps @ initial.matrix
    geometry = (index, grid.lps_from_index, grid.shape)
    seen = today.seen.astype(np.float32)
    shown = pull(seen, *geometry, vectors_mm=None, nearest=False, outside=0.0) > 0.99
    correlations = []
    for vectors in (None, local.vectors_mm):
        found = compressed(pull(today.hu.array, *geometry, vectors_mm=vectors, nearest=False, outside=-1000.0))
        both = inside & shown
        x, y = compressed(planning.hu.array)[both], found[both]
        usable = both.sum() > 100 and x.std() > 0 and y.std() > 0
        correlations.append(float(np.corrcoef(x, y)[0, 1]) if usable else float("nan"))
    length = np.linalg.norm(local.vectors_mm, axis=-1)
    return {
        "correlation_before": correlations[0],
        "correlation_after": correlations[1],
        "displacement_mean_mm": float(length[inside].mean()),
        "displacement_max_mm": float(length[inside].max()),
        "bone_displacement_mm": float(np.percentile(length[bone], 95)) if bone.any() else float("nan"),
        "seen_fraction": float(shown[inside].mean()),
    }
