"""The slices of one CT series: that they belong together, and the grid that they form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import DicomError, Grid, IdentityError

from .header import Header, file_digest, read_stored_values
from .stack import stack_planes
from .values import integer, needed, number, numbers

#: Direction cosines of slices of one volume agree this well.
_SAME_ORIENTATION = 1e-4


def volume_slices(headers: list[Header]) -> list[Header]:
    """Leave out localizers (scouts), which belong to no volume."""
    return [h for h in headers if "LOCALIZER" not in h.text("ImageType").upper()]


def distinct_slices(headers: list[Header], *, where: str) -> list[Header]:
    """Drop identical copies of a slice, and see that no announced slice is missing.

    Raises
    ------
    DicomError
        If one SOP Instance UID stands for different contents, or there are fewer slices than their headers announce
        (Number of Series Related Instances).
    """
    first: dict[str, Header] = {}
    distinct = []
    for header in headers:
        uid = header.text("SOPInstanceUID")
        earlier = first.setdefault(uid, header)
        if not uid or earlier is header:
            distinct.append(header)
        elif not _same_slice(earlier, header):
            raise DicomError(
                "two different slices with the same SOP Instance UID",
                found=f"{earlier.path.name} and {header.path.name}",
                expected="one content per UID",
                where=where,
                code="duplicate-slices",
            )
    announced = max((integer(h.dataset, "NumberOfSeriesRelatedInstances", h.path) or 0 for h in distinct), default=0)
    if len(distinct) < announced:
        raise DicomError(
            "slices are missing",
            found=f"{len(distinct)} slices",
            expected=f"{announced} slices, as their headers say",
            where=where,
            code="missing-slices",
        )
    return distinct


def _same_slice(a: Header, b: Header) -> bool:
    if file_digest(a.path) == file_digest(b.path):
        return True
    same_place = all(
        np.array_equal(
            needed(numbers(a.dataset, keyword, a.path), keyword, a.path),
            needed(numbers(b.dataset, keyword, b.path), keyword, b.path),
        )
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    )
    return same_place and np.array_equal(read_stored_values(a, frames=1), read_stored_values(b, frames=1))


def slice_stack(headers: list[Header], *, where: str) -> tuple[list[Header], Grid]:
    """Check that slices belong to one volume, sort them and build their grid.

    Parameters
    ----------
    headers : list of Header
        Distinct CT slices of one series.
    where : str
        Folder, for messages.

    Returns
    -------
    list of Header
        In the order of the array's z index.
    Grid
        Right-handed: i along rows, j along columns, k along their cross product.

    Raises
    ------
    DicomError
        If geometry is missing, contradictory, or has gaps, doubles, shear or uneven spacing.
    IdentityError
        If the slices are of different patients or frames of reference.
    """
    if not headers:
        raise DicomError("no CT slices", found="none", expected="a CT series", where=where, code="no-image")
    _refuse_mixture(headers, where=where)
    positions = np.array(
        [
            needed(numbers(h.dataset, "ImagePositionPatient", h.path, count=3), "ImagePositionPatient", h.path)
            for h in headers
        ]
    )
    reference = headers[0]
    cosines = _orientation(reference)
    for header in headers[1:]:
        other = _orientation(header)
        if np.max(np.abs(other - cosines)) > _SAME_ORIENTATION:
            raise DicomError(
                "slices of different orientation in one series",
                found=f"{header.path.name}: {np.round(other, 4).tolist()}",
                expected=f"{reference.path.name}: {np.round(cosines, 4).tolist()}",
                where=where,
                code="mixed-series",
            )
    spacing = needed(
        numbers(reference.dataset, "PixelSpacing", reference.path, count=2), "PixelSpacing", reference.path
    )
    order, grid = stack_planes(
        positions,
        cosines,
        pixel_spacing_mm=(float(spacing[0]), float(spacing[1])),
        plane_shape=(
            needed(integer(reference.dataset, "Rows", reference.path), "Rows", reference.path),
            needed(integer(reference.dataset, "Columns", reference.path), "Columns", reference.path),
        ),
        thickness_mm=number(reference.dataset, "SliceThickness", reference.path),
        labels=[header.path.name for header in headers],
        where=where,
    )
    return [headers[i] for i in order], grid


def _orientation(header: Header) -> NDArray[np.float64]:
    keyword = "ImageOrientationPatient"
    return needed(numbers(header.dataset, keyword, header.path, count=6), keyword, header.path)


def _refuse_mixture(headers: list[Header], *, where: str) -> None:
    for keyword, kind, code in (
        ("PatientID", IdentityError, "wrong-patient"),
        ("FrameOfReferenceUID", IdentityError, "frame-mismatch"),
        ("PatientPosition", IdentityError, "patient-position"),
        ("Rows", DicomError, "mixed-series"),
        ("Columns", DicomError, "mixed-series"),
        ("PixelSpacing", DicomError, "mixed-series"),
    ):
        expected = headers[0].text(keyword)
        for header in headers[1:]:
            if (found := header.text(keyword)) != expected:
                raise kind(
                    f"slices of one series differ in {keyword}",
                    found=f"{found or 'no value'} in {header.path.name}",
                    expected=f"{expected or 'no value'} as in {headers[0].path.name}",
                    where=where,
                    code=code,
                )
