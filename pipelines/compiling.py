"""Compile all kernels ahead of the first patient: an installation step, and the demo's first."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import llvmlite.binding

from imrt_core._numba import cache_dir
from imrt_core.precompile import compile_dose_kernels, compile_planning_kernels
from registration.precompile import compile_kernels as compile_registration_kernels

from .files import make_folder, write_json

#: Compiled kernels of other versions are deleted when nothing was compiled into them for so long.
_STALE_DAYS = 30


@dataclass(frozen=True)
class Compiled:
    """Where compiled kernels lie, and how long it took; 0 s where they were there."""

    folder: Path
    seconds: float


def are_compiled() -> bool:
    """Whether the kernels of exactly these sources have been compiled for this processor."""
    try:
        made_for: object = json.loads(_mark().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return made_for == _made_for()


def compile_kernels(on_stage: Callable[[str], None] | None = None, *, again: bool = False) -> Compiled:
    """Compile all kernels of the daily chain in two processes, unless that has been done.

    Parameters
    ----------
    on_stage : callable, optional
        Told what happens, in words.
    again : bool
        Do it even so.

    Raises
    ------
    StorageError
        If the folder of compiled kernels cannot be written.
    """
    folder = make_folder(cache_dir())
    if are_compiled() and not again:
        return Compiled(folder, 0.0)
    if on_stage is not None:
        on_stage("compiling kernels, once per installation")
    started = time.perf_counter()
    # "spawn": a forked child could not use numba's threads after its parent did.
    with ProcessPoolExecutor(max_workers=2, mp_context=get_context("spawn")) as pool:
        halves = [pool.submit(compile_planning_kernels), pool.submit(_compile_the_rest)]
        for half in halves:
            half.result()
    write_json(_mark(), _made_for())
    _delete_stale(folder)
    return Compiled(folder, time.perf_counter() - started)


def _compile_the_rest() -> None:
    # Dose first: by the time that planning needs it, it is there.
    compile_dose_kernels()
    compile_registration_kernels()


def _mark() -> Path:
    return cache_dir() / "compiled.json"


def _made_for() -> dict[str, object]:
    return {"processor": llvmlite.binding.get_host_cpu_name(), "llvm": list(llvmlite.binding.llvm_version_info)}


def _delete_stale(kept: Path) -> None:
    """Delete compiled kernels of other sources, long unused."""
    oldest = time.time() - _STALE_DAYS * 86400
    for folder in kept.parent.iterdir():
        if folder == kept or not folder.is_dir():
            continue
        if max((inner.stat().st_mtime for inner in (folder, *folder.rglob("*"))), default=0.0) < oldest:
            shutil.rmtree(folder, ignore_errors=True)
