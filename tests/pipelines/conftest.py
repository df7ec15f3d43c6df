"""Every test of the pipelines gets an ``IGRT_HOME`` of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def igrt_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "igrt-home"
    monkeypatch.setenv("IGRT_HOME", str(home))
    monkeypatch.setenv("IGRT_ACTOR", "tester")
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return home
