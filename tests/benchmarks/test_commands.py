"""Every benchmark of the interface answers as a module of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    p.stem
    for p in (ROOT / "benchmarks").glob("*.py")
    if not p.stem.startswith("_") and "def main(" in p.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", MODULES)
def test_module_runs_as_a_command(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"benchmarks.{module}" in done.stdout
