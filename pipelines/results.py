"""What the stages hand to one another, where the libraries' own types do not say it all.

Every type here is stored by :mod:`pipelines.codec`. Frames: *planning* is the planning CT's LPS, *day* that of the
image of the day as acquired, before the couch moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from imrt_core.dose import BeamDose
from imrt_core.evaluate import DVH, GoalResult, GoalRow, TargetCoverage
from imrt_core.evaluate.body_contour import ContourChange
from imrt_core.evaluate.mu_check import MuCheck
from imrt_core.optimize import TierResult
from imrt_core.patient import PatientImage, Plan, PlanningData, RigidTransform, StructureSet, Volume
from registration import AppliedShift, CouchShift

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Withheld:
    """A stage that was not carried out, and why; later stages and the report pass the reason on."""

    reason: str


@dataclass(frozen=True, eq=False)
class Planning:
    """The planning objects in the protocol's names.

    Parameters
    ----------
    data : PlanningData
        CT, structures (with derived planning-risk volumes and EXTERNAL), plan and dose as received.
    derived : tuple of str
        Structures that were made here.
    notes : tuple of str
        What a person should know, e.g. that EXTERNAL was contoured here.
    empty : tuple of str
        Structures that the protocol makes and that are empty for this patient.
    """

    data: PlanningData
    derived: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PlanOfRecord:
    """The plan that is treated.

    Parameters
    ----------
    plan : Plan
        With an isocentre in the planning frame.
    origin : str
        ``"received"`` or ``"planned here"``.
    objective, iterations, segments
        Of the optimisation; None for a received plan.
    stage_seconds : mapping of str to float
        Of the optimisation.
    notes : tuple of str
        Beams that were moved or left out.
    objections : tuple of str
        What the machine's clearance and the protocol's avoidance have against a received plan; a person must look.
    """

    plan: Plan
    origin: str
    objective: float | None = None
    iterations: int | None = None
    segments: int | None = None
    stage_seconds: Mapping[str, float] | None = None
    notes: tuple[str, ...] = ()
    objections: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Baseline:
    """Our own dose of the plan of record on the planning CT: what every goal is compared with.

    Parameters
    ----------
    goals : tuple of GoalResult
        Judged, course scale.
    dvhs : mapping of str to DVH
        Course scale, by structure.
    tps_goals : mapping of str to float
        Value of each goal on the planning system's dose; empty without one.
    beams : tuple of BeamDose
        Per fraction.
    gate_passed : bool or None
        Whether our dose agrees with the planning system's; None where there is no planning system's plan and dose.
    gate_reasons : tuple of str
        Why not, or why it was not compared.
    gamma_pass_percent : float or None
        3 %/2 mm, global.
    warnings : tuple of str
        Of the dose engine.
    mu_check : MuCheck or None
        Independent check of the plan's metersets; None in courses that were registered before there was one.
    """

    goals: tuple[GoalResult, ...]
    dvhs: Mapping[str, DVH]
    tps_goals: Mapping[str, float]
    beams: tuple[BeamDose, ...]
    gate_passed: bool | None
    gate_reasons: tuple[str, ...]
    gamma_pass_percent: float | None
    warnings: tuple[str, ...]
    mu_check: MuCheck | None = None


@dataclass(frozen=True, eq=False)
class DayImage:
    """The setup image that governs, and how many the fraction holds.

    ``position_source`` says where the patient position comes from; empty where it is unknown.
    """

    image: PatientImage
    position_source: str
    images_in_fraction: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DayShift:
    """The couch shift of the day, or why it is withheld.

    Parameters
    ----------
    exact : CouchShift or None
        Unrounded; None where withheld.
    applied : AppliedShift or None
        Rounded to the machine's step and limited.
    used : CouchShift or None
        What the dose of the day uses: the recorded shift if there is one, else the applied one.
    residual : CouchShift or None
        What would still be needed after ``used``.
    source : str
        ``"recorded"``, ``"proposed"`` or ``"none"``.
    motion : RigidTransform or None
        What ``used`` does to points of the day.
    machine_isocentre_lps, machine_isocentre_source
        Day frame; None and the reason where unknown.
    planned_isocentre_lps : tuple of float
        Planning frame.
    patient_position : str or None
        Of the day.
    reasons : tuple of str
        Why withheld, limited, or what the table cannot do.
    """

    exact: CouchShift | None
    applied: AppliedShift | None
    used: CouchShift | None
    residual: CouchShift | None
    source: str
    motion: RigidTransform | None
    machine_isocentre_lps: Point | None
    machine_isocentre_source: str
    planned_isocentre_lps: Point
    patient_position: str | None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DayDensity:
    """Density of the day on the day grid (day frame).

    Parameters
    ----------
    hu : Volume
        HU of the day, complete where the image was truncated.
    red : Volume
        Electron density relative to water; air outside EXTERNAL.
    method, curve : str
        How the HU were made and which curve turned them into density.
    passed : bool
        Quality verdict.
    reasons : tuple of str
        Why not.
    fat_error_hu, muscle_error_hu : float
        Mean error of the tissue checks; NaN where too little of the tissue is seen.
    figures : mapping of str to float
        For the report.
    contour : ContourChange or None
        Body of today against that of planning; None where they cannot be compared.
    warnings : tuple of str
        Of the density: metal, overrides, couch.
    """

    hu: Volume
    red: Volume
    method: str
    curve: str
    passed: bool
    reasons: tuple[str, ...]
    fat_error_hu: float
    muscle_error_hu: float
    figures: Mapping[str, float]
    contour: ContourChange | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DayDose:
    """Dose of the plan of record on today's anatomy after the shift, one fraction, day frame.

    ``fraction_dose_gy`` lies on the day grid as acquired, before the couch moved (the dose was computed on the moved
    patient and carried back without resampling). ``delivered_fraction_dose_gy``: the same with the MU that were
    recorded for a partial delivery; None where the whole plan was delivered or nothing is recorded yet.
    """

    fraction_dose_gy: Volume
    beams: tuple[BeamDose, ...]
    warnings: tuple[str, ...]
    seconds: float
    delivered_fraction_dose_gy: Volume | None = None


@dataclass(frozen=True, eq=False)
class GoalsOfDay:
    """The goals table with the DVHs of today and the coverage of the CTVs, course scale."""

    rows: tuple[GoalRow, ...]
    dvhs: Mapping[str, DVH]
    coverage: tuple[TargetCoverage, ...]


@dataclass(frozen=True, eq=False)
class PlanForDay:
    """The plan of the day: the plan of record kept, a re-optimised one, or none with the reason.

    Parameters
    ----------
    outcome : str
        ``"kept"``, ``"reoptimised"`` or ``"not-computed"``.
    reason : str
        One sentence.
    plan : Plan or None
        In the day frame, isocentre at the machine isocentre, for the patient after the shift.
    fraction_dose_gy : Volume or None
        Its dose on today's anatomy, day grid.
    goals : tuple of GoalResult
        Its goals, course scale, as if every fraction were like today.
    structures : StructureSet or None
        What it was optimised on, day frame after the shift.
    mu_check : MuCheck or None
        Independent check of its metersets; None where there is no new plan.
    tiers : tuple of TierResult
        Ways of re-optimisation that were tried, in order.
    tier_reason : str
        Why they ended there, in a sentence.
    objections : tuple of str
        What clearance and avoidance have against its beams on today's anatomy: the directions are those of the plan of
        record, what lies in their way may have changed.
    """

    outcome: str
    reason: str
    plan: Plan | None = None
    fraction_dose_gy: Volume | None = None
    goals: tuple[GoalResult, ...] = ()
    dvhs: Mapping[str, DVH] | None = None
    structures: StructureSet | None = None
    objective: float | None = None
    iterations: int | None = None
    segments: int | None = None
    seconds: float | None = None
    mu_check: MuCheck | None = None
    tiers: tuple[TierResult, ...] = ()
    tier_reason: str = ""
    objections: tuple[str, ...] = ()
