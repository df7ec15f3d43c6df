"""The thresholds of the decision of a fraction."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from ..patient.errors import ProtocolError


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Thresholds of :func:`imrt_core.evaluate.decision.decide`; a protocol may set each of them.

    Defaults follow published practice where there is some and are otherwise ours, said so.

    Parameters
    ----------
    worsening_gy : float
        A dose goal that the baseline already violates triggers only when it is worse than the baseline by this much,
        course scale. 2 Gy: one fraction (ours).
    worsening_percent_volume : float
        The same for goals on a volume in percent: points. 5 (ours).
    worsening_cc : float
        The same for goals on an absolute volume. 5 cm³ (ours).
    worsening_percent_dose : float
        The same for doses in percent of the prescription: points. 3, the step of the gamma criterion of TG-218.
    persistence_fractions : int
        An organ goal that is violated on this many fractions in a row, today included, triggers re-optimisation even
        though its projection is met. 3, the number of images from which the no-action-level protocol tells a
        systematic from a random error (de Boer and Heijmen, IJROBP 50, 2001, 1350).
    replan_after_fractions : int
        A projection, a coverage loss or a contour change that stays this many fractions in a row, today included,
        is a lasting change of the anatomy: a new plan for the rest of the course. 3 (ours).
    replan_min_remaining : int
        With fewer remaining fractions than this, re-optimise day by day instead of replanning: making, checking and
        approving a plan takes about three working days (ours).
    coverage_percent : float
        CTV D98 must stay above this share of its prescription. 95: the −5 % of ICRU 50, applied to the near-minimum
        dose D98% of ICRU 83.
    coverage_loss_percent : float
        ... and counts as lost only when it is also this far below the baseline, in percent of prescription. 2, the
        agreement that the baseline gate demands.
    contour_flag_mm : float
        Change of the body contour that is named among the reasons. 5 (CLINICAL).
    contour_replan_mm : float
        Change that, when it stays for ``replan_after_fractions``, needs a new plan. 10 (ours; the order of the
        centimetre at which masks are commonly remade).
    contour_limit_mm : float
        Change beyond which no plan of day is computed: a person looks. 20 (ours).
    ctv_volume_loss_percent : float
        A CTV never loses more of its volume without a person. 5 (CLINICAL).
    residual_limit_mm, residual_limit_deg : float
        What may remain after rounding the shift and dropping rotations that the table cannot make, before a person
        looks. 3 mm and 5° (ours; what remains below is in the dose of day, which the goals judge).
    """

    worsening_gy: float = 2.0
    worsening_percent_volume: float = 5.0
    worsening_cc: float = 5.0
    worsening_percent_dose: float = 3.0
    persistence_fractions: int = 3
    replan_after_fractions: int = 3
    replan_min_remaining: int = 4
    coverage_percent: float = 95.0
    coverage_loss_percent: float = 2.0
    contour_flag_mm: float = 5.0
    contour_replan_mm: float = 10.0
    contour_limit_mm: float = 20.0
    ctv_volume_loss_percent: float = 5.0
    residual_limit_mm: float = 3.0
    residual_limit_deg: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value > 0):
                raise ProtocolError("a decision threshold must be positive", found=str(value), where=field.name)
        if not self.contour_flag_mm <= self.contour_replan_mm <= self.contour_limit_mm:
            raise ProtocolError(
                "the contour thresholds must ascend",
                found=f"{self.contour_flag_mm}, {self.contour_replan_mm}, {self.contour_limit_mm} mm",
                expected="flag <= replan <= limit",
            )
