from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imrt_core.patient import InputRefusedError, PatientIdentity
from pipelines.course_record import CourseRecord, check_course_id, fraction_key, read_record, write_record
from pipelines.errors import BusyError, CourseError, StorageError
from pipelines.files import copy_tree, sha256_of_tree, write_atomically, write_text
from pipelines.ledger import open_ledger
from pipelines.locks import course_lock
from pipelines.quarantine import quarantine
from pipelines.store import CourseFolder, course_ids, create_course, default_course_id, patient_key, remove_course


def record(course: str = "c1") -> CourseRecord:
    return CourseRecord(
        course=course,
        created="2026-01-05T09:00:00+00:00",
        patient_key="k",
        protocol="head-and-neck",
        protocol_sha256="p",
        machine="generic_6mv",
        machine_sha256="m",
        site="head and neck",
        fractions=35,
        prescription_gy={"PTV70": 70.0},
        roi_names={"PTV70": "PTV70"},
        goals=("PTV70 V70Gy[%] >= 95",),
        plan_origin="planned here",
        patient_position="HFS",
        frame_of_reference_uid="1.2",
        ct_series_uid="1.3",
        input_sha256="i",
    )


def dicom_folder(path: Path) -> Path:
    (path / "ct").mkdir(parents=True)
    (path / "ct" / "1.dcm").write_bytes(b"one")
    (path / "rs.dcm").write_bytes(b"two")
    return path


@given(st.text(max_size=80))
@settings(max_examples=300)
def test_a_course_id_is_safe_or_refused(text: str) -> None:
    try:
        course = check_course_id(text)
    except CourseError:
        return
    assert course.isascii() and 1 <= len(course) <= 64
    assert all(c.isalnum() or c in "-_" for c in course)
    assert course[0].isalnum() and course[-1].isalnum()


@pytest.mark.parametrize("bad", ["", ".", "..", "a/b", "a|b", "../x", "-a", "a-", "a b", "a\n", "ä", "a" * 65, "a.b"])
def test_dangerous_course_ids_are_refused(bad: str) -> None:
    with pytest.raises(CourseError):
        check_course_id(bad)


@pytest.mark.parametrize("text", ["7", "07", "fx7", "fx07", "FX07", 7])
def test_fraction_names(text: str | int) -> None:
    assert fraction_key(text) == "fx07"


@pytest.mark.parametrize("text", ["0", "fx00", "61", "fx", "7a", "", "-1", "fx007", "१"])
def test_bad_fraction_names(text: str) -> None:
    with pytest.raises(CourseError):
        fraction_key(text)


def test_a_course_appears_whole_and_only_once(tmp_path: Path) -> None:
    source = dicom_folder(tmp_path / "in")
    folder = create_course(record(), dicom=source, protocol_text="p: 1\n", machine_text="m = 1\n")
    assert course_ids() == ("c1",)
    assert sha256_of_tree(folder.planning) == sha256_of_tree(source)
    assert folder.record() == record()
    with pytest.raises(CourseError, match="exists already"):
        create_course(record(), dicom=source, protocol_text="", machine_text="")
    remove_course(folder)
    assert course_ids() == () and not folder.path.exists()


def test_a_course_that_cannot_be_copied_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = dicom_folder(tmp_path / "in")

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    with pytest.raises(StorageError, match="No space left"):
        create_course(record(), dicom=source, protocol_text="", machine_text="")
    parent = CourseFolder("c1").path.parent
    assert list(parent.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.txt", "old")

    def broken(temporary: Path) -> None:
        temporary.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="refuses to write"):
        write_atomically(path, broken)
    assert path.read_text() == "old"
    assert list(tmp_path.glob(".*")) == []


def test_a_file_size_limit_of_the_system_is_a_clean_refusal(tmp_path: Path) -> None:
    """A real refusal of the kernel in a process of its own: no file may exceed 4 KiB."""
    code = (
        "import sys, pathlib\n"
        "from pipelines.files import write_bytes\n"
        "from pipelines.errors import StorageError\n"
        "try:\n"
        f"    write_bytes(pathlib.Path({str(tmp_path / 'big')!r}), bytes(100_000))\n"
        "except StorageError as error:\n"
        "    print(error.code); sys.exit(3)\n"
    )
    limit = 4096
    done = subprocess.run(
        [sys.executable, "-c", code],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (3, "storage-refused"), done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "igrt-home"] or list(tmp_path.iterdir()) == []


