"""One tiny course from DICOM to reports through Dagster, then fractions that a person must look at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance

from imrt_core.dicom import read_course, read_dose, read_plan, read_registration, write_machine_isocentre
from imrt_core.machine import load_machine
from imrt_core.patient import PatientIdentity
from pipelines.codec import read_npz
from pipelines.files import sha256_of_tree
from pipelines.home import dagster_folder, quarantine_folder
from pipelines.ledger import open_ledger
from pipelines.results import DayImage
from pipelines.stages import day
from pipelines.store import CourseFolder
from registration import TableLimits

from . import tiny
from .chain_case import (
    add_no_dicom,
    cut_a_file,
    igrt,
    match_of_nothing,
    read_course_of_day,
    received_course,
    remove_a_slice,
    setup_of,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for the whole module: the course is planned once."""
    return tmp_path_factory.mktemp("chain")


@pytest.fixture(autouse=True)
def igrt_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IGRT_HOME", str(home / "igrt"))
    monkeypatch.setenv("IGRT_ACTOR", "tester")
    return home / "igrt"


@pytest.fixture
def course(home: Path, igrt_home: Path) -> CourseFolder:
    folder = CourseFolder("tiny1")
    if not folder.exists:
        dicom = tiny.write_course(home / "plan")
        protocol = tiny.write_protocol(home / "tiny.yaml")
        code, answer = igrt("course", "add", dicom, "--protocol", protocol, "--id", "tiny1")
        assert code == 0, answer
        assert answer["course"] == "tiny1" and answer["fractions"] == 35
        assert answer["prescription_gy"] == {"PTV70": 70.0}
        assert len(answer["beams"]) == 5 and all(beam["mu"] > 0 for beam in answer["beams"])
        assert {g["goal"]: g["ok"] for g in answer["goals"]}["SpinalCord D0.03cc[Gy] <= 50 (hard)"]
        assert answer["baseline"]["validated"] is None and answer["seconds"] > 0
    return folder


@pytest.fixture
def fx01(home: Path, course: CourseFolder) -> dict:
    if not course.fraction("fx01").is_complete:
        setup = tiny.write_day(home / "fx01")
        code, answer = igrt("fraction", "run", "tiny1", "fx01", "--setup", setup)
        assert code in (0, 4), answer
        (home / "fx01.json").write_text(json.dumps(answer))
    return json.loads((home / "fx01.json").read_text())


def test_the_shift_is_that_of_the_simulated_patient(fx01: dict) -> None:
    # HFS, machine isocentre at the origin: with p the planned isocentre, found at f, and R the patient's rotation,
    # the table goes t = −Rᵀ f along lateral = +x, vertical = −y, longitudinal = +z.
    simulated, shift = np.array([22.0, -5.0, -15.0]), np.array([4.0, -3.0, 5.0])
    angle = np.radians(1.0)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    planned = np.array(igrt("course", "show", "tiny1")[1]["isocentre_lps"])
    found = rotation @ (planned - simulated) + shift
    x, y, z = -rotation.T @ found
    assert np.allclose(fx01["shift_mm"], [-y, z, x], atol=0.5)
    # a rotation about LPS z is a roll about Yt for HFS (Yt = +z); the table undoes it
    assert np.allclose(fx01["rotation_deg"], [0.0, -1.0, 0.0], atol=0.4)
    assert fx01["applied"]["shift_mm"] == [float(round(v)) for v in fx01["shift_mm"]]
    assert np.max(np.abs(fx01["applied"]["residual_shift_mm"])) <= 0.6


def test_the_answer_of_a_fraction_has_the_keys_of_the_contract(fx01: dict) -> None:
    assert fx01["decision"] in ("treat", "shift", "reoptimise", "replan", "review") and fx01["reasons"]
    keys = {"goal", "planned", "today", "accumulated", "projected", "low", "high", "limit", "status", "ok"}
    assert {*fx01["goals"][0]} == keys and len(fx01["goals"]) == 3
    assert Path(fx01["report"]).is_absolute() and Path(fx01["report"]).is_file()
    stages = {"setup_image", "rigid_match", "couch_shift", "deformation", "structures_of_day", "density_of_day"}
    stages |= {"dose_of_day", "accumulated_dose", "goals_of_day", "decision", "plan_of_day", "fraction_report"}
    assert stages <= {*fx01["stage_seconds"]}
    assert fx01["seconds"] >= sum(fx01["stage_seconds"][s] for s in stages) - 1


