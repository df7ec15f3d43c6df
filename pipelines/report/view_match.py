"""Sections on position and anatomy: match, deformable registration, structures, body contour, density."""

from __future__ import annotations

from collections.abc import Mapping

from .blocks import Block, Cell, Facts, FigureBlock, Notes, Section, Table, without_empty_columns
from .model import FractionReport
from .parts import QualityFigure
from .words import UNKNOWN, comparison, figure_value, lps_words, number, passed, point, signed

Figures = Mapping[str, FigureBlock]


def quality_table(figures: tuple[QualityFigure, ...], caption: str) -> tuple[Table, ...]:
    """List quality figures with limit and outcome; nothing where there are none."""
    if not figures:
        return ()
    rows = tuple(
        (Cell(f.name), Cell(figure_value(f)), Cell(comparison(f.limit) or UNKNOWN), passed(f.passed), Cell(f.note))
        for f in figures
    )
    head = ("Check", "Value", "Limit", "Outcome", "Note")
    table = Table(caption, head, rows, numeric=(1,))
    return (without_empty_columns(table, "Value", "Limit", "Note"),)


def reasons_notes(reasons: tuple[str, ...], ok: bool) -> tuple[Notes, ...]:
    """List reasons, if any."""
    return (Notes(tuple(Cell(r, "" if ok else "bad") for r in reasons)),) if reasons else ()


def chosen(figures: Figures, *names: str) -> tuple[FigureBlock, ...]:
    """Take the figures that were drawn."""
    return tuple(figures[name] for name in names if name in figures)


def match_section(report: FractionReport, figures: Figures) -> Section:
    """Rigid match, before and after."""
    blocks: list[Block] = [*chosen(figures, "before", "after")]
    match, shift = report.match, report.shift
    if match is None:
        blocks.append(Notes((Cell("There is no match.", "bad"),)))
        return Section("match", "Match", tuple(blocks))
    rows = [
        ("Outcome", passed(match.passed)),
        ("Matched on", Cell(match.roi)),
        ("Translation, LPS", Cell(point(match.translation_mm, 2))),
        (f"Rotation about x, y, z (order {match.euler_order})", Cell(point(match.rotation_deg, 2, "°"))),
        ("About the point, LPS", Cell(point(match.centre_lps))),
    ]
    if match.metric_name:
        rows.append((match.metric_name, Cell(number(match.metric, 3))))
    if match.target_minus_bone_mm is not None:
        rows.append(("Target beyond the bones", Cell(lps_words(match.target_minus_bone_mm))))
    elif match.target_reasons:
        rows.append(("Target beyond the bones", Cell(f"not known: {'; '.join(match.target_reasons)}", "warn")))
    rows += [
        ("Planned isocentre, planning CT", Cell(point(shift.planned_isocentre_lps))),
        ("Machine isocentre, image of the day", _machine_isocentre(report)),
        ("Table angle at imaging", Cell(number(shift.table_angle_deg, 1) + "°")),
    ]
    blocks += reasons_notes(match.reasons, match.passed)
    blocks.append(Facts(tuple(rows)))
    blocks += quality_table(match.figures, "Match quality")
    return Section("match", "Match", tuple(blocks))


def _machine_isocentre(report: FractionReport) -> Cell:
    shift = report.shift
    if shift.machine_isocentre_lps is None:
        return Cell("unknown", "bad")
    source = f", from {shift.machine_isocentre_source}" if shift.machine_isocentre_source else ""
    return Cell(point(shift.machine_isocentre_lps) + source)


