"""Goals met while an optimisation runs, judged on its own voxels: for who watches, never for a decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.evaluate import DVH, judge_goals
from imrt_core.patient import Goal

from .voxels import VoxelSet

#: Doses are told apart to this many decimals of a Gy.
_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class LiveGoals:
    """What is needed to count goals on the rows of the influence matrix.

    Parameters
    ----------
    goals : sequence of Goal
        Course scale. Those of structures without rows are left out.
    sets : mapping of str to VoxelSet
        Rows of every structure.
    voxel_cc : float
        Volume of a whole voxel.
    prescription_gy : float
        100 % of metrics in percent of the prescription.
    """

    goals: Sequence[Goal]
    sets: Mapping[str, VoxelSet]
    voxel_cc: float
    prescription_gy: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "goals", tuple(goal for goal in self.goals if goal.structure in self.sets))

    def met(self, course_dose_gy: NDArray[np.float64]) -> int:
        """Return how many goals the course dose of every row meets."""
        names = {goal.structure for goal in self.goals}
        dvhs = {name: self._dvh(name, course_dose_gy) for name in names}
        return sum(result.ok for result in judge_goals(self.goals, dvhs))

    def _dvh(self, name: str, course_dose_gy: NDArray[np.float64]) -> DVH:
        members = self.sets[name]
        # The voxels that lie wholly inside have the largest weight: that is one voxel's volume.
        volume_cc = self.voxel_cc * members.volume_weights / members.volume_weights.max()
        dose, which = np.unique(np.round(course_dose_gy[members.rows], _DECIMALS), return_inverse=True)
        at_least = np.bincount(which, weights=volume_cc)[::-1].cumsum()[::-1]
        # Steps, not lines between the voxels' doses.
        edges = np.stack([dose, dose + 0.5 * 10.0**-_DECIMALS], axis=1).ravel()
        steps = np.stack([at_least, np.append(at_least[1:], 0.0)], axis=1).ravel()
        lowest, highest = float(dose[0]), float(dose[-1])
        return DVH(
            name=name,
            volume_cc=float(at_least[0]),
            outside_cc=0.0,
            mean_gy=float(np.average(course_dose_gy[members.rows], weights=volume_cc)),
            min_gy=lowest,
            max_gy=highest,
            dose_edges_gy=edges,
            cumulative_cc=steps,
            grid_max_gy=float(course_dose_gy.max()),
            prescription_gy=self.prescription_gy,
        )
