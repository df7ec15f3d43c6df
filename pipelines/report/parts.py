"""The parts that a fraction report is made of: plain figures with their units, no pixels.

Everything here is a frozen pydantic model that reads attributes too (``model_validate(obj)`` with ``from_attributes``),
so that a dataclass of the libraries with the same names fills it. NaN becomes None: an unknown number is absent from
the JSON and shown as "–", never as 0.
"""

from __future__ import annotations

from .base import Decision, Figure, GoalStatus, Part, Point, QualityFigure
from .dosimetry import (
    BeamRow,
    Curve,
    DoseBasis,
    DvhPair,
    EngineBaseline,
    GoalLine,
    MuCheckRow,
    PlanComparison,
    PlanOfDay,
    PlanSummary,
    TierRow,
)
from .position import (
    BodyContour,
    DeformableReport,
    DensityReport,
    MatchReport,
    Shift,
    ShiftReport,
    StructureRow,
    TissueCheck,
)
from .record import (
    AuditEntry,
    FractionState,
    ImageSummary,
    NamedHash,
    NamedVersion,
    PatientLabel,
    Provenance,
    StageSeconds,
)

__all__ = [
    "AuditEntry",
    "BeamRow",
    "BodyContour",
    "Curve",
    "Decision",
    "DeformableReport",
    "DensityReport",
    "DoseBasis",
    "DvhPair",
    "EngineBaseline",
    "Figure",
    "FractionState",
    "GoalLine",
    "GoalStatus",
    "ImageSummary",
    "MatchReport",
    "MuCheckRow",
    "NamedHash",
    "NamedVersion",
    "Part",
    "PatientLabel",
    "PlanComparison",
    "PlanOfDay",
    "PlanSummary",
    "Point",
    "Provenance",
    "QualityFigure",
    "Shift",
    "ShiftReport",
    "StageSeconds",
    "StructureRow",
    "TierRow",
    "TissueCheck",
]
