"""Deformable match: least squares of image differences on a lattice with bending energy."""

from .match import DeformableMatch, day_grid, register_deformable

__all__ = ["DeformableMatch", "day_grid", "register_deformable"]
