"""2D/3D match: kV radiographs against the planning CT by digitally reconstructed radiographs."""

from .attenuation import attenuation_per_mm
from .drr import Drr, project
from .match import ProjectionMatch, register_radiographs
from .quality import ProjectionLimits, ProjectionQuality

__all__ = [
    "Drr",
    "ProjectionLimits",
    "ProjectionMatch",
    "ProjectionQuality",
    "attenuation_per_mm",
    "project",
    "register_radiographs",
]
