"""From what the stages left in the store to the fraction's report model: selection and words."""

from .anatomy import body_contour, deformable_report, density_report, structure_rows
from .dosimetry import beam_rows, dose_basis, dvh_pairs, engine_baseline, goal_lines
from .plans import plan_of_day_report, plan_summary
from .position import fraction_state, image_summary, match_report, shift_report
from .trail import audit

__all__ = [
    "audit",
    "beam_rows",
    "body_contour",
    "deformable_report",
    "density_report",
    "dose_basis",
    "dvh_pairs",
    "engine_baseline",
    "fraction_state",
    "goal_lines",
    "image_summary",
    "match_report",
    "plan_of_day_report",
    "plan_summary",
    "shift_report",
    "structure_rows",
]