def test_home_that_is_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IGRT_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="refuses to create a folder"):
        course_ids()


def test_records_of_other_formats_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    path = write_record(tmp_path / "course.json", record())
    assert read_record(path, CourseRecord) == record()
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format_version": 99}))
    with pytest.raises(StorageError, match="format_version 99"):
        read_record(path, CourseRecord)
    path.write_text("{")
    with pytest.raises(StorageError, match="damaged"):
        read_record(path, CourseRecord)


def test_quarantine_copies_what_is_not_ours_and_moves_what_is(tmp_path: Path, igrt_home: Path) -> None:
    error = InputRefusedError("bad", found="x", expected="y", where="z", code="some-code")
    outside = dicom_folder(tmp_path / "in")
    before = sha256_of_tree(outside)
    place = quarantine(outside, error, course="c1", fraction="fx01")
    assert sha256_of_tree(place / "input") == before == sha256_of_tree(outside)
    inside = copy_tree(outside, igrt_home / "incoming" / "x")
    inside_again = quarantine(inside, error)
    assert inside_again == place  # the same content is kept once, with both reasons
    reasons = json.loads((place / "reason.json").read_text())
    assert [r["code"] for r in reasons] == ["some-code", "some-code"]
    assert reasons[0]["course"] == "c1" and reasons[0]["fraction"] == "fx01"
    other = dicom_folder(igrt_home / "incoming" / "y")
    (other / "more").write_bytes(b"3")
    moved = quarantine(other, error)
    assert not other.exists() and (moved / "input" / "more").read_bytes() == b"3"


def test_pseudonyms_are_stable_here_and_different_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patient = PatientIdentity("123456", "Doe^Jane")
    here = patient_key(patient)
    course = default_course_id(patient, frame_of_reference_uid="1.2")
    assert patient_key(patient) == here == patient_key(PatientIdentity(" 123456 "))
    assert course == default_course_id(patient, frame_of_reference_uid="1.2") == check_course_id(course)
    assert "123456" not in here + course and "Doe" not in course
    monkeypatch.setenv("IGRT_HOME", str(tmp_path / "other"))
    assert patient_key(patient) != here


def test_a_second_worker_is_refused_with_the_holders_name() -> None:
    code = (
        "import sys\nfrom pipelines.locks import course_lock\nfrom pipelines.errors import BusyError\n"
        "try:\n"
        "    with course_lock('c1', holder='second', wait_s=0.1): pass\n"
        "except BusyError as error:\n"
        "    print(error.found); sys.exit(3)\n"
    )
    with course_lock("c1", holder="fraction run fx01"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 3 and "fraction run fx01" in done.stdout, done.stderr
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_lock_is_free_after_an_error() -> None:
    with pytest.raises(ValueError, match="inside"), course_lock("c1", holder="a"):
        raise ValueError("inside")
    with course_lock("c1", holder="b", wait_s=0.1):
        pass
    assert issubclass(BusyError, InputRefusedError)


def test_ledger_keeps_events_for_ever(igrt_home: Path) -> None:
    import sqlite3

    with open_ledger() as ledger:
        ledger.add_course(record())
        ledger.set_course_state("c1", "needs a person", "fx01: no match")
    with open_ledger() as ledger:
        assert ledger.course_state("c1") == ("needs a person", "fx01: no match")
        assert [e.kind for e in ledger.events(course="c1")] == ["course-added", "course-state"]
        assert {e.who for e in ledger.events(course="c1")} == {"tester"}
    with sqlite3.connect(igrt_home / "ledger.db") as connection:
        for statement in ("UPDATE events SET kind = 'x'", "DELETE FROM events"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(statement)


def test_ledger_rolls_back() -> None:
    with pytest.raises(ValueError, match="inside"), open_ledger() as ledger:
        ledger.add_course(record())
        raise ValueError("inside")
    with open_ledger() as ledger:
        assert ledger.course_state("c1") == ("unknown", "")


@given(st.binary(max_size=50))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_atomic_files_hold_what_was_written(tmp_path: Path, content: bytes) -> None:
    path = write_atomically(tmp_path / "x.bin", lambda temporary: temporary.write_bytes(content))
    assert path.read_bytes() == content
