"""``igrt compile``."""

from __future__ import annotations

from typing import Annotated

import typer

from ..compiling import compile_kernels
from .output import Answer, JsonOption, answering
from .progress import stages_shown


class CompileAnswer(Answer):
    """``compile``; ``seconds`` is 0 where all kernels were there."""

    folder: str
    seconds: float


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compile")(answering(compile_command))


def compile_command(
    again: Annotated[bool, typer.Option("--again", help="Even if it has been done.")] = False,
    as_json: JsonOption = False,
) -> CompileAnswer:
    """Compile all kernels for this processor and user, so that no patient waits for it.

    ``make install`` does it; run it again as the user that the pipeline runs as, where that is another.
    """
    with stages_shown("compile") as on_stage:
        done = compile_kernels(on_stage, again=again)
    return CompileAnswer(folder=str(done.folder), seconds=done.seconds)
