"""Coordinate systems, projections, ray tracing and margins."""
