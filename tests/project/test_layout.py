"""What the repository promises as a whole: no secrets of one machine, no registry addresses, licences listed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_ADDRESS = re.compile(
    r"https?://[^\s\"')]*(?:pypi|pythonhosted|npmjs|deb\.debian|jfrog|nexus)\.|--(?:extra-)?index-url"
)


def _tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in done.stdout.split("\0") if name]


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    for name in ("run.lock", "dev.lock"):
        text = (ROOT / "requirements" / name).read_text()
        assert text.count("--hash=sha256:") > 100
        assert "://" not in text


def test_no_registry_address_in_any_tracked_file() -> None:
    guilty = [
        path.relative_to(ROOT).as_posix()
        for path in _tracked()
        if path.suffix not in {".png", ".dcm", ".npz", ".pdf"} and path.is_file() and path != Path(__file__).resolve()
        if _ADDRESS.search(path.read_text(errors="replace"))
    ]
    assert guilty == []


def test_licences_page_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import licences; print(licences.licence_table(), end='')"],
        cwd=ROOT / "tools",
        check=True,
        capture_output=True,
        text=True,
    )
    listed = {line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")}
    page = {
        line.split("|")[1].strip()
        for line in (ROOT / "docs" / "licences.md").read_text().splitlines()
        if line.startswith("| ")
    }
    assert listed == page
    assert "GPL-3" not in done.stdout


def test_validation_page_holds_the_stored_figures() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import validation_tables as v; print(v.filled(v.PAGE.read_text()), end='')"],
        cwd=ROOT / "tools",
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == (ROOT / "docs" / "validation.md").read_text()
