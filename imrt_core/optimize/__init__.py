"""Inverse planning: objectives, hard limits, optimiser, leaf sequencing and the planning chain."""

from .constraints import DoseLimit, LimitKind
from .fluence_map import FluenceMap, delivered_fluence
from .from_goals import limits_from_goals, objectives_from_goals
from .plan_types import BeamDirection, FluenceOptimum, PlanProgress, PlanResult, PlanSettings
from .planning import make_plan
from .reoptimise import reoptimise
from .sequencing import LeafSequence, Technique, sequence
from .smoothness import FluenceSmoothness
from .solver import FluenceProgress, FluenceResult, equal_weights, optimize_fluence
from .voxels import VoxelSet
from .warm_start import beam_fluence, warm_start_weights

__all__ = [
    "BeamDirection",
    "DoseLimit",
    "FluenceMap",
    "FluenceOptimum",
    "FluenceProgress",
    "FluenceResult",
    "FluenceSmoothness",
    "LeafSequence",
    "LimitKind",
    "PlanProgress",
    "PlanResult",
    "PlanSettings",
    "Technique",
    "VoxelSet",
    "beam_fluence",
    "delivered_fluence",
    "equal_weights",
    "limits_from_goals",
    "make_plan",
    "objectives_from_goals",
    "optimize_fluence",
    "reoptimise",
    "sequence",
    "warm_start_weights",
]
