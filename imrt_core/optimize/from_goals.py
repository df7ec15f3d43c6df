"""Objectives and hard limits for users who have only clinical goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from imrt_core.geometry.structure_expression import as_term
from imrt_core.patient import Goal, MetricKind, ProtocolError

from .constraints import DoseLimit, LimitKind
from .objectives import MaxDvh, MeanDose, MinDvh, Objective, SquaredOverdose, SquaredUnderdose
from .regions import FALLOFF_STEP_GY

#: Coverage is aimed above the prescription and beyond the 95 % of clinical goals, so that it survives sequencing;
#: the coldest voxels, where targets meet organs or skin, are held by a weaker objective of their own.
_COVERAGE_AIM = 1.02
_COVERAGE_PERCENT = 97.0
_COVERAGE_WEIGHT = 400.0
_COLD_AIM = 0.99
_COLD_WEIGHT = 200.0
#: Goals on D98 % and beyond are about so few voxels that they need a weight of their own: 95 % of the prescription
#: (ICRU 83) or the goal with a margin. Without such a goal it would cost parotids beside the target 1 Gy for nothing.
_COLDEST_PERCENT = 97.5
_COLDEST_SHARE = 0.95
_COLDEST_AIM = 1.03
_COLDEST_WEIGHT = 3000.0
_TARGET_HOT = 1.05
_HOT_WEIGHT = 200.0
#: An upper goal of a lower level is about its border with the higher one, where only a steep fall-off meets it.
_BORDER_WEIGHT = 4000.0
#: Overdose of a lower level counts beyond the penumbra of the higher one.
_PENUMBRA_MM = 8
#: Organs are aimed below their limits, by the larger of these.
_MEAN_AIM = 0.95
_SERIAL_AIM = 0.92
_DVH_AIM = 0.87
_ORGAN_MARGIN_GY = 1.5
_MEAN_WEIGHT = 150.0
_SERIAL_WEIGHT = 400.0
_DVH_WEIGHT = 400.0
#: Where an organ lies partly in a target, the rest of it is aimed lower to make up for that, but not below this share.
_LEAST_MEAN_AIM = 0.6
#: An always active pull on the mean of every organ with a goal: below its limit, less is still better. At 0.05 they
#: keep up to 11 Gy more with the same goals met; at 4.0 plans of the day miss D2 % of the target.
_PULL_WEIGHT = 1.5
_FALLOFF_WEIGHT = 4.0
#: Hard limits are held this far below (above) the goal on the optimisation grid, which does not see every sub-voxel;
#: below it also by this share, room for the normalisation.
_LIMIT_MARGIN_GY = 1.0
_LIMIT_AIM = 0.96


def objectives_from_goals(
    goals: Sequence[Goal],
    prescription_gy: Sequence[tuple[str, float]],
    *,
    volumes_cc: Mapping[str, float] | None = None,
    target_overlap: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[Objective, ...]:
    """Return objectives that lead to a plan which meets clinical goals.

    Targets get underdose objectives (the coverage; where a goal asks for them the coldest voxels) and an overdose one,
    lower dose levels the latter outside the penumbra of the higher ones; organs an objective at each of their goals,
    with a margin, and a pull on their mean that never rests; normal tissue fall-off shells around the targets
    (:func:`imrt_core.optimize.regions.falloff_level_gy`). Mean doses are pursued outside the targets only: a tumour is
    not underdosed for a parallel organ that it has grown into. Maximum doses of serial organs are pursued everywhere.

    Parameters
    ----------
    goals : sequence of Goal
        Course scale.
    prescription_gy : sequence of (str, float)
        Course dose of every target.
    volumes_cc : mapping of str to float
        Volumes of structures, to express goals at absolute volumes as shares. Without an entry such a goal is
        treated as one on the maximum, which is stricter.
    target_overlap : mapping of str to (float, float)
        Share of an organ that lies in targets, and the mean prescribed dose there in Gy; 0 without an entry.

    Raises
    ------
    ProtocolError
        If there is no prescribed target.
    """
    targets = sorted(prescription_gy, key=lambda item: -item[1])
    if not targets:
        raise ProtocolError("objectives need a prescribed target", found="no prescription")
    volumes, overlap = volumes_cc or {}, target_overlap or {}
    objectives: list[Objective] = list(_targets(targets, goals, volumes))
    names = {name for name, _ in targets}
    highest_gy = targets[0][1]
    pulled: set[str] = set()
    for goal in goals:
        if goal.structure in names or goal.metric.kind is MetricKind.VOLUME:
            continue
        if not goal.is_upper:
            dose_gy = _dose_of(goal, highest_gy)
            objectives.append(SquaredUnderdose(structure=goal.structure, dose_gy=1.02 * dose_gy, weight=50.0))
            continue
        outside = " - ".join(map(as_term, [goal.structure, *(name for name, _ in targets)]))
        if goal.metric.kind is MetricKind.MEAN:
            aim_gy = _mean_aim_gy(_dose_of(goal, highest_gy), *overlap.get(goal.structure, (0.0, 0.0)))
            objectives.append(MeanDose(structure=outside, dose_gy=aim_gy, weight=_MEAN_WEIGHT))
        else:
            objectives.append(_organ(goal, highest_gy, volumes.get(goal.structure)))
        if goal.structure not in pulled:
            pulled.add(goal.structure)
            objectives.append(MeanDose(structure=outside, dose_gy=0.0, weight=_PULL_WEIGHT))
    top = int(-(-highest_gy // FALLOFF_STEP_GY) * FALLOFF_STEP_GY)
    objectives += [
        SquaredOverdose(structure=f"Falloff {level}Gy", dose_gy=float(level), weight=_FALLOFF_WEIGHT)
        for level in range(FALLOFF_STEP_GY, top + 1, FALLOFF_STEP_GY)
    ]
    return tuple(objectives)


def _targets(
    targets: Sequence[tuple[str, float]], goals: Sequence[Goal], volumes_cc: Mapping[str, float]
) -> list[Objective]:
    objectives: list[Objective] = []
    for index, (name, dose_gy) in enumerate(targets):
        hot_gy = _TARGET_HOT * dose_gy
        for goal in goals:
            if goal.structure == name and goal.is_upper and goal.metric.kind is not MetricKind.MEAN:
                hot_gy = min(hot_gy, 0.98 * _dose_of(goal, targets[0][1]))
        objectives += [
            MinDvh(
                structure=name,
                dose_gy=_COVERAGE_AIM * dose_gy,
                volume_percent=_COVERAGE_PERCENT,
                weight=_COVERAGE_WEIGHT,
            ),
            SquaredUnderdose(structure=name, dose_gy=_COLD_AIM * dose_gy, weight=_COLD_WEIGHT),
        ]
        coldest = [
            _COLDEST_AIM * _dose_of(g, targets[0][1]) for g in goals if g.structure == name and _is_on_coldest(g)
        ]
        if coldest:
            aim_gy = max([_COLDEST_SHARE * dose_gy, *coldest])
            objectives.append(SquaredUnderdose(structure=name, dose_gy=aim_gy, weight=_COLDEST_WEIGHT))
        higher = [other for other, other_dose in targets[:index] if other_dose > dose_gy]
        region = " - ".join([as_term(name), *(f"{as_term(other)}+{_PENUMBRA_MM}mm" for other in higher)])
        weight = _HOT_WEIGHT if not higher else 0.6 * _HOT_WEIGHT
        objectives.append(SquaredOverdose(structure=region, dose_gy=max(hot_gy, 1.03 * dose_gy), weight=weight))
        if higher:
            # within the penumbra the dose may rise to the higher level, no further
            above_gy = next(other_dose for other, other_dose in reversed(targets[:index]) if other in higher)
            objectives.append(SquaredOverdose(structure=name, dose_gy=1.04 * above_gy, weight=weight))
            objectives += [
                replace(limited, dose_gy=max(limited.dose_gy, 1.03 * dose_gy), weight=_BORDER_WEIGHT)
                for goal in goals
                if goal.structure == name and goal.is_upper
                if isinstance(limited := _organ(goal, targets[0][1], volumes_cc.get(name)), MaxDvh)
            ]
    return objectives


def _is_on_coldest(goal: Goal) -> bool:
    """Whether a goal is a lower bound on (nearly) the whole target: D98 %, D99 %, minimum."""
    metric = goal.metric
    at_percent = metric.at if metric.kind is MetricKind.DOSE_AT_VOLUME and metric.at_unit == "%" else 0.0
    return not goal.is_upper and (metric.kind is MetricKind.MIN or at_percent >= _COLDEST_PERCENT)


def _dose_of(goal: Goal, highest_gy: float) -> float:
    """Dose in Gy that a goal is about."""
    metric = goal.metric
    if metric.kind is MetricKind.VOLUME_AT_DOSE:
        return metric.at if metric.at_unit == "Gy" else metric.at / 100.0 * highest_gy
    return goal.limit if metric.unit == "Gy" else goal.limit / 100.0 * highest_gy


def _share_percent(volume: float, unit: str, volume_cc: float | None) -> float:
    """Share of the structure, in percent; 0 (the maximum) where its volume is not known."""
    if unit == "%":
        return volume
    return 100.0 * min(volume / volume_cc, 1.0) if volume_cc else 0.0


def _organ(goal: Goal, highest_gy: float, volume_cc: float | None) -> Objective:
    metric, name = goal.metric, goal.structure
    limit_gy = _dose_of(goal, highest_gy)
    aim_gy = max(min(_SERIAL_AIM * limit_gy, limit_gy - _ORGAN_MARGIN_GY), 0.0)
    match metric.kind:
        case MetricKind.VOLUME_AT_DOSE:
            percent = 0.85 * _share_percent(goal.limit, metric.unit, volume_cc)
            return MaxDvh(structure=name, dose_gy=limit_gy, volume_percent=percent, weight=_DVH_WEIGHT)
        case MetricKind.DOSE_AT_VOLUME:
            percent = _share_percent(metric.at, metric.at_unit, volume_cc)
            if percent > 1.0:
                # gradients are steep there: sub-voxels of the evaluation see more than voxel centres
                aim_gy = _DVH_AIM * limit_gy
                return MaxDvh(structure=name, dose_gy=aim_gy, volume_percent=percent, weight=_DVH_WEIGHT)
            return SquaredOverdose(structure=name, dose_gy=aim_gy, weight=_SERIAL_WEIGHT)
        case _:
            return SquaredOverdose(structure=name, dose_gy=aim_gy, weight=_SERIAL_WEIGHT)


def _mean_aim_gy(limit_gy: float, share: float, target_gy: float) -> float:
    """Mean dose that the part outside the targets should have, so that the whole organ meets its limit."""
    aim_gy = max(min(_MEAN_AIM * limit_gy, limit_gy - _ORGAN_MARGIN_GY), 0.0)
    if share >= 1.0:
        return aim_gy
    return max((aim_gy - share * target_gy) / (1.0 - share), _LEAST_MEAN_AIM * aim_gy)


def limits_from_goals(
    goals: Sequence[Goal],
    *,
    prescribed_gy: float,
    volumes_cc: Mapping[str, float] | None = None,
    margin: bool = True,
) -> tuple[DoseLimit, ...]:
    """Return the hard goals as limits for the optimiser, a little stricter than the goals themselves, in their order.

    Parameters
    ----------
    goals : sequence of Goal
        Only hard ones count. D and V goals become limits that exempt a share of the volume.
    prescribed_gy : float
        Course dose that 100 % means.
    volumes_cc : mapping of str to float
        As in :func:`objectives_from_goals`.
    margin : bool
        False for limits that are the goals themselves.

    Raises
    ------
    ProtocolError
        If a hard goal is on the volume of a structure or a lower bound on its mean.
    """
    volumes = volumes_cc or {}
    limits = []
    for goal in goals:
        if not goal.hard:
            continue
        metric = goal.metric
        unusable = metric.kind is MetricKind.VOLUME or (metric.kind is MetricKind.MEAN and not goal.is_upper)
        if unusable:
            raise ProtocolError("a hard goal that the optimiser cannot hold", found=str(goal))
        dose_gy = _dose_of(goal, prescribed_gy)
        if margin and goal.is_upper:
            dose_gy = max(min(_LIMIT_AIM * dose_gy, dose_gy - _LIMIT_MARGIN_GY), 0.0)
        elif margin:
            dose_gy += _LIMIT_MARGIN_GY
        exempt = 0.0
        if metric.kind is MetricKind.DOSE_AT_VOLUME:
            exempt = _share_percent(metric.at, metric.at_unit, volumes.get(goal.structure))
        elif metric.kind is MetricKind.VOLUME_AT_DOSE:
            exempt = _share_percent(goal.limit, metric.unit, volumes.get(goal.structure))
        if metric.kind is MetricKind.MEAN:
            kind = LimitKind.MEAN
        elif goal.is_upper:
            kind = LimitKind.MAX
        else:
            kind, exempt = LimitKind.MIN, 100.0 - exempt if exempt else 0.0
        limits.append(DoseLimit(structure=goal.structure, kind=kind, dose_gy=dose_gy, exempt_percent=min(exempt, 99.0)))
    return tuple(limits)
