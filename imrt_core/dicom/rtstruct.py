"""RT Structure Set: reading, and writing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from imrt_core.patient import Contour, DicomError, IdentityError, PatientImage, Structure, StructureError, StructureSet

from .opening import open_dataset, tolerant_values, truncated
from .uids import CT_IMAGE, DETACHED_STUDY, RT_STRUCTURE_SET, uid_from, with_uids
from .values import integer, items, number, numbers, require_class, text
from .writing import NOTICE, dicom_moment, limited, new_object, part, put, put_sequence, reference, save

#: Contour Geometric Types that bound an area. Several of one slice combine by the even-odd rule, which is also what
#: CLOSEDPLANAR_XOR means.
_AREAS = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
#: Types that bound none: markers, reference points, open lines. They are passed over.
_NO_AREAS = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")

#: ROI Physical Properties that override the image's density, and the fields of a structure that hold them.
_DENSITY_FIELDS = {
    "REL_ELEC_DENSITY": "relative_electron_density",
    "REL_MASS_DENSITY": "relative_mass_density",
}

#: Said in the label and in each ROI's description of contours that no person has looked at.
UNREVIEWED = "UNREVIEWED"


@tolerant_values()
def read_structures(path: Path) -> StructureSet:
    """Read an RT Structure Set.

    ROIs without areas (markers, empty ROIs) are kept without contours; contours of fewer than three points bound
    nothing and are passed over.

    Raises
    ------
    DicomError
        If the file is not a whole RT Structure Set, or a contour cannot be read.
    IdentityError
        If its ROIs are drawn in different frames of reference.
    StructureError
        If two ROIs have the same name.
    """
    path = Path(path)
    dataset, _ = open_dataset(path)
    return structures_from(dataset, path)


def structures_from(dataset: Dataset, path: Path) -> StructureSet:
    """Convert a data set that was read; as :func:`read_structures`."""
    require_class(dataset, RT_STRUCTURE_SET, path)
    for keyword in ("StructureSetROISequence", "ROIContourSequence", "RTROIObservationsSequence"):
        if Tag(keyword) not in dataset:
            raise truncated(path, found=f"no {keyword}", expected="all sequences of a structure set")
    contours = {integer(item, "ReferencedROINumber", path): item for item in items(dataset, "ROIContourSequence", path)}
    kinds: dict[int | None, str] = {}
    densities: dict[int | None, dict[str, Any]] = {}
    for item in items(dataset, "RTROIObservationsSequence", path):
        referenced = integer(item, "ReferencedROINumber", path)
        kinds.setdefault(referenced, text(item, "RTROIInterpretedType", path).upper())
        densities.setdefault(referenced, _densities(item, path))
    rois = items(dataset, "StructureSetROISequence", path)
    structures = [
        replace(
            _structure(
                roi, contours.get(number := integer(roi, "ROINumber", path)), kinds.get(number, ""), number or 0, path
            ),
            description=text(roi, "ROIDescription", path),
            **densities.get(number, {}),
        )
        for roi in rois
    ]
    names = [structure.name for structure in structures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StructureError(
            "structure names must be unique", found=", ".join(twice), expected="one ROI per name", where=str(path)
        )
    frame = _frame(dataset, rois, path)
    return StructureSet(
        structures=tuple(structures),
        frame_of_reference_uid=frame,
        sop_instance_uid=text(dataset, "SOPInstanceUID", path),
        referenced_series_uid=next((uid for uid, _ in referenced_series(dataset, path, frame=frame)), ""),
        label=text(dataset, "StructureSetLabel", path),
        approval_status=text(dataset, "ApprovalStatus", path) or "UNAPPROVED",
    )


def referenced_series(dataset: Dataset, path: Path, *, frame: str) -> list[tuple[str, tuple[str, ...]]]:
    """Return the image series of a frame that the structure set names: (Series UID, SOP UIDs of its slices)."""
    found = []
    for item in items(dataset, "ReferencedFrameOfReferenceSequence", path):
        if text(item, "FrameOfReferenceUID", path) not in ("", frame):
            continue
        for study in items(item, "RTReferencedStudySequence", path):
            for series in items(study, "RTReferencedSeriesSequence", path):
                slices = items(series, "ContourImageSequence", path)
                uids = tuple(text(image, "ReferencedSOPInstanceUID", path) for image in slices)
                found.append((text(series, "SeriesInstanceUID", path), uids))
    return found


def _frame(dataset: Dataset, rois: list[Dataset], path: Path) -> str:
    stated = {uid for roi in rois if (uid := text(roi, "ReferencedFrameOfReferenceUID", path))}
    if not stated:
        frames = items(dataset, "ReferencedFrameOfReferenceSequence", path)
        stated = {uid for item in frames if (uid := text(item, "FrameOfReferenceUID", path))}
    if len(stated) > 1:
        raise IdentityError(
            "structures are drawn in several frames of reference",
            found=", ".join(sorted(stated)),
            expected="one frame",
            where=str(path),
            code="frame-mismatch",
        )
    return stated.pop() if stated else ""


def _densities(observation: Dataset, path: Path) -> dict[str, Any]:
    """Return the densities that the planner gave an ROI in place of the image's, by field of a structure."""
    found = {}
    for item in items(observation, "ROIPhysicalPropertiesSequence", path):
        field = _DENSITY_FIELDS.get(text(item, "ROIPhysicalProperty", path).upper())
        value = number(item, "ROIPhysicalPropertyValue", path)
        if field is not None and value is not None:
            found[field] = value
    return found


