"""Errors of a displacement field inside a mask, whoever made it: against a true field, or against landmarks.

Written with numpy alone where it is short, so that nothing that is judged judges itself; only the inverse of a peer's
field is ours (:func:`registration.fields.inverted`).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import DisplacementField, Grid, InputRefusedError, RigidTransform, Volume
from registration.deformable import day_grid
from registration.fields import inverse_consistency, inverted


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Corresponding points, LPS mm, shape (n, 3) each."""

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]

    @classmethod
    def read(cls, fixed: Path, moving: Path) -> Landmarks:
        """Read two CSV files with a header ``x,y,z`` and corresponding rows.

        Raises
        ------
        InputRefusedError
            If a column is missing, a value is no finite number, or the numbers of rows differ or are zero.
        """
        one, other = _points(fixed), _points(moving)
        if len(one) != len(other) or not len(one):
            raise InputRefusedError(
                "landmarks must correspond row by row",
                found=f"{len(one)} and {len(other)} rows",
                expected="as many, > 0",
            )
        return cls(one, other)


@dataclass(frozen=True)
class Errors:
    """Lengths of error vectors in mm."""

    mean_mm: float
    p95_mm: float
    max_mm: float
    count: int

    @classmethod
    def of(cls, vectors_mm: NDArray[np.floating]) -> Errors:
        """Summarise error vectors, shape (n, 3).

        Raises
        ------
        InputRefusedError
            If there are none, or one is not finite.
        """
        length = np.linalg.norm(np.asarray(vectors_mm, dtype=np.float64), axis=-1)
        if not length.size or not np.all(np.isfinite(length)):
            raise InputRefusedError("no errors can be taken", found=f"{length.size} points", expected="finite, > 0")
        return cls(float(length.mean()), float(np.percentile(length, 95)), float(length.max()), int(length.size))


def field_errors(field: DisplacementField, truth: DisplacementField, mask: NDArray[np.bool_]) -> Errors:
    """Return |u − u_true| at the voxels of a mask.

    Raises
    ------
    InputRefusedError
        If the grids differ or the mask is empty.
    """
    if not field.grid.matches(truth.grid):
        raise InputRefusedError(
            "the true field lies on another grid than the fixed image", found=str(truth.grid), expected=str(field.grid)
        )
    if mask.shape != field.grid.shape:
        raise InputRefusedError("the mask does not fit", found=str(mask.shape), expected=str(field.grid.shape))
    return Errors.of(field.vectors_mm[mask].astype(np.float64) - truth.vectors_mm[mask])


def landmark_errors(field: DisplacementField, landmarks: Landmarks, mask: Volume | None) -> Errors:
    """Return |p + u(p) − q| over landmarks, those outside a given mask (fixed frame) left out."""
    inside = np.ones(len(landmarks.fixed), dtype=bool)
    if mask is not None:
        index = np.rint(mask.grid.to_index(landmarks.fixed)).astype(int)
        held = np.all((index >= 0) & (index < mask.grid.shape[::-1]), axis=1)
        i, j, k = np.where(held[:, None], index, 0).T
        inside = held & (mask.array[k, j, i] > 0.5)
    found = field.apply(landmarks.fixed[inside])
    return Errors.of(found - landmarks.moving[inside])


def folded_percent(field: DisplacementField, mask: NDArray[np.bool_]) -> float:
    """Return the percentage of a mask's voxels with a Jacobian determinant of p + u(p) of 0 or less."""
    grid = field.grid
    steps = grid.spacing_mm[::-1]
    gradient = np.empty((*grid.shape, 3, 3), dtype=np.float32)  # du_c along index axis i, j, k
    for c in range(3):
        along = np.gradient(field.vectors_mm[..., c], *steps)
        for axis in range(3):
            gradient[..., c, axis] = along[2 - axis]
    matrices = gradient[mask].astype(np.float64) @ np.asarray(grid.direction).T + np.eye(3)
    return float(100.0 * np.mean(np.linalg.det(matrices) <= 0.0))


def inverse_errors(
    field: DisplacementField, backward: DisplacementField | None, mask: Volume, start: RigidTransform
) -> tuple[float, float]:
    """Return the mean and largest |backward(forward(p)) − p| in mm inside a mask.

    Parameters
    ----------
    field, backward : DisplacementField
        Forward, and the tool's own inverse; where a tool gives none, its field is inverted by fixed-point iteration.
    mask : Volume
        On the field's grid.
    start : RigidTransform
        moving_from_fixed that the inverse starts from.
    """
    if backward is None:
        # The part beyond the start, in the fixed frame, is what is inverted.
        local = DisplacementField(_beyond(field, start), field.grid)
        backward = inverted(local, start, _covering(field.grid, start))
    return inverse_consistency(field, backward, mask)


def _beyond(field: DisplacementField, start: RigidTransform) -> NDArray[np.float32]:
    points = field.grid.voxel_centres_lps()
    return np.asarray(start.inverse().apply(points + field.vectors_mm) - points, dtype=np.float32)


def _covering(grid: Grid, start: RigidTransform) -> Grid:
    return day_grid(grid, start, spacing_mm=grid.spacing_mm)


def _points(path: Path) -> NDArray[np.float64]:
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = [[float(row[axis]) for axis in "xyz"] for row in csv.DictReader(file, skipinitialspace=True)]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputRefusedError(
            "landmarks cannot be read",
            found=f"{type(error).__name__}: {error}",
            expected="header x,y,z",
            where=str(path),
        ) from error
    points = np.array(rows, dtype=float).reshape(-1, 3)
    if not np.all(np.isfinite(points)):
        raise InputRefusedError("landmarks must be finite", found="NaN or infinity", where=str(path))
    return points
