"""Rigid match: search over translations, refinement on bone, and how far it can be trusted."""

from .match import RigidMatch, register_rigid

__all__ = ["RigidMatch", "register_rigid"]
