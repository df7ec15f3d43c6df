"""Which fraction and image, who did what when, and what made the numbers."""

from __future__ import annotations

from typing import Literal

from .base import Figure, Part, Point


class ImageSummary(Part):
    """The setup image that governs. ``acquired``: ISO 8601, as the file says; voxel spacing along x, y, z in mm."""

    acquired: str = ""
    modality: str = ""
    device: str = ""
    kvp: Figure = None
    patient_position: str | None = None
    patient_position_source: str = ""
    series_uid: str = ""
    spacing_mm: Point | None = None
    shape_zyx: tuple[int, int, int] | None = None
    images_in_fraction: int = 1
    note: str = ""


class FractionState(Part):
    """Which fraction this is. ``delivery`` "assumed": not recorded. ``written``: before or after delivery."""

    number: int
    planned: int
    clinic_date: str = ""
    delivery: Literal["pending", "assumed", "delivered", "not-delivered"] = "pending"
    delivery_note: str = ""
    written: Literal["before-delivery", "after-delivery"] = "before-delivery"


class AuditEntry(Part):
    """Who did what when. ``when`` ISO 8601 with zone; ``who`` a person, or the program for automatic steps."""

    when: str
    who: str
    what: str


class StageSeconds(Part):
    """Wall time of one stage."""

    stage: str
    seconds: float


class NamedHash(Part):
    """SHA-256 of an input, by what it is (never a path)."""

    what: str
    sha256: str


class NamedVersion(Part):
    """Version of a program or library."""

    name: str
    version: str


class Provenance(Part):
    """What made these numbers."""

    software_version: str
    code_revision: str = ""
    protocol: str = ""
    protocol_version: str = ""
    versions: tuple[NamedVersion, ...] = ()
    hashes: tuple[NamedHash, ...] = ()


class PatientLabel(Part):
    """Identity printed on the report only when asked for; None elsewhere."""

    patient_id: str
    name: str = ""
    birth_date: str = ""
