"""Registering a course: check, keep, plan, and judge our dose against the planning system's."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dagster import DagsterInstance
from sqlalchemy.exc import OperationalError

from imrt_core.machine import Machine, load_machine, write_machine
from imrt_core.patient import GeometryError, InputRefusedError

from .codec import read_npz
from .course_record import CourseRecord, check_course_id
from .errors import CourseError, StorageError
from .files import sha256_of_tree
from .instance import add_course_partition, dagster_instance, remove_course_partition, run_job
from .ledger.ledger import now, open_ledger
from .locks import course_lock
from .privacy import without_identity
from .protocol import parse_protocol, protocol_sha256, protocol_text
from .quarantine import quarantine
from .results import Baseline, PlanOfRecord
from .stages.planning import planning_position, read_planning
from .store import CourseFolder, create_course, default_course_id, patient_key, remove_course


@dataclass(frozen=True, eq=False)
class AddedCourse:
    """A registered course with its plan and baseline."""

    folder: CourseFolder
    record: CourseRecord
    plan: PlanOfRecord
    baseline: Baseline


def add_course(
    dicom: Path,
    *,
    protocol: str | Path,
    machine: str | Path | None = None,
    course: str | None = None,
    patient_position: str | None = None,
    demo: bool = False,
    replace: bool = False,
    allow_unvalidated_model: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> AddedCourse:
    """Register a course from a DICOM folder: all of it, or nothing.

    Parameters
    ----------
    dicom : Path
        CT and RTSTRUCT, and RTPLAN and RTDOSE where there are any; without an RTPLAN the course is planned.
    protocol, machine : str or Path
        Name or file; the machine defaults to the protocol's.
    course : str or None
        Course id; None makes a pseudonym from the patient id and the frame of reference.
    patient_position : str or None
        Where neither CT nor RTPLAN says.
    demo, replace : bool
        A digital patient; replace a course of the same id.
    allow_unvalidated_model : bool
        Take a machine whose beam model is compared with no measurement; the course then says so for ever.
    on_stage : callable, optional
        Told the name of each stage as it starts.

    Raises
    ------
    InputRefusedError
        If the input cannot be used (it is then in quarantine, whole), the id is taken, or the beam model is not
        validated and not allowed.
    """
    text = protocol_text(protocol)
    rules = parse_protocol(text, where=str(protocol))
    unit = load_machine(machine or rules.machine)
    if not (unit.model.validated or allow_unvalidated_model):
        raise _not_validated(unit)
    unit_toml = _toml(unit)
    if course is not None and CourseFolder(check_course_id(course)).exists and not replace:
        raise _exists(course)
    if not dicom.is_dir():
        raise InputRefusedError(
            "there is no such folder", found=str(dicom), expected="a folder of DICOM files", code="input-not-found"
        )
    try:
        planning, matched = read_planning(dicom, rules)
        data = planning.data
        position = planning_position(data, option=patient_position)
        if position is None:
            raise GeometryError(
                "the patient position is absent, and beam dose needs it",
                found="neither planning CT nor RTPLAN states it",
                expected="PatientPosition in the CT, Patient Setup in the RTPLAN, or --patient-position",
                where=str(dicom),
                code="position-absent",
            )
        course = course or default_course_id(data.ct.patient, frame_of_reference_uid=data.ct.frame_of_reference_uid)
        folder = CourseFolder(course)
        if folder.exists and not replace:
            raise _exists(course)
        record = CourseRecord(
            course=course,
            created=now(),
            patient_key=patient_key(data.ct.patient),
            protocol=rules.name,
            protocol_sha256=protocol_sha256(text),
            machine=f"{unit.name} {unit.version}",
            machine_sha256=protocol_sha256(unit_toml),
            site=rules.site,
            fractions=data.plan.fractions_planned if data.plan else rules.fractions,
            prescription_gy=dict(matched.prescription_gy),
            roi_names=dict(matched.roi_names),
            goals=tuple(str(goal) for goal in matched.goals),
            not_applicable=matched.not_applicable,
            plan_origin="received" if data.plan else "planned here",
            patient_position=position,
            frame_of_reference_uid=data.ct.frame_of_reference_uid,
            ct_series_uid=data.ct.series_uid,
            input_sha256=sha256_of_tree(dicom),
            demo=demo,
            unvalidated_model_allowed=not unit.model.validated,
        )
        with dagster_instance() as instance:
            with course_lock(course, holder="course add"):
                create_course(record, dicom=dicom, protocol_text=text, machine_text=unit_toml, replace=replace)
                with open_ledger() as ledger:
                    ledger.add_course(record)
                    for warning in unit.model.validity_warnings:
                        ledger.add_event("unvalidated-model-allowed", course=course, details={"reason": warning})
                    ledger.add_files(course, "", "planning", _files(folder.planning), root=folder.path)
            return _planned(folder, instance, on_stage)
    except (CourseError, StorageError):
        raise
    except InputRefusedError as error:
        place = quarantine(dicom, error, course=course or "")
        with open_ledger() as ledger:
            ledger.add_event(
                "course-refused",
                course=course or "",
                details={**without_identity(error).as_dict(), "quarantine": place.name},
            )
        raise


def load_added(folder: CourseFolder) -> AddedCourse:
    """Read a registered course back.

    Raises
    ------
    CourseError, StorageError
        If there is none, or its planning has not run to its end.
    """
    stages = folder.path / "stages"
    return AddedCourse(
        folder, folder.record(), read_npz(stages / "plan_of_record.npz"), read_npz(stages / "baseline.npz")
    )


def _planned(folder: CourseFolder, instance: DagsterInstance, on_stage: Callable[[str], None] | None) -> AddedCourse:
    try:
        add_course_partition(instance, folder.course)
        run_job("planning_job", folder.course, instance=instance, on_stage=on_stage)
        added = load_added(folder)
    except BaseException:
        remove_course(folder)  # first: it needs no space on the disk
        with suppress(StorageError, OperationalError):  # the first error is the one to tell
            _forget(folder.course, instance)
        raise
    if added.baseline.gate_passed is False:
        with open_ledger() as ledger:
            ledger.set_course_state(
                folder.course,
                "needs a person",
                "engine not validated for this plan: " + "; ".join(added.baseline.gate_reasons),
            )
    return added


def _forget(course: str, instance: DagsterInstance) -> None:
    remove_course_partition(instance, course)
    with open_ledger() as ledger:
        ledger.remove_course(course)


def _not_validated(machine: Machine) -> CourseError:
    return CourseError(
        "courses need a beam model that was compared with measurements",
        found=machine.model.validity_warnings[0],
        expected="a machine that igrt commission fitted, or --allow-unvalidated-model",
        where=f"machine {machine.name} {machine.version}",
        code="model-not-validated",
    )


def _toml(machine: Machine) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        return write_machine(machine, Path(scratch) / "machine.toml").read_text(encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _exists(course: str) -> CourseError:
    return CourseError(
        "the course exists already",
        found=course,
        expected="another --id, or --force to replace it",
        where=str(CourseFolder(course).path),
        code="course-exists",
    )
