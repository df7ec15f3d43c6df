"""The one place that decides JIT options, the threading layer and the cache folder.

Import :func:`kernel` from here; never ``numba.njit`` directly. numba's disk cache does not notice when a callee in
another file changes, and would then serve a stale kernel: a wrong-dose hazard. So the cache folder is named by a hash
of every source file of ``imrt_core`` and ``registration``, their place and the numba version, and set before any kernel
compiles.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core import config as numba_config

F = TypeVar("F", bound=Callable[..., Any])

#: Reassociation and contraction are safe for dose sums; "nnan" and "ninf" are not: a NaN dose must be seen.
FASTMATH = frozenset({"reassoc", "contract", "arcp", "nsz"})


def _source_hash() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    here = Path(__file__).resolve().parent
    # numba keeps kernels by their file's path: another installation has a folder of its own.
    digest.update(str(here).encode())
    for root in (here, here.parent / "registration"):
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_dir() -> Path:
    """Return the folder of compiled kernels for exactly these sources."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "igrt" / "numba" / _source_hash()


# "workqueue" is always there but not thread safe, "tbb" is optional: "omp" forks badly. numba's own order ("default")
# would differ between machines, so results are tied to one named layer, which `igrt doctor` reports.
numba_config.THREADING_LAYER = os.environ.get("NUMBA_THREADING_LAYER", "workqueue")  # type: ignore[attr-defined]
numba_config.CACHE_DIR = str(cache_dir())  # type: ignore[attr-defined]


def kernel(*, parallel: bool = False, fastmath: bool = True, inline: bool = False) -> Callable[[F], F]:
    """Decorate a function as a compiled kernel: nopython, cached, division by zero gives inf or NaN as numpy does.

    Parameters
    ----------
    parallel : bool
        Allow ``numba.prange``.
    fastmath : bool
        Allow :data:`FASTMATH` reordering. NaN and infinity are always honoured.
    inline : bool
        Put the body into every caller before it is compiled: for small functions of many arrays in a loop, where
        handing over the arrays would cost more than the work.
    """

    def decorate(function: F) -> F:
        compiled: Any = numba.njit(
            cache=True,
            parallel=parallel,
            fastmath=set(FASTMATH) if fastmath else False,
            error_model="numpy",
            nogil=True,
            inline="always" if inline else "never",
        )(function)
        return cast("F", compiled)

    return decorate
