"""Dose of photon beams: the influence matrix of bixels, and the delivered dose of a plan."""

from imrt_core.geometry import BeamGeometry

from .bixels import Bixels, bixel_grid
from .collapsed_cone import collapsed_cone_dose
from .delivered import BeamDose, PlanDose, plan_dose
from .fluence import FluenceMap, fluence_maps
from .grids import body_mask, dose_grid_for
from .influence import InfluenceMatrix, influence_matrix
from .influence_block import BeamBlock, Storage
from .several_energies import mixed_plan_dose

__all__ = [
    "BeamBlock",
    "BeamDose",
    "BeamGeometry",
    "Bixels",
    "FluenceMap",
    "InfluenceMatrix",
    "PlanDose",
    "Storage",
    "bixel_grid",
    "body_mask",
    "collapsed_cone_dose",
    "dose_grid_for",
    "fluence_maps",
    "influence_matrix",
    "mixed_plan_dose",
    "plan_dose",
]
