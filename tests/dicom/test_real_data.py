"""Real objects of several vendors."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from imrt_core.dicom import (
    find_series,
    read_course,
    read_dose,
    read_image,
    read_plan,
    read_structures,
    write_dose,
    write_image,
    write_structures,
)
from imrt_core.patient import DicomError

pytestmark = pytest.mark.shared_data


def test_breast_plan(shared_data: Path) -> None:
    plan = read_plan(shared_data / "dicom_breast_imrt" / "rtplan.dcm")
    assert [(b.name, b.mu, b.nominal_energy_mv, len(b.control_points)) for b in plan.beams] == [
        ("3 RAO", 97, 10, 92),
        ("4 AP", 87, 6, 94),
        ("5 LAO", 89, 6, 103),
        ("6 LPO", 94, 10, 95),
    ]
    assert (plan.fractions_planned, plan.patient_position) == (7, "HFS")
    assert plan.prescription_gy == (("Breast", 14.0),)
    assert plan.isocentre_lps == pytest.approx((72.5304715048, -304.3445582552, -9.3092401018882))
    for beam in plan.beams:
        assert beam.mlc is not None
        assert (beam.mlc.pairs, beam.unsupported, beam.is_arc) == (60, (), False)
        assert beam.control_points[-1].cumulative_weight == pytest.approx(1)
        # Carried along from the first control point.
        assert beam.control_points[50].jaw_x_mm == beam.control_points[0].jaw_x_mm
        assert beam.control_points[50].gantry_deg == beam.control_points[0].gantry_deg
    # 4 beams of 0.5 Gy in 7 fractions are the prescribed 14 Gy.
    assert sum(b.beam_dose_gy or 0 for b in plan.beams) * 7 == pytest.approx(14)
    # The leaves of one control point, read naively.
    item = pydicom.dcmread(shared_data / "dicom_breast_imrt" / "rtplan.dcm").BeamSequence[2].ControlPointSequence[40]
    positions = [float(v) for v in item.BeamLimitingDevicePositionSequence[0].LeafJawPositions]
    leaves = plan.beams[2].control_points[40].leaves_mm
    assert leaves is not None
    assert [*leaves[0], *leaves[1]] == positions


def test_breast_structures(shared_data: Path) -> None:
    structures = read_structures(shared_data / "dicom_breast_imrt" / "rtss.dcm")
    assert len(structures) == 10
    assert structures.approval_status == "APPROVED"
    external = structures.external()
    assert external is not None
    assert (external.name, len(external.contours)) == ("BODY", 141)
    assert structures["Tumor Bed"].interpreted_type == "CTV"
    assert structures["Areola"].is_empty


def test_breast_dose(shared_data: Path) -> None:
    file = shared_data / "dicom_breast_imrt" / "rtdose.dcm"
    dose = read_dose(file)
    assert dose.summation_type == "PLAN"
    assert dose.dose_gy.grid.shape == (98, 129, 194)
    assert dose.dose_gy.grid.spacing_mm == pytest.approx((2.5, 2.5, 3.0))
    # The stored DVH of the body has its maximum at 104.862666… % of the 14 Gy prescribed.
    assert float(dose.dose_gy.array.max()) == pytest.approx(1.04862666666667 * 14, rel=1e-3)
    dataset = pydicom.dcmread(file)
    assert np.allclose(dose.dose_gy.array, dataset.pixel_array * float(dataset.DoseGridScaling), rtol=1e-6)


def test_breast_folder_is_no_course_with_one_slice(shared_data: Path) -> None:
    with pytest.raises(DicomError) as caught:
        read_course(shared_data / "dicom_breast_imrt")
    assert caught.value.code == "missing-slices"
    assert caught.value.found == "1 of them, 1 slices in all"
    assert caught.value.expected == "98 slices"


def test_breast_structures_and_dose_round_trip(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "dicom_breast_imrt"
    ct = read_image(folder / "ct.0.dcm")
    structures = read_structures(folder / "rtss.dcm")
    again = read_structures(write_structures(structures, image=ct, path=tmp_path / "rs.dcm"))
    for a, b in zip(structures, again, strict=True):
        assert (a.name, a.number, a.interpreted_type, a.color_rgb) == (
            b.name,
            b.number,
            b.interpreted_type,
            b.color_rgb,
        )
        for x, y in zip(a.contours, b.contours, strict=True):
            assert np.max(np.abs(x.points_lps - y.points_lps)) <= 1e-4
    dose = read_dose(folder / "rtdose.dcm")
    found = read_dose(write_dose(dose, image=ct, path=tmp_path / "rd.dcm", bits=32))
    assert found.dose_gy.grid.matches(dose.dose_gy.grid, tolerance_mm=1e-3)
    assert np.allclose(found.dose_gy.array, dose.dose_gy.array, rtol=1e-6, atol=1e-8)


def test_monaco_plan_without_meta_information_and_x_jaws(shared_data: Path) -> None:
    plan = read_plan(shared_data / "beam_pymedphys" / "06MV_plan.dcm")
    sides = [20, 30, 40, 50, 70, 100, 150, 200, 300, 400]
    assert len(plan.beams) == len(sides)
    assert plan.prescription_gy == (("", 2.0),)
    for beam, side in zip(plan.beams, sides, strict=True):
        for point in beam.control_points:
            assert point.jaw_x_mm is None
            assert point.jaw_y_mm == (-side / 2, side / 2)
            assert point.leaves_mm is not None
            opening = point.leaves_mm[1] - point.leaves_mm[0]
            assert beam.mlc is not None
            centres = np.add(beam.mlc.boundaries_mm[1:], beam.mlc.boundaries_mm[:-1]) / 2
            # The largest field's corners are cut off by the leaves.
            assert np.all(opening[np.abs(centres) < min(side / 2, 100)] == side)
        assert (beam.mu, beam.beam_dose_point_lps) == (1000.0, (0.0, -200.0, 0.0))
    assert [beam.beam_dose_gy for beam in plan.beams][:2] == [6.548, 6.857]


def test_head_and_neck_ct_without_patient_position(shared_data: Path) -> None:
    folder = shared_data / "ct_hn_cerr"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image(folder)
    assert found.patient_position is None
    assert found.hu.grid.shape == (90, 511, 511)
    assert found.hu.grid.spacing_mm == pytest.approx((1, 1, 3))
    # Voxels as pydicom alone gives them.
    for k in (0, 45, 89):
        ds = next(
            d
            for path in (folder / "head_and_neck" / "pt_1").iterdir()
            if (d := pydicom.dcmread(path)).SOPInstanceUID == found.slice_uids[k]
        )
        assert np.array_equal(found.hu.array[k], ds.pixel_array.astype(float) - 1024)
    assert [(s.modality, s.complete, len(s.files)) for s in find_series(folder)] == [("CT", True, 90)]


def test_ct_round_trip(shared_data: Path, tmp_path: Path) -> None:
    ct = read_image(shared_data / "ct_ibsi" / "pat_2")
    write_image(ct, tmp_path / "ct")
    found = read_image(tmp_path / "ct")
    assert np.array_equal(found.hu.array, ct.hu.array)
    assert found.hu.grid.matches(ct.hu.grid, tolerance_mm=1e-3)
    assert found.slice_uids == ct.slice_uids


@pytest.mark.parametrize(("patient", "slices"), [("pat_1", 60), ("pat_2", 41)])
def test_ct_with_structure_set(shared_data: Path, patient: str, slices: int) -> None:
    course = read_course(shared_data / "ct_ibsi" / patient)
    assert course.ct.hu.grid.shape[0] == slices
    assert course.structures.names == ("GTV-1",)
    assert course.plan is None
    points = np.concatenate([c.points_lps for c in course.structures["GTV-1"].contours])
    assert np.all(course.ct.hu.grid.contains(points))
    # A lung tumour is denser than what lies around it (looked at in a picture too).
    contours = course.structures["GTV-1"].contours
    centres = [c.points_lps.mean(axis=0) for c in contours]
    inside, outside = (
        np.concatenate([m + factor * (c.points_lps - m) for c, m in zip(contours, centres, strict=True)])
        for factor in (0.6, 1.6)
    )
    assert np.mean(course.ct.hu.sample(inside)) > np.nanmean(course.ct.hu.sample(outside)) + 100
