"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data; tests on it are skipped only where it does not exist at all."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("IGRT_SHARED_DATA", root / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set IGRT_SHARED_DATA)")
    return folder
