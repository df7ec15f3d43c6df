"""Write docs/licences.md: name, version and licence of every package in requirements/run.lock, from metadata."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)")
_CLASSIFIER = "License :: OSI Approved :: "


def _licence(name: str) -> str:
    info = metadata(name)
    if expression := info.get("License-Expression"):
        return expression
    classifiers = [c.removeprefix(_CLASSIFIER) for c in info.get_all("Classifier") or [] if c.startswith(_CLASSIFIER)]
    if classifiers:
        return "; ".join(classifiers)
    text = (info.get("License") or "").strip()
    return text.splitlines()[0][:60] if text else "see the package"


def licence_table() -> str:
    """Return the page's text."""
    lines = [
        "# Licences of what we ship with",
        "",
        "Made by `python tools/licences.py` from installed metadata of the packages in `requirements/run.lock`.",
        "",
        "| package | version | licence |",
        "|---|---|---|",
    ]
    for line in (ROOT / "requirements" / "run.lock").read_text().splitlines():
        match = _PIN.match(line)
        if not match:
            continue
        try:
            lines.append(f"| {match[1]} | {match[2]} | {_licence(match[1])} |")
        except PackageNotFoundError:
            lines.append(f"| {match[1]} | {match[2]} | not installed on this platform |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "licences.md").write_text(licence_table())
    sys.stdout.write("wrote docs/licences.md\n")
