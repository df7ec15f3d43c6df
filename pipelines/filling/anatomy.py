"""Anatomy and density of the day, as the report shows them."""

from __future__ import annotations

import math

from imrt_core.evaluate.body_contour import ContourChange
from imrt_core.patient import StructureSet
from pipelines.report.parts import (
    BodyContour,
    DeformableReport,
    DensityReport,
    QualityFigure,
    StructureRow,
)
from registration import DayStructures, DeformableMatch
from registration.hu_of_day import LIMIT_HU

from ..results import DayDensity, Withheld
from .figures import quality_figures


def deformable_report(result: DeformableMatch | Withheld) -> DeformableReport:
    """Return the quality of the deformable registration, or why there is none."""
    if isinstance(result, Withheld):
        return DeformableReport(passed=False, reasons=(result.reason,))
    return DeformableReport(
        passed=result.quality.passed,
        reasons=result.quality.reasons,
        method="robust Gauss-Newton on a bending lattice, from the rigid match",
        figures=quality_figures(result.quality),
        seconds=result.seconds,
    )


def structure_rows(planned: StructureSet, result: DayStructures | Withheld) -> tuple[StructureRow, ...]:
    """Return how every structure came to the day."""
    if isinstance(result, Withheld):
        return ()
    return tuple(
        StructureRow(
            name=row.name,
            interpreted_type=planned[row.name].interpreted_type if row.name in planned else "ORGAN",
            method=row.method,
            planned_volume_cc=row.planned_volume_cc,
            day_volume_cc=row.day_volume_cc,
            reviewed=row.reviewed,
            note=row.note,
        )
        for row in result.rows
    )


def density_report(result: DayDensity | Withheld) -> DensityReport:
    """Return how the density of the day was made, with its check in fat and muscle."""
    if isinstance(result, Withheld):
        return DensityReport(method="none", passed=False, reasons=(result.reason,))
    tissues = tuple(
        QualityFigure(
            name=f"{tissue}: mean error after calibration",
            value=error,
            unit="HU",
            limit=f"within ±{LIMIT_HU:g}",
            passed=None if math.isnan(error) else abs(error) <= LIMIT_HU,
        )
        for tissue, error in (("fat", result.fat_error_hu), ("muscle", result.muscle_error_hu))
    )
    others = []
    for name, value in result.figures.items():
        what, _, unit = name.partition(", ")
        others.append(QualityFigure(name=what, value=value, unit=unit))
    return DensityReport(
        method=result.method,
        curve=result.curve,
        passed=result.passed,
        reasons=result.reasons,
        figures=(*tissues, *others),
    )


def body_contour(change: ContourChange | None, *, flag_mm: float) -> BodyContour:
    """Return the change of the body's outer contour."""
    if change is None:
        return BodyContour(flag_mm=flag_mm, note="the body of today could not be compared with that of planning")
    x, y, z = change.where_lps
    side = "more" if change.outward else "less"
    return BodyContour(
        largest_mm=change.largest_mm,
        mean_mm=change.mean_mm,
        flag_mm=flag_mm,
        flagged=change.largest_mm > flag_mm,
        where=f"{side} body today at LPS ({x:.0f}, {y:.0f}, {z:.0f}) mm of the planning CT",
        note="largest: 99th percentile of the distances in space between the two surfaces",
    )
