"""Unique identifiers: the classes this package knows, and identifiers that depend on content only."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
from pydicom.uid import UID, generate_uid

from imrt_core.patient import DicomError, PatientImage

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
RT_IMAGE = "1.2.840.10008.5.1.4.1.1.481.1"
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
RT_STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
RT_PLAN = "1.2.840.10008.5.1.4.1.1.481.5"
SPATIAL_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.1"
DEFORMABLE_REGISTRATION = "1.2.840.10008.5.1.4.1.1.66.3"
MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"

#: Every radiotherapy object (image, dose, structures, plan, records, …) has a class below this one.
RT_FAMILY = "1.2.840.10008.5.1.4.1.1.481."
#: Plans of other classes: ions, and second-generation radiation sets.
OTHER_PLANS = tuple(f"{RT_FAMILY}{n}" for n in (8, 12))
#: Registrations and fiducials.
REGISTRATION_FAMILY = "1.2.840.10008.5.1.4.1.1.66."

#: Well-known frame of reference "IEC 61217 Fixed Coordinate System" (DICOM PS3.6 table A-2): its origin is the
#: machine isocentre.
IEC_FIXED_FRAME = "1.2.840.10008.1.4.3.1"


def uid_from(*parts: str) -> str:
    """Return a UID that is the same whenever the parts are the same.

    Parameters
    ----------
    *parts : str
        What identifies the object. Their borders count: ``("ab", "c")`` is not ``("a", "bc")``.

    Returns
    -------
    str
        At most 64 characters, below pydicom's root.
    """
    return str(generate_uid(entropy_srcs=[f"{len(part)}:{part}" for part in parts]))


def class_name(uid: str) -> str:
    """Return the name of a SOP class for a message (``"MR Image Storage"``), or the UID where it is unknown."""
    return str(UID(uid).name) if uid else "no SOP Class UID"


def with_uids(image: PatientImage) -> PatientImage:
    """Fill in the UIDs that an image lacks (one read from ``.mha``, say), from its content.

    Every writer does this, so that a structure set and the CT that it refers to agree without the caller's help.

    Raises
    ------
    DicomError
        If the image has slice UIDs, but not one per slice.
    """
    count = image.hu.grid.shape[0]
    if image.slice_uids and len(image.slice_uids) != count:
        raise DicomError(
            "the image's slice UIDs do not fit its slices (resampled images need new ones)",
            found=f"{len(image.slice_uids)} UIDs",
            expected=str(count),
            code="invalid-image",
        )
    if image.frame_of_reference_uid and image.study_uid and image.series_uid and image.slice_uids:
        return image
    grid = image.hu.grid
    digest = hashlib.sha256(np.ascontiguousarray(image.hu.array).data)
    digest.update(repr((grid.shape, grid.spacing_mm, grid.origin_lps, grid.direction)).encode())
    digest.update(repr((image.patient.patient_id, image.acquired, str(image.hu.array.dtype))).encode())
    content = digest.hexdigest()
    series_uid = image.series_uid or uid_from("series", content)
    return replace(
        image,
        frame_of_reference_uid=image.frame_of_reference_uid or uid_from("frame", content),
        study_uid=image.study_uid or uid_from("study", content),
        series_uid=series_uid,
        slice_uids=image.slice_uids or tuple(uid_from("slice", series_uid, content, str(k)) for k in range(count)),
    )
