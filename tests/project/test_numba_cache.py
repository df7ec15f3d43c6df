"""A callee edited in another file must never be served from a stale compiled cache: a wrong-dose hazard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from numba.core import config as numba_config

from imrt_core import _numba

ROOT = Path(__file__).resolve().parents[2]

CALLEE = """
from imrt_core._numba import kernel

@kernel()
def factor(x):
    return {factor} * x
"""
CALLER = """
from imrt_core._numba import kernel
from imrt_core.callee import factor

@kernel()
def twice(x):
    return factor(x) + factor(x)
"""


def _run(tree: Path, cache: Path) -> tuple[float, str]:
    code = (
        "from imrt_core.caller import twice; from imrt_core._numba import cache_dir; print(twice(1.0)); "
        "print(cache_dir())"
    )
    env = {**os.environ, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tree, env=env, check=True, capture_output=True, text=True, timeout=120
    )
    value, folder = done.stdout.split()
    return float(value), folder


def test_edited_callee_in_another_file_takes_effect(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    package = tree / "imrt_core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    shutil.copy(ROOT / "imrt_core" / "_numba.py", package / "_numba.py")
    (package / "caller.py").write_text(CALLER)
    (package / "callee.py").write_text(CALLEE.format(factor="2.0"))
    before, folder_before = _run(tree, tmp_path / "cache")
    again, folder_again = _run(tree, tmp_path / "cache")
    (package / "callee.py").write_text(CALLEE.format(factor="10.0"))
    after, folder_after = _run(tree, tmp_path / "cache")
    assert (before, again, after) == (4.0, 4.0, 20.0)
    assert folder_before == folder_again != folder_after
    assert list(Path(folder_before).rglob("*.nbi")), "nothing was cached, so the test shows nothing"


def test_options_are_in_force() -> None:
    assert Path(numba_config.CACHE_DIR) == _numba.cache_dir()
    assert os.environ.get("NUMBA_THREADING_LAYER", "workqueue") == numba_config.THREADING_LAYER
    assert not {"nnan", "ninf", "fast"} & _numba.FASTMATH
