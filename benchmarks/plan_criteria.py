"""Criteria of the OpenKBP challenge, judged on the voxels of the data set's masks.

The same code judges a planned dose and the shipped one, both on the data set's grid. Criteria: Babier A et al., Med
Phys 48 (2021) 5549-5561. D0.1cc is the dose of the k-th hottest voxel, k = max(1, round(100 mm³ / voxel)); D99 and D95
are the 1st and 5th percentile of the voxels' doses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import GeometryError, Goal

#: TG-263 name, metric, limit in Gy of the whole course.
ORGAN_CRITERIA = (
    ("Brainstem", "D0.1cc", 50.0),
    ("SpinalCord", "D0.1cc", 45.0),
    ("Parotid_L", "mean", 26.0),
    ("Parotid_R", "mean", 26.0),
    ("Larynx", "mean", 45.0),
    ("Esophagus", "mean", 45.0),
    ("Bone_Mandible", "D0.1cc", 73.5),
)
#: Prescribed dose of the targets, and D99 that is asked for.
TARGET_CRITERIA = (("PTV70", 70.0, 66.5), ("PTV63", 63.0, 59.9), ("PTV56", 56.0, 53.2))
#: Voxels of a target below this density, g/cm³, are air: no dose is planned there.
AIR_BELOW_G_PER_CM3 = 0.5
_HOT_MM3 = 100.0

Doses = NDArray[np.floating]
Masks = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Criterion:
    """One criterion, judged.

    Parameters
    ----------
    structure : str
        TG-263 name.
    metric : str
        ``D99``, ``D0.1cc`` or ``mean``.
    value_gy, limit_gy : float
        Course dose.
    met : bool
        Whether the limit holds.
    """

    structure: str
    metric: str
    value_gy: float
    limit_gy: float
    met: bool


def hottest_gy(dose_gy: Doses, voxel_mm3: float) -> float:
    """Return D0.1cc: the k-th hottest of the voxels' doses, k = max(1, round(100 mm³ / voxel)), no more than all."""
    k = min(max(1, round(_HOT_MM3 / voxel_mm3)), dose_gy.size)
    return float(np.partition(dose_gy, -k)[-k])


def coldest_gy(dose_gy: Doses, percent: float) -> float:
    """Return the dose that ``percent`` of the voxels exceed (D99: the 1st percentile)."""
    return float(np.percentile(dose_gy, 100.0 - percent))


def organ_criteria(dose_gy: Doses, masks: Masks, voxel_mm3: float) -> tuple[Criterion, ...]:
    """Judge the organs that are there.

    Parameters
    ----------
    dose_gy : ndarray
        Course dose; masks index it.
    masks : mapping of str to ndarray of bool
        By TG-263 name, of the shape of the dose. Names that are absent or empty are not judged.
    voxel_mm3 : float
        Volume of a voxel.
    """
    judged = []
    for name, metric, limit_gy in ORGAN_CRITERIA:
        doses = _doses(dose_gy, masks, name)
        if doses is not None:
            value = hottest_gy(doses, voxel_mm3) if metric == "D0.1cc" else float(doses.mean(dtype=np.float64))
            judged.append(Criterion(name, metric, value, limit_gy, value <= limit_gy))
    return tuple(judged)


def target_criteria(dose_gy: Doses, masks: Masks, *, counted: NDArray[np.bool_] | None = None) -> tuple[Criterion, ...]:
    """Judge D99 of the targets that are there.

    Parameters
    ----------
    dose_gy, masks
        As in :func:`organ_criteria`.
    counted : ndarray of bool, optional
        Voxels that count, e.g. those that are not air.
    """
    judged = []
    for name, _, least_gy in TARGET_CRITERIA:
        doses = _doses(dose_gy, masks, name, counted)
        if doses is not None:
            value = coldest_gy(doses, 99.0)
            judged.append(Criterion(name, "D99", value, least_gy, value >= least_gy))
    return tuple(judged)


def coverage_gy(dose_gy: Doses, masks: Masks, *, counted: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Return D95 and D99 of every target that is there, as ``{"PTV70 D95": Gy, …}``."""
    found: dict[str, float] = {}
    for name, _, _ in TARGET_CRITERIA:
        doses = _doses(dose_gy, masks, name, counted)
        if doses is not None:
            found |= {f"{name} D{percent:.0f}": coldest_gy(doses, percent) for percent in (95.0, 99.0)}
    return found


def organ_means_gy(dose_gy: Doses, masks: Masks) -> dict[str, float]:
    """Return the mean dose of every organ of the criteria that is there."""
    means = {}
    for name, _, _ in ORGAN_CRITERIA:
        doses = _doses(dose_gy, masks, name)
        if doses is not None:
            means[name] = float(doses.mean(dtype=np.float64))
    return means


def _doses(dose_gy: Doses, masks: Masks, name: str, counted: NDArray[np.bool_] | None = None) -> Doses | None:
    if name not in masks:
        return None
    mask = masks[name]
    if mask.shape != dose_gy.shape:
        raise GeometryError("a mask is not on the grid of the dose", found=str(mask.shape), expected=str(dose_gy.shape))
    doses = dose_gy[mask if counted is None else mask & counted]
    return doses if doses.size else None


def planning_goals(names: frozenset[str]) -> tuple[Goal, ...]:
    """Return the goals that a planner gets for a patient with these structures.

    The targets' prescription (D95 % ≥ 100 %, ICRU 83 near-maximum at 110 %) and the criteria as they stand; cord and
    brainstem are hard, as in every clinic.
    """
    goals = []
    for name, prescribed_gy, least_gy in TARGET_CRITERIA:
        if name in names:
            goals += [f"{name} D95%[Gy] >= {prescribed_gy}", f"{name} D99%[Gy] >= {least_gy}"]
    highest, highest_gy, _ = next(target for target in TARGET_CRITERIA if target[0] in names)
    goals.append(f"{highest} D2%[Gy] <= {1.1 * highest_gy}")
    for name, metric, limit_gy in ORGAN_CRITERIA:
        if name in names:
            text = "Mean[Gy]" if metric == "mean" else "D0.1cc[Gy]"
            hard = " (hard)" if name in ("SpinalCord", "Brainstem") else ""
            goals.append(f"{name} {text} <= {limit_gy}{hard}")
    return tuple(Goal.parse(goal) for goal in goals)
