"""A course of daily images with known truth."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from imrt_core.dicom.uids import uid_from
from imrt_core.patient import (
    DisplacementField,
    PatientImage,
    PlanError,
    RigidTransform,
    Scanner,
    StructureSet,
    Volume,
)

from ._inverse import planning_index_of_day
from .changes import AnatomyChange, HeadNeckChange, LungChange, PelvisChange
from .deformation import deformation_of_day
from .digital_patient import DigitalPatient
from .imaging import Imager, degraded, imager_grid
from .truth import couch_motion, set_up

#: The frame of the day has its origin at the machine isocentre (machine rule "cbct: origin").
MACHINE_ISOCENTRE_LPS = (0.0, 0.0, 0.0)
_SCANNER = Scanner("CT", "igrt", "Simulated CBCT", "CBCT", 100.0)
_DEFAULTS: dict[str, tuple[AnatomyChange, Imager]] = {
    "head-neck": (HeadNeckChange(), Imager()),
    "pelvis": (
        PelvisChange(),
        Imager(diameter_mm=460, length_mm=176, spacing_mm=(2.5, 2.5, 2.5), noise_hu=32, cupping_hu=75, streak_hu=20),
    ),
    "lung": (
        LungChange(),
        Imager(diameter_mm=460, length_mm=190, spacing_mm=(2.5, 2.5, 2.5), noise_hu=30, cupping_hu=60, streak_hu=18),
    ),
}


@dataclass(frozen=True)
class SetupError:
    """How far patients lie off before the image.

    Parameters
    ----------
    translation_sd_mm, rotation_sd_deg : float
        Standard deviation about each LPS axis; draws are cut at 2.3 standard deviations.
    """

    translation_sd_mm: float = 2.5
    rotation_sd_deg: float = 1.0

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return an offset (mm) and rotation (degrees) about LPS x, y, z."""
        draws = np.clip(rng.standard_normal((2, 3)), -2.3, 2.3)
        return draws[0] * self.translation_sd_mm, draws[1] * self.rotation_sd_deg


@dataclass(frozen=True, eq=False)
class SimulatedFraction:
    """An image of the day and the truth about it.

    Parameters
    ----------
    image : PatientImage
        As the imager gives it, in its own frame of reference.
    fraction : int
        Number from 1.
    moving_from_fixed : RigidTransform
        Bony truth: planning point to point of the day.
    field : DisplacementField
        Full truth on the planning grid: bony transform after the deformation of the day.
    planned_isocentre_lps, machine_isocentre_lps : tuple of float
        In the planning frame and in the frame of the day.
    shift_mm, rotation_deg : tuple of float
        Couch motion that corrects it: [vertical, longitudinal, lateral] and [pitch, roll, yaw].
    """

    image: PatientImage
    fraction: int
    moving_from_fixed: RigidTransform
    field: DisplacementField
    planned_isocentre_lps: tuple[float, float, float]
    machine_isocentre_lps: tuple[float, float, float]
    shift_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]


def simulate_fraction(
    patient: DigitalPatient,
    fraction: int,
    *,
    fractions: int,
    seed: int = 0,
    change: AnatomyChange | None = None,
    setup: SetupError | None = None,
    imager: Imager | None = None,
) -> SimulatedFraction:
    """Simulate the image of one fraction of a digital patient. Same arguments, same bits.

    Parameters
    ----------
    patient : DigitalPatient
        Who lies on the table.
    fraction, fractions : int
        Number of the fraction, from 1, and of all fractions.
    seed : int
        Of the course: set-up errors, filling, noise. Other fractions draw other numbers.
    change : HeadNeckChange, PelvisChange or LungChange, optional
        Amplitudes of the change of anatomy; the site's defaults if not given.
    setup : SetupError, optional
        Size of set-up errors.
    imager : Imager, optional
        What takes the image; the site's default if not given.

    Raises
    ------
    PlanError
        If the fraction's number is not within the course.
    """
    default_change, default_imager = _DEFAULTS[patient.site]
    return daily_image(
        patient.planning.ct,
        patient.planning.structures,
        fraction,
        fractions=fractions,
        seed=seed,
        bone=patient.bone,
        isocentre_lps=patient.isocentre_lps,
        change=change or default_change,
        setup=setup or SetupError(),
        imager=imager or default_imager,
        tissue_hu=patient.tissue_hu,
    )


