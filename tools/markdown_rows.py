"""A table in Markdown."""

from __future__ import annotations


def rows_of(head: list[str], rows: list[list[str]]) -> str:
    """Return a table with a head; cells are text."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
