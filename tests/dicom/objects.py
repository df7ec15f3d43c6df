"""DICOM objects for tests: as a vendor would write them (pydicom alone), and domain objects for our writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from imrt_core.dicom import uid_from, with_uids
from imrt_core.patient import (
    Beam,
    Contour,
    ControlPoint,
    DoseDistribution,
    Grid,
    MultileafCollimator,
    PatientIdentity,
    PatientImage,
    Plan,
    Scanner,
    Structure,
    StructureSet,
    Volume,
)

CT = "1.2.840.10008.5.1.4.1.1.2"


def vendor_slice(
    k: int,
    *,
    origin: tuple[float, float, float] = (-10.0, 20.0, -30.0),
    row: tuple[float, float, float] = (1.0, 0.0, 0.0),
    column: tuple[float, float, float] = (0.0, 1.0, 0.0),
    spacing: tuple[float, float] = (2.0, 1.5),
    gap: float = 3.0,
    shape: tuple[int, int] = (3, 5),
) -> Dataset:
    """One CT slice, k gaps along row × column from the origin; stored value = 100 k + 10 row + column + 1024."""
    ds = Dataset()
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = f"1.2.3.4.{k + 1}"
    ds.Modality = "CT"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.PatientID = "P1"
    ds.PatientName = "Doe^Jane"
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = "1.2.3.1"
    ds.SeriesInstanceUID = "1.2.3.2"
    ds.FrameOfReferenceUID = "1.2.3.3"
    ds.AcquisitionDate = "20240102"
    ds.AcquisitionTime = "030405.678"
    ds.KVP = "120"
    position = np.asarray(origin) + gap * k * np.cross(row, column)
    ds.ImagePositionPatient = [f"{v:.6f}" for v in position]
    ds.ImageOrientationPatient = [f"{v:.10f}" for v in (*row, *column)]
    ds.PixelSpacing = [str(v) for v in spacing]
    ds.SliceThickness = str(gap)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope = "1"
    ds.RescaleIntercept = "-1024"
    ds.PixelData = (stored_values(k, shape)).astype("<u2").tobytes()
    return ds


def stored_values(k: int, shape: tuple[int, int] = (3, 5)) -> np.ndarray:
    r, c = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(100 * k + 10 * r + c + 1024)


def save_vendor(ds: Dataset, path: Path, *, syntax: UID = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta = meta
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def vendor_series(
    folder: Path, count: int = 4, *, change: Callable[[int, Dataset], None] | None = None, **geometry: object
) -> list[Path]:
    """A CT series of ``count`` slices, written in reverse name order; ``change`` may alter each data set."""
    paths = []
    for k in range(count):
        ds = vendor_slice(k, **geometry)  # type: ignore[arg-type]
        if change is not None:
            change(k, ds)
        paths.append(save_vendor(ds, folder / f"im{count - k:03d}.dcm"))
    return paths


def having(**values: object) -> Callable[..., None]:
    """A change that sets attributes, for :func:`edit` and :func:`vendor_series`."""

    def change(*arguments: object) -> None:
        for keyword, value in values.items():
            setattr(arguments[-1], keyword, value)

    return change


def lacking(*keywords: str) -> Callable[..., None]:
    """A change that removes attributes, for :func:`edit` and :func:`vendor_series`."""

    def change(*arguments: object) -> None:
        for keyword in keywords:
            delattr(arguments[-1], keyword)

    return change


def edit(path: Path, change: Callable[[Dataset], object]) -> None:
    """Alter a DICOM file in place."""
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)


def image(
    shape: tuple[int, int, int] = (6, 20, 24), *, seed: int = 0, grid: Grid | None = None, position: str | None = "HFS"
) -> PatientImage:
    grid = grid or Grid(shape, (2.0, 2.5, 3.0), (-20.5, -30.25, -100.123456))
    hu = np.rint(np.random.default_rng(seed).normal(0, 300, grid.shape)).astype(np.float32)
    return with_uids(
        PatientImage(
            Volume(hu, grid),
            PatientIdentity("ID1", "Doe^Jane", "19600101", "F"),
            patient_position=position,
            acquired="2024-05-06T07:08:09",
            scanner=Scanner("CT", "Maker", "Model", "Station", 120.0),
        )
    )


def day_image(ct: PatientImage) -> PatientImage:
    """An image of the day: other pixels, own frame, series and study, same patient."""
    blank = replace(ct, frame_of_reference_uid="", series_uid="", study_uid="", slice_uids=())
    return with_uids(replace(blank, hu=ct.hu.with_array(ct.hu.array + 1)))


def structures(ct: PatientImage) -> StructureSet:
    """A target on slices 1 to 4 with a hole in slice 2, and an empty organ."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    _, y0, z0 = ct.hu.grid.origin_lps
    contours = []
    for k, radius in ((1, 8.0), (2, 8.0), (2, 3.0), (3, 8.0), (4, 8.0)):
        x, y = radius * np.cos(angle), y0 + 20 + radius * np.sin(angle)
        contours.append(Contour(np.stack([x, y, np.full(40, z0 + k * ct.hu.grid.spacing_mm[2])], axis=1)))
    return StructureSet(
        (
            Structure("PTV70", tuple(contours), 3, "PTV", (255, 0, 0)),
            Structure("Parotid_L", (), 7, "ORGAN", (0, 255, 0)),
        ),
        frame_of_reference_uid=ct.frame_of_reference_uid,
        sop_instance_uid=uid_from("test", "structures"),
        referenced_series_uid=ct.series_uid,
        label="CT_1",
    )


