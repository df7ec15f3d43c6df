"""The printed report, set by typst with its embedded fonts only."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import typst

from .blocks import FigureBlock, Page


def pdf_bytes(page: Page) -> bytes:
    """Print a page as A4 PDF; the same page gives the same bytes (no clock, no system fonts).

    Text reaches typst as strings in a JSON file, never as typst source.
    """
    with tempfile.TemporaryDirectory(prefix="igrt-report-") as name:
        folder = Path(name)
        template = resources.files("pipelines.report").joinpath("templates", "report.typ").read_text(encoding="utf-8")
        (folder / "report.typ").write_text(template, encoding="utf-8")
        (folder / "data.json").write_text(json.dumps(_plain(page, folder), ensure_ascii=False), encoding="utf-8")
        fonts = typst.Fonts(include_system_fonts=False, include_embedded_fonts=True)
        compiler = typst.Compiler(folder / "report.typ", root=folder, font_paths=fonts)
        pdf = compiler.compile(format="pdf", timestamp=0)
    if not isinstance(pdf, bytes):
        raise TypeError(f"typst returned {type(pdf).__name__}, expected the bytes of one PDF")
    return pdf


def _plain(page: Page, folder: Path) -> dict[str, Any]:
    """Return the page as plain data, its pictures written into ``folder``."""
    sections = []
    for section in page.sections:
        blocks = [_figure(b, folder) if isinstance(b, FigureBlock) else dataclasses.asdict(b) for b in section.blocks]
        sections.append({"title": section.title, "blocks": blocks})
    plain = dataclasses.asdict(dataclasses.replace(page, sections=()))
    plain["sections"] = sections
    return plain


def _figure(figure: FigureBlock, folder: Path) -> dict[str, Any]:
    panels = []
    for index, panel in enumerate(figure.panels):
        file = folder / f"{figure.name}-{index}.svg"
        file.write_text(panel.print_svg, encoding="utf-8")
        bar = "class='bar'" in panel.print_svg
        panels.append({"file": file.name, "title": panel.title, "alt": panel.alt, "bar": bar, "width": panel.width})
    plain = dataclasses.asdict(dataclasses.replace(figure, panels=()))
    plain["panels"] = panels
    return plain
