"""What dose is computed on: densities of the patient on the treatment table, from an image and its structures.

Curves are in :mod:`imrt_core.machine.density`; here is everything around them: EXTERNAL, couch, overrides, metal.
"""

from .couch import insert_couch
from .external import contour_external, external_mask
from .metal import MetalFinding, find_metal
from .metal_beams import MetalPath, beams_through_metal
from .metals import METALS, Metal, backscatter_warning
from .overrides import DensityOverride, overrides_of
from .patient_density import DensityResult, density_of
from .streaks import find_streaks

__all__ = [
    "METALS",
    "DensityOverride",
    "DensityResult",
    "Metal",
    "MetalFinding",
    "MetalPath",
    "backscatter_warning",
    "beams_through_metal",
    "contour_external",
    "density_of",
    "external_mask",
    "find_metal",
    "find_streaks",
    "insert_couch",
    "overrides_of",
]
