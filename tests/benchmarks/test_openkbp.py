from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import openkbp, openkbp_data
from imrt_core.dicom import read_course, read_image
from imrt_core.evaluate import dvh
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.patient import GeometryError, InputRefusedError
from imrt_core.patient.contours import structure_volume_cc

#: One patient with shoulders and 1-voxel targets, one whose CT is a slab.
PATIENTS = ("validation_pt_201", "test_pt_254")


def _npz(folder: Path, *, swap: bool = False) -> Path:
    """A tiny patient of the data set's form: a block of tissue, a target, two parotids, a bone."""
    shape = (40, 48, 24)
    ct = np.zeros(shape, dtype=np.uint16)
    ct[8:32, 8:40, 2:22] = 1040
    ct[18:22, 22:26, 2:22] = 1900
    dose = np.zeros(shape, dtype=np.float32)
    dose[8:32, 8:40, 2:22] = 20.0
    dose[10:18, 18:30, 6:14] = 70.0
    masks = {
        name: np.zeros(shape, dtype=bool) for name in ("LeftParotid", "RightParotid", "PTV70", "possible_dose_mask")
    }
    left, right = (slice(10, 14), slice(34, 38)) if swap else (slice(34, 38), slice(10, 14))
    masks["LeftParotid"][14:22, left, 6:12] = True
    masks["RightParotid"][14:22, right, 6:12] = True
    masks["PTV70"][10:18, 18:30, 6:14] = True
    masks["possible_dose_mask"][8:32, 8:40, 2:22] = True
    path = folder / "tiny.npz"
    np.savez(
        path,
        ct=ct,
        dose=dose,
        voxel_mm=np.array([4.0, 4.0, 3.0]),
        mask_names=np.array(list(masks)),
        masks=np.stack([np.packbits(m) for m in masks.values()]),
    )
    return path


def test_axes_units_and_names(tmp_path: Path) -> None:
    patient = openkbp_data.load(_npz(tmp_path))
    masks = dict(patient.masks)
    assert list(masks) == ["External", "Parotid_L", "Parotid_R", "PTV70"]
    grid = patient.hu.grid
    assert grid.spacing_mm == (4.0, 4.0, 3.0) and grid.shape == (20, 40, 48)

    def centre(name: str) -> np.ndarray:
        return np.asarray(grid.to_lps(np.argwhere(masks[name].array)[:, ::-1].mean(axis=0)))

    assert centre("Parotid_L")[0] > 0 > centre("Parotid_R")[0]
    # The target is anterior (−y) of the parotids' middle, and in the superior half: its first slices come first.
    assert centre("PTV70")[1] < centre("Parotid_L")[1]
    assert centre("PTV70")[2] > centre("External")[2]
    assert float(patient.hu.array[masks["PTV70"].array].mean()) == 40.0
    assert float(patient.hu.array.min()) == -1000.0
    assert float(patient.course_dose_gy.array[masks["PTV70"].array].min()) == 70.0


def test_swapped_sides_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="left parotid"):
        openkbp_data.load(_npz(tmp_path, swap=True))
    other = tmp_path / "other.npz"
    np.savez(other, a=1)
    with pytest.raises(InputRefusedError, match="not an OpenKBP patient"):
        openkbp_data.load(other)


def test_command_writes_what_the_interface_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npz, out = _npz(tmp_path), tmp_path / "out"
    assert openkbp.main([str(npz), str(out), "--fractions", "2", "--seed", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["patient"] == "OPENKBP-tiny"
    assert [Path(f["dir"]).name for f in answer["fractions"]] == ["fx01", "fx35"]
    truth = json.loads((out / "truth.json").read_text())
    for stated, true in zip(answer["fractions"], truth["fractions"], strict=True):
        assert stated["shift_mm"] == true["shift_mm"] and stated["rotation_deg"] == true["rotation_deg"]
        assert Path(stated["dir"]).is_absolute()
        assert read_image(Path(stated["dir"])).patient.patient_id == "OPENKBP-tiny"
    course = read_course(out / "plan")
    assert course.course_dose is not None and course.course_dose.summation_type == "PLAN"
    assert truth["fractions"][0]["planned_isocentre_lps"] == list(target_isocentre_lps(course.structures))
    # A second run does not overwrite; with --force it gives the same bytes.
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*.dcm")}
    assert openkbp.main([str(npz), str(out), "--seed", "3", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["message"] == "the output folder is not empty"
    assert openkbp.main([str(npz), str(out), "--fractions", "2", "--seed", "3", "--force"]) == 0
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*.dcm")} == before


@pytest.mark.shared_data
@pytest.mark.parametrize("name", PATIENTS)
def test_shipped_dose_is_reproduced(name: str, shared_data: Path, tmp_path: Path) -> None:
    """DVH of contours and RTDOSE as written against the voxels of the data set.

    Tolerances: 0.1 Gy in the mean and 0.3 Gy in D95 where both take dose trilinearly within the voxel. Against voxel
    centres alone (dose of a voxel for all of it) targets' D95 differ by up to 2 Gy at their edge: voxels are 4 to 5 mm.
    """
    npz = shared_data / "openkbp" / f"{name}.npz"
    conversion = openkbp.convert(npz, tmp_path / "out", fractions=1)
    assert conversion.dvh_mean_difference_gy < 0.1
    assert conversion.dvh_d95_difference_gy < 0.3
    course = read_course(conversion.plan_dir)
    assert course.course_dose is not None
    patient = openkbp_data.load(npz)
    for structure_name, mask in patient.masks:
        structure = course.structures[structure_name]
        voxels = patient.course_dose_gy.array[mask.array]
        volume_cc = len(voxels) * mask.grid.voxel_volume_cc
        assert structure_volume_cc(structure) == pytest.approx(volume_cc, rel=0.04, abs=0.3)
        if structure_name == "External":
            continue
        ours = dvh(structure, course.course_dose.dose_gy)
        assert ours.mean_gy == pytest.approx(float(voxels.mean()), abs=0.8)
        assert ours.metric("D95%[Gy]") == pytest.approx(float(np.percentile(voxels, 5)), abs=3.0)
    image = read_image(conversion.fractions[0].dir)
    assert image.patient_position == "HFS" and image.frame_of_reference_uid != course.ct.frame_of_reference_uid
