"""Independent check of monitor units: point dose per beam from measured TPR and output factors.

Nothing here is shared with the dose engines: geometry, depth, apertures, tables and their files are this package's
own, and an import contract keeps it so. It uses the domain types of :mod:`imrt_core.patient` only.
"""

from .files import load_tables, parse_tables, shipped_tables
from .plan_check import TOLERANCE_PERCENT, better_point, check_plan
from .point_dose import PointDose, beam_point_dose
from .points import candidate_points, suited_point
from .result import BeamCheck, PlanCheck
from .suitability import ProposedPoint, proposed_points, unsuitable_because
from .tables import CheckTables

__all__ = [
    "TOLERANCE_PERCENT",
    "BeamCheck",
    "CheckTables",
    "PlanCheck",
    "PointDose",
    "ProposedPoint",
    "beam_point_dose",
    "better_point",
    "candidate_points",
    "check_plan",
    "load_tables",
    "parse_tables",
    "proposed_points",
    "shipped_tables",
    "suited_point",
    "unsuitable_because",
]
