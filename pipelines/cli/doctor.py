"""``igrt doctor``: checks of the installation."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numba
import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from imrt_core._numba import cache_dir, kernel
from imrt_core.machine import load_machine, shipped_machines
from imrt_core.patient import InputRefusedError

from ..compiling import are_compiled
from ..files import make_folder, write_text
from ..home import courses_folder, home, incoming_folder, quarantine_folder
from ..ledger import open_ledger
from ..protocol import load_protocol, shipped_protocols
from ..store import course_ids
from .output import Answer, JsonOption, Part, answering

_PACKAGES = ("numpy", "scipy", "numba", "SimpleITK", "pydicom", "dagster", "dagster-webserver", "pydantic", "typst")
#: Programs that some tests and tools use, with the Debian package that brings them; igrt itself runs without.
_PROGRAMS = {"dciodvfy": "dicom3tools", "chromium": "chromium", "chromedriver": "chromium-driver"}
_LEAST_FREE_GB = 5.0


class CheckAnswer(Part):
    """One check. ``status`` "note": worth knowing, nothing is wrong."""

    name: str
    status: Literal["ok", "note", "problem"]
    found: str


class DoctorAnswer(Answer):
    """``doctor``."""

    passed: bool
    checks: tuple[CheckAnswer, ...]

    def as_text(self) -> RenderableType:
        """Return one line per check."""
        table = Table("check", "", "found", box=None)
        colour = {"ok": "green", "note": "yellow", "problem": "bold red"}
        for check in self.checks:
            table.add_row(check.name, f"[{colour[check.status]}]{check.status}[/]", escape(check.found))
        return table


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(answering(doctor))


def doctor(as_json: JsonOption = False) -> DoctorAnswer:
    """Check versions, threads, disk, folders, beam models and programs."""
    checks = tuple(_checks())
    return DoctorAnswer(passed=all(check.status != "problem" for check in checks), checks=checks)


def _checks() -> Iterator[CheckAnswer]:
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield CheckAnswer(name="Python", status="ok" if supported else "problem", found=platform.python_version())
    yield _tried("igrt", lambda: version("igrt"))
    for package in _PACKAGES:
        yield _tried(package, lambda package=package: version(package))  # type: ignore[misc]
    yield _tried("numba threading layer", _threading_layer)
    yield _tried("numba cache", lambda: str(make_folder(cache_dir())))
    yield CheckAnswer(
        name="kernels",
        status="ok" if are_compiled() else "note",
        found="compiled" if are_compiled() else "not compiled yet: the first patient waits for it; run igrt compile",
    )
    yield CheckAnswer(name="cores", status="ok", found=str(len(os.sched_getaffinity(0))))
    yield _tried("IGRT_HOME", _writable_home)
    yield _disk()
    yield _tried("incoming", lambda: str(incoming_folder()))
    yield _tried("quarantine", lambda: f"{len(list(quarantine_folder().iterdir()))} in {quarantine_folder()}")
    yield _tried("courses", lambda: f"{len(course_ids())} in {courses_folder()}")
    yield _tried("ledger", _ledger)
    for name in shipped_machines():
        yield _tried(f"machine {name}", lambda name=name: f"version {load_machine(name).version}")  # type: ignore[misc]
    for name in shipped_protocols():
        yield _tried(f"protocol {name}", lambda name=name: f"version {load_protocol(name).version}")  # type: ignore[misc]
    for program, package in _PROGRAMS.items():
        path = shutil.which(program)
        yield CheckAnswer(
            name=program,
            status="ok" if path else "note",
            found=path or f"not installed (Debian package {package}); only tests use it",
        )


def _tried(name: str, find: Callable[[], str]) -> CheckAnswer:
    try:
        return CheckAnswer(name=name, status="ok", found=find())
    except (InputRefusedError, PackageNotFoundError, OSError, RuntimeError) as error:
        return CheckAnswer(name=name, status="problem", found=str(error))


def _threading_layer() -> str:
    # numba names its layer once a parallel kernel has run.
    _sum_of_squares(np.ones(4))
    return f"{numba.threading_layer()}, {numba.get_num_threads()} threads"  # type: ignore[attr-defined]


@kernel(parallel=True)
def _sum_of_squares(values: NDArray[np.float64]) -> float:
    total = 0.0
    for i in numba.prange(len(values)):
        total += values[i] * values[i]
    return total


def _writable_home() -> str:
    probe = write_text(home() / ".doctor", "written and removed by igrt doctor\n")
    probe.unlink()
    return str(home())


def _ledger() -> str:
    with open_ledger() as ledger:
        ledger.events(course="")
    return "opens and answers"


def _disk() -> CheckAnswer:
    folder = home()
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    return CheckAnswer(
        name="free disk", status="ok" if free > _LEAST_FREE_GB else "note", found=f"{free:.0f} GB at {Path(existing)}"
    )
