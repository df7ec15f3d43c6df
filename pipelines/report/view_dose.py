"""Sections on dose: goals, figures, beams, engine, plan of the day."""

from __future__ import annotations

from .blocks import Block, Cell, Facts, Notes, Section, Table, Tone, without_empty_columns
from .model import FractionReport
from .parts import BeamRow, GoalLine, PlanOfDay
from .view_match import Figures, chosen, quality_table, reasons_notes
from .view_mu_check import mu_check_outcome, mu_check_table
from .words import STATUS, TIERS, UNKNOWN, comparison, number, passed, point, signed


def _value(value: float | None, unit: str) -> str:
    return number(value, 1 if unit == "%" else 2)


def goal_row(line: GoalLine) -> tuple[Cell, ...]:
    """Write one goal."""
    goal = line.parsed
    unit = goal.metric.unit
    band = UNKNOWN
    if line.low is not None and line.high is not None:
        band = f"{_value(line.low, unit)} … {_value(line.high, unit)}"
    limit = comparison(f"{goal.comparison} {goal.limit:g} {unit}")
    hard = " (hard)" if goal.hard else ""
    tone: Tone = "bad" if line.status == "violated" else ""
    return (
        Cell(f"{goal.structure} {goal.metric}{hard}", strong=True),
        STATUS[line.status],
        Cell(limit),
        Cell(_value(line.planned, unit)),
        Cell(_value(line.tps, unit)),
        Cell(_value(line.today, unit), tone),
        Cell(_value(line.accumulated, unit)),
        Cell(_value(line.projected, unit), tone),
        Cell(band),
        Cell("; ".join(part for part in (line.note, "applies to plans" if line.plan_only else "") if part)),
    )


def goals_table(lines: tuple[GoalLine, ...], caption: str) -> Table:
    """Write the goals table with its legend."""
    head = ("Goal", "Status", "Limit", "Planned", "TPS", "Today", "Accumulated", "Projected", "Band", "Note")
    note = (
        "Course scale, in the unit of the limit. Planned: our dose of the plan of record on the planning CT; TPS: the "
        "planning system's dose. Today: this fraction × planned fractions. Projected: accumulated plus the remaining "
        "fractions. Band: of the judged value. Only today and projected are judged."
    )
    rows = tuple(goal_row(line) for line in lines)
    table = Table(caption, head, rows, numeric=(2, 3, 4, 5, 6, 7, 8), note=note)
    return without_empty_columns(table, "TPS", "Band", "Note")


def goals_section(report: FractionReport, figures: Figures) -> Section:
    """Goals table and dose-volume histograms."""
    blocks: list[Block] = []
    if report.goals:
        blocks.append(goals_table(report.goals, "Clinical goals"))
    else:
        blocks.append(Notes((Cell("No goals were judged.", "warn"),)))
    blocks += chosen(figures, "dvh")
    return Section("goals", "Goals and dose-volume histograms", tuple(blocks))


def dose_section(report: FractionReport, figures: Figures) -> Section | None:
    """Dose on today's anatomy, beams, engine and its baseline."""
    blocks: list[Block] = [*chosen(figures, "dose", "difference")]
    if report.beams:
        blocks.append(_beam_table(report.beams))
    dose = report.dose
    if dose is not None:
        used = {
            "recorded": Cell("the applied shift as recorded"),
            "proposed": Cell("the proposed shift, rounded and limited"),
            "none": Cell("no couch shift", "warn"),
        }[dose.shift_used]
        rows = [
            ("Dose engine", Cell(f"{dose.engine} {dose.engine_version}".strip())),
            ("Machine and beam model", Cell(f"{dose.machine} {dose.machine_version}".strip())),
            ("Computed after", used),
            ("Dose grid", Cell(number(dose.grid_mm, 1, "mm"))),
            ("Largest fraction dose", Cell(number(dose.fraction_max_gy, 2, "Gy"))),
            ("Quantity", Cell("dose to water")),
        ]
        blocks.append(Facts(tuple(rows)))
        if dose.warnings:
            lines = tuple(Cell(w, "warn") for w in dose.warnings)
            blocks.append(Notes(lines, title="Warnings of density, beam model and commissioned range"))
        if dose.notes:
            blocks.append(Notes(tuple(Cell(n) for n in dose.notes)))
    baseline = report.baseline
    if baseline is not None:
        outcome = (
            Cell("no TPS dose to compare with", "warn") if baseline.validated is None else passed(baseline.validated)
        )
        gamma = UNKNOWN
        if baseline.gamma_pass_percent is not None:
            gamma = f"{number(baseline.gamma_pass_percent, 1, '%')} of points ({baseline.gamma_criteria})"
        facts = [("Engine against TPS, plan of record", outcome), ("Gamma pass rate", Cell(gamma))]
        if baseline.mu_check is not None:
            facts.append(("Independent MU check, plan of record", mu_check_outcome(baseline.mu_check)))
        blocks.append(Facts(tuple(facts)))
        blocks += reasons_notes(baseline.reasons, baseline.validated is not False)
        blocks += quality_table(baseline.figures, "Engine against TPS")
    return Section("dose", "Dose of the day", tuple(blocks)) if blocks else None


