"""The top of a fraction report: what a therapist reads in ten seconds."""

from __future__ import annotations

from .blocks import Cell, Facts, ShiftCard, Verdict
from .model import FractionReport
from .parts import EngineBaseline, Shift
from .view_mu_check import mu_check_banner
from .words import (
    UNKNOWN,
    VERDICTS,
    date_time,
    lateral_words,
    longitudinal_words,
    number,
    pitch_words,
    roll_words,
    signed,
    vertical_words,
    yaw_words,
)

_DELIVERY = {
    "pending": Cell("not delivered yet"),
    "assumed": Cell("assumed delivered, not recorded", "warn"),
    "delivered": Cell("delivered, recorded", "good"),
    "not-delivered": Cell("recorded as not delivered", "warn"),
}
_WRITTEN = {"before-delivery": "before delivery", "after-delivery": "after delivery"}


def verdict(report: FractionReport) -> Verdict:
    """Say the decision in words."""
    word, icon, tone, sentence = VERDICTS[report.decision]
    outcome = report.plan_of_day.outcome if report.plan_of_day else ""
    if report.decision == "reoptimise" and outcome == "reoptimised":
        sentence = (
            "The plan of record does not hold today. The plan of the day below is UNAPPROVED: "
            "a person must approve it before use."
        )
    return Verdict(report.decision, word, icon, tone, sentence, report.reasons)


def banners(report: FractionReport) -> tuple[Cell, ...]:
    """Warnings that must not be missed."""
    lines = []
    if report.baseline is not None and report.baseline.validated is False:
        lines.append(Cell("Engine not validated for this plan: every decision of this course is a review.", "bad"))
    lines += model_banners(report.baseline)
    if report.fraction.written == "after-delivery":
        lines.append(Cell("This report was written after delivery.", "info"))
    if report.plan_of_day is not None and report.plan_of_day.outcome == "reoptimised":
        lines.append(Cell("A plan of the day is attached to this report. It is UNAPPROVED.", "warn"))
    lines += mu_check_banner(report.plan_of_day)
    if any(not row.reviewed for row in report.structures):
        lines.append(Cell("Propagated contours are unreviewed.", "warn"))
    return tuple(lines)


def model_banners(baseline: EngineBaseline | None) -> list[Cell]:
    """Say that the beam model is not validated."""
    warnings = baseline.model_warnings if baseline is not None else ()
    return [Cell(f"{text[:1].upper()}{text[1:]}. Not for any decision on a patient.", "bad") for text in warnings]


def shift_card(report: FractionReport) -> ShiftCard:
    """Say the couch shift with directions: large what to apply, beside it what was found and what remains."""
    shift = report.shift
    notes = tuple(Cell(reason, "warn") for reason in shift.reasons)
    lead = shift.applied or shift.proposed or shift.found
    if lead is None:
        return ShiftCard(Cell("NO: the couch shift is withheld", "bad", strong=True), (), (), notes)
    recorded = shift.source == "recorded"
    if shift.apply_shift:
        apply = Cell("YES", "good", strong=True)
    elif recorded:
        apply = Cell("done, as recorded", "info", strong=True)
    else:
        limit = shift.within_limits is False
        apply = Cell("NO: do not move, look" if limit else "NO", "bad", strong=True)
    if recorded:
        notes = (*notes, Cell("The applied shift is as recorded at the machine.", "info"))
    else:
        notes = (*notes, Cell("A proposal, rounded to the table's step; not yet recorded as applied.", "muted"))
    columns = [
        ("Applied" if recorded else "Apply", shift.applied, 1),
        ("Proposed", shift.proposed, 1),
        ("Found", shift.found, 2),
        ("Residual", shift.residual, 2),
    ]
    # The usual case before delivery: the proposal is what is to be applied, one column says both.
    same = shift.proposed == shift.applied
    columns = [
        c for c in columns if c[0] in ("Apply", "Applied") or (c[1] is not None and not (c[0] == "Proposed" and same))
    ]
    rows = []
    for label, name, unit in _AXES:
        values = [_with_unit(signed(_get(part, name), digits), unit) for _, part, digits in columns]
        rows.append((label, _words(name, float(getattr(lead, name)), shift.patient_position), *values))
    head = ("Table", "Move", *(title for title, _, _ in columns))
    return ShiftCard(apply, head, tuple(rows), notes)


_AXES = (
    ("Vertical", "vertical_mm", "mm"),
    ("Longitudinal", "longitudinal_mm", "mm"),
    ("Lateral", "lateral_mm", "mm"),
    ("Pitch", "pitch_deg", "°"),
    ("Roll", "roll_deg", "°"),
    ("Yaw", "yaw_deg", "°"),
)


def _get(shift: Shift | None, name: str) -> float | None:
    return None if shift is None else float(getattr(shift, name))


def _words(name: str, value: float, patient_position: str) -> str:
    match name:
        case "vertical_mm":
            return vertical_words(value)
        case "longitudinal_mm":
            return longitudinal_words(value)
        case "lateral_mm":
            return lateral_words(value, patient_position)
        case "pitch_deg":
            return pitch_words(value)
        case "roll_deg":
            return roll_words(value)
        case _:
            return yaw_words(value)


def _with_unit(text: str, unit: str) -> str:
    if text == UNKNOWN:
        return text
    return f"{text}{unit}" if unit == "°" else f"{text}\u00a0{unit}"


def facts(report: FractionReport) -> Facts:
    """Say which fraction, image and plan this is about."""
    fraction, image, plan = report.fraction, report.image, report.plan
    device = " ".join(part for part in (image.modality, image.device) if part) or UNKNOWN
    position = image.patient_position or "not stated in the image"
    if image.patient_position_source:
        position += f" (from {image.patient_position_source})"
    rows: list[tuple[str, Cell]] = []
    if report.patient is not None:
        who = ", ".join(p for p in (report.patient.name, report.patient.patient_id, report.patient.birth_date) if p)
        rows.append(("Patient", Cell(who, strong=True)))
    delivery = _DELIVERY[fraction.delivery]
    note = f"; {fraction.delivery_note}" if fraction.delivery_note else ""
    rows += [
        ("Course", Cell(f"{report.course}{f' · {report.site}' if report.site else ''}")),
        ("Fraction", Cell(f"{fraction.number} of {fraction.planned}", strong=True)),
        ("Delivery", Cell(delivery.text + note, delivery.tone)),
        ("Clinic date", Cell(fraction.clinic_date or UNKNOWN)),
        ("Report written", Cell(f"{date_time(report.written_at)}, {_WRITTEN[fraction.written]}")),
        ("Image", Cell(f"{date_time(image.acquired)}, {device}")),
        ("Patient position", Cell(position, "" if image.patient_position else "warn")),
    ]
    if plan is None:
        rows.append(("Plan of record", Cell("none", "warn")))
        return Facts(tuple(rows))
    prescription = ", ".join(
        f"{number(gy, 1, 'Gy')}{f' to {name}' if name else ''}" for name, gy in plan.prescription_gy
    )
    approval = plan.approval_status or "approval not stated"
    rows += [
        ("Plan of record", Cell(f"{plan.label}, {approval}", "" if approval == "APPROVED" else "warn")),
        ("Prescription", Cell(f"{prescription or UNKNOWN} in {plan.fractions_planned} fractions")),
    ]
    return Facts(tuple(rows))
