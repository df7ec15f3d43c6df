"""The parts of the pipeline as commands: what they print, what they find, what they refuse."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from imrt_core.dicom import read_dose, read_plan, uid_from, write_deformable_registration, write_dose
from imrt_core.patient import DisplacementField, DoseDistribution, Grid, RigidTransform, Volume
from pipelines.cli.main import app
from registration.itk import read_volume, write_transform, write_volume

from . import tiny

#: What the day's image of :mod:`tiny` holds: planned isocentre, and where its anatomy lies from the machine isocentre.
ISOCENTRE, SHIFT_LPS, TURN_DEG = (22.0, -5.0, -15.0), (4.0, -3.0, 5.0), 1.0


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    """Run a command with ``--json`` and return what it prints."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["schema_version"] == 1
    return answer


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_course(tmp_path_factory.mktemp("tools") / "plan")


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_day(tmp_path_factory.mktemp("day") / "fx01")


@pytest.fixture(scope="module")
def match(course: Path, day: Path) -> tuple[dict[str, Any], Path]:
    out = course.parent / "match"
    answer = run(
        "register", course / "CT", day, "--out", out,
        "--isocentre", ",".join(map(str, ISOCENTRE)), "--machine-isocentre", "0,0,0",
    )  # fmt: skip
    return answer, out


@pytest.fixture(scope="module")
def planned(course: Path) -> tuple[dict[str, Any], Path]:
    protocol = tiny.write_protocol(course.parent / "tiny.yaml")
    out = course.parent / "planned"
    answer = run(
        "plan", "--ct", course / "CT", "--structures", course / "RS.dcm",
        "--protocol", protocol, "--machine", "generic_6mv", "--out", out,
    )  # fmt: skip
    return answer, out


def test_register_finds_the_shift_with_its_signs(match: tuple[dict[str, Any], Path]) -> None:
    """Anatomy lies left, anterior, superior: the table goes right, down, away; a turn about LPS z is undone by roll."""
    answer, _ = match
    angle = np.radians(-TURN_DEG)
    x, y, z = SHIFT_LPS
    undone = (x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle), z)
    couch = answer["couch_shift"]
    assert couch["lateral_mm"] == pytest.approx(-undone[0], abs=0.4)
    assert couch["vertical_mm"] == pytest.approx(undone[1], abs=0.4)
    assert couch["longitudinal_mm"] == pytest.approx(-undone[2], abs=0.4)
    assert couch["roll_deg"] == pytest.approx(-TURN_DEG, abs=0.3)
    assert abs(couch["pitch_deg"]) < 0.3
    assert abs(couch["yaw_deg"]) < 0.3
    assert answer["mode"] == "rigid"
    assert answer["quality"]["passed"] is True
    assert all(Path(p).is_absolute() and Path(p).is_file() for p in answer["outputs"].values())


def test_register_without_a_machine_isocentre_withholds_the_couch_shift(course: Path, day: Path) -> None:
    answer = run("register", course / "CT", day, "--out", course.parent / "withheld", code=4)
    assert answer["couch_shift"] is None
    assert "--machine-isocentre" in answer["couch_shift_reason"]
    assert Path(answer["outputs"]["transform"]).is_file()


