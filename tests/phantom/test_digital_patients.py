from __future__ import annotations

import numpy as np
import pytest

from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.geometry.margins import expand
from imrt_core.patient import InputRefusedError
from imrt_core.patient.contours import mask_from_structure, structure_volume_cc
from imrt_core.phantom import DigitalPatient, build_patient

#: Adult volumes in cm³: ICRP 89, Brouwer 2015, RTOG atlases; wide enough for seeded variation.
VOLUMES_CC = {
    "head-neck": {
        "External": (4500, 9000),
        "PTV70": (60, 160),
        "PTV63": (40, 160),
        "PTV56": (90, 260),
        "SpinalCord": (8, 30),
        "Brainstem": (18, 36),
        "Parotid_L": (20, 35),
        "Parotid_R": (20, 35),
        "Glnd_Submand_L": (5, 13),
        "Glnd_Submand_R": (5, 13),
        "Cochlea_L": (0.1, 0.8),
        "Cochlea_R": (0.1, 0.8),
        "Larynx": (20, 50),
        "Esophagus": (4, 20),
        "Cavity_Oral": (40, 110),
        "Bone_Mandible": (40, 90),
    },
    "pelvis": {
        "External": (11000, 22000),
        "CTV60": (30, 80),
        "PTV60": (90, 200),
        "Bladder": (120, 400),
        "Rectum": (50, 140),
        "Femur_Head_L": (40, 90),
        "Femur_Head_R": (40, 90),
        "Bowel_Bag": (500, 2500),
        "PenileBulb": (2, 9),
    },
    "lung": {
        "External": (12000, 24000),
        "GTV": (10, 50),
        "CTV60": (30, 90),
        "PTV60": (80, 220),
        "Lung_L": (1200, 3000),
        "Lung_R": (1300, 3300),
        "Heart": (350, 850),
        "Esophagus": (20, 60),
        "SpinalCord": (10, 40),
        "Trachea": (20, 60),
    },
}
#: Mean HU inside the structure.
MEAN_HU = {
    "head-neck": {
        "Parotid_L": (-25, 35),
        "Parotid_R": (-25, 35),
        "SpinalCord": (15, 50),
        "Brainstem": (20, 45),
        "Bone_Mandible": (500, 1100),
        "Glnd_Submand_L": (5, 50),
        "PTV70": (-60, 80),
    },
    "pelvis": {"Bladder": (0, 25), "CTV60": (25, 55), "Femur_Head_L": (300, 700)},
    "lung": {
        "Lung_L": (-820, -680),
        "Lung_R": (-820, -680),
        "Heart": (30, 60),
        "GTV": (0, 60),
        "Trachea": (-1005, -850),
    },
}


def test_volumes_are_those_of_adults(patient: DigitalPatient) -> None:
    structures = patient.planning.structures
    for name, (low, high) in VOLUMES_CC[patient.site].items():
        assert low < structure_volume_cc(structures[name]) < high, name


def test_tissue_has_its_hounsfield_units(patient: DigitalPatient) -> None:
    hu = patient.planning.ct.hu
    for name, (low, high) in MEAN_HU[patient.site].items():
        core = mask_from_structure(patient.planning.structures[name], hu.grid).array > 0.95
        assert low < float(hu.array[core].mean()) < high, name
    external = patient.planning.structures.external()
    assert external is not None
    outside = mask_from_structure(external, hu.grid).array == 0
    assert float(hu.array[outside].mean()) < -970
    body = mask_from_structure(external, hu.grid).array == 1
    values = hu.array[body]
    # Fat, muscle and compact bone each make up a share of every region.
    assert np.mean((values > -125) & (values < -70)) > 0.05
    assert np.mean((values > 25) & (values < 80)) > 0.15
    assert np.mean(values > 600) > 0.003


def test_targets_lie_in_the_body_and_margins_hold(patient: DigitalPatient) -> None:
    structures, grid = patient.planning.structures, patient.planning.ct.hu.grid
    external = structures.external()
    assert external is not None
    body = mask_from_structure(external, grid).array
    margin = {"head-neck": 5.0, "pelvis": 7.0, "lung": 8.0}[patient.site]
    target = patient.prescription.targets_gy[0][0]
    ctv = mask_from_structure(structures[target.replace("PTV", "CTV")], grid)
    ptv = mask_from_structure(structures[target], grid).array
    assert np.all(ptv[ctv.array > 0.9] > 0.9)
    assert np.all(body[ptv > 0.5] > 0.5)
    grown = expand(ctv, margin).array
    near_skin = expand(mask_from_structure(external, grid).with_array((1 - body).astype(np.float32)), 8.0).array > 0
    # Drawn and expanded masks differ by their edges' partial volume, and by at most 3 % (0.2 mm) in all.
    difference = (grown - ptv)[~near_skin]
    assert abs(float(difference.sum())) < 0.035 * float(ptv.sum())
    assert float(np.abs(difference).sum()) < 0.08 * float(ptv.sum())


def test_dose_levels_exclude_one_another(head_neck: DigitalPatient) -> None:
    structures, grid = head_neck.planning.structures, head_neck.planning.ct.hu.grid
    levels = [mask_from_structure(structures[name], grid).array for name, _ in head_neck.prescription.targets_gy]
    assert float(np.sum(levels, axis=0).max()) < 1.05
    # The ipsilateral parotid touches the target but is not in it: a good plan can spare it.
    parotid = mask_from_structure(structures["Parotid_L"], grid).array
    covered = float((parotid * np.sum(levels, axis=0)).sum() / parotid.sum())
    assert 0.01 < covered < 0.25


def test_bone_is_dense_and_paired_organs_are_on_their_sides(patient: DigitalPatient) -> None:
    hu = patient.planning.ct.hu
    assert patient.bone.shape == hu.grid.shape
    dense = hu.array > 500
    assert np.mean(patient.bone[dense]) > 0.93
    structures = patient.planning.structures
    pairs = [name for name in structures.names if name.endswith("_L")]
    assert pairs
    for name in pairs:
        left, right = (
            np.concatenate([c.points_lps for c in structures[n].contours])[:, 0].mean() for n in (name, name[:-1] + "R")
        )
        assert left > 10 > -10 > right


def test_isocentre_follows_the_rule_and_patients_differ_by_seed(head_neck: DigitalPatient) -> None:
    assert head_neck.isocentre_lps == target_isocentre_lps(head_neck.planning.structures)
    mine = build_patient("pelvis", seed=4)
    again, other = build_patient("pelvis", seed=4), build_patient("pelvis", seed=5)
    assert np.array_equal(again.planning.ct.hu.array, mine.planning.ct.hu.array)
    for a, b in zip(again.planning.structures, mine.planning.structures, strict=True):
        assert all(np.array_equal(p.points_lps, q.points_lps) for p, q in zip(a.contours, b.contours, strict=True))
    assert again.planning.ct.slice_uids == mine.planning.ct.slice_uids
    assert not np.array_equal(other.planning.ct.hu.array, mine.planning.ct.hu.array)
    assert other.planning.ct.frame_of_reference_uid != mine.planning.ct.frame_of_reference_uid


def test_unknown_site_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="elbow"):
        build_patient("elbow")