MLC = MultileafCollimator(tuple(float(b) for b in np.linspace(-200, 200, 41)))


def point(
    weight: float,
    *,
    gantry: float = 10.0,
    opening: float = 10.0,
    direction: str = "NONE",
    collimator: float = 5.0,
    table: float = 350.0,
    jaw_x: float = 50.0,
) -> ControlPoint:
    base = np.linspace(0, 1.23456789, 40)
    return ControlPoint(
        cumulative_weight=weight,
        gantry_deg=gantry,
        isocentre_lps=(1.25, -2.5, 3.123456),
        collimator_deg=collimator,
        table_deg=table,
        jaw_x_mm=(-jaw_x, jaw_x),
        jaw_y_mm=(-40.0, 45.5),
        leaves_mm=np.stack([-opening - base, opening + base]),
        gantry_direction=direction,
        dose_rate_mu_per_min=600.0,
    )


def plan(ct: PatientImage, **changes: object) -> Plan:
    """Static, dynamic (leaves, jaws) and arc beams."""
    steps = np.linspace(0, 1, 7)
    static = Beam(
        1,
        "static",
        100.0,
        (point(0), point(1)),
        mlc=MLC,
        machine_name="generic",
        beam_dose_gy=0.75,
        beam_dose_point_lps=(1.0, 2.0, 3.0),
    )
    dynamic = Beam(
        2,
        "dynamic",
        123.456789,
        tuple(point(w, opening=5 + 10 * w, jaw_x=50 - 5 * w) for w in steps),
        mlc=MLC,
        fluence_mode="FFF",
    )
    arc = Beam(
        5,
        "arc",
        250.0,
        tuple(point(w, gantry=181 + 170 * w, opening=5 + 10 * w, direction="CW" if w < 1 else "NONE") for w in steps),
        mlc=MLC,
    )
    made = Plan(
        (static, dynamic, arc),
        label="RESEARCH fx01",
        fractions_planned=35,
        prescription_gy=(("PTV70", 70.0), ("PTV56", 56.0)),
        sop_instance_uid=uid_from("test", "plan"),
        frame_of_reference_uid=ct.frame_of_reference_uid,
        structure_set_uid=uid_from("test", "structures"),
        patient_position=ct.patient_position,
        predecessor_uid=uid_from("test", "plan of record"),
        description="Made for a test.",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def dose(ct: PatientImage, *, grid: Grid | None = None, **changes: object) -> DoseDistribution:
    grid = grid or ct.hu.grid
    values = np.random.default_rng(1).random(grid.shape).astype(np.float32) * 70
    made = DoseDistribution(
        Volume(values, grid),
        "PLAN",
        ct.frame_of_reference_uid,
        uid_from("test", "dose"),
        uid_from("test", "plan"),
        "For a test.",
    )
    return replace(made, **changes)  # type: ignore[arg-type]
