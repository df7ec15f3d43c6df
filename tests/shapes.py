"""Contours of analytic shapes for tests."""

from __future__ import annotations

import numpy as np

from imrt_core.patient import Contour, Structure


def polygon(points, z: float) -> Contour:
    points = np.asarray(points, dtype=float)
    return Contour(np.column_stack([points, np.full(len(points), z)]))


def circle(radius: float, z: float, *, centre=(0.0, 0.0), points: int = 180) -> Contour:
    # The polygon's area is that of the circle.
    angle = 2 * np.pi * np.arange(points) / points
    grown = radius * np.sqrt(2 * np.pi / points / np.sin(2 * np.pi / points))
    return polygon(np.column_stack([centre[0] + grown * np.cos(angle), centre[1] + grown * np.sin(angle)]), z)


def sphere(radius: float, *, spacing: float, phase: float = 0.5, name: str = "Sphere", centre=(0.0, 0.0, 0.0)):
    """Contours of a sphere; ``phase`` is where the first plane lies above the lower pole, in spacings."""
    heights = np.arange(-radius + phase * spacing, radius, spacing)
    return Structure(
        name,
        tuple(circle(np.sqrt(radius**2 - z**2), centre[2] + z, centre=centre[:2]) for z in heights),
    )


def cylinder(radius: float, heights, *, name: str = "Cylinder", centre=(0.0, 0.0)) -> Structure:
    return Structure(name, tuple(circle(radius, float(z), centre=centre) for z in heights))


def box(x0: float, x1: float, y0: float, y1: float, z: float) -> Contour:
    return polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], z)
