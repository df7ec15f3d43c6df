"""Rows that matter: voxels far below every level at which an objective begins to look are left out of the products.

An overdose objective on the whole body is silent in most of it. The rows that may speak are chosen from the dose of
every row; the optimiser returns to that from time to time, and goes on with more rows if one that was left out has
begun to contribute. What it reports in the end is of every row.
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
#: So many choices may let go of rows; later ones only add, so that they cannot alternate for ever.
_FREE_CHOICES = 3
#: A new choice is worth its cost if it leaves out this share of the working rows.
_WORTH_A_NEW_CHOICE = 0.75
#: Leaving rows out pays only where many can go.
_WORTHWHILE = 0.7


@dataclass(frozen=True, eq=False)
class Members:
    """Voxels of an objective among the working rows; volume weights are those within the whole structure."""

    rows: NDArray[np.int64]
    volume_weights: FloatArray


@dataclass(frozen=True, eq=False)
class WorkingRows:
    """The rows that an evaluation computes.

    Parameters
    ----------
    matrix : DoseMatrix
        Of these rows.
    chosen : ndarray of int or None
        Which rows of the whole matrix, ascending; None for all.
    objectives : tuple of Members
        For every objective.
    limits : tuple of ndarray of int
        Rows of every hard limit, complete.
    choices : int
        How many choices led here.
    """

    matrix: DoseMatrix
    chosen: NDArray[np.int64] | None
    objectives: tuple[Members, ...]
    limits: tuple[NDArray[np.int64], ...]
    choices: int = 0


def every_row(
    matrix: DoseMatrix,
    objectives: Sequence[Objective],
    limits: Sequence[Multipliers | BoundMultiplier],
    voxel_sets: Mapping[str, VoxelSet],
) -> WorkingRows:
    """Return the choice that leaves nothing out."""
    sets = [voxel_sets[objective.structure] for objective in objectives]
    members = tuple(Members(voxels.rows, voxels.volume_weights) for voxels in sets)
    return WorkingRows(matrix, None, members, tuple(limit.voxels.rows for limit in limits))


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


def rows_that_matter(
    present: WorkingRows,
    dose_gy: FloatArray,
    matrix: DoseMatrix,
    objectives: Sequence[Objective],
    limits: Sequence[Multipliers | BoundMultiplier],
    voxel_sets: Mapping[str, VoxelSet],
) -> WorkingRows:
    """Choose rows by the course dose of every row; after a few choices those of ``present`` stay.

    Returns
    -------
    WorkingRows
        ``present`` itself where the matrix cannot give rows, or too few can go.
    """
    if not isinstance(matrix, SelectableMatrix):
        return present
    needed = needed_rows(dose_gy, objectives, limits, voxel_sets, share=_SHARE_OF_LEVEL)
    if present.chosen is not None and present.choices >= _FREE_CHOICES:
        needed[present.chosen] = True
    if needed.sum() > _WORTHWHILE * needed.size or not needed.any():
        return every_row(matrix, objectives, limits, voxel_sets)
    chosen = np.flatnonzero(needed)
    place = np.cumsum(needed) - 1
    members = []
    for objective in objectives:
        voxels = voxel_sets[objective.structure]
        inside = needed[voxels.rows]
        members.append(Members(place[voxels.rows[inside]], voxels.volume_weights[inside]))
    own = tuple(place[limit.voxels.rows] for limit in limits)
    return WorkingRows(matrix.select(chosen), chosen, tuple(members), own, present.choices + 1)


def is_outdated(
    present: WorkingRows,
    dose_gy: FloatArray,
    objectives: Sequence[Objective],
    limits: Sequence[Multipliers | BoundMultiplier],
    voxel_sets: Mapping[str, VoxelSet],
) -> bool:
    """Whether many of the working rows could now be left out, at this course dose of every row."""
    if present.chosen is None or present.choices >= _FREE_CHOICES:
        return False
    needed = needed_rows(dose_gy, objectives, limits, voxel_sets, share=_SHARE_OF_LEVEL)
    return bool(needed.sum() < _WORTH_A_NEW_CHOICE * present.chosen.size)