def _structure(roi: Dataset, drawn: Dataset | None, kind: str, number: int, path: Path) -> Structure:
    name = text(roi, "ROIName", path) or f"ROI {number}"
    where = f"{path}, ROI {name}"
    contours = []
    color = None
    if drawn is not None:
        color = numbers(drawn, "ROIDisplayColor", path)
        for item in items(drawn, "ContourSequence", path):
            if (points := _points(item, path, where)) is not None:
                contours.append(Contour(points))
    red, green, blue = (255, 255, 0) if color is None or color.size != 3 else (int(c) for c in color)
    return Structure(
        name=name, contours=tuple(contours), number=number, interpreted_type=kind, color_rgb=(red, green, blue)
    )


def _points(item: Dataset, path: Path, where: str) -> NDArray[np.float64] | None:
    kind = text(item, "ContourGeometricType", path).upper()
    if kind in _NO_AREAS:
        return None
    if kind not in _AREAS:
        raise DicomError("unknown Contour Geometric Type", found=kind or "none", expected=_AREAS[0], where=where)
    values = numbers(item, "ContourData", path)
    announced = integer(item, "NumberOfContourPoints", path)
    count = 0 if values is None else values.size
    if count % 3 or (announced is not None and announced != count // 3):
        raise DicomError(
            "a contour is incomplete",
            found=f"{count} coordinates",
            expected=f"{announced} points of three" if announced is not None else "three per point",
            where=where,
        )
    return None if values is None or count < 9 else values.reshape(-1, 3)


def write_structures(
    structures: StructureSet, *, image: PatientImage, path: Path, unreviewed: bool = False, created: str | None = None
) -> Path:
    """Write an RT Structure Set drawn on an image. It is always UNAPPROVED.

    Parameters
    ----------
    structures : StructureSet
        Its frame must be the image's (or empty). Coordinates are written to 0.1 µm.
    image : PatientImage
        CT that the contours lie on; each contour refers to its nearest slice.
    path : Path
        File to write.
    unreviewed : bool
        Propagated contours that no person has looked at: said in the set's label and description, and in each ROI.
    created : str, optional
        ISO 8601; the image's acquisition where absent.

    Raises
    ------
    IdentityError
        If the frames differ.
    DicomError
        If a name is too long or the file cannot be written.
    """
    image = with_uids(image)
    if structures.frame_of_reference_uid not in ("", image.frame_of_reference_uid):
        raise IdentityError(
            "the structures are not in the image's frame of reference",
            found=structures.frame_of_reference_uid,
            expected=image.frame_of_reference_uid,
            where=f"structure set {structures.label}",
            code="frame-mismatch",
        )
    item = new_object(
        RT_STRUCTURE_SET,
        modality="RTSTRUCT",
        image=image,
        sop_uid=structures.sop_instance_uid,
        series_uid=uid_from("structures", structures.sop_instance_uid, image.series_uid),
        series_number=2,
        description=f"Structures, {UNREVIEWED.lower()}" if unreviewed else "Structures",
        created=created,
    )
    date, time = dicom_moment(image.acquired if created is None else created)
    put(item, "StructureSetLabel", UNREVIEWED if unreviewed else limited(structures.label, 16, keyword="label"))
    put(item, "StructureSetName", limited(structures.label, 64, keyword="label"))
    state = "Contours are UNREVIEWED." if unreviewed else "Contours are not approved."
    put(item, "StructureSetDescription", f"{state} {NOTICE}")
    put(item, "StructureSetDate", date)
    put(item, "StructureSetTime", time)
    put_sequence(item, "ReferencedFrameOfReferenceSequence", [_image_reference(image)])
    numbered = _numbered(structures)
    put_sequence(item, "StructureSetROISequence", [_roi(n, s, image, unreviewed) for n, s in numbered])
    put_sequence(item, "ROIContourSequence", [_contours(n, s, image) for n, s in numbered])
    put_sequence(item, "RTROIObservationsSequence", [_observation(n, s) for n, s in numbered])
    put(item, "ApprovalStatus", "UNAPPROVED")
    return save(item, path)


def _numbered(structures: StructureSet) -> list[tuple[int, Structure]]:
    """Keep the ROI numbers where they are usable, so that references to them stay right."""
    numbers_kept = [structure.number for structure in structures]
    if min(numbers_kept, default=1) < 1 or len(set(numbers_kept)) < len(numbers_kept):
        return list(enumerate(structures, start=1))
    return list(zip(numbers_kept, structures, strict=True))


def _image_reference(image: PatientImage) -> Dataset:
    slices = [reference(CT_IMAGE, uid) for uid in image.slice_uids]
    series = part(SeriesInstanceUID=image.series_uid, ContourImageSequence=slices)
    study = reference(DETACHED_STUDY, image.study_uid, RTReferencedSeriesSequence=[series])
    return part(FrameOfReferenceUID=image.frame_of_reference_uid, RTReferencedStudySequence=[study])


def _roi(number: int, structure: Structure, image: PatientImage, unreviewed: bool) -> Dataset:
    roi = part(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=image.frame_of_reference_uid,
        ROIName=limited(structure.name, 64, keyword="ROI name"),
        ROIGenerationAlgorithm="AUTOMATIC" if unreviewed else "",
    )
    if unreviewed:
        put(roi, "ROIDescription", "Propagated by registration, unreviewed")
    elif structure.description:
        put(roi, "ROIDescription", structure.description)
    return roi


def _contours(number: int, structure: Structure, image: PatientImage) -> Dataset:
    item = part(ROIDisplayColor=list(structure.color_rgb), ReferencedROINumber=number)
    if structure.contours:
        put_sequence(item, "ContourSequence", [_contour(c.points_lps, image) for c in structure.contours])
    return item


def _contour(points_lps: NDArray[np.float64], image: PatientImage) -> Dataset:
    k = int(np.clip(np.rint(np.median(image.hu.grid.to_index(points_lps)[:, 2])), 0, len(image.slice_uids) - 1))
    item = part(
        ContourImageSequence=[reference(CT_IMAGE, image.slice_uids[k])],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(points_lps),
    )
    values = np.round(points_lps, 4).ravel() + 0.0
    if np.max(np.abs(values)) >= 1e6:
        raise DicomError("contour coordinates out of range", found=f"{np.max(np.abs(values))} mm", expected="< 10^6 mm")
    data = "\\".join([f"{v:.4f}" for v in values.tolist()]).encode("ascii")
    # Written as bytes, which is the same in implicit VR: one pydicom object per number would take most of the time.
    item[Tag("ContourData")] = DataElement(Tag("ContourData"), "OB", data + b" " * (len(data) % 2))
    return item


def _observation(number: int, structure: Structure) -> Dataset:
    item = part(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIInterpretedType=structure.interpreted_type.upper(),
        ROIInterpreter="",
    )
    given = [(name, getattr(structure, field)) for name, field in _DENSITY_FIELDS.items()]
    properties = [
        part(ROIPhysicalProperty=name, ROIPhysicalPropertyValue=f"{value:.6g}")
        for name, value in given
        if value is not None
    ]
    if properties:
        put_sequence(item, "ROIPhysicalPropertiesSequence", properties)
    return item
