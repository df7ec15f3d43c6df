"""Check a plan: each beam's dose at a point by measured tables against the engine's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imrt_core.patient import Beam, GeometryError, Plan, PlanError, Volume

from .geometry import Point
from .point_dose import PointDose, beam_point_dose
from .result import AGREES, DIFFERS, NOT_COMPARED, UNSUITABLE, BeamCheck, PlanCheck
from .suitability import ProposedPoint, proposed_points, unsuitable_because
from .tables import CheckTables

#: Largest difference per beam that passes, percent (AAPM TG-114 gives 2 to 5 % by complexity).
TOLERANCE_PERCENT = 5.0
#: How many candidates are tried for a better point.
_CANDIDATES = 12
#: A path whose density differs this much from water's makes TPR at the radiological depth less exact.
_HETEROGENEOUS = 0.15


def check_plan(
    plan: Plan,
    red: Volume,
    tables: CheckTables,
    *,
    points_lps: Point | Mapping[int, Point],
    patient_position: str,
    planned_gy: Mapping[int, float] | None = None,
    fraction_dose_gy: Volume | None = None,
    tolerance_percent: float = TOLERANCE_PERCENT,
) -> PlanCheck:
    """Check every beam of a plan, per fraction.

    Parameters
    ----------
    plan : Plan
        Beams with metersets.
    red : Volume
        Electron density relative to water.
    tables : CheckTables
        Measured data; no engine uses them.
    points_lps : tuple of float or mapping
        One point for all beams, or one by beam number.
    patient_position : str
        ``"HFS"``, ``"HFP"``, ``"FFS"`` or ``"FFP"``.
    planned_gy : mapping or None
        The engine's dose of each beam at its point, by beam number; a beam that is not in it is not compared.
    fraction_dose_gy : Volume or None
        The engine's dose of the plan. If a point proves unsuitable, a better one is sought in it.
    tolerance_percent : float
        Limit of the verdict.

    Raises
    ------
    PlanError
        If a beam cannot be checked, has no point, or a planned dose is not a positive number.
    GeometryError
        If the patient position is unknown or a density is not a number.
    """
    if plan.patient_position is not None and plan.patient_position != patient_position:
        raise PlanError(
            "the plan was made for another patient position", found=patient_position, expected=plan.patient_position
        )
    beams = []
    for beam in plan.beams:
        point = _point_of(beam, points_lps)
        planned = None if planned_gy is None else planned_gy.get(beam.number)
        if planned is not None and not (np.isfinite(planned) and planned > 0):
            raise PlanError("a planned dose must be positive", found=f"{planned} Gy", where=f"beam {beam.name}")
        found = beam_point_dose(beam, red, tables, point_lps=point, patient_position=patient_position)
        reasons = unsuitable_because(found, red, tables, point_lps=point)
        beams.append(_beam_check(beam, point, found, planned, reasons, tolerance_percent))
    better = None
    if fraction_dose_gy is not None and any(beam.reasons for beam in beams):
        better = better_point(plan, red, tables, fraction_dose_gy, patient_position=patient_position)
    return PlanCheck(
        plan_label=plan.label,
        plan_uid=plan.sop_instance_uid,
        tables=f"{tables.name} {tables.version}",
        tolerance_percent=tolerance_percent,
        beams=tuple(beams),
        verdict=_plan_verdict([beam.verdict for beam in beams]),
        proposed_point=better,
    )


def better_point(
    plan: Plan, red: Volume, tables: CheckTables, fraction_dose_gy: Volume, *, patient_position: str
) -> ProposedPoint | None:
    """Return the point, among the flattest in high dose and tissue, that suits most beams; None if there is none."""
    try:
        candidates = proposed_points(fraction_dose_gy, red, count=_CANDIDATES)
    except GeometryError:
        return None  # no high dose in soft tissue: nothing to propose
    best, most = None, 0
    for candidate in candidates:
        suited = 0
        for beam in plan.beams:
            found = beam_point_dose(beam, red, tables, point_lps=candidate.point_lps, patient_position=patient_position)
            suited += not unsuitable_because(found, red, tables, point_lps=candidate.point_lps)
        if suited > most:
            best, most = candidate, suited
        if most == len(plan.beams):
            break
    return best


def _point_of(beam: Beam, points_lps: Point | Mapping[int, Point]) -> Point:
    point = points_lps.get(beam.number) if isinstance(points_lps, Mapping) else points_lps
    if point is None or len(point) != 3 or not np.all(np.isfinite(point)):
        raise PlanError("a beam needs a point to check", found=str(point), expected="LPS mm", where=f"beam {beam.name}")
    return (float(point[0]), float(point[1]), float(point[2]))


def _beam_check(
    beam: Beam, point: Point, found: PointDose, planned: float | None, reasons: tuple[str, ...], limit: float
) -> BeamCheck:
    difference = None if planned is None or found.dose_gy <= 0 else 100 * (planned / found.dose_gy - 1)
    if reasons:
        verdict = UNSUITABLE
    elif difference is None:
        verdict = NOT_COMPARED
    else:
        verdict = AGREES if abs(difference) <= limit else DIFFERS
    notes = []
    if found.tissue_depth_mm > 0 and abs(found.radiological_depth_mm / found.tissue_depth_mm - 1) > _HETEROGENEOUS:
        notes.append(
            f"{found.tissue_depth_mm:.0f} mm of tissue count as {found.radiological_depth_mm:.0f} mm of water: the "
            f"depth correction alone is less exact"
        )
    return BeamCheck(
        number=beam.number,
        name=beam.name,
        point_lps=point,
        mu=beam.mu,
        check_dose_gy=found.dose_gy,
        planned_dose_gy=planned,
        mu_for_planned_dose=None if difference is None or planned is None else beam.mu * planned / found.dose_gy,
        difference_percent=difference,
        verdict=verdict,
        reasons=reasons,
        notes=tuple(notes),
        radiological_depth_mm=found.radiological_depth_mm,
        off_axis_mm=found.off_axis_mm,
        distance_mm=found.distance_mm,
        collimator_mm=found.collimator_mm,
        opening_mm=found.opening_mm,
    )


def _plan_verdict(verdicts: list[str]) -> str:
    for verdict in (DIFFERS, UNSUITABLE, NOT_COMPARED):
        if verdict in verdicts:
            return verdict
    return AGREES
