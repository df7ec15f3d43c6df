"""What the commands on courses and fractions print (INTERFACE, JSON keys)."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.report.parts import Decision, Figure, GoalStatus

from .mu_check import MuCheckPart, plan_text
from .output import Answer, Part

Triple = tuple[float, float, float]


class GoalAnswer(Part):
    """A goal of a plan, course scale."""

    goal: str
    value: Figure
    low: Figure
    high: Figure
    limit: float
    status: GoalStatus
    ok: bool
    tps: Figure = None


class GoalRowAnswer(Part):
    """A line of a fraction's goals table, course scale."""

    goal: str
    planned: Figure
    today: Figure
    accumulated: Figure
    projected: Figure
    low: Figure
    high: Figure
    limit: float
    status: GoalStatus
    ok: bool


class BeamAnswer(Part):
    """A beam of the plan of record, per fraction."""

    name: str
    gantry_deg: float
    table_deg: float
    mu: float


class BaselineAnswer(Part):
    """Our dose against the planning system's; ``validated`` is null where there is nothing to compare with."""

    validated: bool | None
    gamma_pass_percent: Figure
    reasons: tuple[str, ...]


class CourseAnswer(Answer):
    """``course add`` and ``course show``."""

    course: str
    protocol: str
    machine: str
    unvalidated_model_allowed: bool = False
    prescription_gy: dict[str, float]
    fractions: int
    plan_origin: str
    patient_position: str | None
    isocentre_lps: Triple
    structures: tuple[str, ...]
    beams: tuple[BeamAnswer, ...]
    goals: tuple[GoalAnswer, ...]
    not_applicable: tuple[str, ...]
    baseline: BaselineAnswer
    mu_check: MuCheckPart | None = None
    state: str
    reasons: tuple[str, ...]
    folder: str
    fractions_run: tuple[str, ...] = ()
    seconds: float | None = None

    def must_look(self) -> bool:
        """Engine not validated for this plan, a hard goal that the plan does not meet, or an unvalidated beam model."""
        return bool(self.reasons)

    def as_text(self) -> RenderableType:
        """Return a summary and the goals."""
        head = Table(show_header=False, box=None, pad_edge=False)
        rows: dict[str, str | Text] = {
            "course": self.course,
            "protocol, machine": f"{self.protocol}, {self.machine}",
            "prescription": ", ".join(f"{name} {dose:g} Gy" for name, dose in self.prescription_gy.items())
            + f" in {self.fractions} fractions",
            "plan": f"{self.plan_origin}, {len(self.beams)} beams, {sum(b.mu for b in self.beams):.0f} MU per fraction",
            "baseline": _validated(self.baseline),
            "independent MU check": plan_text(self.mu_check),
            "state": self.state,
            "folder": self.folder,
        }
        for name, value in rows.items():
            head.add_row(Text(name, style="bold"), value)
        goals = Table("goal", "value", "TPS", "status")
        for goal in self.goals:
            goals.add_row(goal.goal, number(goal.value), number(goal.tps), status_text(goal.status))
        notes = [Text(text, style="dim") for text in self.not_applicable]
        return Group(head, goals, *notes, *(Text(text, style="bold red") for text in self.reasons))


class CourseLine(Part):
    """One course of the list."""

    course: str
    protocol: str
    fractions: int
    fractions_run: tuple[str, ...]
    state: str
    reason: str


class CourseListAnswer(Answer):
    """``course list``."""

    courses: tuple[CourseLine, ...]

    def as_text(self) -> RenderableType:
        """Return a table of the courses."""
        table = Table("course", "protocol", "fractions run", "state", "reason")
        for line in self.courses:
            run = f"{len(line.fractions_run)} of {line.fractions}"
            table.add_row(line.course, line.protocol, run, line.state, line.reason)
        return table


class AppliedAnswer(Part):
    """The shift that the table makes or made: rounded, limited, or as recorded."""

    shift_mm: Triple
    rotation_deg: Triple
    residual_shift_mm: Triple
    residual_rotation_deg: Triple
    within_limits: bool
    apply_shift: bool
    source: str


