"""A report as a page, taken apart: tags, attributes, text."""

from __future__ import annotations

from html.parser import HTMLParser

from pipelines.report import FractionReport
from pipelines.report.html import html_bytes
from pipelines.report.view_fraction import fraction_page

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, attributes and text; refuses tags that do not close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += f" {data}"

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def page_of(report: FractionReport) -> Page:
    return Page(html_bytes(fraction_page(report, {})).decode())
