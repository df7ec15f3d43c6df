"""The plan report numbers of ``igrt plan``: as JSON, and as tables."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .output import Part


class TargetQualityPart(Part):
    """A target, course dose; see :class:`imrt_core.evaluate.plan_quality.TargetQuality`."""

    name: str
    prescription_gy: float
    volume_cc: float
    d98_gy: float
    d95_gy: float
    d50_gy: float
    d2_gy: float
    homogeneity_index: float | None


class LevelQualityPart(Part):
    """A dose level; see :class:`imrt_core.evaluate.plan_quality.LevelQuality`."""

    prescription_gy: float
    targets: tuple[str, ...]
    target_cc: float
    isodose_cc: float
    covered_cc: float
    half_isodose_cc: float
    conformity_index: float
    conformity_index_95: float
    gradient_index: float | None


class PlanQualityPart(Part):
    """Coverage, conformity and integral dose, course scale; integral dose is that outside the targets."""

    targets: tuple[TargetQualityPart, ...]
    levels: tuple[LevelQualityPart, ...]
    integral_dose_gy_l: float
    integral_dose_j: float | None
    judged_l: float
    outside_grid_l: float


class BeamComplexityPart(Part):
    """A beam, per fraction; see :class:`imrt_core.evaluate.plan_complexity.BeamComplexity`."""

    name: str
    mu: float
    segments: int
    leaf_sequence_variability: float
    aperture_area_variability: float
    modulation_complexity_score: float
    mean_leaf_gap_mm: float
    small_gap_share: float
    mean_area_cm2: float
    seconds: float


class PlanComplexityPart(Part):
    """MU, modulation and time, per fraction; ``treatment_seconds`` counts the gantry's way between beams too."""

    mu: float
    mu_per_gy: float | None
    segments: int
    modulation_complexity_score: float
    mean_leaf_gap_mm: float
    small_gap_share: float
    mean_area_cm2: float
    treatment_seconds: float
    gantry_seconds: float
    beams: tuple[BeamComplexityPart, ...]


def figures_tables(
    quality: PlanQualityPart | None, complexity: PlanComplexityPart | None
) -> tuple[RenderableType, ...]:
    """Return the figures for a person."""
    shown: list[RenderableType] = []
    if quality is not None:
        targets = Table("target", "Gy", "D98", "D95", "D50", "D2", "homogeneity (D2 − D98) / D50")
        for target in quality.targets:
            doses = (target.prescription_gy, target.d98_gy, target.d95_gy, target.d50_gy, target.d2_gy)
            targets.add_row(target.name, *(f"{dose:.1f}" for dose in doses), _index(target.homogeneity_index))
        levels = Table("isodose", "of", "targets cc", "isodose cc", "Paddick conformity", "at 95 %", "gradient")
        for level in quality.levels:
            levels.add_row(
                f"{level.prescription_gy:g} Gy",
                ", ".join(level.targets),
                f"{level.target_cc:.1f}",
                f"{level.isodose_cc:.1f}",
                _index(level.conformity_index),
                _index(level.conformity_index_95),
                _index(level.gradient_index),
            )
        energy = "" if quality.integral_dose_j is None else f", {quality.integral_dose_j:.0f} J"
        beyond = f" ({quality.outside_grid_l:.1f} l lie beyond the dose grid)" if quality.outside_grid_l > 0 else ""
        line = (
            f"integral dose outside the targets {quality.integral_dose_gy_l:.0f} Gy·l{energy} "
            f"in {quality.judged_l:.1f} l{beyond}"
        )
        shown += [targets, levels, Text(line)]
    if complexity is not None:
        per_gy = "" if complexity.mu_per_gy is None else f", {complexity.mu_per_gy:.0f} MU/Gy"
        line = (
            f"modulation complexity score {complexity.modulation_complexity_score:.2f}{per_gy}; openings "
            f"{complexity.mean_area_cm2:.0f} cm², leaf gaps {complexity.mean_leaf_gap_mm:.0f} mm, "
            f"{100 * complexity.small_gap_share:.0f} % below 10 mm; "
            f"{complexity.treatment_seconds:.0f} s with the gantry's way"
        )
        shown.append(Text(line))
    return tuple(shown)


def _index(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
