"""Dose of photon beams: the influence matrix of bixels, and the delivered dose of a plan."""

from imrt_core.geometry import BeamGeometry

from .bixels import Bixels, bixel_grid
from .influence import BeamBlock, InfluenceMatrix, influence_matrix

__all__ = ["BeamBlock", "BeamGeometry", "Bixels", "InfluenceMatrix", "bixel_grid", "influence_matrix"]
