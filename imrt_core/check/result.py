"""What an independent check says, for people and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .geometry import Point
from .suitability import ProposedPoint

#: Verdicts of a beam and of a plan.
AGREES, DIFFERS, UNSUITABLE, NOT_COMPARED = "agrees", "differs", "unsuitable", "not compared"


@dataclass(frozen=True)
class BeamCheck:
    """One beam at its point, per fraction.

    Parameters
    ----------
    number, name : int, str
        As in the plan.
    point_lps : tuple of float
        Where.
    mu : float
        Planned meterset.
    check_dose_gy : float
        Dose of that meterset by the check.
    planned_dose_gy : float or None
        The engine's, as given.
    mu_for_planned_dose : float or None
        Meterset that gives the engine's dose by the check.
    difference_percent : float or None
        (engine − check) / check.
    verdict : str
        ``"agrees"``, ``"differs"``, ``"unsuitable"`` or ``"not compared"``.
    reasons : tuple of str
        Why the point is unsuitable.
    notes : tuple of str
        What makes the check less exact without forbidding it.
    radiological_depth_mm, off_axis_mm, distance_mm, collimator_mm, opening_mm : float
        As in :class:`imrt_core.check.PointDose`.
    """

    number: int
    name: str
    point_lps: Point
    mu: float
    check_dose_gy: float
    planned_dose_gy: float | None
    mu_for_planned_dose: float | None
    difference_percent: float | None
    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    radiological_depth_mm: float
    off_axis_mm: float
    distance_mm: float
    collimator_mm: float
    opening_mm: float


@dataclass(frozen=True)
class PlanCheck:
    """The check of a plan.

    Parameters
    ----------
    plan_label, plan_uid : str
        Which plan.
    tables : str
        Name and version of the measured tables.
    tolerance_percent : float
        Limit of the verdict.
    beams : tuple of BeamCheck
        In the order of the plan.
    verdict : str
        ``"differs"`` if any beam differs, else ``"unsuitable"`` if any beam could not be judged, else ``"agrees"``;
        ``"not compared"`` if no engine dose was given.
    proposed_point : ProposedPoint or None
        A better point, where one was sought and found.
    """

    plan_label: str
    plan_uid: str
    tables: str
    tolerance_percent: float
    beams: tuple[BeamCheck, ...]
    verdict: str
    proposed_point: ProposedPoint | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"schema_version": 1, **asdict(self)}

    def text(self) -> str:
        """Return a table for people."""
        lines = [
            f"Independent check of plan {self.plan_label}: {self.verdict} (limit {self.tolerance_percent:g} %, "
            f"tables {self.tables})",
            f"{'beam':<12}{'MU':>9}{'check Gy':>10}{'engine Gy':>11}{'diff %':>8}{'MU check':>10}{'depth mm':>10}"
            "  verdict",
        ]
        for beam in self.beams:
            figures = (
                _figure(beam.planned_dose_gy, 11, 3),
                _figure(beam.difference_percent, 8, 1),
                _figure(beam.mu_for_planned_dose, 10, 1),
            )
            lines.append(
                f"{beam.name:<12}{beam.mu:>9.1f}{beam.check_dose_gy:>10.3f}{''.join(figures)}"
                f"{beam.radiological_depth_mm:>10.0f}  {beam.verdict}"
            )
            lines += [f"    {reason}" for reason in (*beam.reasons, *beam.notes)]
        if self.proposed_point is not None:
            x, y, z = self.proposed_point.point_lps
            lines.append(
                f"Better point: LPS ({x:.1f}, {y:.1f}, {z:.1f}) mm, {self.proposed_point.dose_gy:.2f} Gy, "
                f"{self.proposed_point.gradient_percent_per_mm:.1f} % per mm"
            )
        return "\n".join(lines)


def _figure(value: float | None, width: int, digits: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.{digits}f}"
