"""``igrt motion``: from a folder of phases to ITV, mid-ventilation structures, mean CT and figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from imrt_core.dicom import read_image, read_structures, with_uids, write_image, write_structures
from imrt_core.patient import PatientIdentity, PatientImage, RigidTransform, StructureSet, Volume
from imrt_core.patient.contours import structure_from_mask
from pipelines.cli.main import app
from registration.itk import read_volume
from tests.registration import breathing

SHARES = {"0": 0.0, "30": 0.6, "60": 1.0}


def write_phase(folder: Path, label: str, hu: Volume) -> PatientImage:
    """Write a series with its phase in the description, as scanners do."""
    image = with_uids(PatientImage(hu, PatientIdentity("B1"), frame_of_reference_uid="1.2.3", patient_position="HFS"))
    for file in write_image(image, folder):
        ds = pydicom.dcmread(file)
        ds.SeriesDescription = f"Breathing {label}%"
        ds.save_as(file)
    return image


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("breathing")
    images = {
        label: write_phase(folder / "4dct" / label, label, breathing.phase(share, seed=n))
        for n, (label, share) in enumerate(SHARES.items())
    }
    inside = np.linalg.norm(breathing.GRID.voxel_centres_lps() - breathing.TUMOUR_LPS, axis=-1) <= breathing.RADIUS_MM
    mask = Volume(inside.astype(np.float32), breathing.GRID)
    drawn = StructureSet(
        (structure_from_mask(mask, number=1, name="GTV", interpreted_type="GTV"),),
        frame_of_reference_uid="1.2.3",
        referenced_series_uid=images["0"].series_uid,
    )
    write_structures(drawn, image=images["0"], path=folder / "rs.dcm")
    pose = RigidTransform.from_parameters(translation_mm=(4.0, 3.0, -5.0), rotation_deg=(0.0, 1.0, -1.0))
    day = breathing.phase(0.53, shift_mm=(0.0, -3.0, 0.0), pose=pose, noise_hu=30.0, seed=9)
    write_image(
        with_uids(PatientImage(day, PatientIdentity("B1"), frame_of_reference_uid="1.2.4", patient_position="HFS")),
        folder / "cbct",
    )
    return folder


def test_from_phases_to_itv_and_the_day(scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["motion", str(scans / "4dct"), "--structures", str(scans / "rs.dcm"), "--target", "GTV"]
    result = CliRunner().invoke(app, [*command, "--out", str(out), "--day", str(scans / "cbct"), "--json"])
    assert result.exit_code in (0, 4), (result.stderr, result.exception)
    answer = json.loads(result.stdout)
    assert answer["reference_percent"] == 0.0 and answer["mid_ventilation_percent"] == 30.0
    assert [p["percent"] for p in answer["phases"]] == [0.0, 30.0, 60.0]
    (target,) = answer["targets"]
    np.testing.assert_allclose(target["amplitude_mm"], breathing.tumour_displacement(1.0), atol=1.0)
    assert target["itv_cc"] > 1.2 * target["volume_cc"] > 10.0
    expected = breathing.tumour_displacement(0.0, (0.0, -3.0, 0.0))
    np.testing.assert_allclose(answer["day"]["baseline_shift_mm"], expected, atol=1.2)
    image = read_image(scans / "4dct" / "0")
    itv = read_structures(Path(answer["outputs"]["itv"]))
    assert itv.names == ("ITV_GTV",) and itv.referenced_series_uid == image.series_uid
    middle = read_structures(Path(answer["outputs"]["mid_ventilation_structures"]))
    assert middle.referenced_series_uid == read_image(scans / "4dct" / "30").series_uid
    mean = read_image(Path(answer["outputs"]["mean_ct"]))
    assert mean.frame_of_reference_uid == "1.2.3" and mean.series_uid != image.series_uid
    phases = [read_image(scans / "4dct" / label).hu.array for label in SHARES]
    np.testing.assert_allclose(mean.hu.array, np.mean(phases, axis=0), atol=0.6)
    assert Path(answer["outputs"]["figure"]).read_text().startswith("<?xml")
    assert answer["passed"] == (result.exit_code == 0)


def test_structures_of_another_scan_are_refused(scans: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.dcm"
    ds = pydicom.dcmread(scans / "rs.dcm")
    ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence[
        0
    ].SeriesInstanceUID = "1.2.3.4.5"
    ds.save_as(other)
    command = ["motion", str(scans / "4dct"), "--structures", str(other), "--target", "GTV"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), "--json"])
    assert result.exit_code == 3
    assert "not drawn on a phase" in json.loads(result.stdout)["error"]["message"]
    assert not (tmp_path / "out").exists()


def test_uncertainty_of_a_deformation(scans: Path, tmp_path: Path) -> None:
    """A map on the planning CT's voxels, more certain in the patient than in the air beside him."""
    planning = read_image(scans / "4dct" / "0").hu
    command = ["register", str(scans / "4dct" / "0"), str(scans / "4dct" / "60"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--mode", "deformable", "--uncertainty", "--json"])
    assert result.exit_code in (0, 4), (result.stderr, result.exception)
    found = read_volume(Path(json.loads(result.stdout)["outputs"]["uncertainty"]))
    assert found.grid.matches(planning.grid)
    inside, beside = planning.array > -300, planning.array < -980
    assert 0.0 < np.median(found.array[inside]) < np.median(found.array[beside])
    refused = CliRunner().invoke(app, [*command[:3], "--out", str(tmp_path / "other"), "--uncertainty"])
    assert refused.exit_code == 2
