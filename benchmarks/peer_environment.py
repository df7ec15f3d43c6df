"""Environments of their own for peers: made once per list of pins, under the cache folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parent / "peers"


def peer_python(name: str) -> Path:
    """Return the Python of the environment for ``benchmarks/peers/NAME.txt``, making it if need be.

    Parameters
    ----------
    name : str
        Name of the list, for example ``"pyradplan"``.

    Raises
    ------
    RuntimeError
        If the environment cannot be made (no package index, for example).
    """
    pins = PINS / f"{name}.txt"
    digest = hashlib.sha256(pins.read_bytes() + sys.version.encode()).hexdigest()[:12]
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "igrt" / "peers" / f"{name}-{digest}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(pins)]
        done = subprocess.run(install, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the environment of {name} cannot be made: {done.stderr[-2000:]}")
        ready.touch()
    return python
