"""From slices or dose planes to one right-handed grid: order, gaps, doubles, shear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import DicomError, Grid

#: A plane may lie this far from its place in the uniform stack (vendors round positions to a tenth of a millimetre),
#: but never further than this part of the spacing.
POSITION_TOLERANCE_MM = 0.1
POSITION_TOLERANCE_OF_SPACING = 0.1

#: Planes closer than this are at the same position.
SAME_POSITION_MM = 0.01

#: More voxels than this are refused before anything is allocated (2 GiB as float32).
MAX_VOXELS = 2**29
MAX_ROWS = 8192


def orientation_axes(cosines: NDArray[np.float64], *, where: str) -> NDArray[np.float64]:
    """Return the rotation whose columns are row direction, column direction and slice normal.

    Parameters
    ----------
    cosines : ndarray, shape (6,)
        Image Orientation (Patient): direction of increasing column index, then of increasing row index.
    where : str
        File, for the message.

    Returns
    -------
    ndarray, shape (3, 3)
        Right-handed: the third column is row × column.

    Raises
    ------
    DicomError
        If the two are not unit vectors at a right angle.
    """
    row, column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(row @ column) > 1e-3:
        raise DicomError(
            "Image Orientation (Patient) is not two perpendicular unit vectors",
            found=_listed(cosines),
            expected="orthonormal row and column directions",
            where=where,
            code="invalid-geometry",
        )
    row = row / lengths[0]
    column = column - row * (row @ column)
    column = column / np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)], axis=1)


def check_size(shape: tuple[int, int, int], *, where: str) -> None:
    """Refuse absurd dimensions before anything is allocated.

    Raises
    ------
    DicomError
        Code ``absurd-size``.
    """
    if any(n < 1 for n in shape) or max(shape[1:]) > MAX_ROWS or shape[0] * shape[1] * shape[2] > MAX_VOXELS:
        raise DicomError(
            "the image's dimensions are not usable",
            found=f"{shape[0]} slices of {shape[1]} × {shape[2]}",
            expected=f"1 to {MAX_ROWS} rows and columns, at most {MAX_VOXELS} voxels",
            where=where,
            code="absurd-size",
        )


def stack_planes(
    positions_lps: NDArray[np.float64],
    cosines: NDArray[np.float64],
    *,
    pixel_spacing_mm: tuple[float, float],
    plane_shape: tuple[int, int],
    thickness_mm: float | None,
    labels: Sequence[str],
    where: str,
) -> tuple[list[int], Grid]:
    """Sort planes along their normal and build the grid that they form.

    Parameters
    ----------
    positions_lps : ndarray, shape (n, 3)
        Image Position (Patient) of each plane, mm.
    cosines : ndarray, shape (6,)
        Image Orientation (Patient), the same for all.
    pixel_spacing_mm : tuple of float
        Pixel Spacing as DICOM orders it: between rows, between columns.
    plane_shape : tuple of int
        (rows, columns).
    thickness_mm : float or None
        Spacing where there is only one plane.
    labels : sequence of str
        What each plane is called in messages.
    where : str
        File or folder.

    Returns
    -------
    list of int
        Index of the plane that is slice k.
    Grid
        k along row × column, so the grid is right-handed for every patient position.

    Raises
    ------
    DicomError
        If planes are missing, doubled, sheared or unevenly spaced, with the numbers.
    """
    check_size((len(positions_lps), *plane_shape), where=where)
    if min(pixel_spacing_mm) <= 0:
        raise DicomError("pixel spacing must be positive", found=str(pixel_spacing_mm), expected="> 0 mm", where=where)
    axes = orientation_axes(cosines, where=where)
    along = positions_lps @ axes[:, 2]
    order = [int(i) for i in np.argsort(along, kind="stable")]
    spacing = _plane_spacing(along[order], [labels[i] for i in order], thickness_mm, where=where)
    _refuse_shear(positions_lps[order], axes, where=where)
    origin = positions_lps[order[0]]
    grid = Grid(
        shape=(len(order), *plane_shape),
        spacing_mm=(pixel_spacing_mm[1], pixel_spacing_mm[0], spacing),
        origin_lps=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=tuple(map(tuple, axes)),  # type: ignore[arg-type]
    )
    return order, grid


def _plane_spacing(along: NDArray[np.float64], labels: list[str], thickness_mm: float | None, *, where: str) -> float:
    if len(along) == 1:
        if thickness_mm is None or thickness_mm <= 0:
            raise DicomError(
                "a single slice without Slice Thickness has no depth",
                found="1 slice",
                expected="several slices, or a thickness",
                where=where,
                code="missing-slices",
            )
        return thickness_mm
    gaps = np.diff(along)
    if np.any(gaps < SAME_POSITION_MM):
        k = int(np.argmax(gaps < SAME_POSITION_MM))
        raise DicomError(
            "two different slices at the same position",
            found=f"{labels[k]} and {labels[k + 1]} at {along[k]:.3f} mm along the slice normal",
            expected="one slice per position",
            where=where,
            code="duplicate-slices",
        )
    usual = float(np.median(gaps))
    missing = np.flatnonzero(gaps > 1.5 * usual)
    if missing.size:
        k = int(missing[0])
        raise DicomError(
            f"slices are missing at {missing.size} place(s)",
            found=f"{gaps[k]:.3f} mm from {labels[k]} (at {along[k]:.3f}) to {labels[k + 1]} (at {along[k + 1]:.3f})",
            expected=f"{usual:.3f} mm between all slices",
            where=where,
            code="missing-slices",
        )
    spacing = float(along[-1] - along[0]) / (len(along) - 1)
    off = along - (along[0] + spacing * np.arange(len(along)))
    if np.max(np.abs(off)) > min(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_OF_SPACING * spacing):
        raise DicomError(
            "the slice spacing is not uniform",
            found=f"{gaps.min():.3f} to {gaps.max():.3f} mm",
            expected=f"{usual:.3f} mm between all slices",
            where=where,
            code="non-uniform-spacing",
        )
    return spacing


def _refuse_shear(positions_lps: NDArray[np.float64], axes: NDArray[np.float64], *, where: str) -> None:
    drift = (positions_lps - positions_lps[0]) @ axes[:, :2]
    worst = int(np.argmax(np.max(np.abs(drift), axis=1)))
    if np.max(np.abs(drift[worst])) > POSITION_TOLERANCE_MM:
        raise DicomError(
            "the slices are not stacked along their normal (gantry tilt, or slices of different scans)",
            found=f"in-plane offset of {_listed(drift[worst])} mm",
            expected=f"at most {POSITION_TOLERANCE_MM} mm",
            where=where,
            code="sheared-slices",
        )


def _listed(values: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"
