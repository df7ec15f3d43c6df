from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from dagster import DagsterInstance, RunRequest, SkipReason, build_schedule_context, build_sensor_context

from imrt_core.patient import IdentityError, InputRefusedError, PatientIdentity
from pipelines import intake
from pipelines.course_record import CourseRecord, DeliveryRecord, write_record
from pipelines.errors import CourseError
from pipelines.files import sha256_of_tree, write_text
from pipelines.home import incoming_folder, quarantine_folder
from pipelines.ledger import open_ledger
from pipelines.schedules import daily_fractions
from pipelines.sensors import incoming_folder_sensor, sort_deliveries
from pipelines.store import CourseFolder, create_course, patient_key

from . import tiny


def register(tmp_path: Path, course: str = "tiny1", patient: PatientIdentity = tiny.PATIENT) -> CourseFolder:
    """A course in the store whose plan counts as there, without planning anything."""
    source = tmp_path / f"plan-{course}"
    source.mkdir()
    (source / "x.dcm").write_bytes(b"x")
    record = CourseRecord(
        course=course,
        created="2026-01-05T09:00:00+00:00",
        patient_key=patient_key(patient),
        protocol="tiny",
        protocol_sha256="p",
        machine="generic_6mv",
        machine_sha256="m",
        site="head and neck",
        fractions=35,
        prescription_gy={"PTV70": 70.0},
        roi_names={},
        goals=(),
        plan_origin="planned here",
        patient_position="HFS",
        frame_of_reference_uid=tiny.FRAME,
        ct_series_uid=tiny.CT_SERIES,
        input_sha256="i",
    )
    folder = create_course(record, dicom=source, protocol_text="", machine_text="")
    write_text(folder.path / "stages" / "baseline.npz", "there")
    with open_ledger() as ledger:
        ledger.add_course(record)
    return folder


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One daily series on disk; only every third slice, to be quick."""
    image = tiny.day_image()
    grid = replace(image.hu.grid, shape=(12, *image.hu.grid.shape[1:]))
    small = replace(
        image,
        hu=replace(image.hu, array=image.hu.array[:12], grid=grid),
        slice_uids=image.slice_uids[:12],
    )
    yield tiny.write_day(tmp_path_factory.mktemp("day") / "series", small)


def deliver(series: Path, name: str = "a", *, age_s: float = 120.0, drop: int = 0) -> Path:
    """Copy a series into ``incoming``, as if it had come ``age_s`` ago."""
    folder = incoming_folder() / name
    folder.mkdir()
    for path in sorted(series.iterdir())[drop:]:
        (folder / path.name).write_bytes(path.read_bytes())
    then = time.time() - age_s
    for path in [*folder.iterdir(), folder]:
        os.utime(path, (then, then))
    return folder


def request(result: object) -> RunRequest:
    requests = result.run_requests  # type: ignore[attr-defined]
    assert len(requests) == 1
    return requests[0]  # type: ignore[no-any-return]


def test_complete_series_becomes_a_fraction_and_a_run(tmp_path: Path, series: Path) -> None:
    course = register(tmp_path)
    before = sha256_of_tree(series)
    folder = deliver(series)
    with DagsterInstance.ephemeral() as instance:
        first = request(incoming_folder_sensor(build_sensor_context(instance)))
        second = incoming_folder_sensor(build_sensor_context(instance))
    assert str(first.partition_key) == "tiny1|fx01"
    assert before[:16] in str(first.run_key)
    assert not folder.exists() and isinstance(second, SkipReason)
    setup = course.fraction("fx01").setup_record()
    assert sha256_of_tree(course.fraction("fx01").setup / setup.governing.folder) == before
    assert setup.governing.acquired == "2026-01-12T09:15:00"


def test_files_without_a_folder_are_gathered_by_series(tmp_path: Path, series: Path) -> None:
    course = register(tmp_path)
    for path in series.iterdir():
        (incoming_folder() / path.name).write_bytes(path.read_bytes())
    assert list(sort_deliveries()) == []  # still arriving
    then = time.time() - 120
    for path in incoming_folder().iterdir():
        os.utime(path, (then, then))
    outcomes = list(sort_deliveries())
    assert [str(o) for _, o in outcomes] == ["still arriving"]  # the folder has just been made
    os.utime(outcomes[0][0].path, (then, then))
    assert [o for _, o in sort_deliveries()] == [course.fraction("fx01")]
    assert list(incoming_folder().iterdir()) == []


def test_a_series_that_is_still_arriving_waits(tmp_path: Path, series: Path) -> None:
    register(tmp_path)
    folder = deliver(series, age_s=1.0)
    assert [outcome for _, outcome in sort_deliveries()] == ["still arriving"]
    assert folder.exists()


def test_a_series_with_a_hole_waits_and_is_refused_only_later(
    tmp_path: Path, series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = register(tmp_path)
    folder = deliver(series)
    hole = sorted(folder.iterdir())[5]
    hole.rename(tmp_path / "later")
    then = time.time() - 120
    os.utime(folder, (then, then))
    (outcome,) = [o for _, o in sort_deliveries()]
    assert str(outcome).startswith("waiting") and folder.exists()
    # the missing slice comes: now it is complete
    (tmp_path / "later").rename(hole)
    os.utime(folder, (then, then))
    (outcome,) = [o for _, o in sort_deliveries()]
    assert outcome == course.fraction("fx01")


def test_a_series_that_stays_incomplete_goes_to_quarantine_whole(tmp_path: Path, series: Path) -> None:
    register(tmp_path)
    folder = deliver(series, age_s=2000)
    sorted(folder.iterdir())[5].unlink()
    then = time.time() - 2000
    os.utime(folder, (then, then))
    left = sha256_of_tree(folder)
    (outcome,) = [o for _, o in sort_deliveries()]
    assert "in quarantine" in str(outcome)
    assert not folder.exists()
    (place,) = quarantine_folder().iterdir()
    assert sha256_of_tree(place / "input") == left
    (reason,) = json.loads((place / "reason.json").read_text())
    assert reason["code"] == "series-incomplete"


def test_an_unknown_patient_goes_to_quarantine_and_names_nobody(tmp_path: Path, series: Path) -> None:
    register(tmp_path, patient=PatientIdentity("SOMEBODY-ELSE"))
    deliver(series)
    (outcome,) = [o for _, o in sort_deliveries()]
    assert "refused" in str(outcome)
    (place,) = quarantine_folder().iterdir()
    text = (place / "reason.json").read_text()
    assert "patient-unknown" in text
    assert "TINY" not in text + str(outcome) + place.name and "Tiny" not in text


def test_two_courses_of_one_patient_are_for_a_person(tmp_path: Path, series: Path) -> None:
    register(tmp_path, "one")
    register(tmp_path, "two")
    with pytest.raises(IdentityError) as caught:
        intake.course_of(intake.the_image_series(series))
    assert caught.value.code == "course-ambiguous"


def test_one_bad_delivery_does_not_hold_up_another(tmp_path: Path, series: Path) -> None:
    register(tmp_path)
    bad = deliver(series, "a-bad", age_s=2000)
    for path in bad.iterdir():
        path.write_bytes(b"not dicom")
        os.utime(path, (time.time() - 2000,) * 2)
    os.utime(bad, (time.time() - 2000,) * 2)
    deliver(series, "b-good")
    outcomes = {d.path.name: o for d, o in sort_deliveries()}
    assert "quarantine" in str(outcomes["a-bad"])
    assert outcomes["b-good"].key == "fx01"  # type: ignore[union-attr]


def accepted(course: CourseFolder, fraction: str, source: Path, acquired: str) -> None:
    intake.accept(source, course.fraction(fraction), acquired=acquired, series_uid="1.2")


def some_folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "x").write_text(name)
    return folder


def recorded(delivered: str) -> DeliveryRecord:
    return DeliveryRecord.model_validate(
        {"applied_shift_mm": None, "applied_rotation_deg": None, "delivered": delivered, "recorded": "r", "by": "b"}
    )


def test_next_fraction_by_clinic_date(tmp_path: Path) -> None:
    course = register(tmp_path)
    assert intake.next_fraction(course, "2026-01-12T09:00:00").key == "fx01"
    accepted(course, "fx01", some_folder(tmp_path, "1"), "2026-01-12T09:00:00")
    # a second image of the day joins the same fraction; the next day has the next one
    assert intake.next_fraction(course, "2026-01-12T09:20:00").key == "fx01"
    assert intake.next_fraction(course, "2026-01-13T09:00:00").key == "fx02"
    # a fraction that was not delivered is still to come
    write_record(course.fraction("fx01").delivery_file, recorded("none"))
    assert intake.next_fraction(course, "2026-01-13T09:00:00").key == "fx01"
    write_record(course.fraction("fx01").delivery_file, recorded("full"))
    assert intake.next_fraction(course, "2026-01-13T09:00:00").key == "fx02"


@pytest.mark.parametrize(
    ("acquired", "said"),
    [("", "no acquisition date"), ("2026-01-10T08:00:00", "later image"), ("2026-01-12T15:00:00", "already recorded")],
)
def test_what_is_ambiguous_goes_to_a_person(tmp_path: Path, acquired: str, said: str) -> None:
    course = register(tmp_path)
    accepted(course, "fx01", some_folder(tmp_path, "1"), "2026-01-12T09:00:00")
    if said == "already recorded":
        write_record(course.fraction("fx01").delivery_file, recorded("full"))
    with pytest.raises(CourseError, match=said):
        intake.next_fraction(course, acquired)


def test_the_last_image_before_beam_on_governs_and_earlier_outputs_are_kept(tmp_path: Path) -> None:
    course = register(tmp_path)
    fraction = course.fraction("fx01")
    accepted(course, "fx01", some_folder(tmp_path, "late"), "2026-01-12T09:20:00")
    write_text(fraction.output("decision", ".json"), "of the first run")
    accepted(course, "fx01", some_folder(tmp_path, "early"), "2026-01-12T09:00:00")
    assert fraction.setup_record().governing.acquired == "2026-01-12T09:20:00"
    assert len(fraction.setup_record().images) == 2
    kept = fraction.path / "superseded" / "1" / "stages" / "decision.json"
    assert kept.read_text() == "of the first run" and not fraction.output("decision", ".json").exists()


def test_the_same_image_again_and_a_recorded_fraction_need_force(tmp_path: Path) -> None:
    course = register(tmp_path)
    fraction = course.fraction("fx01")
    source = some_folder(tmp_path, "1")
    accepted(course, "fx01", source, "2026-01-12T09:00:00")
    write_text(fraction.output("fraction_report", ".json"), "{}")
    with pytest.raises(CourseError, match="computed from this image already"):
        accepted(course, "fx01", source, "2026-01-12T09:00:00")
    write_record(fraction.delivery_file, recorded("full"))
    with pytest.raises(CourseError, match="already recorded"):
        accepted(course, "fx01", some_folder(tmp_path, "2"), "2026-01-12T10:00:00")


def test_a_refused_image_leaves_the_fraction_and_marks_the_course(tmp_path: Path) -> None:
    course = register(tmp_path)
    other = register(tmp_path, "other", PatientIdentity("OTHER"))
    fraction = course.fraction("fx01")
    source = some_folder(tmp_path, "1")
    accepted(course, "fx01", source, "2026-01-12T09:00:00")
    error = InputRefusedError("not usable", found="x", code="bad")
    place = intake.refuse(fraction, fraction.setup_record().governing, error)
    assert not fraction.setup_file.exists() and sha256_of_tree(place / "input") == sha256_of_tree(source)
    with open_ledger() as ledger:
        assert ledger.course_state("tiny1") == ("needs a person", "fx01: not usable")
        assert ledger.course_state("other") == ("ready", "")
    assert other.exists


def test_schedule_asks_for_every_outstanding_fraction_once(tmp_path: Path) -> None:
    course = register(tmp_path)
    unplanned = register(tmp_path, "unplanned", PatientIdentity("OTHER"))
    (unplanned.path / "stages" / "baseline.npz").unlink()
    accepted(course, "fx01", some_folder(tmp_path, "1"), "2026-01-12T09:00:00")
    accepted(course, "fx02", some_folder(tmp_path, "2"), "2026-01-13T09:00:00")
    accepted(unplanned, "fx01", some_folder(tmp_path, "3"), "2026-01-13T09:00:00")
    write_text(course.fraction("fx01").output("fraction_report", ".json"), "{}")

    def tick(day: int) -> list[RunRequest]:
        with DagsterInstance.local_temp(str(tmp_path)) as instance:
            when = datetime(2026, 1, day, 5, 30, tzinfo=UTC)
            found = list(daily_fractions(build_schedule_context(instance, scheduled_execution_time=when)))
        return [r for r in found if isinstance(r, RunRequest)]

    (monday,) = tick(12)
    (tuesday,) = tick(13)
    assert str(monday.partition_key) == "tiny1|fx02"
    assert monday.run_key != tuesday.run_key  # what failed is tried again the next day
    assert tick(12)[0].run_key == monday.run_key
    write_text(course.fraction("fx02").output("fraction_report", ".json"), "{}")
    assert tick(12) == []
