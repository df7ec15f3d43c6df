"""What every command shares: ``--json``, exit codes and errors (INTERFACE, "General").

A command returns an :class:`Answer`. Under ``--json`` it is printed as the one JSON object on stdout; everything that
libraries print meanwhile goes to stderr. Exit codes: 0 done, 2 wrong usage, 3 input refused, 4 done but a person must
look, 1 a bug.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal, ParamSpec

import typer
from pydantic import BaseModel, ConfigDict
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from sqlalchemy.exc import OperationalError

from imrt_core.patient import InputRefusedError

from ..errors import StorageError

P = ParamSpec("P")
DONE, BUG, REFUSED, LOOK = 0, 1, 3, 4
#: What a disk or file system says when it refuses; anything else of OSError is a bug of ours.
_DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EFBIG,
    errno.ENOTDIR,
    errno.ENAMETOOLONG,
}
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Overwrite what exists.")]

#: Progress, warnings and messages for people.
console = Console(stderr=True)


class Part(BaseModel):
    """Base of everything printed: frozen, no unknown fields, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Answer(Part):
    """Base of the objects that commands print; :meth:`must_look` tells that a person must look: exit code 4."""

    schema_version: Literal[1] = 1

    def must_look(self) -> bool:
        """Whether a person must look (exit code 4)."""
        return False

    def as_text(self) -> RenderableType:
        """Return the answer for a person: a table of its fields."""
        return fields_table(self.model_dump(mode="json", exclude={"schema_version"}))


class ErrorFields(Part):
    """What was found, what was expected, and where."""

    code: str
    message: str
    found: str
    expected: str
    where: str


class ErrorAnswer(Part):
    """What is printed under ``--json`` where input is refused (exit code 3)."""

    schema_version: Literal[1] = 1
    error: ErrorFields


def fields_table(fields: dict[str, Any]) -> Table:
    """Return a two-column table of names and values."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in fields.items():
        shown = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        table.add_row(name, escape("–" if value is None else shown))
    return table


def answering(command: Callable[P, Answer]) -> Callable[P, None]:
    """Make a Typer command of a function that returns an :class:`Answer` and has an option ``as_json``."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            with _stdout_kept(as_json):
                answer = command(*args, **kwargs)
        except InputRefusedError as error:
            _print_error(error, as_json)
            raise typer.Exit(REFUSED) from error
        except OSError as error:
            if error.errno not in _DISK:
                _print_bug(error, as_json)
                raise typer.Exit(BUG) from error
            refusal = StorageError(
                "the disk refuses",
                found=error.strerror or str(error),
                expected="files and folders that can be read and written, with space left",
                where=str(error.filename or ""),
            )
            _print_error(refusal, as_json)
            raise typer.Exit(REFUSED) from error
        except OperationalError as error:  # of a database file: no space, no permission, no such folder
            refusal = StorageError("a database refuses", found=str(error.orig), expected="a disk with space left")
            _print_error(refusal, as_json)
            raise typer.Exit(REFUSED) from error
        except (typer.Exit, typer.Abort, typer.BadParameter, KeyboardInterrupt):
            raise
        except Exception as error:
            _print_bug(error, as_json)
            raise typer.Exit(BUG) from error
        if as_json:
            sys.stdout.write(answer.model_dump_json() + "\n")
            sys.stdout.flush()
        else:
            # Long paths stay whole, to be copied; tables fit the terminal by themselves.
            Console().print(answer.as_text(), crop=False)
        if answer.must_look():
            raise typer.Exit(LOOK)

    # Typer reads the options from the signature; the annotation of the result is ours alone.
    run.__annotations__ = {**command.__annotations__, "return": None}
    return run


def refuse_existing(path: Path, *, force: bool) -> None:
    """Refuse to overwrite a file, or a folder that holds something, without ``--force``.

    Raises
    ------
    InputRefusedError
        If it exists.
    """
    occupied = any(path.iterdir()) if path.is_dir() else path.exists()
    if occupied and not force:
        raise InputRefusedError(
            "the output exists already",
            found=str(path),
            expected="another --out, or --force to overwrite",
            where=str(path),
            code="output-exists",
        )


def parse_numbers(text: str, counts: tuple[int, ...], *, option: str) -> tuple[float, ...]:
    """Return the numbers of ``1,2,3``.

    Raises
    ------
    typer.BadParameter
        (Exit code 2.) If they are not finite numbers, or not as many as an element of ``counts``.
    """
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(f"{option} needs numbers with commas between, not '{text}'") from error
    if len(numbers) not in counts or not all(abs(n) < 1e9 for n in numbers):
        raise typer.BadParameter(f"{option} needs {' or '.join(map(str, counts))} finite numbers, not '{text}'")
    return numbers


@contextmanager
def _stdout_kept(keep: bool) -> Iterator[None]:
    """Send what is printed meanwhile to stderr, C libraries included, so that stdout holds the answer alone."""
    if not keep:
        yield
        return
    with redirect_stdout(sys.stderr):
        if not _is_file_descriptor_1():
            yield
            return
        saved = os.dup(1)
        try:
            os.dup2(2, 1)
            yield
        finally:
            os.dup2(saved, 1)
            os.close(saved)


def _is_file_descriptor_1() -> bool:
    try:
        return sys.__stdout__ is not None and sys.__stdout__.fileno() == 1 and os.fstat(2) is not None
    except (OSError, ValueError):
        return False


def _print_error(error: InputRefusedError, as_json: bool) -> None:
    if as_json:
        answer = ErrorAnswer(error=ErrorFields(**error.as_dict()))
        sys.stdout.write(answer.model_dump_json() + "\n")
        sys.stdout.flush()
    console.print(f"[bold red]refused[/] ({escape(error.code)}): {escape(error.message)}")
    for name in ("found", "expected", "where"):
        if text := getattr(error, name):
            console.print(f"  [bold]{name}[/]: {escape(text)}", soft_wrap=True)


def _print_bug(error: BaseException, as_json: bool) -> None:
    traceback.print_exception(error, file=sys.stderr)
    if as_json:
        fields = ErrorFields(
            code="internal-error", message=f"{type(error).__name__}: {error}", found="", expected="", where=""
        )
        sys.stdout.write(ErrorAnswer(error=fields).model_dump_json() + "\n")
        sys.stdout.flush()
    console.print("[bold red]This is a bug in igrt.[/] Please report it with the lines above.")
