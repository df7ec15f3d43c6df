"""``igrt demo``."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..demonstrating import DemoFraction, run_demo
from ..reporting import write_course_report
from .answers import DemoAnswer, DemoFractionAnswer
from .output import JsonOption, answering
from .progress import stages_shown


class Site(StrEnum):
    """Digital patients."""

    HEAD_NECK = "head-neck"
    PELVIS = "pelvis"
    LUNG = "lung"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("demo")(answering(demo))


def demo(
    site: Annotated[Site, typer.Option(help="Which digital patient.")] = Site.HEAD_NECK,
    fractions: Annotated[int, typer.Option(min=1, max=60, help="How many, spread evenly from first to last.")] = 3,
    out: Annotated[Path | None, typer.Option(help="For DICOM, truth and copies of the reports.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the patient and the course.")] = 0,
    as_json: JsonOption = False,
) -> DemoAnswer:
    """Build a digital patient, plan it, run some fractions and write the reports."""
    started = time.perf_counter()
    with stages_shown("demo") as on_stage:
        added, done = run_demo(site.value, fractions=fractions, seed=seed, out=out, on_stage=on_stage)
        on_stage("course report")
        report = write_course_report(added.folder)
    return DemoAnswer(
        course=added.record.course,
        fractions=tuple(_answer(item) for item in done),
        course_report=str(report.html),
        dicom=str(added.folder.planning),
        seconds=time.perf_counter() - started,
        plan_seconds=sum((added.plan.stage_seconds or {}).values()),
    )


def _answer(item: DemoFraction) -> DemoFractionAnswer:
    outcome, exact = item.outcome, item.outcome.shift.exact
    return DemoFractionAnswer(
        fraction=outcome.fraction.key,
        shift_mm=exact.shift_mm if exact else None,
        rotation_deg=exact.rotation_deg if exact else None,
        truth_shift_mm=item.truth.shift_mm,
        truth_rotation_deg=item.truth.rotation_deg,
        decision=outcome.decision.decision.value,
        reasons=outcome.decision.reasons,
        reoptimised=outcome.plan.outcome == "reoptimised",
        report=str(outcome.report),
        seconds=outcome.seconds,
        stage_seconds=dict(outcome.stage_seconds),
    )
