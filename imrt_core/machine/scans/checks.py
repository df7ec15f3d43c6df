"""Checks shared by the constructors of the measured data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import MachineError

Array = NDArray[np.float64]


def within(value: float, above: float, up_to: float, what: str, where: str) -> None:
    """Refuse a number that is not in ``(above, up_to]``, NaN included."""
    if not (above < value <= up_to):
        raise MachineError(
            "a measurement is out of range",
            found=f"{what} {value:g}",
            expected=f"above {above:g}, at most {up_to:g}",
            where=where,
        )


def optional(value: float | None, up_to: float, what: str, where: str) -> None:
    """Refuse a stated number that is not in ``(0, up_to]``."""
    if value is not None:
        within(value, 0.0, up_to, what, where)


def set_array(owner: object, name: str, where: str, *, least: int) -> None:
    """Replace an attribute by a read-only copy, 1-D and finite."""
    array = np.array(getattr(owner, name), dtype=np.float64)
    if array.ndim != 1 or len(array) < least or not np.all(np.isfinite(array)):
        raise MachineError(
            "a measured curve is not usable",
            found=f"{name} of shape {array.shape}, {int(np.sum(~np.isfinite(array)))} not finite",
            expected=f"at least {least} finite numbers",
            where=where,
        )
    array.flags.writeable = False
    object.__setattr__(owner, name, array)


def same_length(one: Array, other: Array, where: str) -> None:
    """Refuse columns of different lengths."""
    if len(one) != len(other):
        raise MachineError("columns differ in length", found=f"{len(one)} and {len(other)}", where=where)


def ascending(array: Array, what: str, where: str) -> None:
    """Refuse positions that do not ascend."""
    if np.any(np.diff(array) <= 0):
        at = int(np.argmax(np.diff(array) <= 0))
        raise MachineError(
            f"{what} do not ascend",
            found=f"{array[at]:g} before {array[at + 1]:g} mm",
            expected="ascending",
            where=where,
        )
