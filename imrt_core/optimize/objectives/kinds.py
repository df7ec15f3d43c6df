"""Objectives by the short names that protocol files use."""

from __future__ import annotations

from imrt_core.patient import ProtocolError

from .base import Objective
from .dvh_point import MaxDvh, MinDvh
from .geud import GEUD
from .mean_dose import MeanDose
from .squared_deviation import SquaredDeviation
from .squared_overdose import SquaredOverdose
from .squared_underdose import SquaredUnderdose

#: Short names, in the order of the documentation.
OBJECTIVE_KINDS = ("overdose", "underdose", "uniform", "mean", "dvh_max", "dvh_min", "geud")


def objective_of_kind(
    kind: str,
    *,
    structure: str,
    dose_gy: float,
    weight: float = 1.0,
    volume_percent: float | None = None,
    exponent: float | None = None,
) -> Objective:
    """Build an objective from its short name.

    Parameters
    ----------
    kind : str
        One of :data:`OBJECTIVE_KINDS`.
    structure : str
        Voxel set.
    dose_gy : float
        Course dose that the objective is about.
    weight : float
        Importance.
    volume_percent : float
        For ``dvh_max`` and ``dvh_min``.
    exponent : float
        For ``geud``.

    Raises
    ------
    ProtocolError
        If the kind is unknown or a parameter that it needs is missing.
    """
    match kind:
        case "overdose":
            return SquaredOverdose(structure=structure, dose_gy=dose_gy, weight=weight)
        case "underdose":
            return SquaredUnderdose(structure=structure, dose_gy=dose_gy, weight=weight)
        case "uniform":
            return SquaredDeviation(structure=structure, dose_gy=dose_gy, weight=weight)
        case "mean":
            return MeanDose(structure=structure, dose_gy=dose_gy, weight=weight)
        case "dvh_max" | "dvh_min":
            percent = _needed(volume_percent, "volume_percent", kind, structure)
            if kind == "dvh_max":
                return MaxDvh(structure=structure, dose_gy=dose_gy, volume_percent=percent, weight=weight)
            return MinDvh(structure=structure, dose_gy=dose_gy, volume_percent=percent, weight=weight)
        case "geud":
            a = _needed(exponent, "exponent", kind, structure)
            return GEUD(structure=structure, dose_gy=dose_gy, a=a, weight=weight)
        case _:
            raise ProtocolError(
                "unknown kind of objective", found=kind, expected=", ".join(OBJECTIVE_KINDS), where=structure
            )


def _needed(value: float | None, name: str, kind: str, structure: str) -> float:
    if value is None:
        raise ProtocolError(f"an objective of kind {kind} needs {name}", where=structure)
    return value