def _beam_table(beams: tuple[BeamRow, ...]) -> Table:
    rows = []
    for beam in beams:
        gantry = number(beam.gantry_deg, 0)
        if beam.gantry_stop_deg is not None and beam.gantry_stop_deg != beam.gantry_deg:
            gantry += f" → {number(beam.gantry_stop_deg, 0)}"
        rows.append(
            (
                Cell(f"{beam.number}\u00a0{beam.name}".strip(), strong=True),
                Cell(gantry),
                Cell(number(beam.table_deg, 0)),
                Cell(number(beam.mu, 1)),
                Cell(number(beam.ssd_planned_mm)),
                Cell(number(beam.ssd_today_mm)),
                _change(beam.ssd_planned_mm, beam.ssd_today_mm),
                Cell(number(beam.radiological_depth_planned_mm)),
                Cell(number(beam.radiological_depth_today_mm)),
                _change(beam.radiological_depth_planned_mm, beam.radiological_depth_today_mm),
                Cell(number(beam.fraction_dose_at_isocentre_planned_gy, 3)),
                Cell(number(beam.fraction_dose_at_isocentre_today_gy, 3)),
                Cell(beam.note),
            )
        )
    head = (
        "Beam",
        "Gantry (°)",
        "Table (°)",
        "MU",
        "SSD plan (mm)",
        "SSD today (mm)",
        "Change",
        "Depth plan (mm)",
        "Depth today (mm)",
        "Change",
        "Iso dose plan (Gy)",
        "Iso dose today (Gy)",
        "Note",
    )
    note = "Per fraction. Depth: radiological depth (water-equivalent) to the isocentre."
    table = Table("Beams", head, tuple(rows), numeric=tuple(range(1, 12)), note=note)
    return without_empty_columns(table, "Note", "Iso dose plan (Gy)", "Iso dose today (Gy)")


def _change(planned: float | None, today: float | None) -> Cell:
    if planned is None or today is None:
        return Cell(UNKNOWN)
    # 5 mm is the clinical flag for the outer contour; a path that differs by as much deserves the same look.
    large = abs(today - planned) >= 5.0
    return Cell(signed(today - planned), "warn" if large else "", strong=large)


