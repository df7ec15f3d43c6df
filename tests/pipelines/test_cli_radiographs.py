"""``igrt register-2d3d`` and ``igrt drr``: what they print, write and refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

from imrt_core.dicom import read_radiograph, write_image, write_radiograph
from imrt_core.geometry.radiograph import ProjectionView
from imrt_core.patient import PatientIdentity, RigidTransform
from imrt_core.phantom.radiography import simulate_radiograph
from pipelines.cli.main import app
from registration.itk import read_transform, write_volume

from . import tiny

ISOCENTRE = (22.0, -5.0, -15.0)
#: Where the planned isocentre lies, LPS from the machine isocentre, and how the patient is turned about it.
SHIFT_LPS, TURN_DEG = (8.0, -6.0, 5.0), (0.0, 0.0, 2.0)
TRUTH = RigidTransform.from_parameters(
    translation_mm=np.subtract(SHIFT_LPS, ISOCENTRE), rotation_deg=TURN_DEG, centre_lps=ISOCENTRE
)


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    answer: dict[str, Any] = json.loads(done.stdout) if code in (0, 3, 4) else {}
    return answer


def kv_image(path: Path, gantry_deg: float, *, patient: PatientIdentity = tiny.PATIENT) -> Path:
    view = ProjectionView.from_iec(
        gantry_deg=gantry_deg, patient_position="HFS", shape=(150, 180), spacing_mm=(2.0, 2.0)
    )
    taken = simulate_radiograph(tiny.planning_hu(), view, TRUTH, seed=int(gantry_deg), patient=patient, label="kV")
    planning = tiny.planning_image(patient=patient)
    return write_radiograph(taken, image=planning, path=path, kind="RADIOGRAPH")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("kv")
    write_image(tiny.planning_image(), made / "CT")
    kv_image(made / "kv1.dcm", 0.0)
    kv_image(made / "kv2.dcm", 90.0)
    return made


def at(point: tuple[float, float, float]) -> str:
    return "--isocentre=" + ",".join(map(str, point))


@pytest.fixture(scope="module")
def match(folder: Path) -> dict[str, Any]:
    return run(
        "register-2d3d", folder / "CT", folder / "kv1.dcm", folder / "kv2.dcm", at(ISOCENTRE), "--out", folder / "out"
    )


def test_a_pair_gives_the_couch_shift_with_its_signs(match: dict[str, Any]) -> None:
    """Anatomy lies left, anterior, superior: the table goes right, down, away; the turn about LPS z is undone."""
    assert (match["mode"], match["degrees_of_freedom"]) == ("rigid", 6)
    couch = match["couch_shift"]
    angle = np.radians(-TURN_DEG[2])
    x, y, z = SHIFT_LPS
    undone = (x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), z)
    assert couch["lateral_mm"] == pytest.approx(-undone[0], abs=0.4)
    assert couch["vertical_mm"] == pytest.approx(undone[1], abs=0.4)
    assert couch["longitudinal_mm"] == pytest.approx(-undone[2], abs=0.4)
    assert couch["roll_deg"] == pytest.approx(-TURN_DEG[2], abs=0.4)
    assert abs(couch["pitch_deg"]) < 0.4
    assert abs(couch["yaw_deg"]) < 0.4
    assert match["quality"]["passed"] is True
    assert match["centre_lps"] == list(ISOCENTRE)
    np.testing.assert_allclose(np.add(match["translation_mm"], ISOCENTRE), SHIFT_LPS, atol=0.4)


def test_the_transform_and_a_picture_per_image_are_written(match: dict[str, Any]) -> None:
    assert set(match["outputs"]) == {"transform", "overlay_1", "overlay_2"}
    stored = read_transform(Path(match["outputs"]["transform"]))
    np.testing.assert_allclose(stored.apply(ISOCENTRE), np.add(match["translation_mm"], ISOCENTRE), atol=1e-5)
    for name in ("overlay_1", "overlay_2"):
        with Image.open(match["outputs"][name]) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        # Letters are yellow, edges orange.
        assert np.any(np.all(pixels == (255, 220, 0), axis=-1))
        assert np.any(np.all(pixels == (255, 150, 0), axis=-1)) or np.any(pixels[..., 0] > pixels[..., 2] + 100)


def test_one_image_is_for_a_person(folder: Path) -> None:
    answer = run("register-2d3d", folder / "CT", folder / "kv1.dcm", at(ISOCENTRE), "--out", folder / "one", code=4)
    assert (answer["mode"], answer["degrees_of_freedom"]) == ("in-plane", 3)
    assert answer["couch_shift"] is None
    assert "along its beam" in answer["couch_shift_reason"]
    # The turn about the patient's length is not seen from above, and looks like a shift to the side in part:
    # that of what lies up to 60 mm above or below the isocentre.
    unseen_mm = 60.0 * np.radians(TURN_DEG[2])
    assert answer["translation_mm"][0] + ISOCENTRE[0] == pytest.approx(SHIFT_LPS[0], abs=unseen_mm)
    assert answer["translation_mm"][2] + ISOCENTRE[2] == pytest.approx(SHIFT_LPS[2], abs=0.4)


def test_without_the_isocentre_the_couch_shift_is_withheld(folder: Path) -> None:
    answer = run("register-2d3d", folder / "CT", folder / "kv1.dcm", folder / "kv2.dcm", "--out", folder / "w", code=4)
    assert answer["couch_shift"] is None
    assert "--isocentre" in answer["couch_shift_reason"]
    assert Path(answer["outputs"]["transform"]).is_file()


def test_another_patient_is_refused(folder: Path, tmp_path: Path) -> None:
    other = kv_image(tmp_path / "x.dcm", 90.0, patient=replace(tiny.PATIENT, patient_id="TINY-0002"))
    answer = run("register-2d3d", folder / "CT", folder / "kv1.dcm", other, "--out", tmp_path / "o", code=3)
    assert answer["error"]["code"] == "patient-mismatch"
    assert str(other) in answer["error"]["where"]
    assert "TINY" not in answer["error"]["found"] + answer["error"]["expected"]
    assert not (tmp_path / "o").exists()


def test_other_refusals(folder: Path, match: dict[str, Any], tmp_path: Path) -> None:
    there = run("register-2d3d", folder / "CT", folder / "kv1.dcm", "--out", folder / "out", code=3)
    assert there["error"]["code"] == "output-exists"
    slice_file = next((folder / "CT").iterdir())
    assert run("register-2d3d", folder / "CT", slice_file, "--out", tmp_path / "a", code=3)["error"]["code"] == (
        "wrong-object"
    )
    assert (
        run("register-2d3d", folder / "CT", folder / "kv1.dcm", "--table-angle", 10, "--out", tmp_path / "a", code=3)[
            "error"
        ]["code"]
        == "table-angle"
    )
    run("register-2d3d", folder / "CT", folder / "kv1.dcm", "--pixels", "x", "--out", tmp_path / "a", code=2)
    run("register-2d3d", folder / "CT", folder / "kv1.dcm", "--isocentre=1,2", "--out", tmp_path / "a", code=2)
    run("drr", folder / "CT", "--gantry", 0, at(ISOCENTRE), "--pixel-mm", 0, "--out", tmp_path / "a", code=2)
    assert not (tmp_path / "a").exists()


def test_drrs_are_what_the_plan_expects(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "drr"
    answer = run(
        "drr", folder / "CT", "--gantry", 0, "--gantry", 90, at(ISOCENTRE), "--pixel-mm", 2, "--size-mm", "300,240",
        "--out", out,
    )  # fmt: skip
    assert [image["sides"] for image in answer["images"]] == [["R", "L", "S", "I"], ["A", "P", "S", "I"]]
    assert answer["patient_position"] == "HFS"
    for image, gantry in zip(answer["images"], (0.0, 90.0), strict=True):
        drr = read_radiograph(Path(image["dicom"]))
        assert drr.view.gantry_deg == gantry
        assert drr.view.shape == (120, 150)
        assert drr.isocentre_lps == ISOCENTRE
        assert drr.patient.patient_id == tiny.PATIENT.patient_id
        assert pydicom.dcmread(image["dicom"]).FrameOfReferenceUID == tiny.FRAME
        with Image.open(image["picture"]) as picture:
            assert picture.size[0] / picture.size[1] == pytest.approx(150 / 120)
    # The DRRs are radiographs of a patient who lies as planned.
    home = run(
        "register-2d3d", folder / "CT", *(image["dicom"] for image in answer["images"]), at(ISOCENTRE),
        "--out", tmp_path / "home",
    )  # fmt: skip
    np.testing.assert_allclose(list(home["couch_shift"].values()), 0.0, atol=0.1)


def test_an_image_that_is_not_dicom_needs_a_position(tmp_path: Path) -> None:
    file = write_volume(tiny.planning_hu(), tmp_path / "ct.mha")
    refused = run("drr", file, "--gantry", 0, at(ISOCENTRE), "--out", tmp_path / "d", code=3)
    assert refused["error"]["code"] == "patient-position"
    answer = run("drr", file, "--gantry", 0, at(ISOCENTRE), "--patient-position", "FFS", "--out", tmp_path / "d")
    assert answer["images"][0]["sides"] == ["L", "R", "I", "S"]
