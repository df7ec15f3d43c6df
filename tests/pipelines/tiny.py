"""A coarse head-and-neck-like patient of simple solids, quick to plan and to register, written as DICOM."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from scipy import ndimage

from imrt_core.dicom import uid_from, write_image, write_structures
from imrt_core.patient import (
    Grid,
    PatientIdentity,
    PatientImage,
    RigidTransform,
    Scanner,
    StructureSet,
    Volume,
)
from imrt_core.patient.contours import structure_from_mask

GRID = Grid((44, 56, 56), (4.0, 4.0, 4.0), (-110.0, -110.0, -86.0))
PATIENT = PatientIdentity("TINY-0001", "Tiny^Patient")
FRAME, CT_SERIES, STUDY = (uid_from("tiny", name) for name in ("frame", "ct", "study"))

PROTOCOL = {
    "format_version": 1,
    "name": "tiny",
    "version": "1",
    "site": "head and neck",
    "fractions": 35,
    "targets": [{"name": "PTV70", "dose_gy": 70, "ctv": "CTV70", "margin_mm": 5}],
    "structures": {
        "External": {"aliases": ["BODY"]},
        "SpinalCord": {"aliases": ["Cord"]},
        "Parotid_L": {"aliases": ["LeftParotid"]},
    },
    "goals": [
        "PTV70 V66.5Gy[%] >= 90",
        "SpinalCord D0.03cc[Gy] <= 50 (hard)",
        {"goal": "Parotid_L Mean[Gy] < 30", "presence": "where-present"},
    ],
    "beams": [{"gantry_deg": angle} for angle in (0, 72, 144, 216, 288)],
    "registration": {"max_shift_mm": 20, "max_rotation_deg": 4},
}


def _sphere(points: np.ndarray, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    return np.linalg.norm(points - np.array(centre), axis=-1) <= radius


def solids() -> dict[str, np.ndarray]:
    """Masks of the parts on :data:`GRID`."""
    points = GRID.voxel_centres_lps()
    x, y, z = np.moveaxis(points, -1, 0)
    body = (x / 80) ** 2 + (y / 95) ** 2 <= 1
    spine = np.hypot(x, y - 50) + 6 * np.cos(z / 9) <= 17
    skull = np.abs(np.linalg.norm((points - [0, 5, 70]) / [1, 1.2, 1], axis=-1) - 60) <= 5
    jaw = np.logical_and(np.abs(np.hypot(x, y + 30) - 42) <= 6, np.logical_and(y < -25, np.abs(z - 5) < 12))
    return {
        "External": body,
        "bone": (spine | skull | jaw) & body,
        "airway": (np.hypot(x / 8, (y - 12) / 8) <= 1) & (z < 30),
        "SpinalCord": np.hypot(x, y - 52) <= 6,
        "CTV70": _sphere(points, (22, -5, -15), 20),
        "PTV70": _sphere(points, (22, -5, -15), 25),
        "Parotid_L": _sphere(points, (58, 15, 15), 14),
    }


def planning_hu() -> Volume:
    parts = solids()
    hu = np.where(parts["External"], 30.0, -1000.0)
    hu[parts["bone"]] = 800.0
    hu[parts["airway"]] = -950.0
    hu[parts["SpinalCord"]] = 40.0
    hu += ndimage.gaussian_filter(np.random.default_rng(0).normal(0, 60, GRID.shape), 1.0)
    return Volume(ndimage.gaussian_filter(hu, 0.5).astype(np.float32), GRID)


def planning_image(*, patient: PatientIdentity = PATIENT, position: str | None = "HFS") -> PatientImage:
    return PatientImage(
        hu=planning_hu(),
        patient=patient,
        frame_of_reference_uid=FRAME,
        study_uid=STUDY,
        series_uid=CT_SERIES,
        slice_uids=tuple(uid_from("tiny", "slice", str(k)) for k in range(GRID.shape[0])),
        patient_position=position,
        acquired="2026-01-05T09:00:00",
        scanner=Scanner("CT", "igrt", "tiny CT", "CT1", 120.0),
    )


def structures(*, names: tuple[str, ...] = ("External", "PTV70", "CTV70", "SpinalCord", "Parotid_L")) -> StructureSet:
    kinds = {"External": "EXTERNAL", "PTV70": "PTV", "CTV70": "CTV"}
    parts = solids()
    return StructureSet(
        tuple(
            structure_from_mask(
                Volume(parts[name].astype(np.float32), GRID),
                name=name,
                number=k + 1,
                interpreted_type=kinds.get(name, "ORGAN"),
            )
            for k, name in enumerate(names)
        ),
        frame_of_reference_uid=FRAME,
        sop_instance_uid=uid_from("tiny", "structures"),
        referenced_series_uid=CT_SERIES,
    )


def write_course(folder: Path, *, drawn: StructureSet | None = None, image: PatientImage | None = None) -> Path:
    """Planning CT and RTSTRUCT."""
    image = image or planning_image()
    write_image(image, folder / "CT")
    write_structures(drawn or structures(), image=image, path=folder / "RS.dcm")
    return folder


def day_image(
    *,
    shift_mm: tuple[float, float, float] = (4.0, -3.0, 5.0),
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 1.0),
    number: int = 1,
    patient: PatientIdentity = PATIENT,
    position: str | None = "HFS",
    model: str = "tiny CBCT",
) -> PatientImage:
    """The patient moved, on a grid of its own whose origin is the machine isocentre."""
    isocentre = (22.0, -5.0, -15.0)
    motion = RigidTransform.from_parameters(
        translation_mm=np.subtract(shift_mm, isocentre), rotation_deg=rotation_deg, centre_lps=isocentre
    )
    grid = Grid((44, 60, 60), (4.0, 4.0, 4.0), (-140.0, -113.0, -71.0))
    points = motion.inverse().apply(grid.voxel_centres_lps())
    hu = planning_hu().sample(points, outside=-1000.0)
    hu += ndimage.gaussian_filter(np.random.default_rng(number).normal(0, 40, grid.shape), 0.7)
    key = ("tiny", "day", str(number), str(shift_mm))
    return PatientImage(
        hu=Volume(hu.astype(np.float32), grid),
        patient=patient,
        frame_of_reference_uid=uid_from(*key, "frame"),
        study_uid=uid_from(*key, "study"),
        series_uid=uid_from(*key, "series"),
        slice_uids=tuple(uid_from(*key, "slice", str(k)) for k in range(grid.shape[0])),
        patient_position=position,
        acquired=f"2026-01-{11 + number:02d}T09:15:00",
        scanner=Scanner("CT", "igrt", model, "LINAC1", 100.0),
    )


def write_day(folder: Path, image: PatientImage | None = None) -> Path:
    write_image(image or day_image(), folder)
    return folder


def write_protocol(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump({**PROTOCOL, **changes}))
    return path


def without_position(image: PatientImage) -> PatientImage:
    return replace(image, patient_position=None)
