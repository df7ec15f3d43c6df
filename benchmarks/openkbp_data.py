"""An OpenKBP patient, read: CT, dose and masks on an LPS grid, in TG-263 names.

Data: Babier A et al., "OpenKBP: the open-access knowledge-based planning grand challenge and dataset", Med Phys 48
(2021) 5549-5561.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.patient import (
    GeometryError,
    Grid,
    InputRefusedError,
    Volume,
)

_DOSE_MASK = "possible_dose_mask"
#: Names of the data set that are not TG-263 names.
_TG263 = {"LeftParotid": "Parotid_L", "RightParotid": "Parotid_R", "Mandible": "Bone_Mandible"}


@dataclass(frozen=True, eq=False)
class OpenKbpPatient:
    """One patient of the data set on an LPS grid.

    Parameters
    ----------
    name : str
        Of the file, without suffix.
    hu : Volume
        CT, HU.
    course_dose_gy : Volume
        Dose of the clinical-like plan, whole course, Gy, on the same grid.
    masks : tuple of (str, Volume)
        TG-263 names and Boolean masks, the EXTERNAL first.
    """

    name: str
    hu: Volume
    course_dose_gy: Volume
    masks: tuple[tuple[str, Volume], ...]


def load(npz: Path) -> OpenKbpPatient:
    """Read a patient; axes and sides are checked, not assumed.

    Parameters
    ----------
    npz : Path
        ``ct`` (uint16, HU + 1000), ``dose`` (Gy), ``voxel_mm``, ``mask_names`` and bit-packed ``masks``, on axes
        anterior→posterior, right→left, superior→inferior.

    Raises
    ------
    InputRefusedError
        If it is no such file.
    GeometryError
        If the left parotid is not on the patient's left.
    """
    try:
        with np.load(npz, allow_pickle=False) as data:
            ct, dose, voxel_mm = data["ct"], data["dose"], np.asarray(data["voxel_mm"], dtype=float)
            names, packed = [str(name) for name in data["mask_names"]], data["masks"]
    except (OSError, ValueError, KeyError) as error:
        raise InputRefusedError(
            "not an OpenKBP patient", found=str(error), expected="ct, dose, voxel_mm, masks", where=str(npz)
        ) from error
    bits = {
        name: np.unpackbits(row)[: ct.size].reshape(ct.shape).astype(bool)
        for name, row in zip(names, packed, strict=True)
    }
    filled = np.flatnonzero((ct > 0).any(axis=(0, 1)) | np.logical_or.reduce(list(bits.values())).any(axis=(0, 1)))
    first, last = int(filled[0]), int(filled[-1])

    def to_zyx(array: NDArray[np.generic]) -> NDArray[np.generic]:
        # Rows already run to posterior (+y) and columns to the left (+x); slices run to inferior, LPS z to superior.
        return np.ascontiguousarray(np.moveaxis(array[:, :, first : last + 1], 2, 0)[::-1])

    nz, ny, nx = last - first + 1, ct.shape[0], ct.shape[1]
    spacing = (float(voxel_mm[1]), float(voxel_mm[0]), float(voxel_mm[2]))
    origin = tuple(float(-round(n * s / 2)) for n, s in zip((nx, ny, nz), spacing, strict=True))
    grid = Grid((nz, ny, nx), spacing, (origin[0], origin[1], origin[2]))
    hu = Volume(to_zyx(ct).astype(np.float32) - np.float32(1000), grid)
    masks = [(_TG263.get(name, name), Volume(to_zyx(mask), grid)) for name, mask in bits.items() if name != _DOSE_MASK]
    allowed = to_zyx(bits[_DOSE_MASK]).astype(bool) if _DOSE_MASK in bits else np.zeros(grid.shape, dtype=bool)
    _check_sides(dict(masks), npz)
    external = Volume(_body(hu) | allowed | np.logical_or.reduce([m.array for _, m in masks]), grid)
    return OpenKbpPatient(
        name=npz.stem,
        hu=hu,
        course_dose_gy=Volume(to_zyx(dose).astype(np.float32), grid),
        masks=(("External", external), *masks),
    )


def _check_sides(masks: dict[str, Volume], npz: Path) -> None:
    if "Parotid_L" not in masks or "Parotid_R" not in masks:
        return
    left, right = (
        float(masks[name].grid.to_lps(np.argwhere(masks[name].array)[:, ::-1].mean(axis=0))[0])
        for name in ("Parotid_L", "Parotid_R")
    )
    if left <= right:
        raise GeometryError(
            "the left parotid is not on the patient's left",
            found=f"x = {left:.0f} mm against {right:.0f} mm of the right one",
            expected="LPS x grows to the left",
            where=str(npz),
        )


def _body(hu: Volume) -> NDArray[np.bool_]:
    """Largest connected tissue after removal of thin sheets (mask, table top), cavities filled slice by slice."""
    thin = np.ones((1, 3, 3), dtype=bool)
    tissue = ndimage.binary_opening(hu.array > -350, structure=thin)
    labels, count = ndimage.label(tissue)
    if not count:
        return np.zeros(hu.grid.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == int(np.argmax(sizes))
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body])
