"""The planning objects of one course, read together and checked to belong together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from imrt_core.patient import (
    DicomError,
    DoseDistribution,
    IdentityError,
    PatientIdentity,
    PatientImage,
    Plan,
    PlanningData,
    StructureSet,
)

from .ct import ct_series, load_series
from .header import Header, file_digest, read_header
from .opening import open_dataset, tolerant_values
from .rtdose import DOSE_KEYWORDS, dose_from, structure_set_uid_of
from .rtplan import plan_from, prescriptions
from .rtstruct import referenced_series, structures_from
from .series import scan, scan_strictly
from .uids import OTHER_PLANS, RT_DOSE, RT_PLAN, RT_STRUCTURE_SET, class_name
from .values import patient_identity

#: Contour planes may lie this far off the nearest slice, or a quarter of the slice spacing if that is more.
OFF_SLICE_MM = 0.5
#: Contours may leave the CT in the plane by this much (a body contour follows the outer edge of the pixels).
OUTSIDE_MM = 1.0


@tolerant_values()
def read_patient(path: Path) -> PatientIdentity:
    """Return whose object a DICOM file, or the first readable file of a folder, is.

    Raises
    ------
    DicomError
        If there is no DICOM file.
    """
    headers = scan_strictly(Path(path)) if Path(path).is_file() else scan(Path(path))[0]
    if not headers:
        raise DicomError("there is no DICOM file", expected="a DICOM object", where=str(path), code="not-dicom")
    return patient_identity(headers[0].dataset, headers[0].path)


@tolerant_values()
def read_course(folder: Path) -> PlanningData:
    """Read planning CT, structure set and, where given, plan and dose, and check that they belong together.

    One CT series and one RT Structure Set are needed; one RT Plan and one RT Dose of the whole course may be there
    (beam doses beside a dose of the plan are passed over). A dose without a plan is a reference dose. Registrations,
    RT images and treatment records are passed over; any other object is refused.

    Checked: one patient (Patient ID); the planning CT's frame of reference in structures and dose, and in the plan
    where it states one; structures drawn on this CT series, whose slices are all there; the plan made on these
    structures and the dose on this plan, by UID; patient position not contradictory; contours on the slices and
    within the CT.

    Parameters
    ----------
    folder : Path
        Searched with its subfolders.

    Returns
    -------
    PlanningData
        Prescriptions carry the names of structures where the plan says which.

    Raises
    ------
    DicomError
        If an object is missing, there is one too many, or one cannot be read.
    IdentityError
        If they do not belong together: what was found, what was expected, and in which file.
    PlanError, StructureError
        As the single readers.
    """
    folder = Path(folder)
    headers = scan_strictly(folder)
    slices = ct_series(headers, where=str(folder))
    structures_head = _only(headers, RT_STRUCTURE_SET, folder)
    if structures_head is None:
        raise DicomError(
            "there is no structure set",
            found=", ".join(sorted({class_name(h.sop_class) for h in headers})),
            expected=class_name(RT_STRUCTURE_SET),
            where=str(folder),
            code="no-structures",
        )
    plan_head = _only(headers, RT_PLAN, folder)
    _refuse_other_plans(headers, folder)
    dose_head = _whole_course_dose(headers, folder)
    _require_one_patient([slices[0], *(h for h in (structures_head, plan_head, dose_head) if h is not None)])

    dataset, _ = open_dataset(structures_head.path)
    structures = structures_from(dataset, structures_head.path)
    _check_drawn_on(dataset, structures, slices, structures_head.path)
    ct = load_series(slices, where=str(folder))
    _check_frame(structures.frame_of_reference_uid, ct, structures_head.path)
    _check_contours(structures, ct, structures_head.path)
    plan = None
    if plan_head is not None:
        plan_dataset, _ = open_dataset(plan_head.path)
        plan = plan_from(plan_dataset, plan_head.path)
        names = {structure.number: structure.name for structure in structures}
        plan = replace(plan, prescription_gy=prescriptions(plan_dataset, plan_head.path, roi_names=names))
        _check_plan(plan, ct, structures, plan_head.path)
    dose = None
    if dose_head is not None:
        dose = dose_from(dose_head)
        _check_dose(dose, ct, plan, structures, dose_head)
    return PlanningData(ct=ct, structures=structures, plan=plan, course_dose=dose)


def _only(headers: Iterable[Header], sop_class: str, folder: Path) -> Header | None:
    found = [header for header in headers if header.sop_class == sop_class]
    if len(found) > 1 and len({file_digest(header.path) for header in found}) > 1:
        raise DicomError(
            f"more than one {class_name(sop_class).removesuffix(' Storage')}",
            found=", ".join(str(header.path.relative_to(folder)) for header in found),
            expected="one",
            where=str(folder),
            code="several-objects",
        )
    return found[0] if found else None


def _refuse_other_plans(headers: Iterable[Header], folder: Path) -> None:
    for header in headers:
        if header.sop_class in OTHER_PLANS:
            raise DicomError(
                "a plan that is not for external photon beams",
                found=f"{class_name(header.sop_class)} in {header.path.name}",
                expected=class_name(RT_PLAN),
                where=str(folder),
                code="wrong-object",
            )


def _whole_course_dose(headers: Iterable[Header], folder: Path) -> Header | None:
    doses = [read_header(h.path, keywords=DOSE_KEYWORDS) for h in headers if h.sop_class == RT_DOSE]
    whole = [header for header in doses if header.text("DoseSummationType").upper() == "PLAN"]
    if doses and not whole:
        raise DicomError(
            "no dose of the whole course",
            found=", ".join(f"{h.text('DoseSummationType') or 'no summation type'} in {h.path.name}" for h in doses),
            expected="Dose Summation Type PLAN",
            where=str(folder),
            code="dose-summation",
        )
    return _only(whole, RT_DOSE, folder)


def _require_one_patient(headers: list[Header]) -> None:
    expected = headers[0].text("PatientID")
    for header in headers:
        found = header.text("PatientID")
        if not found or found != expected:
            raise IdentityError(
                "the objects are of different patients" if found else "an object without Patient ID",
                found=f"Patient ID {found or 'empty'}",
                expected=f"Patient ID {expected or 'stated'}, as in {headers[0].path.name}",
                where=str(header.path),
                code="wrong-patient",
            )


def _check_drawn_on(dataset: Dataset, structures: StructureSet, slices: list[Header], path: Path) -> None:
    named = dict(referenced_series(dataset, path, frame=structures.frame_of_reference_uid))
    series = slices[0].series_uid
    if named and series not in named:
        raise IdentityError(
            "the structures are drawn on another image series",
            found=", ".join(sorted(named)),
            expected=series,
            where=str(path),
            code="reference-mismatch",
        )
    wanted = set(named.get(series, ())) - {""}
    present = {header.text("SOPInstanceUID") for header in slices}
    if wanted - present:
        raise DicomError(
            "CT slices that the structure set refers to are missing",
            found=f"{len(wanted & present)} of them, {len(slices)} slices in all",
            expected=f"{len(wanted)} slices",
            where=str(path),
            code="missing-slices",
        )


def _check_frame(found: str, ct: PatientImage, path: Path) -> None:
    if not found or found != ct.frame_of_reference_uid:
        raise IdentityError(
            "not in the planning CT's frame of reference",
            found=found or "no frame of reference",
            expected=ct.frame_of_reference_uid or "a frame of reference in the CT",
            where=str(path),
            code="frame-mismatch",
        )


def _check_contours(structures: StructureSet, ct: PatientImage, path: Path) -> None:
    grid = ct.hu.grid
    if grid.shape[0] < 2:
        raise DicomError(
            "a planning CT needs several slices",
            found="1 slice",
            expected="a volume",
            where=str(path),
            code="missing-slices",
        )
    spacing = np.asarray(grid.spacing_mm)
    upper = np.array(grid.shape[::-1]) - 0.5 + OUTSIDE_MM / spacing
    lower = -0.5 - OUTSIDE_MM / spacing
    off_slice_mm = max(OFF_SLICE_MM, float(spacing[2]) / 4)
    for structure in structures:
        # Couch tops and fixation are drawn as devices and may reach beyond the scan.
        if structure.is_empty or structure.interpreted_type in ("SUPPORT", "FIXATION"):
            continue
        points = np.concatenate([contour.points_lps for contour in structure.contours])
        index = grid.to_index(points)
        outside = np.any((index < lower) | (index > upper), axis=1)
        if np.any(outside):
            worst = points[int(np.argmax(outside))]
            ends = grid.to_lps(np.array([[-0.5, -0.5, -0.5], np.array(grid.shape[::-1]) - 0.5]))
            low, high = np.round(ends.min(axis=0), 1).tolist(), np.round(ends.max(axis=0), 1).tolist()
            raise IdentityError(
                f"structure {structure.name} lies outside the CT",
                found=f"a contour point at {np.round(worst, 1).tolist()} mm",
                expected=f"within {low} … {high} mm",
                where=str(path),
                code="contour-outside",
            )
        off_mm = np.abs(index[:, 2] - np.rint(index[:, 2])) * spacing[2]
        if off_mm.max() > off_slice_mm:
            worst = points[int(np.argmax(off_mm))]
            raise IdentityError(
                f"contours of {structure.name} do not lie on the CT's slices",
                found=f"a point at {np.round(worst, 1).tolist()} mm, {off_mm.max():.2f} mm off the nearest slice",
                expected=f"at most {off_slice_mm:.2f} mm",
                where=str(path),
                code="contour-off-slice",
            )


def _check_plan(plan: Plan, ct: PatientImage, structures: StructureSet, path: Path) -> None:
    if plan.frame_of_reference_uid:  # optional in an RT Plan; its structure set then gives the frame
        _check_frame(plan.frame_of_reference_uid, ct, path)
    if plan.structure_set_uid != structures.sop_instance_uid:
        raise IdentityError(
            "the plan was not made on this structure set",
            found=plan.structure_set_uid or "no referenced structure set",
            expected=structures.sop_instance_uid,
            where=str(path),
            code="reference-mismatch",
        )
    if plan.patient_position and ct.patient_position and plan.patient_position != ct.patient_position:
        raise IdentityError(
            "plan and CT contradict one another about the patient position",
            found=plan.patient_position,
            expected=f"{ct.patient_position}, as in the CT",
            where=str(path),
            code="patient-position",
        )


def _check_dose(
    dose: DoseDistribution, ct: PatientImage, plan: Plan | None, structures: StructureSet, header: Header
) -> None:
    _check_frame(dose.frame_of_reference_uid, ct, header.path)
    if plan is not None:
        found, expected, what = dose.plan_uid, plan.sop_instance_uid, "plan"
    else:
        expected, what = structures.sop_instance_uid, "structure set"
        found = structure_set_uid_of(header) or expected
    if found != expected:
        raise IdentityError(
            f"the dose was not calculated for this {what}",
            found=found or f"no referenced {what}",
            expected=expected,
            where=str(header.path),
            code="reference-mismatch",
        )
