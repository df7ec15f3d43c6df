"""What ``igrt plan`` answers."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from imrt_core.evaluate.plan_complexity import PlanComplexity
from imrt_core.evaluate.plan_quality import PlanQuality

from .answers import GoalAnswer, number, status_text
from .mu_check import MuCheckPart, plan_text
from .output import Answer
from .plan_figures import figures_tables


class PlanTechnique(StrEnum):
    """How a plan is delivered: intensity-modulated with moving leaves or static segments, or 3D conformal."""

    SLIDING_WINDOW = "sliding-window"
    STEP_AND_SHOOT = "step-and-shoot"
    CONFORMAL = "3d-crt"


class PlannedBeam(BaseModel):
    """Direction of a beam, IEC 61217 degrees."""

    gantry_deg: float
    collimator_deg: float
    table_deg: float


class PlanAnswer(Answer):
    """What ``igrt plan`` prints, and writes as ``plan.json``."""

    # The figures come as dataclasses: they too are checked for finite numbers.
    model_config = ConfigDict(revalidate_instances="always")

    out: str
    plan_uid: str
    goals: tuple[GoalAnswer, ...]
    not_applicable: tuple[str, ...]
    feasible: bool
    objective: float
    iterations: int
    kkt_residual: float
    mu: float
    segments: int
    delivery_seconds: float
    technique: PlanTechnique = PlanTechnique.SLIDING_WINDOW
    quality: PlanQuality | None = None
    complexity: PlanComplexity | None = None
    mu_check: MuCheckPart | None
    conflicts: tuple[str, ...]
    beams: tuple[PlannedBeam, ...]
    lost_gantry_deg: dict[str, int]
    structures_made: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: float
    stage_seconds: dict[str, float]

    def must_look(self) -> bool:
        """Whether a hard goal is not met, or the independent MU check differs."""
        return not self.feasible or (self.mu_check is not None and self.mu_check.passed is False)

    def as_text(self) -> RenderableType:
        """Return the goals, with the plan's figures below."""
        goals = Table("goal", "value", "status", title=f"plan in {self.out}")
        for goal in self.goals:
            goals.add_row(goal.goal, number(goal.value), status_text(goal.status))
        stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.stage_seconds.items())
        lines = [
            f"{self.mu:.0f} MU per fraction in {self.segments} segments, {self.delivery_seconds:.0f} s to deliver",
            f"objective {self.objective:.4g} after {self.iterations} iterations; {self.seconds:.0f} s ({stages})",
            f"independent MU check {plan_text(self.mu_check)}",
            *(f"conflict: {text}" for text in self.conflicts),
            "gantry "
            + ", ".join(f"{b.gantry_deg:g}°" + (f"/T{b.table_deg:g}°" if b.table_deg else "") for b in self.beams),
            *self.not_applicable,
            *(f"warning: {text}" for text in self.warnings),
        ]
        return Group(goals, *figures_tables(self.quality, self.complexity), *map(Text, lines))