def test_dose_of_day_is_near_the_plan_for_a_patient_who_only_moved(fx01: dict) -> None:
    cord = fx01["goals"][1]
    assert cord["today"] == pytest.approx(cord["planned"], abs=2.0)
    assert cord["accumulated"] is None and cord["projected"] == pytest.approx(cord["today"], abs=2.0)


def test_reports_and_dicom_are_there_and_name_nobody(fx01: dict, course: CourseFolder) -> None:
    fraction = course.fraction("fx01")
    assert {p.suffix for p in fraction.report.iterdir()} == {".html", ".pdf", ".json"}
    html = (fraction.report / "fraction_report.html").read_text()
    assert "Tiny^" not in html and tiny.PATIENT.patient_id not in html and "tiny1" in html
    registration = read_registration(fraction.dicom / "REG.dcm", fixed_frame_uid=tiny.FRAME)
    match = read_npz(fraction.output("rigid_match", ".npz"))
    assert np.allclose(registration.moving_from_fixed.matrix, match.moving_from_fixed.matrix, atol=1e-4)
    assert registration.machine_isocentre_lps == pytest.approx((0.0, 0.0, 0.0), abs=1e-6)
    data = read_course_of_day(fraction.dicom)
    assert {"PTV70", "CTV70", "SpinalCord"} <= set(data.names)
    assert read_dose(fraction.dicom / "RD.dcm").dose_gy.array.max() == pytest.approx(
        read_npz(fraction.output("dose_of_day", ".npz")).fraction_dose_gy.array.max(), rel=1e-3
    )
    planned = read_plan(course.plan / "RP.dcm")
    assert planned.intent == "RESEARCH" and planned.approval_status == "UNAPPROVED"


def test_dagster_has_the_metadata_and_the_checks(fx01: dict, course: CourseFolder) -> None:
    with DagsterInstance.from_config(str(dagster_folder())) as instance:
        records = instance.fetch_materializations(
            AssetRecordsFilter(asset_key=AssetKey("couch_shift"), asset_partitions=["tiny1|fx01"]), limit=1
        ).records
        metadata = records[0].asset_materialization.metadata  # type: ignore[union-attr]
        assert metadata["shift vertical mm"].value == pytest.approx(fx01["shift_mm"][0])
        report = instance.fetch_materializations(AssetKey("fraction_report"), limit=1).records[0]
        link = report.asset_materialization.metadata["report"].value  # type: ignore[union-attr]
        assert link == "http://127.0.0.1:3001/reports/tiny1/fx01/report/fraction_report.html"
        goals = instance.fetch_materializations(AssetKey("goals_of_day"), limit=1).records[0]
        values = goals.asset_materialization.metadata  # type: ignore[union-attr]
        assert values["SpinalCord D0.03cc[Gy] <= 50 (hard) today"].value == pytest.approx(fx01["goals"][1]["today"])
        match = instance.fetch_materializations(AssetKey("rigid_match"), limit=1).records[0]
        picture = match.asset_materialization.metadata["match"].value  # type: ignore[union-attr]
        assert "data:image/png;base64," in str(picture)
        text = " ".join(str(e.dagster_event) for e in instance.all_logs(records[0].run_id))
        assert tiny.PATIENT.patient_id not in text and "Tiny^" not in text
        events = [e.dagster_event for e in instance.all_logs(records[0].run_id) if e.dagster_event]
        kind = "ASSET_CHECK_EVALUATION"
        evaluations = [e.asset_check_evaluation_data for e in events if e.event_type_value == kind]
    checked = {evaluation.check_name for evaluation in evaluations}
    assert {"match_quality", "shift_within_limits", "deformable_quality", "density_quality", "goals_met"} <= checked


def test_the_same_image_again_gives_the_same_numbers(fx01: dict, home: Path, course: CourseFolder) -> None:
    code, answer = igrt("fraction", "run", "tiny1", "fx01", "--setup", home / "fx01")
    assert (code, answer["error"]["code"]) == (3, "fraction-exists")
    code, again = igrt("fraction", "run", "tiny1", "fx01", "--setup", home / "fx01", "--force")
    for key in ("shift_mm", "rotation_deg", "applied", "goals", "decision", "reasons"):
        assert again[key] == fx01[key], key


