"""Rigid match: search over translations, refinement on bone, and how far it can be trusted."""

from .match import RigidMatch, register_rigid
from .target import TargetMatch

__all__ = ["RigidMatch", "TargetMatch", "register_rigid"]
