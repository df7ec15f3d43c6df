"""The independent MU check of a plan: its outcome in one line, and a table of its beams."""

from __future__ import annotations

from .blocks import Cell, Table, without_empty_columns
from .parts import MuCheckRow, PlanOfDay, QualityFigure
from .words import comparison, number, signed


def mu_check_outcome(check: QualityFigure | None) -> Cell:
    """Write the outcome of a check; one that did not pass says so."""
    if check is None:
        return Cell("not made: required before approval", "warn", strong=True)
    largest = "" if check.value is None else f", largest difference {signed(check.value, 1, '%')}"
    limit = f" (limit {comparison(check.limit)} %)" if check.limit else ""
    if check.passed is None:
        return Cell(f"? not judged for every beam{largest}{limit}: required before approval", "warn", strong=True)
    if check.passed:
        return Cell(f"✓ passed{largest}{limit}", "good")
    return Cell(f"✗ failed{largest}{limit}", "bad", strong=True)


def mu_check_banner(plan: PlanOfDay | None) -> tuple[Cell, ...]:
    """Warn at the top of a report of a new plan whose check did not pass."""
    if plan is None or plan.outcome != "reoptimised" or (plan.mu_check is not None and plan.mu_check.passed):
        return ()
    if plan.mu_check is not None and plan.mu_check.passed is False:
        return (Cell("The plan of the day FAILED the independent MU check.", "bad", strong=True),)
    return (Cell("The independent MU check of the plan of the day could not be made for every beam.", "warn"),)


def mu_check_table(plan: PlanOfDay) -> tuple[Table, ...]:
    """List the beams of the check; nothing where there are none."""
    if not plan.mu_check_beams:
        return ()
    head = ("Beam", "MU", "MU by check", "Engine (Gy)", "Check (Gy)", "Difference (%)", "Outcome", "Note")
    note = (
        "Dose of one fraction at one point of each beam: our engine against measured tissue-phantom ratios and output "
        "factors that it does not use. Difference: (engine − check) / check. MU by check: meterset that gives the "
        "engine's dose by the check."
    )
    if plan.mu_check is not None and plan.mu_check.note:
        note = f"{note} {plan.mu_check.note[0].upper()}{plan.mu_check.note[1:]}."
    rows = tuple(_row(beam) for beam in plan.mu_check_beams)
    table = Table("Independent MU check, plan of the day", head, rows, numeric=(1, 2, 3, 4, 5), note=note)
    return (without_empty_columns(table, "Note"),)


def _row(beam: MuCheckRow) -> tuple[Cell, ...]:
    outcome = Cell("? not judged", "warn", strong=True)
    if beam.passed is not None:
        outcome = Cell("✓ agrees", "good") if beam.passed else Cell("✗ differs", "bad", strong=True)
    return (
        Cell(f"{beam.number}\u00a0{beam.name}".strip(), strong=True),
        Cell(number(beam.mu, 1)),
        Cell(number(beam.mu_by_check, 1)),
        Cell(number(beam.engine_dose_gy, 3)),
        Cell(number(beam.check_dose_gy, 3)),
        Cell(signed(beam.difference_percent, 1), "bad" if beam.passed is False else ""),
        outcome,
        Cell(beam.note),
    )
