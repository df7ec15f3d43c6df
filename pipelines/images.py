"""Images in any form that the commands accept: a DICOM folder or file, ``.mha``, ``.nii``, ``.nii.gz``, ``.nrrd``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imrt_core.dicom import read_dose, read_image
from imrt_core.dicom.header import read_header
from imrt_core.dicom.uids import CT_IMAGE, DEFORMABLE_REGISTRATION, RT_DOSE, RT_STRUCTURE_SET, SPATIAL_REGISTRATION
from imrt_core.patient import InputRefusedError, PatientImage, Volume
from registration.itk import VOLUME_SUFFIXES, read_volume


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A volume with its DICOM identity, where it has one.

    Parameters
    ----------
    volume : Volume
        HU for images, Gy for doses.
    image : PatientImage or None
        None for files that are not DICOM images.
    path : Path
        Where it came from.
    """

    volume: Volume
    image: PatientImage | None
    path: Path


def is_image_file(path: Path) -> bool:
    """Whether the name ends as an image file that is not DICOM."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def load_image(path: Path, *, patient_position: str | None = None) -> LoadedImage:
    """Read a CT or CBCT.

    Raises
    ------
    InputRefusedError
        If there is nothing readable at ``path``.
    """
    _must_exist(path)
    if is_image_file(path):
        return LoadedImage(read_volume(path), None, path)
    image = read_image(path, patient_position=patient_position)
    return LoadedImage(image.hu, image, path)


def load_scalar(path: Path) -> LoadedImage:
    """Read an image or a dose (Gy).

    Raises
    ------
    InputRefusedError
        If there is nothing readable at ``path``.
    """
    if path.is_file() and not is_image_file(path) and dicom_kind(path) == "dose":
        return LoadedImage(read_dose(path).dose_gy, None, path)
    return load_image(path)


def dicom_kind(path: Path) -> str:
    """Return image, dose, structures, (deformable) registration or other for a DICOM file; image for a folder.

    Raises
    ------
    InputRefusedError
        If the file is not DICOM.
    """
    _must_exist(path)
    if path.is_dir():
        return "image"
    kinds = {
        CT_IMAGE: "image",
        RT_DOSE: "dose",
        RT_STRUCTURE_SET: "structures",
        SPATIAL_REGISTRATION: "registration",
        DEFORMABLE_REGISTRATION: "deformable registration",
    }
    return kinds.get(read_header(path).sop_class, "other")


def _must_exist(path: Path) -> None:
    if not path.exists():
        raise InputRefusedError(
            "no such file or folder",
            found="nothing",
            expected=f"a DICOM folder or a file ending in {', '.join(VOLUME_SUFFIXES)}",
            where=str(path),
            code="not-found",
        )
