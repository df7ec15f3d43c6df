"""Which fraction and image, the match and the couch shift, as the report shows them."""

from __future__ import annotations

from pipelines.report.parts import (
    FractionState,
    ImageSummary,
    MatchReport,
    Shift,
    ShiftReport,
)
from registration import CouchShift, RigidMatch

from ..course_record import DeliveryRecord
from ..results import DayImage, DayShift
from .figures import quality_figures


def shift_report(shift: DayShift) -> ShiftReport:
    """Return the couch shift as the report shows it."""
    return ShiftReport(
        found=_shift(shift.exact),
        proposed=_shift(shift.applied.proposed if shift.applied else None),
        applied=_shift(shift.used),
        residual=_shift(shift.residual),
        apply_shift=shift.applied is not None and shift.applied.within_limits and shift.source == "proposed",
        within_limits=shift.applied.within_limits if shift.applied else None,
        source="recorded" if shift.source == "recorded" else "proposed",
        reasons=shift.reasons,
        machine_isocentre_lps=shift.machine_isocentre_lps,
        machine_isocentre_source=shift.machine_isocentre_source if shift.machine_isocentre_lps else "",
        planned_isocentre_lps=shift.planned_isocentre_lps,
        patient_position=shift.patient_position or "",
    )


def match_report(match: RigidMatch) -> MatchReport:
    """Return the rigid match as the report shows it."""
    return MatchReport(
        roi=match.quality.region,
        passed=match.quality.passed,
        reasons=match.quality.reasons,
        translation_mm=match.translation_mm,
        rotation_deg=match.rotation_deg,
        centre_lps=match.centre_lps,
        metric_name="correlation",
        metric=match.metric,
        target_minus_bone_mm=match.target.shift_mm if match.target is not None and match.target.passed else None,
        target_reasons=() if match.target is None else match.target.reasons,
        figures=quality_figures(match.quality),
        seconds=match.seconds,
    )


def image_summary(day: DayImage) -> ImageSummary:
    """Return which image governs."""
    image = day.image
    scanner = image.scanner
    return ImageSummary(
        acquired=image.acquired,
        modality=scanner.modality,
        device=" ".join(text for text in (scanner.manufacturer, scanner.model, scanner.station) if text),
        kvp=scanner.kvp,
        patient_position=image.patient_position,
        patient_position_source=day.position_source,
        series_uid=image.series_uid,
        spacing_mm=image.hu.grid.spacing_mm,
        shape_zyx=image.hu.grid.shape,
        images_in_fraction=day.images_in_fraction,
        note="; ".join(day.notes),
    )


def fraction_state(number: int, planned: int, image: DayImage, delivery: DeliveryRecord | None) -> FractionState:
    """Return which fraction this is and whether it was delivered."""
    states = {"full": "delivered", "partial": "delivered", "none": "not-delivered"}
    note = ""
    if delivery is not None and delivery.delivered == "partial":
        note = "partial: " + ", ".join(f"{name} {mu:g} MU" for name, mu in delivery.mu_by_beam.items())
    return FractionState.model_validate(
        {
            "number": number,
            "planned": planned,
            "clinic_date": image.image.acquired[:10],
            "delivery": states[delivery.delivered] if delivery else "pending",
            "delivery_note": note,
            "written": "after-delivery" if delivery else "before-delivery",
        }
    )


def _shift(shift: CouchShift | None) -> Shift | None:
    return Shift.model_validate(shift) if shift is not None else None
