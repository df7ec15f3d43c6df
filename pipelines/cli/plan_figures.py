"""The plan report numbers of ``igrt plan`` as tables."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from imrt_core.evaluate.plan_complexity import PlanComplexity
from imrt_core.evaluate.plan_quality import PlanQuality


def figures_tables(quality: PlanQuality | None, complexity: PlanComplexity | None) -> tuple[RenderableType, ...]:
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
