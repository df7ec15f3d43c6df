"""``igrt``: all commands put together."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from . import (
    approval,
    breathing,
    commission,
    compiled,
    course,
    demo,
    doctor,
    dose,
    dvh,
    fraction,
    gamma,
    planning,
    radiographs,
    registration,
    report,
    transforms,
    ui,
)

app = typer.Typer(
    name="igrt",
    help="Image-guided radiotherapy, closed loop. Research software, not a medical device.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _main(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show_version:
        typer.echo(version("igrt"))
        raise typer.Exit


for _module in (
    demo,
    course,
    fraction,
    approval,
    report,
    registration,
    transforms,
    radiographs,
    breathing,
    planning,
    dose,
    dvh,
    gamma,
    commission,
    compiled,
    doctor,
    ui,
):
    _module.add_to(app)
