"""Helpers of the chain's tests: commands in this process, images that arrived, courses as others export them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from typer.testing import CliRunner

from imrt_core.dicom import read_dose, read_image, read_structures, write_dose
from imrt_core.patient import RigidTransform, StructureSet
from pipelines.cli.main import app
from pipelines.files import copy_tree
from pipelines.intake import accept
from pipelines.store import CourseFolder, FractionFolder
from registration import MatchQuality, RigidMatch

from . import tiny


def igrt(*arguments: str | Path) -> tuple[int, dict]:
    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.stdout, (result.exception, result.stderr)
    answer = json.loads(result.stdout)
    assert answer["schema_version"] == 1
    return result.exit_code, answer


def read_course_of_day(folder: Path) -> StructureSet:
    image, drawn = read_image(folder / "CT"), read_structures(folder / "RS.dcm")
    assert drawn.frame_of_reference_uid == image.frame_of_reference_uid
    return drawn


def setup_of(course: CourseFolder, key: str, folder: Path, *, position: str | None = None) -> FractionFolder:
    """A fraction that has received an image; nothing is computed."""
    fraction = course.fraction(key)
    accept(folder, fraction, acquired="2026-02-01T09:00:00", series_uid="1.2", patient_position=position)
    return fraction


def match_of_nothing() -> RigidMatch:
    quality = MatchQuality(True, (), "bone", 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1000)
    return RigidMatch(RigidTransform.identity(), (0.0, 0.0, 0.0), 1.0, quality, 0.0)


def received_course(course: CourseFolder, folder: Path, *, dose_factor: float) -> Path:
    """The course as a planning system would export it: our own plan and dose, the dose scaled by a factor."""
    copy_tree(course.planning, folder)
    (folder / "RP.dcm").write_bytes((course.plan / "RP.dcm").read_bytes())
    dose = read_dose(course.plan / "RD.dcm")
    scaled = replace(dose, dose_gy=dose.dose_gy.with_array(dose.dose_gy.array * dose_factor))
    structures_uid = tiny.structures().sop_instance_uid
    write_dose(scaled, image=tiny.planning_image(), path=folder / "RD.dcm", structures_uid=structures_uid)
    return folder


def remove_a_slice(folder: Path) -> None:
    sorted(folder.iterdir())[20].unlink()


def cut_a_file(folder: Path) -> None:
    path = sorted(folder.iterdir())[20]
    path.write_bytes(path.read_bytes()[:-500])


def add_no_dicom(folder: Path) -> None:
    (folder / "image.raw").write_bytes(bytes(range(256)) * 16)
