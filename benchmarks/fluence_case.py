"""The fluence problem that the peer wrote, as ours: matrix, objectives, structures, and the peer's own result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from imrt_core.optimize.objectives import Objective, SquaredDeviation, SquaredOverdose, SquaredUnderdose
from imrt_core.patient import InputRefusedError

#: The peer's kinds of objective, the parameter with the dose, and ours. Both divide by the number of voxels.
KINDS: dict[str, tuple[str, Any]] = {
    "SquaredOverdosing": ("d_max", SquaredOverdose),
    "SquaredUnderdosing": ("d_min", SquaredUnderdose),
    "SquaredDeviation": ("d_ref", SquaredDeviation),
}


@dataclass(frozen=True, eq=False)
class FluenceCase:
    """What is optimised.

    Parameters
    ----------
    matrix : scipy.sparse array, shape (voxels, bixels)
        As the peer stored it; Gy per weight.
    objectives : tuple of Objective
        Ours, in the peer's order.
    structures : dict of str to ndarray of int
        Rows of every objective.
    peer : dict
        Figures of the peer's run.
    peer_weights : ndarray, shape (bixels,)
        The peer's final weights.
    """

    matrix: Any
    objectives: tuple[Objective, ...]
    structures: dict[str, NDArray[np.int64]]
    peer: dict[str, Any]
    peer_weights: NDArray[np.float64]

    def evaluate(self, weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Value and gradient with our objectives and scipy's products."""
        dose = self.matrix @ weights
        total, slope = 0.0, np.zeros(dose.size)
        for objective in self.objectives:
            rows = self.structures[objective.structure]
            value, gradient = objective.value_and_gradient(dose[rows], np.full(rows.size, 1.0 / rows.size))
            total += value
            slope[rows] += gradient
        return total, np.asarray(slope @ self.matrix)

    def check(self) -> float:
        """Return the relative difference between our value of the peer's weights and the peer's own.

        Raises
        ------
        InputRefusedError
            If it is more than 1e-4: the two would not optimise the same function.
        """
        own, stated = self.evaluate(self.peer_weights)[0], float(self.peer["objective"])
        difference = own / stated - 1.0
        if not abs(difference) <= 1e-4:
            raise InputRefusedError(
                "the peer's objective is not reproduced from its weights", found=f"{own}", expected=f"{stated}"
            )
        return difference


def read_case(folder: Path) -> FluenceCase:
    """Read what ``peers/pyradplan_fluence.py`` wrote.

    Raises
    ------
    InputRefusedError
        If an objective is of a kind that has no counterpart here.
    """
    figures = json.loads((folder / "problem.json").read_text())
    objectives: list[Objective] = []
    structures = {}
    with np.load(folder / "masks.npz") as masks:
        for number, given in enumerate(figures["objectives"]):
            if given["kind"] not in KINDS:
                raise InputRefusedError(
                    "the peer's objective has no counterpart", found=given["kind"], expected=", ".join(KINDS)
                )
            dose_key, ours = KINDS[given["kind"]]
            name = f"objective_{number}"
            objectives.append(ours(structure=name, dose_gy=given[dose_key], weight=given["priority"]))
            structures[name] = np.flatnonzero(masks[name])
    with np.load(folder / "history.npz") as history:
        weights = history["weights"]
    matrix = sparse.load_npz(folder / "matrix.npz")
    return FluenceCase(matrix, tuple(objectives), structures, figures, weights)
