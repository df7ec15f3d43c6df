"""A course report as a page, with its trends."""

from __future__ import annotations

from collections.abc import Sequence

from imrt_core.patient import Goal

from .blocks import Block, Cell, Facts, FigureBlock, LegendEntry, Notes, Page, Panel, Section, Table
from .model import CourseReport, FractionSummary, GoalPoint
from .parts import GoalLine, Shift
from .trend_svg import SERIES, Series, timeline_svg, trend_svg
from .view_dose import goals_table
from .view_fraction import provenance_blocks
from .view_top import model_banners
from .words import STATUS, UNKNOWN, VERDICTS, comparison, date_time, number, signed

#: Grounds of the timeline's boxes: white text on them has 4.5:1 or better.
_GROUND = {"treat": "#1b6e3c", "shift": "#0b5cad", "reoptimise": "#8a5300", "replan": "#a03c00", "review": "#b3261e"}
_SHORT = {"treat": "treat", "shift": "shift", "reoptimise": "re-optimise", "replan": "replan", "review": "REVIEW"}


def course_page(report: CourseReport) -> Page:
    """Arrange a course report."""
    done = report.fractions
    sections = [_decisions(done), _shifts(done)] if done else []
    if done or report.planned_goals:
        sections.append(_goals(report))
    sections.append(Section("record", "Record", provenance_blocks(report.provenance)))
    banners = []
    if report.baseline is not None and report.baseline.validated is False:
        banners.append(Cell("Engine not validated for this plan: every decision of this course is a review.", "bad"))
    banners += model_banners(report.baseline)
    banners += [Cell(f"Plan of record: {text}", "bad") for text in (report.plan.objections if report.plan else ())]
    if not done:
        banners.append(Cell("No fraction has been processed yet.", "info"))
    return Page(
        title=f"Course {report.course}",
        subtitle=report.site,
        notice=report.notice,
        banners=tuple(banners),
        verdict=None,
        shift=None,
        facts=_facts(report),
        sections=tuple(sections),
        footer=f"igrt {report.provenance.software_version} · written {date_time(report.written_at)}",
    )


def _facts(report: CourseReport) -> Facts:
    rows: list[tuple[str, Cell]] = []
    if report.patient is not None:
        rows.append(("Patient", Cell(", ".join(p for p in (report.patient.name, report.patient.patient_id) if p))))
    plan = report.plan
    if plan is None:
        rows.append(("Plan of record", Cell("none", "warn")))
    else:
        prescription = ", ".join(
            f"{number(gy, 1, 'Gy')}{f' to {name}' if name else ''}" for name, gy in plan.prescription_gy
        )
        rows += [
            ("Plan of record", Cell(f"{plan.label}, {plan.approval_status or 'approval not stated'}")),
            ("Prescription", Cell(f"{prescription or UNKNOWN} in {plan.fractions_planned} fractions")),
            *(("Beams", Cell(text)) for text in plan.notes),
        ]
    planned = f" of {plan.fractions_planned}" if plan else ""
    rows += [
        ("Fractions processed", Cell(f"{len(report.fractions)}{planned}", strong=True)),
        ("Recorded as delivered", Cell(str(sum(f.delivery == "delivered" for f in report.fractions)))),
        ("Assumed delivered", Cell(str(sum(f.delivery == "assumed" for f in report.fractions)))),
        ("Re-optimised", Cell(str(sum(f.reoptimised for f in report.fractions)))),
        ("Protocol", Cell(report.protocol or UNKNOWN)),
        ("Written", Cell(date_time(report.written_at))),
    ]
    return Facts(tuple(rows))


def _figure(name: str, title: str, caption: str, draw: tuple[str, str], legend: tuple[LegendEntry, ...]) -> FigureBlock:
    panel = Panel(title="", alt=title, svg=draw[0], print_svg=draw[1])
    return FigureBlock(name, caption, (panel,), legend, columns=1)


def _decisions(done: Sequence[FractionSummary]) -> Section:
    steps = [(f.number, _SHORT[f.decision], _GROUND[f.decision], " ".join(f.reasons) or f.decision) for f in done]
    title = "Decisions by fraction: " + ", ".join(f"{f.number} {f.decision}" for f in done)
    draw = (
        timeline_svg(steps, title=title, unique="timeline"),
        timeline_svg(steps, title=title, unique="timeline", for_print=True),
    )
    rows = tuple(
        (
            Cell(str(f.number), strong=True, href=f.report),
            Cell(f.clinic_date or UNKNOWN),
            Cell(VERDICTS[f.decision][0], VERDICTS[f.decision][2], strong=True),
            Cell(f.delivery.replace("-", " "), "warn" if f.delivery == "assumed" else ""),
            Cell("plan of day" if f.reoptimised else UNKNOWN),
            Cell(number(f.body_change_mm)),
            Cell(" ".join(f.reasons)),
        )
        for f in done
    )
    head = ("Fraction", "Date", "Decision", "Delivery", "Re-optimised", "Contour change (mm)", "Reasons")
    blocks: tuple[Block, ...] = (
        _figure("timeline", "Decisions", "Decisions over the course", draw, ()),
        Table("Decisions", head, rows, numeric=(5,)),
    )
    return Section("decisions", "Decisions", blocks)


