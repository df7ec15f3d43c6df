"""Image registration in the service of the treatment couch.

FIXED is always the planning CT, MOVING the image of the day. ``moving_from_fixed`` maps planning points to points of
the day.
"""

from .calibration import HuCalibration, calibrate
from .couch import AppliedShift, CouchShift, TableLimits, applied_shift, couch_shift, patient_motion_lps
from .deformable import DeformableMatch, DisplacementSamples, day_grid, register_deformable
from .density_methods import DensityMethod
from .hu_of_day import HuOfDay, hu_of_day
from .projection import ProjectionLimits, ProjectionMatch, ProjectionQuality, register_radiographs
from .propagate import DayStructures, PropagatedStructure, PropagationRules, PtvRule, propagate_structures
from .quality import DeformableLimits, DeformableQuality, MatchLimits, MatchQuality
from .respiratory import (
    BreathingMatch,
    RespiratoryMotion,
    StructureMotion,
    internal_target_volume,
    match_breathing,
    respiratory_motion,
)
from .rigid import RigidMatch, TargetMatch, register_rigid
from .warp import warp, warp_structures

__all__ = [
    "AppliedShift",
    "BreathingMatch",
    "CouchShift",
    "DayStructures",
    "DeformableLimits",
    "DeformableMatch",
    "DeformableQuality",
    "DensityMethod",
    "DisplacementSamples",
    "HuCalibration",
    "HuOfDay",
    "MatchLimits",
    "MatchQuality",
    "ProjectionLimits",
    "ProjectionMatch",
    "ProjectionQuality",
    "PropagatedStructure",
    "PropagationRules",
    "PtvRule",
    "RespiratoryMotion",
    "RigidMatch",
    "StructureMotion",
    "TableLimits",
    "TargetMatch",
    "applied_shift",
    "calibrate",
    "couch_shift",
    "day_grid",
    "hu_of_day",
    "internal_target_volume",
    "match_breathing",
    "patient_motion_lps",
    "propagate_structures",
    "register_deformable",
    "register_radiographs",
    "register_rigid",
    "respiratory_motion",
    "warp",
    "warp_structures",
]
