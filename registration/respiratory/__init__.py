"""Breathing: motion over the phases of a 4DCT, the volume that a target sweeps, and phases of the day matched to it."""

from .match import BreathingMatch, match_breathing
from .motion import RespiratoryMotion, StructureMotion, internal_target_volume, respiratory_motion

__all__ = [
    "BreathingMatch",
    "RespiratoryMotion",
    "StructureMotion",
    "internal_target_volume",
    "match_breathing",
    "respiratory_motion",
]
