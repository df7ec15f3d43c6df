"""The machine-readable reports: ``fraction_report.json`` and ``course_report.json`` next to the HTML and PDF.

The pipeline fills these models; the renderers only read them. Doses are in course scale unless a name says
``fraction_``; frames are LPS mm; table motion is IEC 61217. Pixels, doses and contours for the figures travel apart,
in :class:`pipelines.report.images.FractionImages`.
"""

from __future__ import annotations

from typing import Literal

from .images import FractionImages
from .parts import (
    AuditEntry,
    BeamRow,
    BodyContour,
    Curve,
    Decision,
    DeformableReport,
    DensityReport,
    DoseBasis,
    DvhPair,
    EngineBaseline,
    Figure,
    FractionState,
    GoalLine,
    GoalStatus,
    ImageSummary,
    MatchReport,
    NamedHash,
    NamedVersion,
    Part,
    PatientLabel,
    PlanComparison,
    PlanOfDay,
    PlanSummary,
    Provenance,
    QualityFigure,
    Shift,
    ShiftReport,
    StageSeconds,
    StructureRow,
    TissueCheck,
)

__all__ = [
    "AuditEntry",
    "BeamRow",
    "BodyContour",
    "CourseReport",
    "Curve",
    "Decision",
    "DeformableReport",
    "DensityReport",
    "DoseBasis",
    "DvhPair",
    "EngineBaseline",
    "Figure",
    "FractionImages",
    "FractionReport",
    "FractionState",
    "FractionSummary",
    "GoalLine",
    "GoalPoint",
    "GoalStatus",
    "ImageSummary",
    "MatchReport",
    "NamedHash",
    "NamedVersion",
    "PatientLabel",
    "PlanComparison",
    "PlanOfDay",
    "PlanSummary",
    "Provenance",
    "QualityFigure",
    "Shift",
    "ShiftReport",
    "StageSeconds",
    "StructureRow",
    "TissueCheck",
]

SCHEMA_VERSION: Literal[1] = 1
NOTICE = (
    "Research software, not a medical device. Not for clinical decisions without independent verification by a "
    "qualified medical physicist. Dose is dose to water."
)


class FractionReport(Part):
    """Everything that the report of one fraction says.

    Parameters
    ----------
    course : str
        Course id (no patient identity).
    patient : PatientLabel or None
        Only where the user asked for identity on the report.
    site, protocol : str
        Site and name of the protocol.
    decision, reasons
        ``imrt_core.evaluate.decision.Decision``; reasons are plain sentences.
    fraction : FractionState
        Number, planned number, delivered or assumed, written before or after delivery.
    image : ImageSummary
        From the ``PatientImage`` of the day.
    plan : PlanSummary or None
        Plan of record, None before the course has one.
    shift : ShiftReport
        ``registration.couch_shift`` and ``applied_shift``; withheld: ``found`` None with ``reasons``.
    match : MatchReport or None
        ``registration.register_rigid``; None if there was no image to match.
    deformable, density, body_contour, dose
        Of their stages; None where the stage did not run (``missing`` then says why).
    structures : tuple of StructureRow
        Planned against propagated.
    goals : tuple of GoalLine
        ``imrt_core.evaluate.goals.compare_goals``.
    dvh : tuple of DvhPair
        Planned against today.
    baseline : EngineBaseline or None
        Our engine against the TPS.
    beams : tuple of BeamRow
        Planned against today.
    plan_of_day : PlanOfDay or None
        Always present once the chain ran to its end.
    missing : tuple of str
        Sentences: which parts are missing from this report, and why.
    checks : tuple of QualityFigure
        Any other automatic checks (identity, references, completeness), judged.
    audit, stage_seconds, provenance
        Who did what when; wall time of each stage; versions and hashes.
    written_at : str
        ISO 8601 time of writing, given by the caller so that the same input gives the same bytes.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    course: str
    patient: PatientLabel | None = None
    site: str = ""
    protocol: str = ""
    decision: Decision
    reasons: tuple[str, ...]
    fraction: FractionState
    image: ImageSummary
    plan: PlanSummary | None = None
    shift: ShiftReport
    match: MatchReport | None = None
    deformable: DeformableReport | None = None
    structures: tuple[StructureRow, ...] = ()
    density: DensityReport | None = None
    body_contour: BodyContour | None = None
    beams: tuple[BeamRow, ...] = ()
    dose: DoseBasis | None = None
    goals: tuple[GoalLine, ...] = ()
    dvh: tuple[DvhPair, ...] = ()
    baseline: EngineBaseline | None = None
    plan_of_day: PlanOfDay | None = None
    missing: tuple[str, ...] = ()
    checks: tuple[QualityFigure, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    stage_seconds: tuple[StageSeconds, ...] = ()
    provenance: Provenance
    written_at: str
    notice: str = NOTICE


class GoalPoint(Part):
    """A goal's values at one fraction, course scale."""

    goal: str
    today: Figure = None
    accumulated: Figure = None
    projected: Figure = None
    limit: float
    status: GoalStatus


class FractionSummary(Part):
    """One fraction as the course report shows it. ``report``: relative link to its HTML, empty if there is none."""

    number: int
    clinic_date: str = ""
    decision: Decision
    reasons: tuple[str, ...] = ()
    delivery: Literal["pending", "assumed", "delivered", "not-delivered"] = "pending"
    reoptimised: bool = False
    found: Shift | None = None
    proposed: Shift | None = None
    applied: Shift | None = None
    apply_shift: bool = False
    shift_source: Literal["proposed", "recorded"] = "proposed"
    goals: tuple[GoalPoint, ...] = ()
    body_change_mm: Figure = None
    report: str = ""

    @classmethod
    def from_report(cls, report: FractionReport, *, href: str = "") -> FractionSummary:
        """Take what the course report needs from a fraction's report."""
        return cls(
            number=report.fraction.number,
            clinic_date=report.fraction.clinic_date,
            decision=report.decision,
            reasons=report.reasons,
            delivery=report.fraction.delivery,
            reoptimised=report.plan_of_day is not None and report.plan_of_day.outcome == "reoptimised",
            found=report.shift.found,
            proposed=report.shift.proposed,
            applied=report.shift.applied,
            apply_shift=report.shift.apply_shift,
            shift_source=report.shift.source,
            goals=tuple(
                GoalPoint(
                    goal=line.goal,
                    today=line.today,
                    accumulated=line.accumulated,
                    projected=line.projected,
                    limit=line.limit,
                    status=line.status,
                )
                for line in report.goals
            ),
            body_change_mm=report.body_contour.largest_mm if report.body_contour else None,
            report=href,
        )


class CourseReport(Part):
    """A course so far: shifts, goals and decisions over the fractions, in fraction order.

    Parameters
    ----------
    planned_goals : tuple of GoalLine
        Goals of the plan of record (baseline): ``planned`` and ``tps``, judged on the plan.
    fractions : tuple of FractionSummary
        One per processed fraction (:meth:`FractionSummary.from_report`), ascending.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    course: str
    patient: PatientLabel | None = None
    site: str = ""
    protocol: str = ""
    plan: PlanSummary | None = None
    baseline: EngineBaseline | None = None
    planned_goals: tuple[GoalLine, ...] = ()
    fractions: tuple[FractionSummary, ...] = ()
    provenance: Provenance
    written_at: str
    notice: str = NOTICE
