"""Fixtures of the tests of measured data."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that the examples of a hypothesis test may share."""
    return tmp_path_factory.mktemp("scans")
