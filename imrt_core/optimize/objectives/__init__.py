"""Objectives: each a small frozen dataclass with declared parameters, in course Gy."""

from .base import Objective
from .dvh_point import MaxDvh, MinDvh
from .geud import GEUD
from .kinds import OBJECTIVE_KINDS, objective_of_kind
from .mean_dose import MeanDose
from .squared_deviation import SquaredDeviation
from .squared_overdose import SquaredOverdose
from .squared_underdose import SquaredUnderdose

__all__ = [
    "GEUD",
    "OBJECTIVE_KINDS",
    "MaxDvh",
    "MeanDose",
    "MinDvh",
    "Objective",
    "SquaredDeviation",
    "SquaredOverdose",
    "SquaredUnderdose",
    "objective_of_kind",
]
