"""Deformable match: least squares of image differences on a lattice with bending energy."""

from .match import DeformableMatch, day_grid, register_deformable
from .uncertainty import DisplacementSamples

__all__ = ["DeformableMatch", "DisplacementSamples", "day_grid", "register_deformable"]
