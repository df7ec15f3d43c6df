"""The slices of one CT series: that they belong together, and the grid that they form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import DicomError, Grid, IdentityError

from .header import Header, file_digest, read_stored_values
from .stack import stack_planes
from .values import integer, needed, number, numbers

#: Direction cosines and pixel spacings (mm) of slices of one volume agree this well.
_SAME_VALUE = 1e-4


def volume_slices(headers: list[Header]) -> list[Header]:
    """Leave out localizers (scouts), which belong to no volume."""
    return [h for h in headers if "LOCALIZER" not in h.text("ImageType").upper()]


def distinct_slices(headers: list[Header], *, where: str, whole_series: bool = True) -> list[Header]:
    """Drop identical copies of a slice, and see that no announced slice is missing.

    Parameters
    ----------
    headers : list of Header
        CT slices of one series.
    where : str
        Folder, for messages.
    whole_series : bool
        Whether all slices of the series should be there; not so where a person names a single file.

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
    if not whole_series:
        return distinct
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
            _vector(a, keyword, count),
            _vector(b, keyword, count),
        )
        for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
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
    positions = np.array([_vector(header, "ImagePositionPatient", 3) for header in headers])
    reference = headers[0]
    cosines = _vector(reference, "ImageOrientationPatient", 6)
    spacing = _vector(reference, "PixelSpacing", 2)
    for header in headers[1:]:
        for keyword, expected in (("ImageOrientationPatient", cosines), ("PixelSpacing", spacing)):
            found = _vector(header, keyword, len(expected))
            if np.max(np.abs(found - expected)) > _SAME_VALUE:
                raise DicomError(
                    f"slices of one series differ in {keyword}",
                    found=f"{np.round(found, 4).tolist()} in {header.path.name}",
                    expected=f"{np.round(expected, 4).tolist()} as in {reference.path.name}",
                    where=where,
                    code="mixed-series",
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


def _vector(header: Header, keyword: str, count: int) -> NDArray[np.float64]:
    return needed(numbers(header.dataset, keyword, header.path, count=count), keyword, header.path)


def _refuse_mixture(headers: list[Header], *, where: str) -> None:
    for keyword, kind, code in (
        ("PatientID", IdentityError, "wrong-patient"),
        ("FrameOfReferenceUID", IdentityError, "frame-mismatch"),
        ("PatientPosition", IdentityError, "patient-position"),
        ("Rows", DicomError, "mixed-series"),
        ("Columns", DicomError, "mixed-series"),
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
