"""What benchmarks do with their answer: one JSON object on stdout, or into a file, or a table for people."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.table import Table


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` and ``--save``."""
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--save", type=Path, help="also write the JSON object here")


def answered(cases: list[dict[str, Any]], options: argparse.Namespace, **figures: Any) -> bool:
    """Save and print the cases as asked for; return whether JSON was printed, so that no table is wanted."""
    answer = {"schema_version": 1, **figures, "cases": cases, "load_average": round(os.getloadavg()[0], 1)}
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(answer, indent=1) + "\n")
    if options.json:
        sys.stdout.write(json.dumps(answer) + "\n")
    return bool(options.json)


def headed(title: str, *headings: str) -> Table:
    """Return an empty table for people."""
    table = Table(title=title)
    for heading in headings:
        table.add_column(heading)
    return table
