"""Digital patients: planning CT, structures, prescription, and what of them is rigid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imrt_core.dicom.uids import uid_from
from imrt_core.geometry.isocentre import target_isocentre_lps
from imrt_core.patient import (
    InputRefusedError,
    PatientIdentity,
    PatientImage,
    PlanningData,
    Scanner,
    StructureSet,
    Volume,
)

from .canvas import scanned
from .headneck import head_and_neck
from .lung import lung
from .pelvis import pelvis

_BUILDERS = {"head-neck": head_and_neck, "pelvis": pelvis, "lung": lung}
SITES = tuple(_BUILDERS)
_PLANNED_ON = "2026-01-05T09:00:00"


@dataclass(frozen=True)
class Prescription:
    """What the patient is to receive.

    Parameters
    ----------
    targets_gy : tuple of (str, float)
        Dose of each planning target, highest first, Gy over the whole course.
    fractions : int
        Number of fractions.
    """

    targets_gy: tuple[tuple[str, float], ...]
    fractions: int

    @property
    def dose_gy(self) -> float:
        """Dose of the highest level, Gy."""
        return self.targets_gy[0][1]


_PRESCRIPTIONS = {
    "head-neck": Prescription((("PTV70", 70.0), ("PTV63", 63.0), ("PTV56", 56.0)), 35),
    "pelvis": Prescription((("PTV60", 60.0),), 20),
    "lung": Prescription((("PTV60", 60.0),), 30),
}


@dataclass(frozen=True, eq=False)
class DigitalPatient:
    """A generated patient, planned but for the plan.

    Parameters
    ----------
    site : str
        ``"head-neck"``, ``"pelvis"`` or ``"lung"``.
    seed : int
        What made this patient and no other.
    planning : PlanningData
        CT and structures; no plan.
    prescription : Prescription
        Dose levels and fractions.
    isocentre_lps : tuple of float
        :func:`imrt_core.geometry.isocentre.target_isocentre_lps` of the structures.
    bone : ndarray of bool, shape of the CT
        Skull, spine, pelvis, ribs and girdle: what moves as one rigid body. Read-only.
    tissue_hu : Volume
        The patient himself, without the planning scanner's noise: what an imager sees on another day.
    """

    site: str
    seed: int
    planning: PlanningData
    prescription: Prescription
    isocentre_lps: tuple[float, float, float]
    bone: NDArray[np.bool_]
    tissue_hu: Volume


def build_patient(site: str, *, seed: int = 0, patient_position: str = "HFS") -> DigitalPatient:
    """Build a digital patient. The same site and seed give the same voxels and contours, bit for bit.

    Parameters
    ----------
    site : str
        ``"head-neck"``, ``"pelvis"`` or ``"lung"``.
    seed : int
        Size, shape and texture of the patient.
    patient_position : str
        How the patient lies on the table; the anatomy in LPS is the same.

    Raises
    ------
    InputRefusedError
        If the site is unknown.
    """
    if site not in _BUILDERS:
        raise InputRefusedError("no digital patient of that site", found=site, expected=", ".join(SITES))
    anatomy = _BUILDERS[site](seed=seed)
    tissue = anatomy.tissue_hu
    scan_rng = np.random.default_rng([seed, 99])
    key = ("phantom", site, str(seed), patient_position)
    ct = PatientImage(
        hu=tissue.with_array(scanned(tissue.array, tissue.grid, rng=scan_rng)),
        patient=PatientIdentity(f"IGRT-{site.upper()}-{seed:03d}", f"Digital^{site.title()}", sex="O"),
        frame_of_reference_uid=uid_from(*key, "frame"),
        study_uid=uid_from(*key, "study"),
        series_uid=uid_from(*key, "ct"),
        slice_uids=tuple(uid_from(*key, "ct", str(k)) for k in range(tissue.grid.shape[0])),
        patient_position=patient_position,
        acquired=_PLANNED_ON,
        scanner=Scanner("CT", "igrt", "Digital patient CT", "PLANNING", 120.0),
    )
    structures = StructureSet(
        anatomy.structures(),
        frame_of_reference_uid=ct.frame_of_reference_uid,
        sop_instance_uid=uid_from(*key, "structures"),
        referenced_series_uid=ct.series_uid,
        label="Digital patient",
    )
    bone = np.array(anatomy.bone)
    bone.setflags(write=False)
    return DigitalPatient(
        site=site,
        seed=seed,
        planning=PlanningData(ct, structures),
        prescription=_PRESCRIPTIONS[site],
        isocentre_lps=target_isocentre_lps(structures),
        bone=bone,
        tissue_hu=tissue,
    )
