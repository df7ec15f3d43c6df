"""``igrt ui``: Dagster's web UI with the daemon, and the reports beside it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

import pipelines
from imrt_core.patient import InputRefusedError

from ..home import incoming_folder
from ..instance import add_course_partition, dagster_instance, prepare_dagster_home
from ..serve import DEFAULT_PORT, serving_reports
from ..store import course_ids
from .output import Answer, answering, console

#: How long the UI's processes get to end by themselves, in seconds.
_GRACE_S = 15.0


class UiAnswer(Answer):
    """``ui``, when it has ended."""

    web_ui: str
    reports: str


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("ui")(answering(ui))


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the web UI, on 127.0.0.1.")] = 3000,
    report_port: Annotated[int, typer.Option(min=1, max=65535, help="Of the reports, on 127.0.0.1.")] = DEFAULT_PORT,
) -> UiAnswer:
    """Open Dagster's web UI with the daemon, and serve the reports read-only on loopback, until Ctrl-C."""
    for number in (port, report_port):
        _require_free(number)
    prepare_dagster_home()
    incoming_folder()
    with dagster_instance() as instance:
        for course in course_ids():  # courses outlive a Dagster folder that was removed
            add_course_partition(instance, course)
    with serving_reports(report_port) as base:
        os.environ["IGRT_REPORT_URL"] = base
        # Our own packages by folder: a foreign folder called "pipelines" where the user stands must not shadow them.
        root = Path(pipelines.__file__).resolve().parents[1]
        command = [sys.executable, "-P", "-m", "dagster", "dev", "-m", "pipelines.definitions", "-d", str(root)]
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=sys.stderr,
            start_new_session=True,
        )
        console.print(f"web UI http://127.0.0.1:{port}   reports {base}   Ctrl-C ends both", highlight=False)
        # SIGINT by name too: a shell starts background jobs with it ignored, and then nothing could end them kindly.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _as_interrupt)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            _end(process)
            code = 0
    if code != 0:
        raise RuntimeError(f"Dagster ended with exit code {code}")
    return UiAnswer(web_ui=f"http://127.0.0.1:{port}", reports=base)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to end, then make it."""
    for sign, patience in ((signal.SIGINT, _GRACE_S), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and _group_lives(process):
            time.sleep(0.1)
        if not _group_lives(process):
            break


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _as_interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputRefusedError(
                "the port is taken",
                found=f"{port}: {error.strerror}",
                expected="another --port or --report-port",
                code="port-taken",
            ) from error
