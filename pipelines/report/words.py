"""Numbers and directions in words."""

from __future__ import annotations

from .blocks import Cell, Tone
from .parts import Decision, GoalStatus, QualityFigure

UNKNOWN = "–"
MINUS = "−"

#: decision: (word, icon, tone, sentence). The icon and the word carry the meaning without the colour.
VERDICTS: dict[Decision, tuple[str, str, Tone, str]] = {
    "treat": ("TREAT AS PLANNED", "✓", "good", "The plan of record holds on today's anatomy."),
    "shift": ("SHIFT, THEN TREAT", "→", "info", "After the couch shift the plan of record holds on today's anatomy."),
    "reoptimise": (
        "RE-OPTIMISE",
        "↻",
        "warn",
        "The plan of record does not hold today. A plan of the day must be approved by a person before use.",
    ),
    "replan": (
        "REPLAN",
        "⚑",
        "warn",
        "The anatomy has changed lastingly. A new plan for the remaining fractions is needed.",
    ),
    "review": ("REVIEW", "✋", "bad", "Do not treat on this report: a person must look first."),
}

STATUS: dict[GoalStatus, Cell] = {
    "met": Cell("✓ met", "good"),
    "violated": Cell("✗ violated", "bad", strong=True),
    "undecided": Cell("? undecided", "warn", strong=True),
}

#: Tiers of re-optimisation, by how much of the plan of record they change.
TIERS = {
    "reweight": "other MU for the same apertures",
    "warm-start": "new fluence from the plan of record's",
    "from-scratch": "new fluence from scratch",
}

#: IEC +X in the patient, by patient position (IEC 61217; CLINICAL "Couch shift").
_SIDE_OF_PLUS_X = {"HFS": "left", "HFP": "right", "FFS": "right", "FFP": "left"}
_OTHER = {"left": "right", "right": "left"}


def number(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Write a number with a true minus sign; None is "–". A rounded zero has no sign."""
    if value is None:
        return UNKNOWN
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    text = text.replace("-", MINUS)
    # A number and its unit stay on one line: no-break space.
    return f"{text}\u00a0{unit}" if unit else text


def signed(value: float | None, digits: int = 1, unit: str = "") -> str:
    """Write a number with its sign, also when positive."""
    text = number(value, digits, unit)
    return f"+{text}" if value is not None and float(f"{value:.{digits}f}") > 0 else text


def point(values: tuple[float, ...] | None, digits: int = 1, unit: str = "mm") -> str:
    """Write a vector."""
    if values is None:
        return UNKNOWN
    return f"({', '.join(number(v, digits) for v in values)}){'' if unit == '°' else ' '}{unit}"


def _is_zero(value: float, digits: int) -> bool:
    return float(f"{value:.{digits}f}") == 0


def vertical_words(value_mm: float) -> str:
    """Table motion along IEC Z."""
    return _translation(value_mm, "up", "down")


def longitudinal_words(value_mm: float) -> str:
    """Table motion along IEC Y."""
    return _translation(value_mm, "towards gantry", "away from gantry")


def comparison(text: str) -> str:
    """Write ``<=`` and ``>=`` as signs."""
    return text.replace("<=", "≤").replace(">=", "≥")


def lateral_words(value_mm: float, patient_position: str) -> str:
    """Table motion along IEC X, with the patient's side where the position is known."""
    side = _SIDE_OF_PLUS_X.get(patient_position)
    plus = f"to patient's {side} (+X)" if side else "to +X"
    minus = f"to patient's {_OTHER[side]} ({MINUS}X)" if side else f"to {MINUS}X"
    return _translation(value_mm, plus, minus)


def _translation(value_mm: float, plus: str, minus: str) -> str:
    if _is_zero(value_mm, 1):
        return "no move"
    return f"{plus if value_mm > 0 else minus} {number(abs(value_mm), 1, 'mm')}"


def pitch_words(value_deg: float) -> str:
    """Rotation about IEC X: +Y (gantry end) goes towards +Z (up)."""
    return _rotation(value_deg, "gantry end up", "gantry end down")


def roll_words(value_deg: float) -> str:
    """Rotation about IEC Y: +Z goes towards +X, so the +X side goes down."""
    return _rotation(value_deg, "+X side down", "+X side up")


def yaw_words(value_deg: float) -> str:
    """Rotation about IEC Z: +X goes towards +Y, counter-clockwise seen from above."""
    return _rotation(value_deg, "counter-clockwise from above", "clockwise from above")


def _rotation(value_deg: float, plus: str, minus: str) -> str:
    if _is_zero(value_deg, 1):
        return "no turn"
    return f"{plus if value_deg > 0 else minus} {number(abs(value_deg), 1)}°"


def passed(value: bool | None) -> Cell:
    """Write the outcome of a check."""
    if value is None:
        return Cell("not judged", "muted")
    return Cell("✓ passed", "good") if value else Cell("✗ failed", "bad", strong=True)


def lps_words(vector_mm: tuple[float, float, float]) -> str:
    """Write an LPS vector by anatomy, e.g. "2.0 mm left, 1.0 mm anterior"."""
    names = (("left", "right"), ("posterior", "anterior"), ("superior", "inferior"))
    parts = [
        f"{number(abs(v), 1, 'mm')} {plus if v > 0 else minus}"
        for v, (plus, minus) in zip(vector_mm, names, strict=True)
        if not _is_zero(v, 1)
    ]
    return ", ".join(parts) or "less than 0.1 mm"


def figure_value(figure: QualityFigure) -> str:
    """Write a quality figure's value with three significant digits and its unit."""
    if figure.value is None:
        return UNKNOWN
    magnitude = abs(figure.value)
    digits = 0 if magnitude >= 100 or float(figure.value).is_integer() else 1 if magnitude >= 10 else 2
    digits = 3 if 0 < magnitude < 0.1 else digits
    return number(figure.value, digits, figure.unit)


def date_time(text: str) -> str:
    """Write an ISO 8601 time readably, without guessing a zone: the "T" becomes a space, fractions of seconds go."""
    if "T" not in text:
        return text or UNKNOWN
    date, time = text.split("T", 1)
    head, dot, tail = time.partition(".")
    zone = tail.lstrip("0123456789") if dot else ""
    return f"{date} {head}{zone}"