def test_machine_isocentre_unknown_withholds_the_shift(course: CourseFolder, home: Path) -> None:
    # a plain CT: the machine file has no rule for it
    setup = tiny.write_day(home / "fx02", tiny.day_image(number=2, model="some CT"))
    code, answer = igrt("fraction", "run", "tiny1", "fx02", "--setup", setup)
    assert code == 4, answer
    assert answer["decision"] == "review" and answer["shift_mm"] is None and answer["applied"] is None
    assert "machine isocentre" in " ".join(answer["shift_reasons"])
    assert "machine isocentre" in answer["reasons"][0]
    html = Path(answer["report"]).read_text()
    assert "machine isocentre" in html
    with open_ledger() as ledger:
        assert ledger.course_state("tiny1")[0] == "needs a person"


def test_the_machine_isocentre_comes_from_option_object_or_rule(course: CourseFolder, tmp_path: Path) -> None:
    machine = load_machine(course.machine_file)
    planning = read_npz(course.path / "stages" / "planning_data.npz")
    image = tiny.day_image(number=3, model="some CT")
    folder = tiny.write_day(tmp_path / "day", image)
    write_machine_isocentre((1.0, 2.0, 3.0), image=image, path=folder / "REG.dcm")
    fraction = setup_of(course, "fx30", folder)
    setup = fraction.setup_record().governing
    received = day.read_setup(fraction, course.record(), planning)
    place = fraction.setup / setup.folder
    point, source = day.machine_isocentre(place, received, setup, machine)
    assert point == pytest.approx((1.0, 2.0, 3.0), abs=1e-6) and source == "spatial registration object"
    told = setup.model_copy(update={"machine_isocentre_lps": (7.0, 8.0, 9.0)})
    assert day.machine_isocentre(place, received, told, machine) == ((7.0, 8.0, 9.0), "option")
    (place / "REG.dcm").unlink()
    point, source = day.machine_isocentre(place, received, setup, machine)
    assert point is None and "unknown" in source
    cone_beam = replace(received, image=replace(received.image, scanner=tiny.day_image().scanner))
    point, source = day.machine_isocentre(place, cone_beam, setup, machine)
    assert point == (0.0, 0.0, 0.0) and source == "machine file, rule cbct: origin"


def test_patient_position_of_the_day(course: CourseFolder, tmp_path: Path) -> None:
    planning = read_npz(course.path / "stages" / "planning_data.npz")
    record = course.record()
    folder = tiny.write_day(tmp_path / "day", tiny.without_position(tiny.day_image(number=4)))

    def received(key: str, *, option: str | None = None, plan: str | None = "HFS") -> DayImage:
        fraction = setup_of(course, key, folder, position=option)
        return day.read_setup(fraction, record.model_copy(update={"patient_position": plan}), planning)

    from_plan = received("fx31")
    assert (from_plan.image.patient_position, from_plan.position_source) == ("HFS", "RTPLAN patient setup")
    from_option = received("fx32", option="HFS", plan=None)
    assert (from_option.image.patient_position, from_option.position_source) == ("HFS", "option")
    absent = received("fx33", plan=None)
    assert absent.image.patient_position is None and "absent" in absent.notes[0]
    contradictory = received("fx34", option="FFS")
    assert contradictory.image.patient_position is None and "contradictory" in contradictory.notes[0]
    for image in (absent, contradictory):
        shift = day.shift_of_day(
            match_of_nothing(),
            image,
            planned_isocentre_lps=(0.0, 0.0, 0.0),
            machine_isocentre_lps=(0.0, 0.0, 0.0),
            machine_isocentre_source="option",
            table=TableLimits(),
        )
        assert shift.exact is None and shift.used is None and shift.reasons == image.notes


def test_a_received_plan_is_validated_against_its_dose(course: CourseFolder, home: Path) -> None:
    dicom = received_course(course, home / "received", dose_factor=1.0)
    code, answer = igrt("course", "add", dicom, "--protocol", home / "tiny.yaml", "--id", "received")
    assert code == 0, answer
    assert answer["plan_origin"] == "received" and answer["baseline"]["validated"] is True
    assert answer["baseline"]["gamma_pass_percent"] > 99.5
    for goal in answer["goals"]:
        assert goal["tps"] == pytest.approx(goal["value"], abs=0.3), goal


def test_a_dose_that_ours_does_not_reproduce_makes_every_decision_review(course: CourseFolder, home: Path) -> None:
    dicom = received_course(course, home / "different", dose_factor=1.1)
    code, answer = igrt("course", "add", dicom, "--protocol", home / "tiny.yaml", "--id", "different")
    assert code == 4 and answer["baseline"]["validated"] is False
    reasons = " ".join(answer["baseline"]["reasons"])
    assert "gamma" in reasons and "prescription is not the same" in reasons
    assert answer["state"] == "needs a person"
    code, answer = igrt("fraction", "run", "different", "fx01", "--setup", home / "fx01")
    assert code == 4 and answer["decision"] == "review"
    assert "not validated for this plan" in answer["reasons"][0]
    assert answer["plan_of_day"].startswith("not-computed") and not answer["reoptimised"]