def daily_image(
    ct: PatientImage,
    structures: StructureSet,
    fraction: int,
    *,
    fractions: int,
    bone: NDArray[np.bool_],
    isocentre_lps: tuple[float, float, float],
    change: AnatomyChange,
    seed: int = 0,
    setup: SetupError | None = None,
    imager: Imager | None = None,
    tissue_hu: Volume | None = None,
) -> SimulatedFraction:
    """Simulate the image of one fraction from any planning CT with structures.

    Parameters
    ----------
    ct : PatientImage
        Planning CT on an axis-aligned grid, with its patient position.
    structures : StructureSet
        Organs named as in TG-263, and the EXTERNAL.
    fraction, fractions : int
        Number of the fraction, from 1, and of all fractions.
    bone : ndarray of bool, shape of the CT
        What moves as one rigid body (:func:`bone_from_hu`).
    isocentre_lps : tuple of float
        Planned isocentre.
    change : HeadNeckChange, PelvisChange or LungChange
        Change of anatomy over the course.
    seed : int
        Of the course.
    setup : SetupError, optional
        Size of set-up errors.
    imager : Imager, optional
        What takes the image.
    tissue_hu : Volume, optional
        The patient without the planning scanner's noise, where it is known; else the CT itself.

    Raises
    ------
    PlanError
        If the fraction's number is not within the course.
    IdentityError
        If the CT has no patient position.
    """
    if not 1 <= fraction <= fractions:
        raise PlanError("no such fraction", found=str(fraction), expected=f"1 … {fractions}")
    imager = imager or Imager()
    # Two patients under one seed lie off differently: the planning series is part of the seed.
    patient_key = zlib.crc32(ct.series_uid.encode())
    anatomy_rng, setup_rng, image_rng = (
        np.random.default_rng([seed, patient_key, fraction, stream]) for stream in range(3)
    )
    progress = (fraction - 1) / max(fractions - 1, 1)
    sources = change.sources(structures, progress=progress, rng=anatomy_rng)
    truth = tissue_hu or ct.hu
    deformation = deformation_of_day(sources, structures=structures, bone=bone, grid=truth.grid)
    offset_mm, rotation_deg = (setup or SetupError()).draw(setup_rng)
    moving_from_fixed = set_up(
        planned_isocentre_lps=isocentre_lps,
        machine_isocentre_lps=MACHINE_ISOCENTRE_LPS,
        offset_mm=offset_mm,
        rotation_deg=rotation_deg,
    )
    couch = couch_motion(
        moving_from_fixed,
        planned_isocentre_lps=isocentre_lps,
        machine_isocentre_lps=MACHINE_ISOCENTRE_LPS,
        patient_position=str(ct.patient_position),
    )
    hu = degraded(_patient_of_day(truth, deformation, moving_from_fixed, imager, isocentre_lps), imager, rng=image_rng)
    return SimulatedFraction(
        image=_identified(hu, ct, fraction=fraction, seed=seed),
        fraction=fraction,
        moving_from_fixed=moving_from_fixed,
        field=_full_field(deformation, moving_from_fixed),
        planned_isocentre_lps=isocentre_lps,
        machine_isocentre_lps=MACHINE_ISOCENTRE_LPS,
        shift_mm=couch.shift_mm,
        rotation_deg=couch.rotation_deg,
    )


def bone_from_hu(hu: Volume, *, threshold_hu: float = 220.0, smallest_cc: float = 1.0) -> NDArray[np.bool_]:
    """Return bone (and teeth) of a CT: dense voxels in connected parts of some size."""
    dense = ndimage.gaussian_filter(np.asarray(hu.array, dtype=np.float32), 0.5) > threshold_hu
    labels, count = ndimage.label(dense, structure=np.ones((3, 3, 3)))
    if not count:
        return np.zeros(hu.grid.shape, dtype=bool)
    sizes = np.bincount(labels.ravel()) * hu.grid.voxel_volume_cc
    keep = sizes >= smallest_cc
    keep[0] = False
    return np.asarray(keep[labels])


def _patient_of_day(
    truth: Volume,
    deformation: DisplacementField,
    moving_from_fixed: RigidTransform,
    imager: Imager,
    isocentre_lps: tuple[float, float, float],
) -> Volume:
    """Cubic-spline resampling of the truth at the imager's voxels; slices beyond the CT repeat its last ones."""
    nz = truth.grid.shape[0]
    ends = truth.grid.origin_lps[2] + truth.grid.spacing_mm[2] * np.array([-0.5, nz - 0.5]) - isocentre_lps[2]
    day = imager_grid(imager, z_range_mm=(float(ends[0]), float(ends[1])))
    index = planning_index_of_day(day, moving_from_fixed=moving_from_fixed, deformation=deformation)
    np.clip(index[0], 0, nz - 1, out=index[0])
    # Cubic splines ring at the skin: a CT does so a little too, but never below air.
    values = ndimage.map_coordinates(
        np.asarray(truth.array, dtype=np.float32), index, order=3, mode="constant", cval=-1000.0, output=np.float32
    )
    return Volume(np.clip(values, -1000, 3071), day)


def _full_field(deformation: DisplacementField, moving_from_fixed: RigidTransform) -> DisplacementField:
    points = deformation.grid.voxel_centres_lps()
    moved = moving_from_fixed.apply(points + deformation.vectors_mm)
    return DisplacementField((moved - points).astype(np.float32), deformation.grid)


def _identified(hu: Volume, ct: PatientImage, *, fraction: int, seed: int) -> PatientImage:
    key = (ct.series_uid, "day", str(seed), str(fraction))
    start = datetime.fromisoformat(ct.acquired) if ct.acquired else datetime(2026, 1, 5, 9)
    # Treatment starts a week after the planning CT, on working days.
    days = 7 + (fraction - 1) + 2 * ((fraction - 1) // 5)
    return replace(
        ct,
        hu=hu,
        frame_of_reference_uid=uid_from(*key, "frame"),
        study_uid=uid_from(*key, "study"),
        series_uid=uid_from(*key, "series"),
        slice_uids=tuple(uid_from(*key, "slice", str(k)) for k in range(hu.grid.shape[0])),
        acquired=(start + timedelta(days=days, minutes=15)).isoformat(),
        scanner=_SCANNER,
    )
