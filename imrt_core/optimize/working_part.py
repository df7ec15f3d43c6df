"""The part of the matrix that matters: rows on which an objective may pull, columns that may carry fluence.

An overdose objective on the whole body is silent in most of it, and half of all bixels end without fluence. Voxels far
below every level at which an objective begins to look, and bixels at zero that the objectives would push below, are
left out of the products. The optimiser looks at the whole from time to time, and goes on with more where something that
was left out has begun to matter. What it reports in the end is of every row and column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .constraints import Multipliers
from .matrix import DoseMatrix, SelectableMatrix
from .objective_bound import BoundMultiplier
from .objectives.base import FloatArray, Objective
from .voxels import VoxelSet

#: Rows from this share of an objective's level are taken in, so that few are missing later.
_SHARE_OF_LEVEL = 0.9
#: So many choices may let go of rows and columns; later ones only add, so that they cannot alternate for ever.
_FREE_CHOICES = 12
#: A new choice is worth its cost if rows times columns fall to this share.
_WORTH_A_NEW_CHOICE = 0.7
#: Leaving rows out pays only where many can go.
_WORTHWHILE = 0.7


@dataclass(frozen=True, eq=False)
class Members:
    """Voxels of an objective among the working rows; volume weights are those within the whole structure."""

    rows: NDArray[np.int64]
    volume_weights: FloatArray


@dataclass(frozen=True, eq=False)
class WorkingPart:
    """What an evaluation computes.

    Parameters
    ----------
    matrix : DoseMatrix
        Of these rows and columns.
    rows : ndarray of int or None
        Which rows of the whole matrix, ascending; None for all, and then all columns too.
    columns : ndarray of int
        Which columns, ascending; the others are zero.
    objectives : tuple of Members
        For every objective.
    limits : tuple of ndarray of int
        Rows of every hard limit, complete.
    choices : int
        How many choices led here.
    """

    matrix: DoseMatrix
    rows: NDArray[np.int64] | None
    columns: NDArray[np.int64]
    objectives: tuple[Members, ...]
    limits: tuple[NDArray[np.int64], ...]
    choices: int = 0


def whole(
    matrix: DoseMatrix,
    objectives: Sequence[Objective],
    limits: Sequence[Multipliers | BoundMultiplier],
    voxel_sets: Mapping[str, VoxelSet],
) -> WorkingPart:
    """Return the choice that leaves nothing out."""
    sets = [voxel_sets[objective.structure] for objective in objectives]
    members = tuple(Members(voxels.rows, voxels.volume_weights) for voxels in sets)
    return WorkingPart(matrix, None, np.arange(matrix.shape[1]), members, tuple(limit.voxels.rows for limit in limits))


def needed_rows(
    dose_gy: FloatArray,
    objectives: Sequence[Objective],
    limits: Sequence[Multipliers | BoundMultiplier],
    voxel_sets: Mapping[str, VoxelSet],
    *,
    share: float,
) -> NDArray[np.bool_]:
    """Mark the rows whose dose is above ``share`` of the level of an objective that looks at them.

    Objectives without such a level, and hard limits, need all of their rows.
    """
    needed = np.zeros(dose_gy.size, dtype=bool)
    for objective in objectives:
        rows = voxel_sets[objective.structure].rows
        level_gy = getattr(objective, "silent_below_gy", None)
        needed[rows if level_gy is None else rows[dose_gy[rows] > share * level_gy]] = True
    for limit in limits:
        needed[limit.voxels.rows] = True
    return needed


def choose_part(
    present: WorkingPart,
    dose_gy: FloatArray,
    needed_columns: NDArray[np.bool_],
    matrix: DoseMatrix,
    objectives: Sequence[Objective],
    limits: Sequence[Multipliers | BoundMultiplier],
    voxel_sets: Mapping[str, VoxelSet],
) -> WorkingPart:
    """Choose rows by the course dose of every row; after a few choices those of ``present`` stay.

    Returns
    -------
    WorkingPart
        ``present`` itself where the matrix cannot give a part of itself; the whole where too few rows can go.
    """
    if not isinstance(matrix, SelectableMatrix):
        return present
    needed = needed_rows(dose_gy, objectives, limits, voxel_sets, share=_SHARE_OF_LEVEL)
    taken = needed_columns.copy()
    if present.rows is not None and present.choices >= _FREE_CHOICES:
        needed[present.rows] = True
        taken[present.columns] = True
    if needed.sum() > _WORTHWHILE * needed.size or not needed.any() or not taken.any():
        return whole(matrix, objectives, limits, voxel_sets)
    rows, columns = np.flatnonzero(needed), np.flatnonzero(taken)
    place = np.cumsum(needed) - 1
    members = []
    for objective in objectives:
        voxels = voxel_sets[objective.structure]
        inside = needed[voxels.rows]
        members.append(Members(place[voxels.rows[inside]], voxels.volume_weights[inside]))
    own = tuple(place[limit.voxels.rows] for limit in limits)
    return WorkingPart(matrix.select(rows, columns), rows, columns, tuple(members), own, present.choices + 1)


def is_outdated(
    present: WorkingPart,
    dose_gy: FloatArray,
    needed_columns: NDArray[np.bool_],
    objectives: Sequence[Objective],
    limits: Sequence[Multipliers | BoundMultiplier],
    voxel_sets: Mapping[str, VoxelSet],
) -> bool:
    """Whether many of the working rows or columns could now be left out, at this course dose of every row."""
    if present.rows is None or present.choices >= _FREE_CHOICES:
        return False
    needed = needed_rows(dose_gy, objectives, limits, voxel_sets, share=_SHARE_OF_LEVEL)
    smaller = int(needed.sum()) * int(needed_columns.sum())
    return smaller < _WORTH_A_NEW_CHOICE * present.rows.size * present.columns.size
