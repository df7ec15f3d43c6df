"""What is image, what is patient and what is bone: masks and resolutions that the matches work on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import Grid, RegistrationError, Volume

from ._filter_kernels import distance_within, gaussian
from ._pull_kernels import pull

Mask = NDArray[np.bool_]

#: Patient against air. Half-way between air and soft tissue, so an HU error of ±200 of a CBCT does not matter.
BODY_HU = -400.0
#: Bone against soft tissue and contrast medium.
BONE_HU = 180.0
#: Voxels that :func:`patient_mask` looks at.
COARSE_MM = 4.0
#: Distances to a region end here: every margin is narrower by more than a voxel.
REACH_MM = 16.0


#: Resolution that matches work at; finer voxels are averaged down to it.
FINE_MM = 2.0


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image at working resolution, with where it may be trusted.

    Parameters
    ----------
    hu : Volume
        HU; −1000 where nothing was seen.
    seen : ndarray of bool
        Field of view, same grid.
    """

    hu: Volume
    seen: Mask
    _levels: dict[tuple[float, float], PreparedImage] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, hu: Volume, name: str, *, spacing_mm: float = FINE_MM) -> PreparedImage:
        """Check an image, find its field of view and average it down to about ``spacing_mm``."""
        check_image(hu, name)
        seen = field_of_view(hu)
        filled = hu if seen.all() else hu.with_array(np.where(seen, hu.array, np.float32(-1000.0)))
        # Air far from the patient costs time and says nothing.
        small = reduced(filled, spacing_mm)
        visible = _wholly_seen(hu, seen, spacing_mm)
        lower, upper = bounding_box(small.array > BODY_HU, small.grid, 30.0)
        window = tuple(slice(a, b) for a, b in zip(lower[::-1], upper[::-1], strict=True))
        return cls(cropped(small, lower, upper), visible[window])

    def at(self, spacing_mm: float, sigma_mm: float) -> PreparedImage:
        """Return a coarser, smoothed version; the field of view shrinks by what the smoothing smears over its edge."""
        if (spacing_mm, sigma_mm) in self._levels:
            return self._levels[spacing_mm, sigma_mm]
        small = smoothed(reduced(self.hu, spacing_mm), sigma_mm)
        seen = _wholly_seen(self.hu, self.seen, spacing_mm)
        if not seen.all():
            turns = max(1, int(np.ceil(1.5 * sigma_mm / min(small.grid.spacing_mm))))
            seen = ndimage.binary_erosion(seen, iterations=turns, border_value=1)
        self._levels[spacing_mm, sigma_mm] = PreparedImage(small, np.asarray(seen))
        return self._levels[spacing_mm, sigma_mm]


def _wholly_seen(hu: Volume, seen: Mask, spacing_mm: float) -> Mask:
    """Return which voxels of :func:`reduced` hold nothing unseen."""
    if seen.all():
        return np.ones(reduced_grid(hu.grid, spacing_mm).shape, dtype=bool)
    return np.asarray(reduced(hu.with_array(seen.astype(np.float32)), spacing_mm).array > 0.99)


def check_image(hu: Volume, name: str) -> None:
    """Refuse what cannot be matched at all.

    Raises
    ------
    RegistrationError
        Fewer than 8 voxels along an axis, or one value everywhere.
    """
    if min(hu.grid.shape) < 8:
        raise RegistrationError(
            f"the {name} image is too small to register",
            found=str(hu.grid.shape),
            expected=">= 8 voxels along each axis",
        )
    finite = hu.array[np.isfinite(hu.array)]
    if finite.size == 0 or finite.min() == finite.max():
        raise RegistrationError(f"the {name} image is empty", found="one value everywhere", expected="an image in HU")