def plan_section(report: FractionReport) -> Section | None:
    """Plan of the day, goal by goal."""
    plan = report.plan_of_day
    if plan is None:
        return None
    outcome = {
        "kept": Cell("the plan of record is kept", "good"),
        "reoptimised": Cell("re-optimised for today's anatomy", "warn", strong=True),
        "not-computed": Cell("not computed", "bad", strong=True),
    }[plan.outcome]
    blocks: list[Block] = [Notes((Cell(plan.reason),))] if plan.reason else []
    rows = [("Plan of the day", outcome)]
    record = report.plan
    if record is not None:
        apply = Cell("YES", "good", strong=True) if report.shift.apply_shift else Cell("NO", "bad", strong=True)
        rows += [
            ("Scheduled plan", Cell(f"{record.label}, {record.approval_status or 'approval not stated'}")),
            ("Scheduled plan: apply this shift", apply),
        ]
        rows += [("Scheduled plan, UID", Cell(record.sop_instance_uid, "muted"))] if record.sop_instance_uid else []
    if plan.outcome == "reoptimised":
        rows += _plan_facts(plan)
    blocks.append(Facts(tuple(rows)))
    if plan.objections:
        blocks.append(Notes(tuple(Cell(text, "bad") for text in plan.objections), title="Against its beams, today"))
    if plan.comparison:
        table_rows = tuple(
            (
                Cell(comparison(row.goal), strong=True),
                Cell(number(row.scheduled, 2)),
                _ok(row.scheduled_ok),
                Cell(number(row.plan_of_day, 2)),
                _ok(row.plan_of_day_ok),
                Cell(
                    signed(row.plan_of_day - row.scheduled, 2)
                    if row.plan_of_day is not None and row.scheduled is not None
                    else UNKNOWN
                ),
            )
            for row in plan.comparison
        )
        head = ("Goal", "Scheduled today", "", "Plan of day", "", "Difference")
        note = "Both on today's anatomy after the shift, course scale."
        blocks.append(Table("Scheduled plan against plan of the day", head, table_rows, numeric=(1, 3, 5), note=note))
    blocks += _tier_table(plan)
    blocks += mu_check_table(plan)
    blocks += quality_table(plan.checks, "Checks of the plan of the day")
    return Section("plan", "Plan of the day", tuple(blocks))


def _tier_table(plan: PlanOfDay) -> list[Block]:
    """Show what each way of re-optimisation came to."""
    if not plan.tiers:
        return []
    rows = tuple(
        (
            Cell(TIERS.get(tier.tier, tier.tier), strong=True),
            Cell(UNKNOWN if tier.goals_met is None else f"{tier.goals_met} of {tier.goals}"),
            _tier_outcome(tier.feasible),
            Cell("; ".join(comparison(text) for text in tier.missing) or "none"),
            Cell(number(tier.seconds, 0)),
        )
        for tier in plan.tiers
    )
    head = ("Tried", "Goals met", "", "Missing", "Time (s)")
    note = f"{plan.tier_reason} Missing: hard goals, and goals that the plan of record met when it was planned."
    return [Table("Re-optimisation, the smallest change first", head, rows, numeric=(1, 4), note=note)]


def _tier_outcome(feasible: bool | None) -> Cell:
    if feasible is None:
        return Cell("given up, no dose computed", "muted")
    return Cell("hard goals met", "good") if feasible else Cell("hard goal violated", "bad", strong=True)


def _plan_facts(plan: PlanOfDay) -> list[tuple[str, Cell]]:
    rows = [
        ("Plan of the day, label", Cell(plan.label, strong=True)),
        (
            "Plan of the day: apply this shift",
            Cell("YES, it is made for the patient after the shift", "good", strong=True)
            if plan.apply_shift
            else Cell("NO", "bad", strong=True),
        ),
        ("Approval", Cell(f"{plan.approval_status}, intent {plan.intent}", "warn", strong=True)),
        ("Fractions", Cell(str(plan.fractions))),
        ("Isocentre, image of the day", Cell(point(plan.isocentre_lps))),
        ("MU: plan of the day / of record", Cell(f"{number(plan.total_mu, 1)} / {number(plan.total_mu_of_record, 1)}")),
    ]
    if plan.segments is not None:
        rows.append(("Segments", Cell(str(plan.segments))))
    if plan.modulation_complexity_score is not None:
        scores = (plan.modulation_complexity_score, plan.modulation_complexity_score_of_record)
        text = " / ".join(number(score, 2) for score in scores)
        rows.append(("Modulation (MCS): plan of the day / of record", Cell(text)))
    rows.append(("Independent MU check", mu_check_outcome(plan.mu_check)))
    if plan.seconds is not None:
        rows.append(("Made in", Cell(number(plan.seconds, 1, "s"))))
    rows += [("UID", Cell(plan.sop_instance_uid, "muted"))] if plan.sop_instance_uid else []
    return rows


def _ok(value: bool | None) -> Cell:
    if value is None:
        return Cell("?", "warn")
    return Cell("✓", "good") if value else Cell("✗", "bad", strong=True)
