"""Reports over HTTP, read-only, on loopback: the web UI's links need ``http://`` (``file://`` does not open from it).

Only files in the ``report`` folders of the course store are served, under the paths that they have there (so that a
course report's links to its fractions work from disk and from here); nothing else can be named. A strict content
policy lets a report load nothing from elsewhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route

from imrt_core.patient import InputRefusedError

from .store import CourseFolder, courses

DEFAULT_PORT = 3001
#: Everything inline, nothing from other places, never in somebody else's frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; font-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_MEDIA = {".html": "text/html; charset=utf-8", ".pdf": "application/pdf", ".json": "application/json"}


def report_url(course: str, fraction: str, name: str) -> str:
    """Return the link of a report; ``IGRT_REPORT_URL`` sets the base (default ``http://127.0.0.1:3001``)."""
    base = os.environ.get("IGRT_REPORT_URL", f"http://127.0.0.1:{DEFAULT_PORT}").rstrip("/")
    return f"{base}/reports/{course}/{fraction}/report/{name}" if fraction else f"{base}/reports/{course}/report/{name}"


def report_app() -> Starlette:
    """Return the application: an index, and the files of the reports."""
    return Starlette(
        routes=[
            Route("/", _index, methods=["GET"]),
            Route("/reports/{course}/report/{name}", _report, methods=["GET"]),
            Route("/reports/{course}/{fraction}/report/{name}", _report, methods=["GET"]),
        ]
    )


@contextmanager
def serving_reports(port: int = DEFAULT_PORT) -> Iterator[str]:
    """Serve the reports in a thread as long as the context is open.

    Yields
    ------
    str
        The base address.
    """
    server = uvicorn.Server(uvicorn.Config(report_app(), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, name="igrt reports", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)


async def _index(_request: Request) -> Response:
    rows = []
    for course in courses():
        links = [
            f'<a href="/reports/{course.course}/{f.key}/report/{name}">{f.key}</a>'
            for f in course.fractions()
            for name in ("fraction_report.html",)
            if (f.report / name).is_file()
        ]
        if (course.report / "course_report.html").is_file():
            links.insert(0, f'<a href="/reports/{course.course}/report/course_report.html">course</a>')
        rows.append(f"<li>{escape(course.course)}: {' · '.join(links) or 'no report yet'}</li>")
    body = f"<!doctype html><html lang=en><title>igrt reports</title><h1>Reports</h1><ul>{''.join(rows)}</ul></html>"
    return HTMLResponse(body, headers=_HEADERS)


async def _report(request: Request) -> Response:
    name = request.path_params["name"]
    suffix = name[name.rfind(".") :] if "." in name else ""
    if suffix not in _MEDIA or "/" in name or name.startswith("."):
        raise HTTPException(404)
    try:
        course = CourseFolder(request.path_params["course"])
        fraction = request.path_params.get("fraction")
        folder = course.fraction(fraction).report if fraction else course.report
    except InputRefusedError as error:
        raise HTTPException(404) from error
    path = folder / name
    if path.is_symlink() or not path.is_file():
        raise HTTPException(404)
    return FileResponse(path, media_type=_MEDIA[suffix], headers=_HEADERS)
