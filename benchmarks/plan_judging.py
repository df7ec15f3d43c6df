"""One OpenKBP patient's plan beside the shipped dose: criteria, coverage, organ means, and what the leaves lose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.openkbp_data import OpenKbpPatient
from benchmarks.plan_criteria import (
    AIR_BELOW_G_PER_CM3,
    TARGET_CRITERIA,
    Criterion,
    coverage_gy,
    organ_criteria,
    organ_means_gy,
    target_criteria,
)
from imrt_core.optimize import PlanResult
from imrt_core.patient import Volume

#: Organ means are comparable where no D95 or D99 of a target is lower than the reference's by more than this.
COVERAGE_MARGIN_GY = 0.5


@dataclass(frozen=True)
class PatientPlan:
    """One patient's figures, ours and (``_reference``) the shipped dose's.

    Parameters
    ----------
    id : str
        Of the file.
    targets_met, targets_judged, oars_met, oars_judged : int
        Criteria; targets without voxels of air.
    targets_met_with_air : int
        The same with every voxel of the mask.
    coverage_difference_gy : float
        Ours − reference, the least over D95 and D99 of all targets, without air.
    organs_comparable : bool
        Whether that is at least −0.5 Gy.
    oar_mean_gy : float
        Mean over the organs of their mean dose.
    oar_means_gy : dict of str to float
        By organ.
    fluence_difference_percent : dict of str to float
        Deliverable − fluence-optimal of every criterion, % of 70 Gy, on the voxels of the optimisation.
    criteria, criteria_reference : tuple of Criterion
        All of them, with values.
    goals : tuple of str
        Of the planner, with the values that its own evaluator found (sub-voxels of the contours, air included).
    seconds, cpu_seconds : float
        Influence matrix to final dose.
    """

    id: str
    targets_met: int
    targets_met_reference: int
    targets_met_with_air: int
    targets_met_with_air_reference: int
    targets_judged: int
    oars_met: int
    oars_met_reference: int
    oars_judged: int
    coverage_difference_gy: float
    coverage_gy: dict[str, float]
    coverage_reference_gy: dict[str, float]
    organs_comparable: bool
    oar_mean_gy: float
    oar_mean_reference_gy: float
    oar_means_gy: dict[str, float]
    oar_means_reference_gy: dict[str, float]
    fluence_difference_percent: dict[str, float]
    criteria: tuple[Criterion, ...]
    criteria_reference: tuple[Criterion, ...]
    mu: float
    segments: int
    feasible: bool
    goals: tuple[str, ...]
    goals_met: int
    goals_judged: int
    seconds: float
    cpu_seconds: float
    stage_seconds: dict[str, float]


def judge(
    patient: OpenKbpPatient,
    mass_g_per_cm3: Volume,
    result: PlanResult,
    *,
    seconds: float,
    cpu_seconds: float,
    voxel_mm: float,
) -> PatientPlan:
    """Judge a plan and the shipped dose by the same criteria on the data set's grid.

    ``voxel_mm`` is the grid of the optimisation, on which the deliverable dose is compared with the fluence's.
    """
    masks = {name: np.asarray(mask.array, dtype=bool) for name, mask in patient.masks}
    voxel_mm3 = 1000.0 * patient.hu.grid.voxel_volume_cc
    tissue = np.asarray(mass_g_per_cm3.array >= AIR_BELOW_G_PER_CM3)
    reference = patient.course_dose_gy.array
    ours = result.course_dose_gy.resampled_to(patient.hu.grid, outside=0.0).array
    targets, targets_reference = (target_criteria(dose, masks, counted=tissue) for dose in (ours, reference))
    organs, organs_reference = (organ_criteria(dose, masks, voxel_mm3) for dose in (ours, reference))
    covered, covered_reference = (coverage_gy(dose, masks, counted=tissue) for dose in (ours, reference))
    means, means_reference = (organ_means_gy(dose, masks) for dose in (ours, reference))
    difference_gy = min(covered[name] - covered_reference[name] for name in covered)
    return PatientPlan(
        id=patient.name,
        targets_met=_met(targets),
        targets_met_reference=_met(targets_reference),
        targets_met_with_air=_met(target_criteria(ours, masks)),
        targets_met_with_air_reference=_met(target_criteria(reference, masks)),
        targets_judged=len(targets),
        oars_met=_met(organs),
        oars_met_reference=_met(organs_reference),
        oars_judged=len(organs),
        coverage_difference_gy=difference_gy,
        coverage_gy=covered,
        coverage_reference_gy=covered_reference,
        organs_comparable=difference_gy >= -COVERAGE_MARGIN_GY,
        oar_mean_gy=float(np.mean(list(means.values()))),
        oar_mean_reference_gy=float(np.mean(list(means_reference.values()))),
        oar_means_gy=means,
        oar_means_reference_gy=means_reference,
        fluence_difference_percent=_fluence_difference(patient, masks, tissue, result, voxel_mm),
        criteria=(*targets, *organs),
        criteria_reference=(*targets_reference, *organs_reference),
        mu=result.mu,
        segments=result.segments,
        feasible=result.feasible,
        goals=tuple(f"{judged.goal}: {judged.value:.2f}" for judged in result.goals),
        goals_met=sum(goal.ok for goal in result.goals),
        goals_judged=len(result.goals),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        stage_seconds=dict(result.stage_seconds),
    )


def _met(criteria: tuple[Criterion, ...]) -> int:
    return sum(criterion.met for criterion in criteria)


def _fluence_difference(
    patient: OpenKbpPatient, masks: dict[str, Any], tissue: Any, result: PlanResult, voxel_mm: float
) -> dict[str, float]:
    """Deliverable − fluence-optimal of every criterion in % of the highest prescription, both at the same points."""
    if result.optimum is None:
        return {}
    points = result.optimum.points_lps
    index = np.rint(patient.hu.grid.to_index(points)).astype(np.int64)[:, ::-1]
    inside = np.all((index >= 0) & (index < patient.hu.grid.shape), axis=1)
    place = tuple(index[inside].T)
    at_points = {name: mask[place] for name, mask in masks.items()}
    optimal = result.optimum.course_dose_gy[inside]
    delivered = result.course_dose_gy.sample(points[inside], outside=0.0)
    voxel_mm3 = voxel_mm**3

    def values(dose: Any) -> dict[str, float]:
        judged = (
            *target_criteria(dose, at_points, counted=tissue[place]),
            *organ_criteria(dose, at_points, voxel_mm3),
        )
        return {f"{c.structure} {c.metric}": c.value_gy for c in judged}

    ours, wanted = values(delivered), values(optimal)
    highest_gy = TARGET_CRITERIA[0][1]
    return {name: 100.0 * (ours[name] - wanted[name]) / highest_gy for name in ours}
