"""Treatment machines: beam model, collimator, limits, table, imagers, density curves and couch."""

from .beam_model import BeamModel, Calibration, CommissionedRange, Residuals
from .clearance import Clearance, ClearanceRange, clearance_refusal
from .collimators import NamedCollimator, mismatches, recognise
from .couch import Couch, CouchLayer
from .density import DensityCurve, mass_density, relative_electron_density
from .files import load_machine, parse_machine, shipped_machines, write_machine
from .leaves import DECLARED_LEAVES, LeafModel
from .machine import DeliveryLimits, Machine, Table

__all__ = [
    "DECLARED_LEAVES",
    "BeamModel",
    "Calibration",
    "Clearance",
    "ClearanceRange",
    "CommissionedRange",
    "Couch",
    "CouchLayer",
    "DeliveryLimits",
    "DensityCurve",
    "LeafModel",
    "Machine",
    "NamedCollimator",
    "Residuals",
    "Table",
    "clearance_refusal",
    "load_machine",
    "mass_density",
    "mismatches",
    "parse_machine",
    "recognise",
    "relative_electron_density",
    "shipped_machines",
    "write_machine",
]
