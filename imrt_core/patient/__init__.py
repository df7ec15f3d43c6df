"""Domain types: immutable, and valid once built."""

from .course import DoseDistribution, PlanningData
from .errors import (
    DicomError,
    GeometryError,
    IdentityError,
    IgrtError,
    InputRefusedError,
    MachineError,
    PlanError,
    ProtocolError,
    RegistrationError,
    StructureError,
)
from .goals import Goal, Metric, MetricKind
from .grid import Grid
from .image import PATIENT_POSITIONS, PatientIdentity, PatientImage, Scanner
from .plan import Beam, ControlPoint, MultileafCollimator, Plan
from .structures import Contour, Structure, StructureSet
from .transform import DisplacementField, RigidTransform
from .volume import Volume

__all__ = [
    "PATIENT_POSITIONS",
    "Beam",
    "Contour",
    "ControlPoint",
    "DicomError",
    "DisplacementField",
    "DoseDistribution",
    "GeometryError",
    "Goal",
    "Grid",
    "IdentityError",
    "IgrtError",
    "InputRefusedError",
    "MachineError",
    "Metric",
    "MetricKind",
    "MultileafCollimator",
    "PatientIdentity",
    "PatientImage",
    "Plan",
    "PlanError",
    "PlanningData",
    "ProtocolError",
    "RegistrationError",
    "RigidTransform",
    "Scanner",
    "Structure",
    "StructureError",
    "StructureSet",
    "Volume",
]