class FractionAnswer(Answer):
    """``fraction run``. ``shift_mm`` and ``rotation_deg`` are unrounded; null where the shift is withheld."""

    course: str
    fraction: str
    decision: Decision
    reasons: tuple[str, ...]
    shift_mm: Triple | None
    rotation_deg: Triple | None
    shift_reasons: tuple[str, ...]
    applied: AppliedAnswer | None
    goals: tuple[GoalRowAnswer, ...]
    reoptimised: bool
    plan_of_day: str
    mu_check: MuCheckPart | None = None
    report: str
    seconds: float
    stage_seconds: dict[str, float]

    def must_look(self) -> bool:
        """Tell that a person must look: review, replan, a wanted plan not made, or one that failed the MU check."""
        failed = self.mu_check is not None and self.mu_check.passed is False
        return failed or self.decision in ("review", "replan") or self.plan_of_day.startswith("not-computed")

    def as_text(self) -> RenderableType:
        """Return the verdict, the shift and the goals."""
        head = Table(show_header=False, box=None, pad_edge=False)
        head.add_row(Text("decision", style="bold"), decision_text(self.decision))
        head.add_row(Text("reasons", style="bold"), "\n".join(self.reasons))
        head.add_row(Text("shift vert, lng, lat", style="bold"), triple(self.shift_mm, "mm"))
        head.add_row(Text("pitch, roll, yaw", style="bold"), triple(self.rotation_deg, "°"))
        if self.applied is not None:
            head.add_row(
                Text(f"applied ({self.applied.source})", style="bold"),
                f"{triple(self.applied.shift_mm, 'mm')}  {triple(self.applied.rotation_deg, '°')}",
            )
        head.add_row(Text("plan of day", style="bold"), self.plan_of_day)
        if self.mu_check is not None:
            head.add_row(Text("independent MU check", style="bold"), plan_text(self.mu_check))
        head.add_row(Text("report", style="bold"), self.report)
        head.add_row(Text("seconds", style="bold"), f"{self.seconds:.1f}")
        goals = Table("goal", "planned", "today", "accumulated", "projected", "status")
        for row in self.goals:
            values = (row.planned, row.today, row.accumulated, row.projected)
            goals.add_row(row.goal, *(number(v) for v in values), status_text(row.status))
        return Group(head, goals)


class RecordAnswer(Answer):
    """``fraction record``."""

    course: str
    fraction: str
    state: str


class ReportAnswer(Answer):
    """``report``: absolute paths."""

    html: str
    pdf: str


class DemoFractionAnswer(Part):
    """One fraction of the demo against its truth."""

    fraction: str
    shift_mm: Triple | None
    rotation_deg: Triple | None
    truth_shift_mm: Triple
    truth_rotation_deg: Triple
    decision: Decision
    reasons: tuple[str, ...]
    reoptimised: bool
    report: str
    seconds: float
    stage_seconds: dict[str, float]


class DemoAnswer(Answer):
    """``demo``. It exits 0 when it ran to the end, whatever the verdicts."""

    course: str
    fractions: tuple[DemoFractionAnswer, ...]
    course_report: str
    dicom: str
    seconds: float
    plan_seconds: float

    def as_text(self) -> RenderableType:
        """Return one line per fraction."""
        table = Table(
            "", "decision", "shift, mm\n(truth)", "rotation, °\n(truth)", "re-optimised", "s", box=None, pad_edge=False
        )
        for row in self.fractions:
            table.add_row(
                row.fraction,
                decision_text(row.decision),
                f"{triple(row.shift_mm)}\n({triple(row.truth_shift_mm)})",
                f"{triple(row.rotation_deg)}\n({triple(row.truth_rotation_deg)})",
                "yes" if row.reoptimised else "no",
                f"{row.seconds:.0f}",
            )
        lines = [Text(f"{row.fraction}: {row.reasons[0]}" if row.reasons else row.fraction) for row in self.fractions]
        reports = [_path_line(f"report of {row.fraction}: {row.report}") for row in self.fractions]
        return Group(
            table,
            *lines,
            *reports,
            _path_line(f"course report: {self.course_report}"),
            _path_line(f"{self.seconds:.0f} s in all; course {self.course}; DICOM in {self.dicom}"),
        )


def _path_line(text: str) -> Text:
    """Return a line that is not broken: a path in it can be copied."""
    return Text(text, no_wrap=True, overflow="ignore")


def number(value: float | None) -> str:
    """Return a figure for a table; a dash where it is not known."""
    return "–" if value is None else f"{value:.1f}"


def triple(values: Triple | None, unit: str = "") -> str:
    """Return three signed figures."""
    return "withheld" if values is None else " ".join(f"{v:+.1f}" for v in values) + (f" {unit}" if unit else "")


def status_text(status: str) -> Text:
    """Return a goal's status in its colour."""
    return Text(status, style={"met": "green", "violated": "bold red"}.get(status, "yellow"))


def decision_text(decision: str) -> Text:
    """Return a decision in its colour."""
    return Text(decision, style={"treat": "green", "shift": "green", "review": "bold red"}.get(decision, "yellow"))


def _validated(baseline: BaselineAnswer) -> str:
    if baseline.validated is None:
        return "no planning system's plan and dose to compare with"
    gamma = "" if baseline.gamma_pass_percent is None else f", gamma 3 %/2 mm {baseline.gamma_pass_percent:.1f} %"
    return ("engine validated for this plan" if baseline.validated else "engine NOT validated for this plan") + gamma
