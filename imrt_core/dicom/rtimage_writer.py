"""RT Image: writing simulated and reconstructed radiographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imrt_core.geometry.iec61217 import fixed_from_gantry
from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import DicomError, PatientImage

from .ct import put_pixel_format
from .uids import RT_IMAGE, uid_from, with_uids
from .writing import NOTICE, ds, limited, new_object, put, save

#: Value 3 of Image Type (PS3.3 C.7.6.1.1.2, C.8.8.2) that this package writes.
KINDS = ("DRR", "RADIOGRAPH")
_LARGEST = 2**16 - 1


def write_radiograph(
    radiograph: Radiograph,
    *,
    image: PatientImage,
    path: Path,
    kind: str = "DRR",
    created: str | None = None,
    number: int = 1,
) -> Path:
    """Write an RT Image whose pixels are attenuation, in 16 bits.

    Parameters
    ----------
    radiograph : Radiograph
        Finite everywhere. With an isocentre it lies in its frame of reference, or in the image's where it names none.
        Without one it lies in a frame of the day (:mod:`imrt_core.geometry.radiograph`), with the isocentre at its
        origin and a UID of its own.
    image : PatientImage
        Whose patient and study it shares.
    path : Path
        File to write.
    kind : str
        ``"DRR"``, or ``"RADIOGRAPH"`` for a simulated one.
    created : str, optional
        ISO 8601; the radiograph's acquisition, or else the image's, where absent.
    number : int
        Instance Number.

    Raises
    ------
    DicomError
        If the kind is unknown, the pixels are not finite, the label is too long, or the receptor is tilted.
    """
    if kind not in KINDS:
        raise DicomError("this kind of RT Image is not written", found=kind, expected=" or ".join(KINDS))
    values = np.asarray(radiograph.attenuation, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise DicomError("a radiograph must be finite to be written", found="NaN or infinity", code="invalid-image")
    image = with_uids(image)
    view = radiograph.view
    low, high = float(values.min()), float(values.max())
    intercept, slope = ds(low), ds(max((high - low) / _LARGEST * (1 + 1e-9), 1e-9))
    stored = np.clip(np.rint((values - float(intercept)) / float(slope)), 0, _LARGEST).astype("<u2")
    item = new_object(
        RT_IMAGE,
        modality="RTIMAGE",
        image=image,
        sop_uid=radiograph.sop_instance_uid,
        series_uid=uid_from("radiographs", kind, image.series_uid, radiograph.frame_of_reference_uid),
        series_number=5,
        description="Simulated kV images" if kind == "RADIOGRAPH" else "DRR",
        created=created or radiograph.acquired or None,
    )
    frame = radiograph.frame_of_reference_uid
    if radiograph.isocentre_lps is None:
        frame = frame or uid_from("frame of the day", image.series_uid, radiograph.acquired)
    if frame:
        put(item, "FrameOfReferenceUID", frame)
    put(item, "ImageType", ["DERIVED", "SECONDARY", kind])
    put(item, "DerivationDescription", f"Written by igrt. {NOTICE}")
    put(item, "ConversionType", "WSD")
    put(item, "InstanceNumber", number)
    put(item, "PatientOrientation", "")
    put(item, "PatientPosition", view.patient_position)
    put_pixel_format(item, view.shape, bits=16, signed=False)
    put(item, "PixelIntensityRelationship", "LOG")
    put(item, "PixelIntensityRelationshipSign", -1)
    put(item, "RescaleIntercept", intercept)
    put(item, "RescaleSlope", slope)
    put(item, "RescaleType", "US")
    put(item, "RTImageLabel", limited(radiograph.label or kind, 16, keyword="RTImageLabel"))
    put(item, "RTImageDescription", NOTICE)
    put(item, "RTImagePlane", "NORMAL")
    _put_geometry(item, view)
    # Patient Position may stand in an RT Image only beside Isocenter Position.
    put(item, "IsocenterPosition", [ds(v) for v in radiograph.isocentre_lps or (0.0, 0.0, 0.0)])
    put(item, "PixelData", stored.tobytes())
    return save(item, Path(path))


def _put_geometry(item: object, view: ProjectionView) -> None:
    """Write the receptor as one that is centred on the beam axis: its offset goes into RT Image Position."""
    gantry_from_fixed = fixed_from_gantry(view.gantry_deg).T
    row, column, first, source = (
        gantry_from_fixed @ vector
        for vector in (view.row_direction, view.column_direction, view.origin_mm, view.source_mm)
    )
    tilted = max(abs(row[2]), abs(column[2])) > 1e-6 or np.hypot(source[0], source[1]) > 1e-3
    if tilted or abs(first[2] - (view.sad_mm - view.sid_mm)) > 1e-3:
        raise DicomError(
            "the image plane is not normal to the beam axis at its SID",
            found=f"rows along {np.round(row, 4).tolist()}, plane at {first[2]:.2f} mm (gantry system)",
            expected="RT Image Plane NORMAL",
        )
    angle = float(np.rad2deg(np.arctan2(row[1], row[0]))) % 360.0
    # Receptor axes in the gantry system: x along the rows, y against the columns.
    position = (float(first @ row), float(-(first @ column)))
    for keyword, value in (
        ("XRayImageReceptorTranslation", [0.0, 0.0, view.sad_mm - view.sid_mm]),
        ("XRayImageReceptorAngle", angle),
        ("RTImageOrientation", [1.0, 0.0, 0.0, 0.0, -1.0, 0.0]),
        ("ImagePlanePixelSpacing", list(view.spacing_mm)),
        ("RTImagePosition", list(position)),
        ("RadiationMachineName", None),
        ("PrimaryDosimeterUnit", None),
        ("RadiationMachineSAD", view.sad_mm),
        ("RTImageSID", view.sid_mm),
        ("GantryAngle", view.gantry_deg % 360.0),
        ("PatientSupportAngle", view.table_deg % 360.0),
    ):
        text = "" if value is None else [ds(v) for v in value] if isinstance(value, list) else ds(value)
        put(item, keyword, text)  # type: ignore[arg-type]
