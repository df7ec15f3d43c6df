"""What a report's page consists of, ready to print: the HTML and the PDF template both walk through these.

Text is plain text; whoever prints it escapes it. Only ``Panel`` holds markup, made by our own SVG code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Tone = Literal["", "good", "bad", "warn", "info", "muted"]


@dataclass(frozen=True)
class Cell:
    """A piece of text with a tone (shown by colour, and always by the words or the sign too)."""

    text: str
    tone: Tone = ""
    strong: bool = False
    href: str = ""


@dataclass(frozen=True)
class Facts:
    """Labels with values."""

    rows: tuple[tuple[str, Cell], ...]
    kind: str = "facts"


@dataclass(frozen=True)
class Notes:
    """Sentences, one bullet each."""

    lines: tuple[Cell, ...]
    title: str = ""
    kind: str = "notes"


@dataclass(frozen=True)
class Table:
    """A table: the first column names the row, the columns in ``numeric`` are set to the right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...] = ()
    note: str = ""
    kind: str = "table"


def without_empty_columns(table: Table, *heads: str) -> Table:
    """Leave out those of the named columns that say nothing in any row."""
    empty = {
        index
        for index, head in enumerate(table.head)
        if head in heads and all(row[index].text in ("", "–") for row in table.rows)
    }
    kept = [index for index in range(len(table.head)) if index not in empty]
    return replace(
        table,
        head=tuple(table.head[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in table.rows),
        numeric=tuple(new for new, old in enumerate(kept) if old in table.numeric),
    )


@dataclass(frozen=True)
class Panel:
    """One picture: inline SVG for the page, and SVG without layers or variables for print.

    ``width``: relative to the panels beside it (millimetres shown), so that they share one scale.
    """

    title: str
    alt: str
    svg: str
    print_svg: str
    width: float = 1.0


@dataclass(frozen=True)
class LegendEntry:
    """A line or a patch in a figure's legend, with the colours for light and dark pages.

    ``black``: the line lies on black pictures and keeps its colour, so its sample stands on black too.
    """

    text: str
    color: str
    dark: str
    line: Literal["solid", "dashed", "dotted"] = "solid"
    patch: bool = False
    black: bool = False


@dataclass(frozen=True)
class FigureBlock:
    """Panels with caption, note and legend.

    ``columns``: 0 puts the panels side by side on one scale, otherwise so many in a row. ``views`` (key, label) are
    layers that a reader may choose from.
    """

    name: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[LegendEntry, ...] = ()
    views: tuple[tuple[str, str], ...] = ()
    columns: int = 0
    note: str = ""
    kind: str = "figure"


Block = Facts | Notes | Table | FigureBlock


@dataclass(frozen=True)
class Section:
    """A titled part of the report."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Verdict:
    """The band at the top."""

    decision: str
    word: str
    icon: str
    tone: Tone
    sentence: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ShiftCard:
    """The couch shift as the therapist reads it: axis, direction in words, value to apply, numbers behind it."""

    apply: Cell
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[Cell, ...]


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    subtitle: str
    notice: str
    banners: tuple[Cell, ...]
    verdict: Verdict | None
    shift: ShiftCard | None
    facts: Facts
    sections: tuple[Section, ...]
    footer: str
