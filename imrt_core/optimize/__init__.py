"""Inverse planning: objectives, hard limits, optimiser, leaf sequencing and the planning chain."""

from .arrangement import (
    AvoidanceSector,
    BeamArrangement,
    BeamAvoidance,
    BeamObstacles,
    EquidistantBeams,
    NotThrough,
    arrange_beams,
    objections,
)
from .beam_angles import AngleProgress, AngleSearch, AngleSelection, select_angles
from .conformal import make_conformal_plan
from .constraints import DoseLimit, LimitKind
from .fluence_map import FluenceMap, delivered_fluence
from .fluence_result import FluenceProgress, FluenceResult
from .from_goals import limits_from_goals, objectives_from_goals
from .objective_bound import ObjectiveBound
from .plan_types import BeamDirection, FluenceOptimum, PlanProgress, PlanResult, PlanSettings
from .planning import make_plan
from .priorities import PrioritisedResult, objective_levels, optimize_by_priority
from .sequencing import LeafSequence, Technique, sequence
from .smoothness import FluenceSmoothness
from .solver import equal_weights, optimize_fluence
from .tiers import Tier, TieredPlan, TierResult, reoptimise_in_tiers
from .voxels import VoxelSet
from .warm_start import beam_fluence, warm_start_weights

__all__ = [
    "AngleProgress",
    "AngleSearch",
    "AngleSelection",
    "AvoidanceSector",
    "BeamArrangement",
    "BeamAvoidance",
    "BeamDirection",
    "BeamObstacles",
    "DoseLimit",
    "EquidistantBeams",
    "FluenceMap",
    "FluenceOptimum",
    "FluenceProgress",
    "FluenceResult",
    "FluenceSmoothness",
    "LeafSequence",
    "LimitKind",
    "NotThrough",
    "ObjectiveBound",
    "PlanProgress",
    "PlanResult",
    "PlanSettings",
    "PrioritisedResult",
    "Technique",
    "Tier",
    "TierResult",
    "TieredPlan",
    "VoxelSet",
    "arrange_beams",
    "beam_fluence",
    "delivered_fluence",
    "equal_weights",
    "limits_from_goals",
    "make_conformal_plan",
    "make_plan",
    "objections",
    "objective_levels",
    "objectives_from_goals",
    "optimize_by_priority",
    "optimize_fluence",
    "reoptimise_in_tiers",
    "select_angles",
    "sequence",
    "warm_start_weights",
]
