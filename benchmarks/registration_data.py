"""What a registration benchmark reads: images of any kind, truth, mask, landmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.registration_case import synthetic
from benchmarks.registration_errors import Landmarks
from imrt_core.dicom import read_image
from imrt_core.patient import DisplacementField, GeometryError, InputRefusedError, RigidTransform, Volume
from imrt_core.patient.contours import mask_from_structure
from imrt_core.phantom import build_patient, simulate_fraction
from registration.itk import TRANSFORM_SUFFIXES, read_field, read_transform, read_volume
from registration.preprocess import body_mask, field_of_view

#: How far a mask's grid may differ from the fixed image's, as the share of its voxels that may be lost.
_MASK_LEVEL = 0.5


@dataclass(frozen=True, eq=False)
class Pair:
    """Two images and what is known of them.

    Parameters
    ----------
    fixed, moving : Volume
        HU.
    mask : Volume
        Where errors are taken, on the fixed grid.
    mask_given : bool
        False if the mask is the body found by threshold.
    truth : DisplacementField or None
        Fixed → moving on the fixed grid, mm.
    landmarks : Landmarks or None
        Corresponding points.
    names : tuple of str
        Of the files, without folders.
    """

    fixed: Volume
    moving: Volume
    mask: Volume
    mask_given: bool
    truth: DisplacementField | None
    landmarks: Landmarks | None
    names: tuple[str, str]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """The mask as an array."""
        return np.asarray(self.mask.array > _MASK_LEVEL)


def read_pair(
    fixed: Path,
    moving: Path,
    *,
    truth: Path | None = None,
    mask: Path | None = None,
    landmarks: tuple[Path, Path] | None = None,
) -> Pair:
    """Read a pair; what does not fit together is refused.

    Parameters
    ----------
    fixed, moving : Path
        DICOM folders, or ``.mha``, ``.nii``, ``.nii.gz``, ``.nrrd``.
    truth : Path, optional
        Displacement field on the fixed grid, or an ITK transform file.
    mask : Path, optional
        Image in the fixed frame; another grid is resampled.
    landmarks : pair of Path, optional
        CSV files.

    Raises
    ------
    InputRefusedError
        If something cannot be read, the truth lies on another grid, or the mask is empty on the fixed image.
    """
    image = _image(fixed)
    field = None if truth is None else read_truth(truth, image)
    if mask is None:
        inside = image.with_array(body_mask(image).astype(np.float32))
    else:
        inside = _image(mask)
        inside = inside.with_array((inside.array > _MASK_LEVEL).astype(np.float32))
        if not inside.grid.matches(image.grid):
            inside = inside.resampled_to(image.grid, outside=0.0)
        inside = inside.with_array((inside.array > _MASK_LEVEL).astype(np.float32))
    if not inside.array.any():
        raise InputRefusedError("the mask is empty on the fixed image", expected="a voxel inside")
    points = None if landmarks is None else Landmarks.read(*landmarks)
    names = (Path(fixed).name, Path(moving).name)
    return Pair(image, _image(moving), inside, mask is not None, field, points, names)


def read_truth(path: Path, fixed: Volume) -> DisplacementField:
    """Read the truth: a field on the fixed grid, or a rigid transform, which is sampled there.

    Raises
    ------
    InputRefusedError
        If the field's grid is not the fixed image's.
    """
    if Path(path).suffix.lower() in TRANSFORM_SUFFIXES:
        return DisplacementField.from_rigid(read_transform(path), fixed.grid)
    field = read_field(path)
    if not field.grid.matches(fixed.grid):
        raise InputRefusedError(
            "the true field lies on another grid than the fixed image",
            found=f"{field.grid.shape} voxels of {field.grid.spacing_mm} mm from {field.grid.origin_lps}",
            expected=f"{fixed.grid.shape} voxels of {fixed.grid.spacing_mm} mm from {fixed.grid.origin_lps}",
            where=str(path),
        )
    return field


def synthetic_pair(mode: str, *, seed: int = 0) -> Pair:
    """Return :func:`benchmarks.registration_case.synthetic` as a pair."""
    case = synthetic(mode, seed=seed)
    return Pair(case.fixed, case.moving, case.mask, True, case.truth, None, (f"synthetic {mode}", f"seed {seed}"))


def simulated_pair(site: str, *, seed: int = 0) -> Pair:
    """Return a digital patient's planning CT and a simulated cone-beam CT of the last fraction, with its truth.

    The mask is the EXTERNAL where the day's image shows it.
    """
    patient = build_patient(site, seed=seed)
    last = patient.prescription.fractions
    fraction = simulate_fraction(patient, last, fractions=last, seed=seed)
    fixed, moving = patient.planning.ct.hu, fraction.image.hu
    external = next(s for s in patient.planning.structures if s.interpreted_type == "EXTERNAL")
    body = mask_from_structure(external, fixed.grid)
    body = body.with_array((body.array > _MASK_LEVEL).astype(np.float32))
    pair = Pair(fixed, moving, body, True, fraction.field, None, (f"{site} {seed}", f"simulated CBCT, fraction {last}"))
    return with_field_of_view(pair, moving.with_array(field_of_view(moving).astype(np.uint8)))


def start_of(pair: Pair) -> RigidTransform:
    """Return what a rigid match starts from: nothing where the images lie over each other, else centre on centre.

    Frames of reference say where images lie; an image of the day has a frame of its own.
    """
    grid = pair.fixed.grid
    nz, ny, nx = grid.shape
    some = np.stack(np.meshgrid(*(np.linspace(0, n - 1, 12) for n in (nx, ny, nz))), axis=-1).reshape(-1, 3)
    if pair.moving.grid.contains(grid.to_lps(some)).mean() > 0.4:
        return RigidTransform.identity()
    shift = np.subtract(pair.moving.grid.centre_lps, grid.centre_lps)
    return RigidTransform.from_parameters(translation_mm=shift)


def with_field_of_view(pair: Pair, seen: Volume) -> Pair:
    """Return a pair whose mask leaves out what the moving image does not show, at the true place.

    Parameters
    ----------
    pair : Pair
        With a truth.
    seen : Volume
        1 where the moving image shows anything, on its grid.
    """
    if pair.truth is None:
        return pair
    index = seen.grid.to_index(pair.fixed.grid.voxel_centres_lps() + pair.truth.vectors_mm)
    nearest = np.rint(index).astype(int)
    size = np.array(seen.grid.shape[::-1])
    # The last two slices have no neighbours to be matched with.
    held = np.all((nearest >= 0) & (nearest < size), axis=-1) & (nearest[..., 2] >= 2) & (nearest[..., 2] < size[2] - 2)
    i, j, k = np.moveaxis(np.clip(nearest, 0, size - 1), -1, 0)
    inside = pair.inside & held & (seen.array[k, j, i] > _MASK_LEVEL)
    if not inside.any():
        raise GeometryError("the moving image shows nothing of the mask", found="0 voxels", expected="> 0")
    return replace(pair, mask=pair.mask.with_array(inside.astype(np.float32)))


def _image(path: Path) -> Volume:
    path = Path(path)
    return read_image(path).hu if path.is_dir() else read_volume(path)
