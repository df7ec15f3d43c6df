"""Other ways to the HU of the day than the deformed planning CT: the corrected image itself, and bulk values."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from imrt_core.patient import Volume

from .preprocess import Mask, smoothed

#: Upper HU of air, lung, fat and soft tissue; bone lies above.
CLASS_LIMITS_HU = (-900.0, -400.0, -30.0, 130.0)
#: HU of a class that the planning CT does not show: air, lung, fat, soft tissue, bone.
CLASS_HU = (-1000.0, -750.0, -95.0, 40.0, 450.0)
_MIN_VOXELS = 200


class DensityMethod(StrEnum):
    """How the HU of the day are made."""

    DEFORMED_PLAN = "deformed-planning-ct"
    CORRECTED_IMAGE = "corrected-image"
    BULK = "bulk"


def bulk_hu(todays_hu: Volume, planned_hu: Volume, body: Mask) -> NDArray[np.float32]:
    """Sort voxels into air, lung, fat, soft tissue and bone, and give each class one value.

    Parameters
    ----------
    todays_hu : Volume
        Image of the day on the planning CT's HU scale.
    planned_hu : Volume
        Planning CT on the same grid and anatomy, whose mean in each class is the value.
    body : ndarray of bool
        Patient of the day; air outside.

    Returns
    -------
    ndarray of float32
        HU.
    """
    # noise of a cone beam must not decide about the class of single voxels
    classes = np.digitize(smoothed(todays_hu, 1.0).array, CLASS_LIMITS_HU)
    planned = np.digitize(planned_hu.array, CLASS_LIMITS_HU)
    values = np.array(CLASS_HU, dtype=np.float32)
    for number in range(1, len(values)):
        members = planned_hu.array[body & (planned == number)]
        if members.size >= _MIN_VOXELS:
            values[number] = members.mean()
    return np.where(body, values[classes], np.float32(CLASS_HU[0])).astype(np.float32)
