"""The first tier of re-optimisation: the plan of record's apertures with other MU, as a judged plan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from imrt_core.evaluate import GoalResult, Status
from imrt_core.machine import DeliveryLimits
from imrt_core.patient import Beam, Goal, MetricKind, Plan
from imrt_core.patient.contours import mask_from_structure

from .delivery import DESCRIPTION
from .judge import judged_plan
from .plan_types import PlanResult
from .reweight import aperture_groups, best_factors, group_doses, lowest_factors, reweighted
from .sequencing import delivery_seconds
from .session import PlanningSession, StageWatch

#: A mean dose this much beyond its limit at the optimiser's voxels is not brought back by normalisation (up to 3 %).
_CLEARLY_BEYOND = 1.04


def reweighted_plan(
    session: PlanningSession, record: Plan, must: Collection[Goal], watch: StageWatch
) -> PlanResult | tuple[GoalResult, ...]:
    """Keep the apertures of a plan and change their MU.

    Parameters
    ----------
    session : PlanningSession
        Today's patient.
    record : Plan
        Whose apertures are kept.
    must : collection of Goal
        Goals that the plan is made for.
    watch : StageWatch
        Told about stages.

    Returns
    -------
    PlanResult or tuple of GoalResult
        The plan, judged like every other; or, before its dose is computed, the goals that are clearly out of reach.
    """
    case, judge = session.case, session.judge
    plan = _at_today(record, session)
    with watch.stage("optimise"):
        groups = aperture_groups(plan)
        doses = group_doses(
            plan,
            groups,
            case,
            bixel_mm=session.settings.bixel_mm,
            transmission=session.machine.model.mlc_transmission,
        )
    with watch.stage("final_dose"):
        delivered = session.dose_at_rows_gy(plan)
    with watch.stage("optimise"):
        factors, found = best_factors(
            doses,
            case.objectives,
            case,
            limits=case.limits,
            fractions=judge.fractions,
            offset_gy=case.background_gy + judge.fractions * (delivered - doses.sum(axis=1, dtype=np.float64)),
            lowest=lowest_factors(plan, groups, session.machine.limits),
        )
    hopeless = _out_of_reach(session, found.course_dose_gy, must)
    if hopeless:
        return hopeless
    plan = reweighted(plan, groups, factors)
    with watch.stage("final_dose"):
        forward = session.dose(plan, case.dose_grid, keep_beams=True)
        verdict = judge.judge(forward.fraction_dose_gy)
    whole = aperture_groups(plan, per_beam=1)
    scaled = reweighted(plan, whole, np.full(len(whole), verdict.scale))
    with_doses = tuple(
        replace(b, beam_dose_gy=verdict.scale * d.dose_at_isocentre_gy, beam_dose_point_lps=b.isocentre_lps)
        for b, d in zip(scaled.beams, forward.beams, strict=True)
    )
    return judged_plan(
        replace(scaled, beams=with_doses),
        verdict,
        forward,
        segments=sum(_segments(b) for b in scaled.beams),
        delivery_seconds=sum(_seconds(b, session.machine.limits) for b in scaled.beams),
        objective=found.objective,
        iterations=found.iterations,
        kkt_residual=found.kkt_residual,
        stage_seconds=watch.seconds,
    )


def _out_of_reach(
    session: PlanningSession, course_dose_gy: NDArray[np.float64], must: Collection[Goal]
) -> tuple[GoalResult, ...]:
    """Return the mean doses that lie clearly beyond their limits at the voxels of the optimisation."""
    voxels = session.case.voxels
    found = []
    for goal in must:
        if goal.metric.kind is not MetricKind.MEAN or goal.metric.unit != "Gy" or not goal.is_upper:
            continue
        structure = mask_from_structure(session.judge.structures[goal.structure], voxels.grid)
        share = np.asarray(structure.array, dtype=np.float64).ravel()[voxels.indices]
        mean_gy = float(share @ course_dose_gy / share.sum()) if share.any() else 0.0
        if mean_gy > _CLEARLY_BEYOND * goal.limit:
            found.append(GoalResult(goal, mean_gy, mean_gy, mean_gy, Status.VIOLATED))
    return tuple(sorted(found, key=lambda result: str(result.goal)))


def _segments(beam: Beam) -> int:
    """Intervals between control points that deliver MU."""
    return int(np.count_nonzero(np.diff([p.cumulative_weight for p in beam.control_points]) > 0))


def _seconds(beam: Beam, limits: DeliveryLimits) -> float:
    leaves = [p.leaves_mm for p in beam.control_points if p.leaves_mm is not None]
    mu = beam.mu * np.array([p.cumulative_weight for p in beam.control_points])
    rate = beam.control_points[0].dose_rate_mu_per_min or limits.dose_rate_mu_per_min
    if len(leaves) < len(mu):
        return float(mu[-1]) * 60.0 / rate
    return delivery_seconds(np.stack(leaves), mu, limits, rate)


def _at_today(record: Plan, session: PlanningSession) -> Plan:
    """Return the plan of record's beams around today's isocentre, with the identity of a new plan."""
    isocentre = session.case.geometry[0].isocentre_lps
    identity = session.identity
    beams = tuple(
        replace(b, control_points=tuple(replace(p, isocentre_lps=isocentre) for p in b.control_points))
        for b in record.beams
    )
    return Plan(
        beams=beams,
        label=identity.label,
        fractions_planned=identity.fractions_planned,
        prescription_gy=identity.prescription_gy,
        sop_instance_uid=identity.plan_uid,
        frame_of_reference_uid=identity.frame_of_reference_uid,
        structure_set_uid=identity.structure_set_uid,
        patient_position=identity.patient_position,
        predecessor_uid=identity.predecessor_uid,
        description=DESCRIPTION,
    )
