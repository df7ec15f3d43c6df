"""The independent MU check as commands print it."""

from __future__ import annotations

from pydantic import Field
from rich.text import Text

from imrt_core.evaluate.mu_check import BeamMuCheck, MuCheck

from .output import Part


class MuCheckBeam(Part):
    """One beam, per fraction."""

    name: str
    mu: float
    tables: str = Field(description="Name and version of the measured tables; empty where there are none.")
    point_lps: tuple[float, float, float] | None
    check_dose_gy: float | None
    engine_dose_gy: float | None
    mu_by_check: float | None = Field(description="Meterset that gives the engine's dose by the check.")
    difference_percent: float | None = Field(description="(engine − check) / check.")
    passed: bool | None = Field(description="Null where the check could not be made.")
    reasons: tuple[str, ...] = Field(description="Why it could not be made.")
    notes: tuple[str, ...]


class MuCheckPart(Part):
    """The check of a plan; ``passed`` is null where not every beam could be checked and none failed."""

    passed: bool | None
    tolerance_percent: float
    beams: tuple[MuCheckBeam, ...]


def beam_part(beam: BeamMuCheck) -> MuCheckBeam:
    """Put one beam into the form of the answers."""
    return MuCheckBeam(
        name=beam.name,
        mu=beam.mu,
        tables=beam.tables,
        point_lps=beam.point_lps,
        check_dose_gy=beam.check_dose_gy,
        engine_dose_gy=beam.engine_dose_gy,
        mu_by_check=beam.mu_for_engine_dose,
        difference_percent=beam.difference_percent,
        passed=beam.passed,
        reasons=beam.reasons,
        notes=beam.notes,
    )


def plan_part(check: MuCheck | None) -> MuCheckPart | None:
    """Put a check into the form of the answers."""
    if check is None:
        return None
    return MuCheckPart(
        passed=check.passed, tolerance_percent=check.tolerance_percent, beams=tuple(map(beam_part, check.beams))
    )


def beam_text(beam: MuCheckBeam) -> Text:
    """Return a beam's difference in the colour of its verdict; "not made" where there is none."""
    if beam.passed is None or beam.difference_percent is None:
        return Text("not made", style="yellow")
    return Text(f"{beam.difference_percent:+.1f}", style="green" if beam.passed else "bold red")


def plan_text(check: MuCheckPart | None) -> Text:
    """Return the verdict on a plan in one line."""
    if check is None:
        return Text("–")
    judged = [b for b in check.beams if b.passed is not None and b.difference_percent is not None]
    told = f"{len(judged)} of {len(check.beams)} beams judged"
    if judged:
        largest = max((b.difference_percent or 0.0 for b in judged), key=abs)
        told += f", largest difference {largest:+.1f} % (limit {check.tolerance_percent:g} %)"
    word, style = {True: ("passed", "green"), False: ("FAILED", "bold red"), None: ("incomplete", "yellow")}[
        check.passed
    ]
    return Text(f"{word}: {told}", style=style)


def reason_lines(beams: tuple[MuCheckBeam, ...]) -> list[Text]:
    """Return why beams were not checked, and what makes the check of others less exact."""
    return [
        Text(f"independent check, beam {beam.name}: {line}", style="dim")
        for beam in beams
        for line in (*beam.reasons, *beam.notes)
    ]
