"""How fast this machine reads memory: the sum of an array much larger than the caches, on all of numba's threads."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import prange

from imrt_core._numba import kernel

_BYTES = 512 * 2**20
_SHARES = 64


@kernel(parallel=True)
def _read(array: Any, sums: Any) -> None:
    count = array.shape[0] // sums.shape[0]
    for share in prange(sums.shape[0]):
        total = np.float32(0.0)
        for n in range(np.uintp(share * count), np.uintp((share + 1) * count)):
            total += array[n]
        sums[share] = total


def read_bandwidth_gb_s(*, repeats: int = 7) -> float:
    """Return the best rate of reading, in 10⁹ bytes per second."""
    array = np.ones(_BYTES // 4, dtype=np.float32)
    sums = np.zeros(_SHARES, dtype=np.float32)
    _read(array, sums)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        _read(array, sums)
        seconds.append(time.perf_counter() - start)
    return float(array.nbytes / min(seconds) / 1e9)