def field_of_view(hu: Volume) -> Mask:
    """Return where the scanner saw anything.

    Reconstructions fill what lies outside their field of view with one value. Columns along the third axis (outside a
    cylinder) and slices that hold only that value are outside, and so is everything not finite. Air that was seen is
    not one value, or lies over the patient somewhere along its column, and stays inside.
    """
    array = hu.array
    finite = np.isfinite(array)
    edge = np.concatenate([array[:, 0].ravel(), array[:, -1].ravel(), array[:, :, 0].ravel(), array[:, :, -1].ravel()])
    edge = edge[np.isfinite(edge)]
    if edge.size == 0:
        return np.asarray(finite)
    values, counts = np.unique(edge, return_counts=True)
    filled = (array == values[np.argmax(counts)]) | ~finite
    outside = np.zeros(array.shape, dtype=bool)
    outside |= filled.all(axis=0)[None]
    outside |= filled.all(axis=(1, 2))[:, None, None]
    if outside.all():
        return np.asarray(finite)
    return np.asarray(~outside & finite)


def body_mask(hu: Volume, *, threshold_hu: float = BODY_HU) -> Mask:
    """Return the patient: the largest connected part above ``threshold_hu``, thin couplings cut, slices filled."""
    tissue = np.nan_to_num(hu.array, nan=-1000.0) > threshold_hu
    # The couch and masks touch the skin by thin bridges; an opening of about 6 mm cuts them.
    opened = ndimage.binary_opening(tissue, structure=_ball(hu.grid, 3.0))
    labels, count = ndimage.label(opened if opened.any() else tissue)
    if count == 0:
        return np.zeros(hu.grid.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    largest = labels == int(np.argmax(sizes))
    return filled_planes(largest)


def patient_mask(hu: Volume) -> Mask:
    """Return :func:`body_mask` found on voxels of up to 4 mm: where the skin itself is not the question."""
    coarse = reduced(hu, COARSE_MM)
    mask = coarse.with_array(body_mask(coarse).astype(np.float32))
    return np.asarray(pulled(mask, hu.grid, outside=0.0) >= 0.5)


def filled_planes(mask: Mask) -> Mask:
    """Return a mask with the holes of every plane filled: what does not reach the plane's edge is inside."""
    in_plane = np.zeros((3, 3, 3), dtype=int)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    labels, count = ndimage.label(~mask, structure=in_plane)
    inside = np.ones(count + 1, dtype=bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        inside[edge] = False
    inside[0] = True  # the mask itself
    return np.asarray(inside[labels])


def bone_region(hu: Volume, body: Mask, *, threshold_hu: float = BONE_HU) -> Mask:
    """Return bone inside the body; specks under 0.3 cc are dropped."""
    bone = (np.nan_to_num(hu.array, nan=-1000.0) > threshold_hu) & body
    labels, count = ndimage.label(bone, structure=np.ones((3, 3, 3)))
    if count == 0:
        return bone
    # Few voxels are bone: looked up one by one.
    places = np.flatnonzero(bone)
    of_place = labels.ravel()[places]
    keep = np.bincount(of_place) * hu.grid.voxel_volume_cc >= 0.3
    kept = np.zeros(bone.shape, dtype=bool)
    kept.ravel()[places] = keep[of_place]
    return kept


def distance_to(mask: Mask, grid: Grid) -> Volume:
    """Return the distance in mm of every voxel centre to the nearest voxel of a mask, 0 inside it, at most 16 mm."""
    sx, sy, sz = grid.spacing_mm
    return Volume(distance_within(mask, (sz, sy, sx), REACH_MM), grid)


def reduced(volume: Volume, spacing_mm: float) -> Volume:
    """Return block means with voxels of at most about ``spacing_mm``, on whole multiples of the old voxels."""
    fi, fj, fk = _factors(volume.grid, spacing_mm)
    array = volume.array.astype(np.float32, copy=False)
    if (fi, fj, fk) == (1, 1, 1):
        return volume.with_array(array)
    grid = reduced_grid(volume.grid, spacing_mm)
    nz, ny, nx = grid.shape
    array = array[: nz * fk, : ny * fj, : nx * fi]
    # Sums of strided views, axis by axis: numpy's mean over several axes of blocks takes five times as long.
    for axis, factor in enumerate((fk, fj, fi)):
        if factor > 1:
            parts = [array[(slice(None),) * axis + (slice(n, None, factor),)] for n in range(factor)]
            total = parts[0] + parts[1]
            for part in parts[2:]:
                total += part
            array = total
    return Volume(array * np.float32(1.0 / (fi * fj * fk)), grid)


def reduced_grid(grid: Grid, spacing_mm: float) -> Grid:
    """Return the grid of :func:`reduced`."""
    factors = _factors(grid, spacing_mm)
    fi, fj, fk = factors
    return Grid(
        shape=(grid.shape[0] // fk, grid.shape[1] // fj, grid.shape[2] // fi),
        spacing_mm=tuple(s * f for s, f in zip(grid.spacing_mm, factors, strict=True)),  # type: ignore[arg-type]
        origin_lps=tuple(grid.to_lps([(fi - 1) / 2, (fj - 1) / 2, (fk - 1) / 2])),
        direction=grid.direction,
    )


def _factors(grid: Grid, spacing_mm: float) -> tuple[int, int, int]:
    i, j, k = (
        min(max(1, int(spacing_mm / s + 0.01)), n) for s, n in zip(grid.spacing_mm, grid.shape[::-1], strict=True)
    )
    return i, j, k


def smoothed(volume: Volume, sigma_mm: float) -> Volume:
    """Return the volume after a Gaussian of ``sigma_mm``, as float32."""
    array = volume.array.astype(np.float32, copy=False)
    if sigma_mm <= 0:
        return volume.with_array(array)
    sigma = [sigma_mm / s for s in volume.grid.spacing_mm[::-1]]
    return volume.with_array(gaussian(array, (sigma[0], sigma[1], sigma[2])))


def pulled(volume: Volume, grid: Grid, *, outside: float | None) -> NDArray[np.float32]:
    """Return trilinear values on another grid of the same frame; without ``outside`` the edge value holds there."""
    if volume.grid.matches(grid, tolerance_mm=1e-6):
        return volume.array.astype(np.float32, copy=False)
    return np.asarray(
        pull(
            volume.array,
            volume.grid.index_from_lps,
            grid.lps_from_index,
            grid.shape,
            vectors_mm=None,
            nearest=False,
            outside=outside,
        )
    )


def bounding_box(mask: Mask, grid: Grid, margin_mm: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (lower, upper) index (i, j, k) of a mask's box, grown by a margin and clipped; upper is exclusive."""
    size = np.array(mask.shape[::-1])
    lower, upper = np.zeros(3, dtype=np.int64), size.copy()
    for axis in range(3):
        others = tuple(a for a in range(3) if a != 2 - axis)
        hit = np.flatnonzero(mask.any(axis=others))
        if hit.size:
            more = int(np.ceil(margin_mm / grid.spacing_mm[axis]))
            lower[axis], upper[axis] = max(hit[0] - more, 0), min(hit[-1] + 1 + more, size[axis])
    return lower, upper


def cropped(volume: Volume, lower_ijk: NDArray[np.int64], upper_ijk: NDArray[np.int64]) -> Volume:
    """Return the part of a volume between two indices (i, j, k), upper exclusive."""
    (i0, j0, k0), (i1, j1, k1) = lower_ijk, upper_ijk
    return Volume(volume.array[k0:k1, j0:j1, i0:i1], volume.grid.cropped(lower_ijk, upper_ijk))


def _ball(grid: Grid, radius_mm: float) -> NDArray[Any]:
    half = [max(1, int(radius_mm / s)) for s in grid.spacing_mm[::-1]]
    axes = np.ogrid[tuple(slice(-h, h + 1) for h in half)]
    distance = sum((a * s) ** 2 for a, s in zip(axes, grid.spacing_mm[::-1], strict=True))
    return np.asarray(distance <= max(radius_mm, *grid.spacing_mm) ** 2)
