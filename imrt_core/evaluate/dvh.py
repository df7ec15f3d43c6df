"""Dose-volume histograms of contours and masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..patient._rasterize import cover_planes
from ..patient.errors import GeometryError, StructureError
from ..patient.slabs import ContourSlabs, contour_slabs
from ..patient.structures import Structure
from ..patient.volume import Volume
from ._dvh_kernels import (
    DOSE_MM3,
    HIGHEST,
    INSIDE_MM3,
    LOWEST,
    NOT_FINITE,
    OUTSIDE_MM3,
    PARTS,
    STATISTICS,
    Bins,
    Cells,
    DoseGrid,
    histogram_of_cells,
)
from .metrics import DVH

__all__ = ["DVH", "dvh"]

#: Bins are at most this wide, and at most this share of the hottest voxel.
_BIN_GY = 0.005
_BIN_SHARE = 1e-4
#: Sub-voxels are at most 1 mm; small structures get smaller ones, so that they have about this many.
_MAX_PITCH_MM = 1.0
_MIN_PITCH_MM = 0.1
_SUB_VOXELS = 500_000
#: Scanlines in each sub-voxel.
_SCANLINES = 8


def dvh(
    structure: Structure | Volume,
    dose_gy: Volume,
    *,
    prescription_gy: float | None = None,
    slice_spacing_mm: float | None = None,
) -> DVH:
    """Return the cumulative dose-volume histogram of a structure.

    Dose is interpolated trilinearly in sub-voxels of at most 1 mm (less in small structures), each weighted by the
    part of it that lies inside; contours reach half a slice beyond the first and the last plane. The sampled points
    are spread evenly through the sub-voxels by a fixed sequence instead of all sitting at their centres.
    The histogram has bins of 0.005 Gy or 0.01 % of the hottest voxel, whichever is less, with linear interpolation in
    between: its doses are within one bin of the sorted sub-voxels' without holding them, so a whole body costs no
    memory. Mean, minimum and maximum are not binned. The sums have a fixed order: the result does not depend on the
    number of threads.

    Parameters
    ----------
    structure : Structure or Volume
        Contours in LPS mm, or a mask of fractions 0 … 1 on any grid of the same frame.
    dose_gy : Volume
        Gy, on any grid, oblique or not. Within the outer half voxel the edge value holds.
    prescription_gy : float, optional
        100 % of metrics in percent of the prescription.
    slice_spacing_mm : float, optional
        As in :func:`imrt_core.patient.slabs.contour_slabs`.

    Raises
    ------
    StructureError
        If the contours cannot be taken for a volume, the mask is empty, or nothing lies inside the dose grid. A part
        outside is reported in ``outside_cc`` and never counted as 0 Gy.
    GeometryError
        If the dose is not finite where the structure lies, or a mask has values outside 0 … 1.

    References
    ----------
    ICRU Report 83, section 3.4 (metrics); AAPM TG-263 (their names).
    """
    # Read-only whether it is a copy or not: kernels are compiled once for either.
    dose = dose_gy.with_array(np.ascontiguousarray(dose_gy.array, dtype=np.float32)).array
    finite = dose[np.isfinite(dose)]
    if finite.size == 0:
        raise GeometryError("the dose has no finite value", found="NaN or infinity everywhere")
    lowest, grid_max = min(0.0, float(finite.min())), float(finite.max())
    width = min(_BIN_GY, _BIN_SHARE * max(abs(lowest), abs(grid_max))) or _BIN_GY
    count = int((grid_max - lowest) / width) + 2
    bins = Bins(lowest, width)
    histograms = np.zeros((PARTS, count))
    statistics = np.zeros((PARTS, STATISTICS))
    statistics[:, LOWEST], statistics[:, HIGHEST] = np.inf, -np.inf

    if isinstance(structure, Structure):
        name = structure.name
        cells = _cells_of_slabs(contour_slabs(structure, slice_spacing_mm=slice_spacing_mm))
        index_from_point = dose_gy.grid.index_from_lps
    else:
        name = ""
        cells, lps_from_point = _cells_of_mask(structure)
        index_from_point = dose_gy.grid.index_from_lps @ lps_from_point
    histogram_of_cells(cells, DoseGrid(dose, np.ascontiguousarray(index_from_point)), bins, histograms, statistics)

    where = f"structure {name}" if name else "mask"
    if statistics[:, NOT_FINITE].any():
        raise GeometryError(
            "the dose is not finite inside the structure",
            found=f"{int(statistics[:, NOT_FINITE].sum())} sub-voxels NaN or infinite",
            where=where,
        )
    inside_mm3, outside_mm3 = float(statistics[:, INSIDE_MM3].sum()), float(statistics[:, OUTSIDE_MM3].sum())
    if inside_mm3 <= 0:
        raise StructureError(
            "the structure lies outside the dose grid",
            found=f"{outside_mm3 / 1000:.2f} cc outside, nothing inside",
            expected="at least a part inside",
            where=where,
        )
    highest = float(statistics[:, HIGHEST].max())
    volume_mm3 = np.append(np.cumsum(histograms.sum(axis=0)[::-1])[::-1], 0.0)
    edges = np.asarray(lowest + width * np.arange(count + 1), dtype=np.float64)
    used = slice(0, min(int((highest - lowest) / width) + 3, count + 1))
    return DVH(
        name=name,
        volume_cc=(inside_mm3 + outside_mm3) / 1000,
        outside_cc=outside_mm3 / 1000,
        mean_gy=float(statistics[:, DOSE_MM3].sum()) / inside_mm3,
        min_gy=float(statistics[:, LOWEST].min()),
        max_gy=highest,
        dose_edges_gy=edges[used],
        cumulative_cc=volume_mm3[used] / 1000,
        grid_max_gy=grid_max,
        prescription_gy=prescription_gy,
    )


def _pitch_mm(volume_mm3: float) -> float:
    return float(np.clip(np.cbrt(volume_mm3 / _SUB_VOXELS), _MIN_PITCH_MM, _MAX_PITCH_MM))


def _cells_of_slabs(slabs: ContourSlabs) -> Cells:
    pitch = _pitch_mm(1000 * slabs.volume_cc)
    x0, y0, x1, y1 = slabs.extent_mm
    extent = np.array([x1 - x0, y1 - y0])
    count = np.maximum(np.ceil(extent / pitch - 1e-9).astype(int), 1)
    size, corner = extent / count, np.array([x0, y0])
    cover = np.empty((len(slabs.z_mm), count[1], count[0]), np.float32)
    cover_planes(slabs.edges_mm, slabs.start, corner, size, _SCANLINES, cover)
    thickest = float(np.max(slabs.upper_mm - slabs.lower_mm))
    divide = np.array([1, 1, int(np.ceil(thickest / pitch - 1e-9))], np.int64)
    return Cells(cover, corner, size, slabs.lower_mm, slabs.upper_mm, divide, 1.0)


def _cells_of_mask(mask: Volume) -> tuple[Cells, NDArray[np.float64]]:
    """Return the filled part of a mask in coordinates of its index, and the matrix from there to LPS mm."""
    fractions = np.asarray(mask.array, dtype=np.float32)
    if not (np.all(fractions >= 0) and np.all(fractions <= 1 + 1e-5)):
        raise GeometryError(
            "a mask holds fractions of voxels",
            found=f"{float(fractions.min()):.3g} … {float(fractions.max()):.3g}",
            expected="0 … 1",
        )
    filled = [np.flatnonzero(fractions.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if len(filled[0]) == 0:
        raise StructureError("the mask is empty", found="no voxel above 0")
    box = tuple(slice(int(f[0]), int(f[-1]) + 1) for f in filled)
    part = np.ascontiguousarray(fractions[box])
    slices = np.arange(box[0].start, box[0].stop, dtype=np.float64)
    voxel_mm3 = 1000 * mask.grid.voxel_volume_cc
    pitch = _pitch_mm(float(part.sum(dtype=np.float64)) * voxel_mm3)
    cells = Cells(
        cover=part,
        corner=np.array([box[2].start - 0.5, box[1].start - 0.5]),
        size=np.ones(2),
        lower=slices - 0.5,
        upper=slices + 0.5,
        divide=np.ceil(np.asarray(mask.grid.spacing_mm) / pitch - 1e-9).astype(np.int64),
        mm3=voxel_mm3,
    )
    return cells, mask.grid.lps_from_index
