"""Coordinate systems, projections, ray tracing and margins."""

from .beams_eye_view import BeamGeometry
from .margins import expand

__all__ = ["BeamGeometry", "expand"]
