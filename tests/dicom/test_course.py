"""The objects of a course belong together, or are refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from imrt_core.dicom import (
    read_course,
    read_patient,
    write_dose,
    write_image,
    write_plan,
    write_registration,
    write_structures,
)
from imrt_core.patient import (
    Contour,
    DicomError,
    IdentityError,
    InputRefusedError,
    PatientImage,
    RigidTransform,
    StructureSet,
)

from .objects import day_image, dose, edit, having, image, lacking, plan, save_vendor, structures, vendor_slice


def write_course(folder: Path, ct: PatientImage, drawn: StructureSet | None = None) -> Path:
    drawn = drawn or structures(ct)
    write_image(ct, folder / "ct")
    write_structures(drawn, image=ct, path=folder / "rs.dcm")
    write_plan(plan(ct), image=ct, path=folder / "rp.dcm")
    write_dose(dose(ct), image=ct, path=folder / "rd.dcm")
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_course(tmp_path_factory.mktemp("course"), image())


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    shutil.copytree(written, tmp_path / "course")
    return tmp_path / "course"


def refusal(folder: Path) -> InputRefusedError:
    with pytest.raises(InputRefusedError) as caught:
        read_course(folder)
    error = caught.value
    assert error.found
    assert error.expected
    assert error.where
    return error


def test_round_trip(folder: Path) -> None:
    ct = image()
    found = read_course(folder)
    assert np.array_equal(found.ct.hu.array, ct.hu.array)
    assert found.ct.hu.grid.matches(ct.hu.grid, tolerance_mm=1e-3)
    assert found.structures.names == ("PTV70", "Parotid_L")
    assert found.plan is not None
    assert found.plan.total_mu == pytest.approx(plan(ct).total_mu)
    assert found.course_dose is not None
    assert found.course_dose.plan_uid == found.plan.sop_instance_uid
    # The plan names PTV70, which is drawn, and PTV56, which is not.
    assert found.plan.prescription_gy == (("PTV70", 70.0), ("", 56.0))


def test_prescription_by_roi_number(folder: Path) -> None:
    def change(ds: Dataset) -> None:
        ds.DoseReferenceSequence[1].DoseReferenceStructureType = "VOLUME"
        ds.DoseReferenceSequence[1].ReferencedROINumber = 7

    edit(folder / "rp.dcm", change)
    found = read_course(folder).plan
    assert found is not None
    assert found.prescription_gy == (("PTV70", 70.0), ("Parotid_L", 56.0))


def test_dose_without_plan_is_a_reference(folder: Path) -> None:
    (folder / "rp.dcm").unlink()
    found = read_course(folder)
    assert found.plan is None
    assert found.course_dose is not None
    (folder / "rd.dcm").unlink()
    assert read_course(folder).course_dose is None


def test_a_reference_dose_that_names_no_plan(folder: Path) -> None:
    ct = image()
    (folder / "rp.dcm").unlink()
    uid = structures(ct).sop_instance_uid
    write_dose(replace(dose(ct), plan_uid=""), image=ct, path=folder / "rd.dcm", structures_uid=uid)
    assert read_course(folder).course_dose is not None
    write_dose(replace(dose(ct), plan_uid=""), image=ct, path=folder / "rd.dcm", structures_uid="1.2.3.9")
    error = refusal(folder)
    assert (error.code, error.found, error.expected) == ("reference-mismatch", "1.2.3.9", uid)


def test_registrations_rt_images_and_copies_are_passed_over(folder: Path) -> None:
    ct = image()
    write_registration(RigidTransform.identity(), fixed=ct, moving=day_image(ct), path=folder / "reg.dcm")
    portal = Dataset()
    portal.SOPClassUID, portal.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.1", "1.2.3"
    save_vendor(portal, folder / "ri.dcm")
    shutil.copy(folder / "rs.dcm", folder / "rs copy.dcm")
    assert len(read_course(folder).structures) == 2


def test_beam_doses_beside_the_dose_of_the_plan_are_passed_over(folder: Path) -> None:
    shutil.copy(folder / "rd.dcm", folder / "beam.dcm")
    edit(folder / "beam.dcm", having(DoseSummationType="BEAM"))
    found = read_course(folder).course_dose
    assert found is not None
    assert found.summation_type == "PLAN"


@pytest.mark.parametrize("name", ["rs.dcm", "rp.dcm", "rd.dcm"])
def test_wrong_patient(folder: Path, name: str) -> None:
    edit(folder / name, having(PatientID="ID2"))
    error = refusal(folder)
    assert isinstance(error, IdentityError)
    assert error.code == "wrong-patient"
    assert error.found == "Patient ID ID2"
    assert error.expected == "Patient ID ID1, as in CT_0001.dcm"
    assert error.where.endswith(name)
    assert "Doe" not in str(error)


def test_no_patient_id_at_all(folder: Path) -> None:
    for file in folder.rglob("*.dcm"):
        edit(file, having(PatientID=""))
    assert refusal(folder).found == "Patient ID empty"


def _other_frame(ds: Dataset) -> None:
    for item in ds.ReferencedFrameOfReferenceSequence:
        item.FrameOfReferenceUID = "1.9"
    for roi in ds.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "1.9"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rs.dcm", _other_frame),
        ("rp.dcm", having(FrameOfReferenceUID="1.9")),
        ("rd.dcm", having(FrameOfReferenceUID="1.9")),
    ],
)
def test_frame_of_reference(folder: Path, name: str, change: Callable[..., None]) -> None:
    edit(folder / name, change)
    error = refusal(folder)
    assert (error.code, error.found) == ("frame-mismatch", "1.9")
    assert error.expected == image().frame_of_reference_uid
    assert error.where.endswith(name)


def test_plan_without_frame_relies_on_its_structure_set(folder: Path) -> None:
    edit(folder / "rp.dcm", lacking("FrameOfReferenceUID"))
    assert read_course(folder).plan is not None


def test_dose_without_frame_is_refused(folder: Path) -> None:
    edit(folder / "rd.dcm", lacking("FrameOfReferenceUID"))
    assert refusal(folder).found == "no frame of reference"


@pytest.mark.parametrize(
    ("name", "sequence"), [("rp.dcm", "ReferencedStructureSetSequence"), ("rd.dcm", "ReferencedRTPlanSequence")]
)
def test_references(folder: Path, name: str, sequence: str) -> None:
    edit(folder / name, lambda ds: having(ReferencedSOPInstanceUID="1.2.3.99")(ds[sequence].value[0]))
    error = refusal(folder)
    assert (error.code, error.found) == ("reference-mismatch", "1.2.3.99")
    edit(folder / name, lacking(sequence))
    assert refusal(folder).found.startswith("no referenced")


def test_structures_of_another_series(folder: Path) -> None:
    def change(ds: Dataset) -> None:
        study = ds.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        study.RTReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3.99"

    edit(folder / "rs.dcm", change)
    error = refusal(folder)
    assert (error.code, error.found, error.expected) == ("reference-mismatch", "1.2.3.99", image().series_uid)


@pytest.mark.parametrize("lost", [0, 2, 5])
def test_missing_slice(folder: Path, lost: int) -> None:
    sorted((folder / "ct").iterdir())[lost].unlink()
    error = refusal(folder)
    assert error.code == "missing-slices"
    assert error.found == "5 of them, 5 slices in all"
    assert error.expected == "6 slices"


def test_patient_position_contradictory(folder: Path) -> None:
    edit(folder / "rp.dcm", lambda ds: having(PatientPosition="FFS")(ds.PatientSetupSequence[0]))
    error = refusal(folder)
    assert (error.code, error.found, error.expected) == ("patient-position", "FFS", "HFS, as in the CT")


def test_ct_without_patient_position_is_read(folder: Path) -> None:
    for file in (folder / "ct").iterdir():
        edit(file, lacking("PatientPosition"))
    found = read_course(folder)
    assert found.ct.patient_position is None
    assert found.plan is not None
    assert found.plan.patient_position == "HFS"


@pytest.mark.parametrize(
    ("name", "kind"), [("rs.dcm", "RT Structure Set"), ("rp.dcm", "RT Plan"), ("rd.dcm", "RT Dose")]
)
def test_one_object_too_many(folder: Path, name: str, kind: str) -> None:
    shutil.copy(folder / name, folder / "second.dcm")
    edit(folder / "second.dcm", having(SOPInstanceUID="1.2.3.99"))
    error = refusal(folder)
    assert error.code == "several-objects"
    assert error.message == f"more than one {kind}"
    assert error.found == f"{name}, second.dcm"


def test_second_ct_series(folder: Path) -> None:
    write_image(day_image(image()), folder / "day")
    error = refusal(folder)
    assert error.code == "several-series"
    assert error.found.count("(6 slices)") == 2


def test_no_structure_set_and_no_ct(folder: Path, tmp_path: Path) -> None:
    (folder / "rs.dcm").unlink()
    error = refusal(folder)
    assert (error.code, error.expected) == ("no-structures", "RT Structure Set Storage")
    shutil.rmtree(folder / "ct")
    assert refusal(folder).code == "no-image"


def test_mr_slice_and_ion_plan(folder: Path) -> None:
    mr = vendor_slice(0)
    mr.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    save_vendor(mr, folder / "other.dcm")
    assert refusal(folder).found == "MR Image Storage in other.dcm"
    ion = vendor_slice(0)
    ion.SOPClassUID = "1.2.840.10008.5.1.4.1.1.481.8"
    save_vendor(ion, folder / "other.dcm")
    assert refusal(folder).found == "RT Ion Plan Storage in other.dcm"


def test_dose_that_is_not_of_the_whole_course(folder: Path) -> None:
    edit(folder / "rd.dcm", having(DoseSummationType="FRACTION"))
    error = refusal(folder)
    assert (error.code, error.found) == ("dose-summation", "FRACTION in rd.dcm")


@pytest.mark.parametrize("name", ["ct/CT_0003.dcm", "rs.dcm", "rp.dcm", "rd.dcm"])
def test_truncated_file(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) * 3 // 4])
    error = refusal(folder)
    assert error.code == "truncated-file"
    assert error.where.endswith(name)


def _moved(ct: PatientImage, offset: tuple[float, float, float]) -> StructureSet:
    original = structures(ct)
    target = original["PTV70"]
    contours = tuple(Contour(c.points_lps + np.array(offset)) for c in target.contours)
    return replace(original, structures=(replace(target, contours=contours),))


@pytest.mark.parametrize(
    ("offset", "code"),
    [((500.0, 0, 0), "contour-outside"), ((0, 0, 9.0), "contour-outside"), ((0, 0, 1.4), "contour-off-slice")],
)
def test_contours_that_do_not_fit_the_ct(tmp_path: Path, offset: tuple[float, float, float], code: str) -> None:
    ct = image()
    error = refusal(write_course(tmp_path, ct, _moved(ct, offset)))
    assert error.code == code
    assert "PTV70" in error.message
    assert error.where.endswith("rs.dcm")
    if code == "contour-off-slice":
        assert "1.40 mm off the nearest slice" in error.found


def test_contours_a_little_off_the_slices_are_accepted(tmp_path: Path) -> None:
    ct = image()
    assert len(read_course(write_course(tmp_path, ct, _moved(ct, (0, 0, 0.3)))).structures) == 1


def test_read_patient(folder: Path) -> None:
    assert read_patient(folder) == image().patient
    assert read_patient(folder / "rp.dcm") == image().patient
    with pytest.raises(DicomError):
        read_patient(folder / "nothing")
