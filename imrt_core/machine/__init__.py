"""Treatment machines: beam model, collimator, limits, table, imagers, density curves and couch."""

from .beam_model import BeamModel, Calibration, CommissionedRange, Residuals
from .couch import Couch, CouchLayer
from .density import DensityCurve, mass_density, relative_electron_density
from .files import load_machine, parse_machine, shipped_machines, write_machine
from .machine import DeliveryLimits, Machine, Table

__all__ = [
    "BeamModel",
    "Calibration",
    "CommissionedRange",
    "Couch",
    "CouchLayer",
    "DeliveryLimits",
    "DensityCurve",
    "Machine",
    "Residuals",
    "Table",
    "load_machine",
    "mass_density",
    "parse_machine",
    "relative_electron_density",
    "shipped_machines",
    "write_machine",
]
