"""The decision of a fraction: a pure function of its evidence and the protocol's policy.

The rules are those of CLINICAL "Decision":

1. ``review`` before everything: while a person must look, no plan of day is computed. This is so when identity, match,
   shift, deformable quality, density, image extent, contour change, CTV volume or the baseline gate fails.
2. Conditions that ask for a new plan. ``reoptimise`` is a plan for today, warm-started from the plan of record:

   - a goal whose *projected* end-of-course value is violated;
   - a goal that today's dose violates, if it is hard, or was violated on several fractions in a row;
   - a CTV whose D98 is lost, today or projected.

   A goal that the baseline already violates counts only where it is worse than the baseline by the policy's amount.
   One day's excess of an organ triggers nothing else. Goals of PTVs apply to plans and trigger nothing. An undecided
   goal triggers nothing and is named.
3. ``replan``, a plan for the remaining fractions, where the change is lasting: a projection or a CTV coverage that
   stays violated for ``replan_after_fractions`` in a row, or a body contour changed by more than ``contour_replan_mm``
   for as long; and enough fractions remain to make it worth while.
4. Otherwise ``shift`` where the couch must move after rounding, and ``treat`` where it need not.
"""

from __future__ import annotations

from ..patient.goals import MetricKind
from .evidence import Check, Decision, Evidence, Finding, TargetCoverage, Verdict, streak
from .goals import GoalRow, Status
from .policy import Policy

__all__ = ["Check", "Decision", "Evidence", "Finding", "Policy", "TargetCoverage", "Verdict", "decide"]

_CONTOUR = "body contour"


def decide(evidence: Evidence, policy: Policy | None = None) -> Decision:
    """Return the decision of a fraction with its reasons.

    Parameters
    ----------
    evidence : Evidence
        What was measured.
    policy : Policy, optional
        Thresholds; the documented defaults if not given.
    """
    policy = policy if policy is not None else Policy()
    findings = _findings(evidence, policy)
    blocking = _review_reasons(evidence, policy)
    lasting, today = _trigger_reasons(evidence, policy, findings)
    notes = _notes(evidence, policy)
    if blocking:
        return Decision(decision=Verdict.REVIEW, reasons=(*blocking, *lasting, *today, *notes), findings=findings)
    if lasting and evidence.remaining_fractions >= policy.replan_min_remaining:
        return Decision(decision=Verdict.REPLAN, reasons=(*lasting, *today, *notes), findings=findings)
    if lasting:
        few = (
            f"{evidence.remaining_fractions} fractions remain, fewer than the {policy.replan_min_remaining} that a "
            "replan needs: re-optimised day by day instead."
        )
        return Decision(decision=Verdict.REOPTIMISE, reasons=(*lasting, few, *today, *notes), findings=findings)
    if today:
        return Decision(decision=Verdict.REOPTIMISE, reasons=(*today, *notes), findings=findings)
    shift_mm, shift_deg = evidence.shift_mm or (), evidence.shift_deg or ()
    if any(shift_mm) or any(shift_deg):
        text = "The couch shift corrects the set-up: " + _shift_text(evidence) + "; no goal asks for a new plan."
        return Decision(decision=Verdict.SHIFT, reasons=(text, *notes), findings=findings)
    text = "The shift is zero after rounding and no goal asks for a new plan."
    return Decision(decision=Verdict.TREAT, reasons=(text, *notes), findings=findings)


def _shift_text(evidence: Evidence) -> str:
    shift_mm, shift_deg = evidence.shift_mm or (0.0, 0.0, 0.0), evidence.shift_deg or (0.0, 0.0, 0.0)
    text = "vertical {:+.1f}, longitudinal {:+.1f}, lateral {:+.1f} mm".format(*shift_mm)
    if any(shift_deg):
        text += ", pitch {:+.1f}, roll {:+.1f}, yaw {:+.1f}°".format(*shift_deg)
    return text


def _failed(check: Check, sentence: str, *, optional: bool = False) -> list[str]:
    if check.passed or (optional and check.passed is None):
        return []
    return [sentence + _because(check) + "."]


def _review_reasons(evidence: Evidence, policy: Policy) -> list[str]:
    reasons = _failed(evidence.identity, "Patient, position or plan is not certain")
    reasons += _failed(evidence.match, "The match failed or is beyond its action level")
    if evidence.shift_mm is None or evidence.shift_deg is None:
        reasons.append("The couch shift is withheld" + _because(evidence.shift_limits) + ".")
    else:
        reasons += _failed(evidence.shift_limits, "The shift is beyond its limits: do not move, look")
    # "Not within" also catches a residual that is not a number.
    if not evidence.residual_mm <= policy.residual_limit_mm:
        reasons.append(
            f"{evidence.residual_mm:.1f} mm remain after the shift; the limit is {policy.residual_limit_mm:g} mm."
        )
    if not evidence.residual_deg <= policy.residual_limit_deg:
        reasons.append(
            f"A rotation of {evidence.residual_deg:.1f}° remains after the shift; the limit is "
            f"{policy.residual_limit_deg:g}°."
        )
    reasons += _failed(evidence.deformable, "The deformable registration failed within 2 cm of a target", optional=True)
    if evidence.outside_image:
        reasons.append("Not wholly inside the image of the day: " + ", ".join(evidence.outside_image) + ".")
    reasons += _failed(evidence.density, "The density of the day cannot be trusted")
    if not evidence.contour_change_mm <= policy.contour_limit_mm:
        reasons.append(
            f"The body contour changed by {evidence.contour_change_mm:.1f} mm; the limit is "
            f"{policy.contour_limit_mm:g} mm."
        )
    for name, change in evidence.ctv_volume_change_percent:
        if not change >= -policy.ctv_volume_loss_percent:
            reasons.append(
                f"{name} lost {-change:.1f} % of its volume; more than {policy.ctv_volume_loss_percent:g} % needs a "
                "person."
            )
    reasons += _failed(evidence.baseline, "The dose engine is not validated for this plan")
    return reasons