def _shifts(done: Sequence[FractionSummary]) -> Section:
    numbers = [f.number for f in done]
    shifts = [f.applied or f.proposed for f in done]
    translations = (
        ("vertical (+ up)", "vertical_mm"),
        ("longitudinal (+ gantry)", "longitudinal_mm"),
        ("lateral (+X)", "lateral_mm"),
    )
    rotations = (("pitch", "pitch_deg"), ("roll", "roll_deg"), ("yaw", "yaw_deg"))
    blocks: list[Block] = []
    for key, names, label, caption, of in (
        ("shift", translations, "Table motion (mm)", "Couch shift, as recorded, else as proposed", shifts),
        ("rotation", rotations, "Rotation (°)", "Rotation found by the match", [f.found or f.proposed for f in done]),
    ):
        series = tuple(Series(text, _values(of, name)) for text, name in names)
        draw = (
            trend_svg(numbers, series, y_label=label, title=caption, unique=f"trend-{key}"),
            trend_svg(numbers, series, y_label=label, title=caption, unique=f"trend-{key}", for_print=True),
        )
        blocks.append(_figure(f"trend-{key}", label, caption, draw, _series_legend(series)))
    rows = tuple(
        (
            Cell(str(f.number), strong=True),
            *(Cell(signed(_get(s, name), 1)) for _, name in (*translations, *rotations)),
            _shift_state(f),
        )
        for f, s in zip(done, shifts, strict=True)
    )
    head = (
        "Fraction",
        "Vertical (mm)",
        "Longitudinal (mm)",
        "Lateral (mm)",
        "Pitch (°)",
        "Roll (°)",
        "Yaw (°)",
        "Shift",
    )
    blocks.append(Table("Couch shifts", head, rows, numeric=(1, 2, 3, 4, 5, 6)))
    return Section("shifts", "Couch shifts", tuple(blocks))


def _get(shift: Shift | None, name: str) -> float | None:
    return None if shift is None else float(getattr(shift, name))


def _values(shifts: Sequence[Shift | None], name: str) -> tuple[float | None, ...]:
    return tuple(_get(shift, name) for shift in shifts)


def _series_legend(series: Sequence[Series]) -> tuple[LegendEntry, ...]:
    shapes = ("● ", "■ ", "▲ ", "◆ ")
    return tuple(
        LegendEntry(shapes[index % 4] + row.name, *SERIES[index % len(SERIES)]) for index, row in enumerate(series)
    )


def _goals(report: CourseReport) -> Section:
    done = report.fractions
    texts = list(dict.fromkeys(point.goal for f in done for point in f.goals))
    blocks: list[Block] = []
    if report.planned_goals:
        which = f"as of fraction {done[-1].number}" if done else "of the plan of record"
        blocks.append(goals_table(_goal_lines(report), f"Goals {which}"))
    if not texts:
        blocks.append(Notes((Cell("No goals were judged on a fraction yet.", "warn"),)))
        return Section("goals", "Goals over the course", tuple(blocks))
    series = tuple(Series(what, ()) for what in ("today", "projected"))
    legend = (*_series_legend(series), LegendEntry("limit", "#b3261e", "#ff8a80", line="dashed"))
    panels = tuple(_goal_panel(done, text, index) for index, text in enumerate(texts))
    blocks.append(FigureBlock("trend-goals", "Goals by fraction, course scale", panels, legend, columns=2))
    rows = tuple((Cell(comparison(text), strong=True), *(_status_of(f, text) for f in done)) for text in texts)
    note = "✓ met, ✗ violated, ? undecided, – not judged."
    blocks.append(Table("Goal status by fraction", ("Goal", *(str(f.number) for f in done)), rows, note=note))
    return Section("goals", "Goals over the course", tuple(blocks))


def _shift_state(fraction: FractionSummary) -> Cell:
    if fraction.shift_source == "recorded":
        return Cell("recorded")
    return Cell("proposed") if fraction.apply_shift else Cell("not to be applied", "warn")


def _goal_lines(report: CourseReport) -> tuple[GoalLine, ...]:
    """Goals of the plan with the values of the last fraction beside them."""
    latest = {point.goal: point for point in report.fractions[-1].goals} if report.fractions else {}
    return tuple(_with_latest(line, latest.get(line.goal)) for line in report.planned_goals)


def _with_latest(line: GoalLine, point: GoalPoint | None) -> GoalLine:
    if point is None:
        return line
    return GoalLine(
        goal=line.goal,
        planned=line.planned,
        tps=line.tps,
        today=point.today,
        accumulated=point.accumulated,
        projected=point.projected,
        limit=line.limit,
        status=point.status,
        ok=point.status == "met",
        plan_only=line.plan_only,
        note=line.note,
    )


def _goal_panel(done: Sequence[FractionSummary], text: str, index: int) -> Panel:
    goal = Goal.parse(text)
    points = [next((p for p in f.goals if p.goal == text), None) for f in done]
    series = [Series(what, tuple(getattr(p, what) if p else None for p in points)) for what in ("today", "projected")]
    title = comparison(f"{goal.structure} {goal.metric}, limit {goal.comparison} {goal.limit:g} {goal.metric.unit}")
    title += " (hard)" if goal.hard else ""
    metric = str(goal.metric).split("[")[0]
    plots = [
        trend_svg(
            [f.number for f in done],
            series,
            y_label=f"{metric} ({goal.metric.unit})",
            title=title,
            limit=goal.limit,
            limit_name=title,
            include_zero=False,
            unique=f"trend-goal-{index}",
            for_print=for_print,
            height=250.0,
            width=520.0,
        )
        for for_print in (False, True)
    ]
    return Panel(title=title, alt=f"{title}, over the fractions.", svg=plots[0], print_svg=plots[1])


def _status_of(fraction: FractionSummary, text: str) -> Cell:
    point = next((p for p in fraction.goals if p.goal == text), None)
    if point is None:
        return Cell(UNKNOWN)
    cell = STATUS[point.status]
    # The sign alone, so that a whole course fits on a page; the note under the table explains it.
    return Cell(cell.text[0], cell.tone, cell.strong)
