"""The self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .blocks import Page


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment


@cache
def _asset(name: str) -> str:
    return resources.files("pipelines.report").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def html_bytes(page: Page) -> bytes:
    """Print a page as one HTML file without external resources.

    All text is escaped by the template; only our own SVG is inserted as markup. A content-security policy in the page
    lets the browser load nothing and run no script but ours (by its hash).
    """
    script = _asset("report.js")
    template = _environment().get_template("report.html.j2")
    text = template.render(
        page=page, style=Markup(_asset("report.css")), script=Markup(script), script_sha256=_digest(script), svg=Markup
    )
    return text.encode("utf-8")