def _because(check: Check) -> str:
    return ": " + "; ".join(check.reasons) if check.reasons else ""


def _exceeds(row: GoalRow, value: float, status: Status, policy: Policy) -> bool:
    """Whether a violation counts: any, or where the baseline is violated too, one worse by the policy's amount."""
    if status != Status.VIOLATED:
        return False
    if row.planned_status != Status.VIOLATED:
        return True
    metric = row.goal.metric
    if metric.unit == "Gy":
        allowed = policy.worsening_gy
    elif metric.unit == "cc":
        allowed = policy.worsening_cc
    elif metric.kind == MetricKind.VOLUME_AT_DOSE:
        allowed = policy.worsening_percent_volume
    else:
        allowed = policy.worsening_percent_dose
    worse = value - row.planned if row.goal.is_upper else row.planned - value
    return worse > allowed


def _lost(target: TargetCoverage, d98_gy: float, policy: Policy) -> bool:
    # NaN is a loss: what cannot be shown to be covered is not.
    covered = d98_gy >= policy.coverage_percent / 100 * target.prescription_gy
    kept = d98_gy >= target.planned_d98_gy - policy.coverage_loss_percent / 100 * target.prescription_gy
    return not (covered or kept)


def _findings(evidence: Evidence, policy: Policy) -> tuple[Finding, ...]:
    found = []
    for row in evidence.goals:
        if not row.plan_only:
            today = _exceeds(row, row.today, row.today_status, policy)
            projected = today if row.projected is None else _exceeds(row, row.projected, row.status, policy)
            found.append(Finding(name=str(row.goal), today=today, projected=projected))
    for target in evidence.coverage:
        today = _lost(target, target.today_d98_gy, policy)
        end_gy = target.today_d98_gy if target.projected_d98_gy is None else target.projected_d98_gy
        found.append(Finding(name=f"{target.name} coverage", today=today, projected=_lost(target, end_gy, policy)))
    changed = evidence.contour_change_mm > policy.contour_replan_mm
    found.append(Finding(name=_CONTOUR, today=changed, projected=changed))
    return tuple(found)


def _trigger_reasons(evidence: Evidence, policy: Policy, findings: tuple[Finding, ...]) -> tuple[list[str], list[str]]:
    """Return the reasons for a replan, and those for re-optimising today."""
    state = {f.name: f for f in findings}
    lasting: list[str] = []
    today: list[str] = []
    for row in evidence.goals:
        name = str(row.goal)
        if row.plan_only:
            continue
        unit = row.goal.metric.unit
        baseline = f"planned {row.planned:.1f} {unit}"
        if state[name].projected and row.projected is not None:
            count = 1 + streak(name, evidence.previous, projected=True)
            text = f"{name}: projected {row.projected:.1f} {unit} at the end of the course ({baseline})"
            if count >= policy.replan_after_fractions:
                lasting.append(f"{text}, on {count} fractions in a row.")
            else:
                today.append(text + ".")
        elif state[name].today:
            count = 1 + streak(name, evidence.previous, projected=False)
            text = f"{name}: {row.today:.1f} {unit} if every fraction were like today ({baseline})"
            if row.goal.hard:
                today.append(text + ", a hard limit.")
            elif count >= policy.persistence_fractions:
                today.append(f"{text}, on {count} fractions in a row.")
    for target in evidence.coverage:
        finding = state[f"{target.name} coverage"]
        if not (finding.today or finding.projected):
            continue
        which = "projected" if finding.projected and target.projected_d98_gy is not None else "today"
        d98_gy = target.projected_d98_gy if which == "projected" else target.today_d98_gy
        count = 1 + streak(finding.name, evidence.previous, projected=which == "projected")
        text = (
            f"{target.name}: D98% {which} {d98_gy:.1f} Gy, planned {target.planned_d98_gy:.1f} Gy, below "
            f"{policy.coverage_percent:g} % of {target.prescription_gy:g} Gy"
        )
        if count >= policy.replan_after_fractions:
            lasting.append(f"{text}, on {count} fractions in a row.")
        else:
            today.append(text + ".")
    if state[_CONTOUR].today:
        count = 1 + streak(_CONTOUR, evidence.previous, projected=False)
        if count >= policy.replan_after_fractions:
            lasting.append(
                f"The body contour changed by {evidence.contour_change_mm:.1f} mm, more than "
                f"{policy.contour_replan_mm:g} mm on {count} fractions in a row."
            )
    return lasting, today


def _notes(evidence: Evidence, policy: Policy) -> list[str]:
    notes = []
    for row in evidence.goals:
        unit = row.goal.metric.unit
        if row.status == Status.UNDECIDED:
            notes.append(f"{row.goal}: undecided, between {row.low:.1f} and {row.high:.1f} {unit}.")
        elif row.today_status == Status.VIOLATED and row.projected is not None and row.ok and not row.goal.hard:
            notes.append(
                f"{row.goal}: {row.today:.1f} {unit} if every fraction were like today, {row.projected:.1f} {unit} "
                "projected: one day's excess does not ask for a new plan."
            )
    if policy.contour_flag_mm < evidence.contour_change_mm <= policy.contour_limit_mm:
        notes.append(
            f"The body contour changed by {evidence.contour_change_mm:.1f} mm (flag {policy.contour_flag_mm:g} mm)."
        )
    return notes