def test_points_go_there_and_back(match: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    _, out = match
    points = tmp_path / "points.csv"
    points.write_text("x,y,z\n{},{},{}\n0,0,0\n".format(*ISOCENTRE))
    there = run("transform-points", out / "transform.tfm", points)["points"]
    np.testing.assert_allclose(there[0], SHIFT_LPS, atol=0.4)
    printed = CliRunner().invoke(app, ["transform-points", str(out / "transform.tfm"), str(points)])
    moved = tmp_path / "moved.csv"
    moved.write_text(printed.stdout)
    assert next(csv.reader(io.StringIO(printed.stdout))) == ["x", "y", "z"]
    back = run("transform-points", out / "transform.tfm", moved, "--inverse")["points"]
    np.testing.assert_allclose(back, [ISOCENTRE, (0.0, 0.0, 0.0)], atol=1e-4)


def test_transforms_may_be_dicom_registrations(match: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    answer, out = match
    points = tmp_path / "points.csv"
    points.write_text("x,y,z\n3,-4,5\n")
    wanted = run("transform-points", out / "transform.tfm", points)["points"]
    rigid = run("transform-points", answer["outputs"]["registration"], points)["points"]
    np.testing.assert_allclose(rigid, wanted, atol=1e-4)
    move = np.array((8.0, 3.0, -5.0), dtype=np.float32)
    field = DisplacementField(np.broadcast_to(move, (*tiny.GRID.shape, 3)), tiny.GRID)
    image = tiny.planning_image()
    deformable = write_deformable_registration(field, fixed=image, moving=image, path=tmp_path / "deformable.dcm")
    assert run("transform-points", deformable, points)["points"] == [[11.0, -1.0, 0.0]]
    assert run("transform-points", deformable, points, "--inverse")["points"][0] == pytest.approx([-5.0, -7.0, 10.0])
    ct = next((out.parent / "plan" / "CT").iterdir())
    refused = run("transform-points", ct, points, code=3)
    assert refused["error"]["found"] == "a DICOM image" and ".tfm" in refused["error"]["expected"]


def test_warp_carries_a_mask_against_the_transform(tmp_path: Path) -> None:
    """x_moving = x_fixed + t, so what lies at c in the moving frame lies at c − t in the fixed one."""
    grid = Grid((30, 30, 30), (2.0, 2.0, 2.0), (-29.0, -29.0, -29.0))
    centre, move = np.array((4.0, -6.0, 2.0)), np.array((8.0, 3.0, -5.0))
    ball = (np.linalg.norm(grid.voxel_centres_lps() - centre, axis=-1) < 10).astype(np.float32)
    mask = write_volume(Volume(ball, grid), tmp_path / "mask.mha")
    transform = write_transform(
        RigidTransform.from_parameters(translation_mm=move, rotation_deg=(0.0, 0.0, 0.0), centre_lps=(0.0, 0.0, 0.0)),
        tmp_path / "t.tfm",
        centre_lps=(0.0, 0.0, 0.0),
    )
    out = tmp_path / "warped.mha"
    answer = run("warp", transform, mask, "--like", mask, "--out", out)
    assert (answer["kind"], answer["out"]) == ("image", str(out))
    warped = read_volume(out)
    weights = warped.array.astype(float)
    found = (weights[..., None] * warped.grid.voxel_centres_lps()).sum(axis=(0, 1, 2)) / weights.sum()
    np.testing.assert_allclose(found, centre - move, atol=0.05)
    before = out.read_bytes()
    refused = run("warp", transform, mask, "--like", mask, "--out", out, code=3)
    assert refused["error"]["code"] == "output-exists"
    assert out.read_bytes() == before
    run("warp", transform, mask, "--like", mask, "--out", out, "--force")


def test_dvh_of_a_sphere_in_a_dose_that_rises_along_x(course: Path, tmp_path: Path) -> None:
    """Mean and median are the dose at the centre; the highest one is a radius further."""
    image = tiny.planning_image()
    grid = tiny.GRID
    dose = Volume((50.0 + 0.2 * grid.voxel_centres_lps()[..., 0]).astype(np.float32), grid)
    path = tmp_path / "rd.dcm"
    write_dose(
        DoseDistribution(dose, frame_of_reference_uid=tiny.FRAME, plan_uid=uid_from("tiny", "plan")),
        image=image,
        path=path,
        structures_uid=uid_from("tiny", "structures"),
    )
    answer = run("dvh", "--structures", course / "RS.dcm", "--dose", path, "--ct", course / "CT", "--metric", "V54Gy")
    ptv = answer["structures"]["PTV70"]
    assert ptv["volume_cc"] == pytest.approx(4 / 3 * np.pi * 2.5**3, rel=0.03)
    assert ptv["mean_gy"] == pytest.approx(54.4, abs=0.05)
    assert ptv["D50_gy"] == pytest.approx(54.4, abs=0.1)
    assert ptv["max_gy"] == pytest.approx(54.4 + 0.2 * 25, abs=0.4)
    # a plane 2 mm from the centre of a sphere of 25 mm cuts off a cap of 23 mm: h²(3r − h)/(4r³)
    assert ptv["metrics"]["V54Gy[%]"] == pytest.approx(100 * (1 - 23**2 * (75 - 23) / (4 * 25**3)), abs=1.0)
    other = run("dvh", "--structures", course / "RS.dcm", "--dose", course / "RS.dcm", code=3)["error"]
    assert other["found"]
    assert other["expected"]


def test_plan_writes_a_plan_whose_dose_igrt_dose_reproduces(
    planned: tuple[dict[str, Any], Path], course: Path, tmp_path: Path
) -> None:
    answer, out = planned
    assert answer["feasible"] is True
    assert set(answer["stage_seconds"]) >= {"influence", "optimise", "sequence", "final_dose"}
    assert json.loads((out / "plan.json").read_text())["mu"] == answer["mu"]
    treatment = read_plan(out / "rtplan.dcm")
    assert sum(beam.mu for beam in treatment.beams) == pytest.approx(answer["mu"], rel=1e-3)
    rtdose = tmp_path / "rd.dcm"
    computed = run(
        "dose", "--ct", course / "CT", "--plan", out / "rtplan.dcm", "--structures", course / "RS.dcm",
        "--machine", "generic_6mv", "--grid-mm", "3", "--out", rtdose,
    )  # fmt: skip
    assert computed["engine"] == "collapsed-cone"
    assert [b["name"] for b in computed["beams"]] == [b.name for b in treatment.beams]
    for beam in computed["beams"]:  # modulated beams: the check agrees, or says why it gives no verdict
        check = beam["mu_check"]
        assert check["check_dose_gy"] > 0 and check["engine_dose_gy"] > 0
        assert check["passed"] or (check["passed"] is None and check["reasons"])
    assert {b["name"]: b["passed"] for b in answer["mu_check"]["beams"]}.keys() == {b.name for b in treatment.beams}
    assert computed["course_max_gy"] == pytest.approx(float(read_dose(rtdose).dose_gy.array.max()), rel=1e-3)
    same = run("gamma", out / "rtdose.dcm", rtdose, "--dose-percent", "2", "--distance-mm", "2")
    assert same["pass_percent"] > 99.0
    again = run(
        "dose", "--ct", course / "CT", "--plan", out / "rtplan.dcm", "--machine", "generic_6mv", "--out", rtdose,
        code=3,
    )  # fmt: skip
    assert again["error"]["code"] == "output-exists"


def test_plan_reports_its_figures(planned: tuple[dict[str, Any], Path]) -> None:
    answer, _ = planned
    target, level = answer["quality"]["targets"][0], answer["quality"]["levels"][0]
    assert target["d98_gy"] < target["d95_gy"] < target["d50_gy"] < target["d2_gy"]
    assert level["targets"] == [target["name"]]
    # the tiny protocol asks for 95 % of the prescription, and hardly more is given
    assert level["conformity_index"] < 0.5 < level["conformity_index_95"] <= 1.0
    assert level["gradient_index"] > 1.0
    assert answer["quality"]["integral_dose_gy_l"] > 0
    # tissue of 0.9 to 1.3 g/cm³
    assert 0.8 < answer["quality"]["integral_dose_j"] / answer["quality"]["integral_dose_gy_l"] < 1.3
    complexity = answer["complexity"]
    assert complexity["mu"] == pytest.approx(answer["mu"])
    assert complexity["segments"] == answer["segments"]
    assert 0.0 < complexity["modulation_complexity_score"] < 1.0
    beams_seconds = complexity["treatment_seconds"] - complexity["gantry_seconds"]
    assert beams_seconds == pytest.approx(answer["delivery_seconds"], rel=0.01)


def test_a_conformal_plan_for_comparison(planned: tuple[dict[str, Any], Path], course: Path, tmp_path: Path) -> None:
    modulated, folder = planned
    protocol, out = course.parent / "tiny.yaml", tmp_path / "conformal"
    arguments = (
        "plan", "--ct", course / "CT", "--structures", course / "RS.dcm", "--protocol", protocol,
        "--machine", "generic_6mv", "--technique", "3d-crt",
    )  # fmt: skip
    answer = json.loads(CliRunner().invoke(app, [*map(str, arguments), "--out", str(out), "--json"]).stdout)
    assert answer["technique"] == "3d-crt"
    assert answer["plan_uid"] != modulated["plan_uid"]
    score = answer["complexity"]["modulation_complexity_score"]
    assert score > modulated["complexity"]["modulation_complexity_score"]
    rtdose = tmp_path / "rd.dcm"
    run(
        "dose", "--ct", course / "CT", "--plan", out / "rtplan.dcm", "--structures", course / "RS.dcm",
        "--machine", "generic_6mv", "--grid-mm", "3", "--out", rtdose,
    )  # fmt: skip
    same = run("gamma", out / "rtdose.dcm", rtdose, "--dose-percent", "2", "--distance-mm", "2")
    assert same["pass_percent"] > 99.0
    warm = CliRunner().invoke(
        app, [*map(str, arguments), "--out", str(tmp_path / "w"), "--warm-start", str(folder / "rtplan.dcm")]
    )
    assert warm.exit_code == 2


def test_unknown_names_and_wrong_usage(course: Path, tmp_path: Path) -> None:
    error = run(
        "plan", "--ct", course / "CT", "--structures", course / "RS.dcm",
        "--protocol", "no-such", "--machine", "generic_6mv", "--out", tmp_path / "p", code=3,
    )["error"]  # fmt: skip
    assert "no-such" in error["found"]
    assert "head-and-neck" in error["expected"]
    assert not (tmp_path / "p").exists()
    usage = CliRunner().invoke(
        app, ["register", str(course / "CT"), str(course / "CT"), "--out", str(tmp_path / "r"), "--isocentre", "1,2"]
    )
    assert usage.exit_code == 2
