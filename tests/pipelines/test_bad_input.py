"""Every case of bad input of the issue: exit code, what was found and expected, quarantine, other courses."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from typer.testing import CliRunner

from imrt_core.dicom import uid_from, write_dose, write_plan
from imrt_core.patient import (
    Beam,
    ControlPoint,
    DoseDistribution,
    Grid,
    MultileafCollimator,
    Plan,
    Structure,
    Volume,
)
from pipelines.cli.main import app
from pipelines.files import sha256_of_tree
from pipelines.home import quarantine_folder
from pipelines.instance import dagster_instance
from pipelines.ledger import open_ledger
from pipelines.store import course_ids

from . import tiny

Breaking = Callable[[Path], None]


def igrt(*arguments: str | Path) -> tuple[int, dict]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.stdout, (result.exception, result.stderr)
    return result.exit_code, json.loads(result.stdout)


def edit(path: Path, **changes: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def some_plan() -> Plan:
    mlc = MultileafCollimator(tuple(np.arange(-100.0, 101.0, 10.0)))
    leaves = np.stack([np.full(mlc.pairs, -30.0), np.full(mlc.pairs, 30.0)])

    def point(weight: float) -> ControlPoint:
        return ControlPoint(
            cumulative_weight=weight,
            gantry_deg=0.0,
            isocentre_lps=(22.0, -5.0, -15.0),
            jaw_x_mm=(-30, 30),
            jaw_y_mm=(-30, 30),
            leaves_mm=leaves,
        )

    return Plan(
        beams=(Beam(1, "AP", 100.0, (point(0.0), point(1.0)), mlc=mlc, machine_name="LINAC1"),),
        fractions_planned=35,
        sop_instance_uid=uid_from("tiny", "plan"),
        frame_of_reference_uid=tiny.FRAME,
        structure_set_uid=uid_from("tiny", "structures"),
        patient_position="HFS",
    )


def add_plan_and_dose(folder: Path) -> None:
    image = tiny.planning_image()
    write_plan(some_plan(), image=image, path=folder / "RP.dcm")
    grid = Grid((20, 20, 20), (8.0, 8.0, 8.0), (-80.0, -80.0, -70.0))
    dose = DoseDistribution(
        Volume(np.full(grid.shape, 10.0, dtype=np.float32), grid),
        frame_of_reference_uid=tiny.FRAME,
        sop_instance_uid=uid_from("tiny", "dose"),
        plan_uid=uid_from("tiny", "plan"),
    )
    write_dose(dose, image=image, path=folder / "RD.dcm", structures_uid=uid_from("tiny", "structures"))


def slices(folder: Path) -> list[Path]:
    return sorted((folder / "CT").iterdir()) if (folder / "CT").is_dir() else sorted(folder.iterdir())


def other_patient(folder: Path) -> None:
    edit(folder / "RS.dcm", PatientID="SOMEBODY-ELSE")


def structures_of_another_frame(folder: Path) -> None:
    dataset = pydicom.dcmread(folder / "RS.dcm")
    uid = generate_uid()
    dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = uid
    for roi in dataset.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = uid
    dataset.save_as(folder / "RS.dcm")


def plan_of_other_structures(folder: Path) -> None:
    add_plan_and_dose(folder)
    dataset = pydicom.dcmread(folder / "RP.dcm")
    dataset.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID = generate_uid()
    dataset.save_as(folder / "RP.dcm")


def dose_of_another_frame(folder: Path) -> None:
    add_plan_and_dose(folder)
    edit(folder / "RD.dcm", FrameOfReferenceUID=generate_uid())


def dose_of_another_plan(folder: Path) -> None:
    add_plan_and_dose(folder)
    dataset = pydicom.dcmread(folder / "RD.dcm")
    dataset.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = generate_uid()
    dataset.save_as(folder / "RD.dcm")


def missing_slice(folder: Path) -> None:
    slices(folder)[10].unlink()


def duplicate_slice(folder: Path) -> None:
    one = slices(folder)[10]
    two = one.with_name("ZZ.dcm")
    two.write_bytes(one.read_bytes())
    edit(two, SOPInstanceUID=generate_uid())


def truncated_file(folder: Path) -> None:
    path = slices(folder)[10]
    path.write_bytes(path.read_bytes()[:-2000])


def mr_slice_in_the_folder(folder: Path) -> None:
    one = slices(folder)[10]
    two = one.with_name("MR.dcm")
    two.write_bytes(one.read_bytes())
    mr = "1.2.840.10008.5.1.4.1.1.4"
    edit(two, SOPClassUID=mr, Modality="MR", SOPInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid())


def no_dicom_in_the_folder(folder: Path) -> None:
    (slices(folder)[0].parent / "image.raw").write_bytes(bytes(range(256)) * 16)


def position_absent(folder: Path) -> None:
    for path in slices(folder):
        dataset = pydicom.dcmread(path)
        del dataset.PatientPosition
        dataset.save_as(path)


def structure_absent(folder: Path) -> None:
    drawn = tiny.structures(names=("External", "PTV70", "CTV70", "Parotid_L"))
    tiny.write_structures(drawn, image=tiny.planning_image(), path=folder / "RS.dcm")


def structure_empty(folder: Path) -> None:
    drawn = tiny.structures(names=("External", "PTV70", "CTV70", "SpinalCord"))
    drawn = replace(drawn, structures=(*drawn.structures, Structure("Parotid_L", (), number=9)))
    tiny.write_structures(drawn, image=tiny.planning_image(), path=folder / "RS.dcm")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_course(tmp_path_factory.mktemp("good") / "plan")


@pytest.fixture
def dicom(good: Path, tmp_path: Path) -> Path:
    from pipelines.files import copy_tree

    return copy_tree(good, tmp_path / "plan")


@pytest.mark.parametrize(
    ("breaking", "code"),
    [
        (other_patient, "wrong-patient"),
        (structures_of_another_frame, "frame-mismatch"),
        (plan_of_other_structures, "reference-mismatch"),
        (dose_of_another_frame, "frame-mismatch"),
        (dose_of_another_plan, "reference-mismatch"),
        (missing_slice, "missing-slices"),
        (duplicate_slice, "duplicate-slices"),
        (truncated_file, "truncated-file"),
        (mr_slice_in_the_folder, "not-ct"),
        (no_dicom_in_the_folder, "not-dicom"),
        (structure_absent, "structure-missing"),
        (structure_empty, "structure-empty"),
        (position_absent, "position-absent"),
    ],
)
def test_course_add_refuses(breaking: Breaking, code: str, dicom: Path, tmp_path: Path) -> None:
    breaking(dicom)
    protocol = tiny.write_protocol(
        tmp_path / "tiny.yaml",
        goals=["PTV70 V66.5Gy[%] >= 90", "SpinalCord D0.03cc[Gy] <= 50 (hard)", "Parotid_L Mean[Gy] < 30"],
    )
    before = sha256_of_tree(dicom)
    exit_code, answer = igrt("course", "add", dicom, "--protocol", protocol, "--id", "bad")
    assert exit_code == 3, answer
    error = answer["error"]
    assert error["code"] == code, error
    assert error["message"] and error["found"] and error["expected"]
    with open_ledger() as ledger:
        told = json.dumps([event.details for event in ledger.events(course="bad")])
    assert code in told and "SOMEBODY" not in told and "TINY" not in told
    assert "Tiny^" not in json.dumps(answer)
    (place,) = quarantine_folder().iterdir()
    assert sha256_of_tree(place / "input") == before == sha256_of_tree(dicom)
    assert json.loads((place / "reason.json").read_text())[0]["code"] == code
    assert course_ids() == ()


def test_a_protocol_goal_without_structure_is_refused(dicom: Path, tmp_path: Path) -> None:
    protocol = tiny.write_protocol(
        tmp_path / "tiny.yaml",
        structures={"External": {}, "SpinalCord": {}, "Larynx": {}},
        goals=["PTV70 V66.5Gy[%] >= 90", "Larynx Mean[Gy] < 44"],
    )
    exit_code, answer = igrt("course", "add", dicom, "--protocol", protocol)
    assert (exit_code, answer["error"]["code"]) == (3, "structure-missing")
    assert "Larynx" in answer["error"]["message"]


def test_nothing_is_overwritten_and_wrong_names_are_said(dicom: Path, tmp_path: Path) -> None:
    exit_code, answer = igrt("course", "add", dicom, "--protocol", "nowhere")
    assert (exit_code, answer["error"]["code"]) == (3, "protocol-not-found")
    exit_code, answer = igrt("course", "add", dicom / "none", "--protocol", "head-and-neck")
    assert (exit_code, answer["error"]["code"]) == (3, "input-not-found")
    exit_code, answer = igrt("course", "add", dicom, "--protocol", "head-and-neck", "--id", "../x")
    assert (exit_code, answer["error"]["code"]) == (3, "course-id-invalid")
    exit_code, answer = igrt("fraction", "run", "none", "fx01", "--setup", dicom)
    assert (exit_code, answer["error"]["code"]) == (3, "course-not-found")


def test_wrong_usage_is_exit_code_2(dicom: Path) -> None:
    for arguments in (["course", "add"], ["nonsense"], ["fraction", "run", "a", "fx01"], ["course", "show", "--x"]):
        assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_disk_that_refuses_to_write(dicom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IGRT_HOME", str(tmp_path / "file"))
    protocol = tiny.write_protocol(tmp_path / "tiny.yaml")
    exit_code, answer = igrt("course", "add", dicom, "--protocol", protocol)
    assert (exit_code, answer["error"]["code"]) == (3, "storage-refused")
    assert answer["error"]["found"]


def test_a_full_disk_in_the_middle_of_a_copy(dicom: Path, tmp_path: Path, igrt_home: Path) -> None:
    """The real command in a process whose files may not exceed 20 kB: half a course must not stay behind."""
    protocol = tiny.write_protocol(tmp_path / "tiny.yaml")
    before = sha256_of_tree(dicom)
    with dagster_instance() as instance, open_ledger():
        assert instance.get_dynamic_partitions("courses") == []  # the databases are there
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "course", "add", str(dicom), "--protocol", str(protocol), "--json"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr[-2000:]
    answer = json.loads(done.stdout)
    assert answer["error"]["code"] == "storage-refused" and answer["error"]["found"]
    assert course_ids() == () and sha256_of_tree(dicom) == before
    assert not list(igrt_home.rglob("*.part"))


def test_the_answer_is_the_only_thing_on_stdout(igrt_home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "course", "list", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and done.stdout.count("\n") == 1
    assert json.loads(done.stdout) == {"schema_version": 1, "courses": []}
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "course", "show", "none", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3 and done.stdout.count("\n") == 1
    assert set(json.loads(done.stdout)["error"]) == {"code", "message", "found", "expected", "where"}
    assert "there is no such course" in done.stderr
