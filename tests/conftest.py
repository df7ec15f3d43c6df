"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numba
import pytest

#: Files that take longest, in this order: begun last, one of them would keep one worker busy and the others idle.
LONGEST = (
    "pipelines/test_chain.py",
    "check/test_against_engine.py",
    "optimize/test_planning.py",
    "commission/test_source_fit.py",
    "optimize/test_tiers.py",
    "registration/test_projection_match.py",
    "registration/test_rigid.py",
    "pipelines/test_ui_browser.py",
    "pipelines/test_protocol_geometry.py",
    "phantom/test_simulate.py",
    "density/test_external.py",
    "registration/test_respiratory.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; all others keep their order."""
    here = Path(__file__).parent
    place = {here / name: number for number, name in enumerate(LONGEST)}
    missing = [str(path) for path in place if not path.is_file()]
    assert not missing, f"LONGEST names files that are not there: {missing}"
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session", autouse=True)
def _one_thread_per_worker() -> Iterator[None]:
    """Give each of several workers one thread of kernels: two on every core would wait for one another.

    Tests about threads ask for :func:`all_threads`.
    """
    before = numba.get_num_threads()
    if int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")) > 1:
        numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.fixture
def all_threads() -> Iterator[int]:
    """Let kernels use all threads during a test; gives their number, at least two."""
    before, most = numba.get_num_threads(), int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    assert most >= 2, "tests about threads need two processors"
    numba.set_num_threads(most)
    yield most
    numba.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data; tests on it are skipped only where it does not exist at all."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("IGRT_SHARED_DATA", root / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder} (set IGRT_SHARED_DATA)")
    return folder
