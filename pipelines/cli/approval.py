"""``igrt approve`` and ``igrt reject``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..approving import APPROVED, REJECTED, SignOff, sign_off
from ..store import CourseFolder
from .fraction import CourseArgument, FractionArgument
from .mu_check import MuCheckPart, plan_part
from .output import Answer, JsonOption, answering

ByOption = Annotated[str, typer.Option("--by", help="Name of who signs.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why.")]


class SignOffAnswer(Answer):
    """``approve`` and ``reject``."""

    course: str
    fraction: str
    state: str
    plan_uid: str
    mu_check: MuCheckPart | None
    mu_check_overridden: bool


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("approve")(answering(approve))
    app.command("reject")(answering(reject))


def approve(
    course: CourseArgument,
    fraction: FractionArgument,
    by: ByOption,
    reason: ReasonOption,
    override_mu_check: Annotated[
        str | None,
        typer.Option(help="Why a plan is approved whose independent MU check failed or could not be made."),
    ] = None,
    as_json: JsonOption = False,
) -> SignOffAnswer:
    """Approve the plan of a fraction."""
    override = "" if override_mu_check is None else _said(override_mu_check, "--override-mu-check")
    folder = CourseFolder(course)
    signed = sign_off(
        folder,
        fraction,
        state=APPROVED,
        by=_said(by, "--by"),
        reason=_said(reason, "--reason"),
        override_mu_check=override,
    )
    return _answer(folder, signed)


def reject(
    course: CourseArgument,
    fraction: FractionArgument,
    by: ByOption,
    reason: ReasonOption,
    as_json: JsonOption = False,
) -> SignOffAnswer:
    """Reject the plan of a fraction."""
    folder = CourseFolder(course)
    signed = sign_off(folder, fraction, state=REJECTED, by=_said(by, "--by"), reason=_said(reason, "--reason"))
    return _answer(folder, signed)


def _answer(course: CourseFolder, signed: SignOff) -> SignOffAnswer:
    return SignOffAnswer(
        course=course.course,
        fraction=signed.fraction,
        state=signed.state,
        plan_uid=signed.plan_uid,
        mu_check=plan_part(signed.mu_check),
        mu_check_overridden=signed.overridden,
    )


def _said(text: str, option: str) -> str:
    if not text.strip():
        raise typer.BadParameter(f"{option} needs words")
    return text.strip()
