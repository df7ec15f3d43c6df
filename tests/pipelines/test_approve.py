"""Sign-off of a plan: what is refused, what must be overridden by name, what the ledger and the report keep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from imrt_core.evaluate.mu_check import BeamMuCheck, MuCheck
from pipelines.approving import signed_state
from pipelines.cli.main import app
from pipelines.codec import write_npz
from pipelines.course_record import CourseRecord, DeliveryRecord, write_record
from pipelines.files import make_folder
from pipelines.filling import audit
from pipelines.ledger import FractionRow, open_ledger
from pipelines.ledger.tables import Event
from pipelines.results import PlanForDay, PlanOfRecord
from pipelines.store import CourseFolder

from .test_bad_input import some_plan

PASSED = MuCheck((BeamMuCheck(1, "AP", 100.0, difference_percent=1.2, passed=True),))
FAILED = MuCheck((BeamMuCheck(1, "AP", 100.0, difference_percent=-7.4, passed=False),))
NOT_MADE = MuCheck((BeamMuCheck(1, "AP", 100.0, reasons=("no measured tables for 10 MV STANDARD",)),))
SIGNED = ("--by", "A. Physicist", "--reason", "looked at it")


def igrt(*arguments: str | Path) -> tuple[int, dict]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}


def new_plan(check: MuCheck | None) -> PlanForDay:
    return PlanForDay("reoptimised", "a goal is violated", plan=some_plan(), mu_check=check)


@pytest.fixture
def course() -> CourseFolder:
    folder = CourseFolder("signed")
    record = CourseRecord(
        course="signed",
        created="2026-01-05T09:00:00+00:00",
        patient_key="key",
        protocol="tiny",
        protocol_sha256="0" * 64,
        machine="generic_6mv 2.1",
        machine_sha256="0" * 64,
        site="head and neck",
        fractions=35,
        prescription_gy={"PTV70": 70.0},
        roi_names={},
        goals=(),
        plan_origin="received",
        patient_position="HFS",
        frame_of_reference_uid="1.2",
        ct_series_uid="1.3",
        input_sha256="0" * 64,
    )
    make_folder(folder.path / "stages")
    write_record(folder.record_file, record)
    write_npz(folder.path / "stages" / "plan_of_record.npz", PlanOfRecord(some_plan(), "received"))
    with open_ledger() as ledger:
        ledger.add_course(record)
    return folder


def made(course: CourseFolder, plan: PlanForDay) -> None:
    """As if fx01 had been run."""
    fraction = course.fraction("fx01")
    make_folder(fraction.path / "stages")
    write_npz(fraction.output("plan_of_day", ".npz"), plan)
    with open_ledger() as ledger:
        row = FractionRow("computed", "reoptimise", ["a goal is violated"], None, [])
        ledger.set_fraction(course.course, "fx01", row)


def state_and_events(course: CourseFolder) -> tuple[str, list[Event]]:
    with open_ledger() as ledger:
        events = ledger.events(course=course.course, fraction="fx01")
        return ledger.fraction_state(course.course, "fx01"), [e for e in events if e.kind.startswith("plan-")]


def test_a_plan_that_passed_is_approved(course: CourseFolder) -> None:
    made(course, new_plan(PASSED))
    code, answer = igrt("approve", "signed", "1", *SIGNED)
    assert (code, answer["state"], answer["fraction"]) == (0, "approved", "fx01")
    assert answer["plan_uid"] == some_plan().sop_instance_uid
    assert answer["mu_check"]["passed"] is True and answer["mu_check_overridden"] is False
    state, (event,) = state_and_events(course)
    assert (state, event.kind, event.who) == ("approved", "plan-approved", "tester")
    assert event.details["by"] == "A. Physicist" and event.details["mu_check_passed"] is True
    assert event.details["override_mu_check"] == ""


@pytest.mark.parametrize(
    ("check", "code", "words"),
    [
        (FAILED, "mu-check-failed", "-7.4 %"),
        (NOT_MADE, "mu-check-not-made", "no measured tables for 10 MV"),
        (None, "mu-check-not-made", "no check"),
    ],
)
def test_a_check_that_did_not_pass_must_be_overridden(
    check: MuCheck | None, code: str, words: str, course: CourseFolder
) -> None:
    made(course, new_plan(check))
    refused, answer = igrt("approve", "signed", "fx01", *SIGNED)
    assert (refused, answer["error"]["code"]) == (3, code)
    assert words in answer["error"]["found"] and "--override-mu-check" in answer["error"]["expected"]
    assert state_and_events(course) == ("computed", [])

    override = ("--override-mu-check", "measured in the phantom: 0.8 %")
    done, answer = igrt("approve", "signed", "fx01", *SIGNED, *override)
    assert (done, answer["state"], answer["mu_check_overridden"]) == (0, "approved", True)
    state, (event,) = state_and_events(course)
    assert state == "approved" and event.details["override_mu_check"] == override[1]
    assert event.details["mu_check_passed"] == (check.passed if check else None)
    (line,) = audit([event])
    assert "A. Physicist: looked at it" in line.what
    assert "independent MU check overridden: measured in the phantom" in line.what


def test_rejecting_needs_no_check_and_the_latest_sign_off_counts(course: CourseFolder) -> None:
    made(course, new_plan(FAILED))
    fraction = course.fraction("fx01")
    assert igrt("reject", "signed", "fx01", *SIGNED)[1]["state"] == "rejected"
    assert igrt("approve", "signed", "fx01", *SIGNED)[0] == 3
    with open_ledger() as ledger:
        assert signed_state(ledger, fraction) == "rejected"
    assert igrt("approve", "signed", "fx01", *SIGNED, "--override-mu-check", "measured")[0] == 0
    with open_ledger() as ledger:
        assert signed_state(ledger, fraction) == "approved"
    assert len(state_and_events(course)[1]) == 2
    # Run again: another plan is another plan, though its UID be the same.
    made(course, new_plan(NOT_MADE))
    with open_ledger() as ledger:
        assert signed_state(ledger, fraction) == ""


def test_a_plan_of_record_that_is_kept_needs_no_check_of_the_day(course: CourseFolder) -> None:
    made(course, PlanForDay("kept", "no goal asks for a new plan"))
    code, answer = igrt("approve", "signed", "fx01", *SIGNED, "--override-mu-check", "not needed")
    assert (code, answer["state"], answer["mu_check"]) == (0, "approved", None)
    assert answer["plan_uid"] == some_plan().sop_instance_uid and answer["mu_check_overridden"] is False


def test_what_cannot_be_signed(course: CourseFolder) -> None:
    assert igrt("approve", "signed", "fx01", *SIGNED)[1]["error"]["code"] == "fraction-not-run"
    assert igrt("approve", "signed", "fx36", *SIGNED)[0] == 3
    assert igrt("approve", "absent", "fx01", *SIGNED)[1]["error"]["code"] == "course-not-found"
    made(course, PlanForDay("not-computed", "no plan of day is computed while a person must look"))
    assert igrt("approve", "signed", "fx01", *SIGNED)[1]["error"]["code"] == "nothing-to-approve"
    assert igrt("reject", "signed", "fx01", *SIGNED)[0] == 0
    assert igrt("approve", "signed", "fx01", "--by", " ", "--reason", "x")[0] == 2
    assert igrt("approve", "signed", "fx01", *SIGNED, "--override-mu-check", " ")[0] == 2
    delivered = DeliveryRecord(
        applied_shift_mm=None, applied_rotation_deg=None, delivered="full", recorded="2026-01-12", by="tester"
    )
    write_record(course.fraction("fx01").delivery_file, delivered)
    assert igrt("approve", "signed", "fx01", *SIGNED)[1]["error"]["code"] == "fraction-recorded"