@pytest.mark.parametrize(
    ("breaking", "image", "code"),
    [
        (remove_a_slice, tiny.day_image(number=10), "missing-slices"),
        (cut_a_file, tiny.day_image(number=11), "truncated-file"),
        (add_no_dicom, tiny.day_image(number=12), "not-dicom"),
        (None, tiny.day_image(number=13, patient=PatientIdentity("SOMEBODY-ELSE")), "wrong-patient"),
        (None, tiny.planning_image(), "setup-is-planning"),
    ],
    ids=["missing slice", "truncated file", "no DICOM", "wrong patient", "the planning CT"],
)
def test_bad_setup_images_go_to_quarantine(breaking, image, code: str, course: CourseFolder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    setup = tiny.write_day(tmp_path / "bad", image)
    if breaking:
        breaking(setup)
    before = sha256_of_tree(setup)
    held = {p.name for p in quarantine_folder().iterdir()}
    exit_code, answer = igrt("fraction", "run", "tiny1", "fx20", "--setup", setup)
    assert (exit_code, answer["error"]["code"]) == (3, code), answer
    assert answer["error"]["found"] and answer["error"]["expected"]
    assert "SOMEBODY" not in json.dumps(answer)
    (new,) = {p.name for p in quarantine_folder().iterdir()} - held
    assert sha256_of_tree(quarantine_folder() / new / "input") == before == sha256_of_tree(setup)
    assert not course.fraction("fx20").setup_file.exists()
    with open_ledger() as ledger:
        assert "fx20" in ledger.course_state("tiny1")[1]


def test_a_recorded_fraction_counts_and_its_report_says_so(fx01: dict, course: CourseFolder) -> None:
    code, answer = igrt(
        "fraction", "record", "tiny1", "fx01", "--applied-shift", "-2,-4,-4,0,-0.8,0", "--delivered", "full"
    )
    assert (code, answer["state"]) == (0, "recorded")
    report = json.loads((course.fraction("fx01").report / "fraction_report.json").read_text())
    assert report["fraction"]["delivery"] == "delivered" and report["fraction"]["written"] == "after-delivery"
    assert report["shift"]["source"] == "recorded" and report["shift"]["applied"]["vertical_mm"] == -2.0
    goals = {line["goal"]: line for line in report["goals"]}
    cord = goals["SpinalCord D0.03cc[Gy] <= 50 (hard)"]
    assert cord["accumulated"] == pytest.approx(cord["today"] / 35, rel=0.1)
    code, answer = igrt("fraction", "record", "tiny1", "fx01", "--delivered", "none")
    assert (code, answer["error"]["code"]) == (3, "fraction-recorded")
    code, answer = igrt("fraction", "record", "tiny1", "fx09", "--delivered", "nobeam=12")
    assert (code, answer["error"]["code"]) == (3, "beam-unknown")


def test_lists_and_course_report(fx01: dict, course: CourseFolder) -> None:
    code, answer = igrt("course", "list")
    states = {line["course"]: line["state"] for line in answer["courses"]}
    assert code == 0 and {"tiny1", "received", "different"} <= set(states)
    assert states["received"] == "ready"  # trouble of the others is not its own
    code, answer = igrt("report", "tiny1")
    assert code == 0 and Path(answer["html"]).is_file() and Path(answer["pdf"]).read_bytes()[:4] == b"%PDF"
    assert 'href="../fx01/report/fraction_report.html"' in Path(answer["html"]).read_text()
    code, answer = igrt("report", "tiny1", "fx01")
    assert code == 0 and Path(answer["html"]) == course.fraction("fx01").report / "fraction_report.html"
    assert igrt("report", "tiny1", "fx33")[1]["error"]["code"] == "fraction-not-run"
    code, answer = igrt("report", "tiny1", "fx29")
    assert (code, answer["error"]["code"]) == (3, "setup-image-missing")


def test_the_input_was_kept_as_received(course: CourseFolder, home: Path) -> None:
    assert sha256_of_tree(course.planning) == sha256_of_tree(home / "plan")
    assert read_course(course.planning).structures.names == tiny.structures().names
