"""A person's sign-off of a fraction's plan, in the ledger; an MU check that did not pass must be overridden by name."""

from __future__ import annotations

from dataclasses import dataclass

from imrt_core.evaluate.mu_check import MuCheck

from .codec import read_npz
from .errors import CourseError
from .files import sha256_of_file
from .ledger import Ledger, open_ledger
from .locks import course_lock
from .results import PlanForDay, PlanOfRecord
from .store import CourseFolder, FractionFolder

#: States of a fraction that a person gives, with the kinds of their events.
APPROVED, REJECTED = "approved", "rejected"
_KINDS = {f"plan-{state}": state for state in (APPROVED, REJECTED)}


@dataclass(frozen=True)
class SignOff:
    """What was signed.

    Parameters
    ----------
    fraction : str
        ``"fx07"``.
    state : str
        ``"approved"`` or ``"rejected"``.
    plan_uid : str
        Plan of the day, or of record where that was kept; empty where none was made.
    mu_check : MuCheck or None
        Of a new plan of the day.
    overridden : bool
        A check that did not pass was overridden.
    """

    fraction: str
    state: str
    plan_uid: str
    mu_check: MuCheck | None
    overridden: bool


def sign_off(
    course: CourseFolder,
    fraction: str | int,
    *,
    state: str,
    by: str,
    reason: str,
    override_mu_check: str = "",
) -> SignOff:
    """Approve or reject the plan of a fraction; every sign-off is an event, the latest gives the state.

    Parameters
    ----------
    course, fraction
        Which fraction; it has been run and not been delivered.
    state : str
        ``"approved"`` or ``"rejected"``.
    by, reason : str
        Who signs, and why.
    override_mu_check : str
        Why a plan of the day is approved whose independent MU check did not pass; empty refuses it.

    Raises
    ------
    CourseError
        If the fraction does not exist, has not been run or is recorded as treated; to approve: if no plan could be
        made, or the independent MU check of a new plan failed or could not be made and is not overridden.
    """
    place = course.fraction(fraction)
    planned = course.record().fractions
    where = f"{course.course} {place.key}"
    if place.number > planned:
        raise CourseError("the course has fewer fractions", found=place.key, expected=f"<= fx{planned:02d}")
    with course_lock(course.course, holder=f"sign-off {place.key}"):
        if not place.output("plan_of_day", ".npz").is_file():
            raise CourseError(
                "the fraction has not been run to its end",
                found="no plan of day",
                expected="igrt fraction run first",
                where=where,
                code="fraction-not-run",
            )
        if place.delivery() is not None:
            raise CourseError(
                "the fraction is recorded already",
                found=place.delivery_file.name,
                expected="a fraction that is not delivered",
                where=where,
                code="fraction-recorded",
            )
        plan: PlanForDay = read_npz(place.output("plan_of_day", ".npz"))
        needed = state == APPROVED and plan.outcome == "reoptimised"
        if state == APPROVED:
            _refuse_unfit(plan, override_mu_check, where)
        overridden = needed and not _passed(plan.mu_check)
        signed = SignOff(place.key, state, _plan_uid(course, plan), plan.mu_check, overridden)
        details = {
            "by": by,
            "reason": reason,
            "plan_uid": signed.plan_uid,
            "plan_sha256": sha256_of_file(place.output("plan_of_day", ".npz")),
            "mu_check_passed": plan.mu_check.passed if plan.mu_check else None,
            "mu_check_faults": list(plan.mu_check.faults) if plan.mu_check else [],
            "override_mu_check": override_mu_check if overridden else "",
        }
        with open_ledger() as ledger:
            ledger.sign_off(course.course, place.key, state, details)
    return signed


def signed_state(ledger: Ledger, fraction: FractionFolder) -> str:
    """Return ``"approved"`` or ``"rejected"`` if the present plan was signed so, else an empty string."""
    events = ledger.events(course=fraction.course.course, fraction=fraction.key)
    latest = next((event for event in reversed(events) if event.kind in _KINDS), None)
    if latest is None or latest.details.get("plan_sha256") != sha256_of_file(fraction.output("plan_of_day", ".npz")):
        return ""  # never signed, or the fraction was run again since
    return _KINDS[latest.kind]


def _refuse_unfit(plan: PlanForDay, override: str, where: str) -> None:
    if plan.outcome == "not-computed":
        raise CourseError(
            "there is no plan to approve",
            found=plan.reason,
            expected="a plan of the day, or the plan of record kept",
            where=where,
            code="nothing-to-approve",
        )
    if plan.outcome != "reoptimised" or override or _passed(plan.mu_check):
        return
    check = plan.mu_check
    failed = check is not None and check.passed is False
    raise CourseError(
        f"the independent MU check of the plan of the day {'failed' if failed else 'could not be made'}",
        found="; ".join(check.faults) if check else "no check",
        expected="every beam within the limit, or --override-mu-check REASON",
        where=where,
        code="mu-check-failed" if failed else "mu-check-not-made",
    )


def _passed(check: MuCheck | None) -> bool:
    return check is not None and check.passed is True


def _plan_uid(course: CourseFolder, plan: PlanForDay) -> str:
    if plan.plan is not None:
        return plan.plan.sop_instance_uid
    if plan.outcome != "kept":
        return ""
    record: PlanOfRecord = read_npz(course.path / "stages" / "plan_of_record.npz")
    return record.plan.sop_instance_uid