def anatomy_section(report: FractionReport, figures: Figures) -> Section | None:
    """Structures, deformable quality and outer contour."""
    blocks: list[Block] = [*chosen(figures, "structures")]
    if report.structures:
        rows = tuple(
            (
                Cell(row.name, strong=row.interpreted_type.upper() in ("GTV", "CTV", "PTV")),
                Cell(row.interpreted_type),
                Cell(row.method),
                Cell(number(row.planned_volume_cc)),
                Cell(number(row.day_volume_cc)),
                _volume_change(row.planned_volume_cc, row.day_volume_cc),
                Cell(number(row.centroid_shift_mm)),
                Cell(number(row.dice, 3)),
                Cell(f"reviewed by {row.reviewed_by}" if row.reviewed_by else "reviewed", "good")
                if row.reviewed
                else Cell("unreviewed", "warn"),
                Cell(row.note),
            )
            for row in report.structures
        )
        head = (
            "Structure",
            "Type",
            "Propagated",
            "Planned (cm³)",
            "Today (cm³)",
            "Change",
            "Moved (mm)",
            "Dice",
            "Contours",
            "Note",
        )
        compared = any(row.centroid_shift_mm is not None or row.dice is not None for row in report.structures)
        note = "Moved: centroid against its planned place after the shift. Dice: against it moved rigidly."
        table = Table(
            "Structures, planned and propagated", head, rows, numeric=(3, 4, 5, 6, 7), note=note if compared else ""
        )
        blocks.append(without_empty_columns(table, "Moved (mm)", "Dice", "Note"))
    body = report.body_contour
    if body is not None:
        flag = (
            Cell(f"✗ over {number(body.flag_mm, 0)} mm", "bad", strong=True)
            if body.flagged
            else Cell("✓ within limit", "good")
        )
        rows_body = [
            ("Outer contour change, largest", Cell(number(body.largest_mm, 1, "mm"), strong=True)),
            ("Outer contour change, mean", Cell(number(body.mean_mm, 1, "mm"))),
            (f"Flag at {number(body.flag_mm, 0)} mm", flag),
        ]
        rows_body += [("Where", Cell(body.where))] if body.where else []
        rows_body += [("Note", Cell(body.note))] if body.note else []
        blocks.append(Facts(tuple(rows_body)))
    deformable = report.deformable
    if deformable is not None:
        blocks += chosen(figures, "deformed")
        rows_deformable = [("Deformable registration", passed(deformable.passed)), ("Method", Cell(deformable.method))]
        blocks.append(Facts(tuple(rows_deformable)))
        blocks += reasons_notes(deformable.reasons, deformable.passed)
        blocks += quality_table(deformable.figures, "Deformable registration quality")
    return Section("anatomy", "Anatomy of the day", tuple(blocks)) if blocks else None


def _volume_change(planned: float | None, today: float | None) -> Cell:
    if not planned or today is None:
        return Cell(UNKNOWN)
    return Cell(signed(100 * (today / planned - 1), 1, "%"))


def density_section(report: FractionReport) -> Section | None:
    """How HU became density, with the check in tissue."""
    density = report.density
    if density is None:
        return None
    blocks: list[Block] = [
        Facts(
            (
                ("Outcome", passed(density.passed)),
                ("Method", Cell(density.method)),
                ("Density curve", Cell(density.curve or UNKNOWN)),
            )
        ),
        *reasons_notes(density.reasons, density.passed),
    ]
    if density.tissues:
        rows = tuple(
            (
                Cell(t.tissue),
                Cell(number(t.planned_hu, 0)),
                Cell(number(t.day_hu, 0)),
                Cell(
                    signed(t.day_hu - t.planned_hu, 0) if t.day_hu is not None and t.planned_hu is not None else UNKNOWN
                ),
                Cell(f"±{number(t.limit_hu, 0)}" if t.limit_hu is not None else UNKNOWN),
                Cell(number(t.planned_red, 3)),
                Cell(number(t.day_red, 3)),
                passed(t.passed),
            )
            for t in density.tissues
        )
        head = ("Tissue", "Planned (HU)", "Today (HU)", "Difference", "Limit", "Planned RED", "Today RED", "Outcome")
        note = "RED: electron density relative to water."
        blocks.append(Table("Density check", head, rows, numeric=(1, 2, 3, 4, 5, 6), note=note))
    blocks += quality_table(density.figures, "Density quality")
    return Section("density", "Density of the day", tuple(blocks))
