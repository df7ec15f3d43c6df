"""Measured beam data: readers of scan files, and what a fit does to curves before it uses them."""

from .folder import combine, read_scans
from .measurements import FileContents, Measurements
from .prepare import (
    Centred,
    FieldEdges,
    Shifted,
    Symmetrised,
    at_effective_point,
    centred,
    field_edges,
    normalised,
    resampled,
    symmetrised,
    value_at,
)
from .types import AbsoluteDose, Detector, OutputFactors, PrimaryFluence, Scan

__all__ = [
    "AbsoluteDose",
    "Centred",
    "Detector",
    "FieldEdges",
    "FileContents",
    "Measurements",
    "OutputFactors",
    "PrimaryFluence",
    "Scan",
    "Shifted",
    "Symmetrised",
    "at_effective_point",
    "centred",
    "combine",
    "field_edges",
    "normalised",
    "read_scans",
    "resampled",
    "symmetrised",
    "value_at",
]
