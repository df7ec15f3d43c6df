"""Compiling ahead: once, and old kernels go."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from imrt_core import _numba
from pipelines import compiling


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of kernels of its own; what is done in the processes is told elsewhere (tests/project)."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiling, "compile_planning_kernels", os.getpid)
    monkeypatch.setattr(compiling, "_compile_the_rest", os.getpid)
    return _numba.cache_dir()


def test_it_is_done_once(folder: Path) -> None:
    assert not compiling.are_compiled()
    told: list[str] = []
    first = compiling.compile_kernels(told.append)
    assert first.folder == folder
    assert first.seconds > 0
    assert len(told) == 1
    assert compiling.are_compiled()
    assert compiling.compile_kernels(told.append).seconds == 0.0
    assert len(told) == 1
    assert compiling.compile_kernels(again=True).seconds > 0


def test_another_processor_compiles_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiling.compile_kernels()
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_name", lambda: "another")
    assert not compiling.are_compiled()


def test_a_broken_mark_is_no_mark(folder: Path) -> None:
    compiling.compile_kernels()
    (folder / "compiled.json").write_text("{", encoding="utf-8")
    assert not compiling.are_compiled()


def test_kernels_of_other_sources_go_after_a_month(folder: Path) -> None:
    long_ago = time.time() - 40 * 86400
    for name, age in (("old", long_ago), ("recent", time.time())):
        file = folder.parent / name / "part" / "kernel.nbi"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        for path in (file, file.parent, file.parent.parent):
            os.utime(path, (age, age))
    compiling.compile_kernels()
    assert not (folder.parent / "old").exists()
    assert (folder.parent / "recent").exists()
    assert folder.exists()
