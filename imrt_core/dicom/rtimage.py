"""RT Image: reading kV radiographs with their geometry.

DICOM PS3.3 C.8.8.2. The image plane is normal to the beam axis. The receptor's origin lies at X-Ray Image Receptor
Translation in the gantry system, turned by X-Ray Image Receptor Angle (counter-clockwise as seen from the source,
C.8.8.14.3); RT Image Position is the centre of the first pixel and Image Plane Pixel Spacing its size, both *at the
image plane*, a distance of RT Image SID from the source. A normal image without RT Image Orientation is seen from the
source: rows along receptor +x, columns along −y (C.8.8.2.7).

Gantry Angle is taken as that of the source that made the image. For a kV source on an arm of its own, files should
state that arm's angle (the IEC gantry system is then the one of the kV source); a machine that states the treatment
head's angle instead needs the offset, for example +90.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import PATIENT_POSITIONS, DicomError, IdentityError

from .header import IMAGE_KEYWORDS, Header, read_header, read_stored_values
from .opening import tolerant_values
from .uids import RT_IMAGE
from .values import integer, moment, needed, number, numbers, patient_identity, require_class

RT_IMAGE_KEYWORDS = (
    *IMAGE_KEYWORDS,
    "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign",
    "RTImageLabel",
    "RTImagePlane",
    "XRayImageReceptorTranslation",
    "XRayImageReceptorAngle",
    "RTImageOrientation",
    "ImagePlanePixelSpacing",
    "RTImagePosition",
    "RadiationMachineSAD",
    "RTImageSID",
    "GantryAngle",
    "GantryPitchAngle",
    "PatientSupportAngle",
    "TableTopEccentricAngle",
    "IsocenterPosition",
)

#: Rows along receptor +x, columns along −y: the only orientation of a normal image that has one meaning.
_ORIENTATION = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
#: How the pixels may be said to depend on the beam.
PIXELS = ("intensity", "attenuation")


@tolerant_values()
def read_radiograph(
    path: Path,
    *,
    patient_position: str | None = None,
    table_deg: float | None = None,
    source_offset_deg: float = 0.0,
    pixels: str | None = None,
) -> Radiograph:
    """Read an RT Image.

    Parameters
    ----------
    path : Path
        RT Image with one frame of 16 or 32 bits.
    patient_position : str, optional
        Where the file does not say; a contradiction is refused.
    table_deg : float, optional
        IEC patient support angle, where the file does not say; a contradiction is refused.
    source_offset_deg : float
        Added to Gantry Angle, for machines that state the treatment head's angle with images of another source.
    pixels : str, optional
        ``"intensity"`` or ``"attenuation"``: what grows with the pixel values, where the file does not say
        (Pixel Intensity Relationship).

    Returns
    -------
    Radiograph
        ``attenuation`` is minus the logarithm of intensity, or what the pixels hold where they already grow with it.

    Raises
    ------
    DicomError
        If it is no whole RT Image, its plane is not normal to the beam, its geometry is missing or contradicts
        itself, or its pixels cannot be interpreted.
    IdentityError
        If patient position or table angle are missing, unknown or contradictory.
    """
    path = Path(path)
    header = read_header(path, keywords=RT_IMAGE_KEYWORDS)
    require_class(header.dataset, RT_IMAGE, path)
    view = _view(header, patient_position, table_deg, source_offset_deg)
    isocentre = numbers(header.dataset, "IsocenterPosition", path, count=3)
    return Radiograph(
        view,
        _attenuation(header, pixels),
        patient=patient_identity(header.dataset, path),
        label=header.text("RTImageLabel") or path.name,
        acquired=moment(header.dataset, path, ("Acquisition", "Content", "Series", "Study")),
        frame_of_reference_uid=header.text("FrameOfReferenceUID"),
        sop_instance_uid=header.text("SOPInstanceUID"),
        isocentre_lps=None if isocentre is None else (float(isocentre[0]), float(isocentre[1]), float(isocentre[2])),
    )


def _view(
    header: Header, patient_position: str | None, table_deg: float | None, source_offset_deg: float
) -> ProjectionView:
    path, dataset = header.path, header.dataset
    plane = needed(header.text("RTImagePlane").upper(), "RTImagePlane", path)
    if plane != "NORMAL":
        raise _refused("RT Image Plane is not supported", plane, "NORMAL (normal to the beam axis)", path)
    orientation = numbers(dataset, "RTImageOrientation", path, count=6)
    if orientation is not None and not np.allclose(orientation, _ORIENTATION, atol=1e-4):
        found = "\\".join(f"{v:g}" for v in orientation)
        raise _refused("RT Image Orientation is not supported", found, "1\\0\\0\\0\\-1\\0", path)
    for keyword in ("GantryPitchAngle", "TableTopEccentricAngle"):
        angle = number(dataset, keyword, path) or 0.0
        if abs((angle + 180.0) % 360.0 - 180.0) > 0.05:
            raise _refused(f"{keyword} is not supported", f"{angle:g}°", "0°", path)
    sad, sid, gantry = (
        needed(number(dataset, keyword, path), keyword, path)
        for keyword in ("RadiationMachineSAD", "RTImageSID", "GantryAngle")
    )
    translation = numbers(dataset, "XRayImageReceptorTranslation", path, count=3)
    if translation is not None and abs(translation[2] - (sad - sid)) > 1.0:
        found = f"z {translation[2]:g} mm with SAD {sad:g} and SID {sid:g} mm"
        raise _refused("X-Ray Image Receptor Translation contradicts RT Image SID", found, f"z {sad - sid:g} mm", path)
    spacing, position = (
        needed(numbers(dataset, keyword, path, count=2), keyword, path)
        for keyword in ("ImagePlanePixelSpacing", "RTImagePosition")
    )
    rows, columns = (needed(integer(dataset, keyword, path), keyword, path) for keyword in ("Rows", "Columns"))
    receptor = (0.0, 0.0) if translation is None else (float(translation[0]), float(translation[1]))
    return ProjectionView.from_iec(
        gantry_deg=gantry + source_offset_deg,
        patient_position=_position(header, patient_position),
        shape=(rows, columns),
        spacing_mm=(float(spacing[0]), float(spacing[1])),
        sad_mm=sad,
        sid_mm=sid,
        table_deg=_table(header, table_deg),
        receptor_mm=receptor,
        receptor_deg=number(dataset, "XRayImageReceptorAngle", path) or 0.0,
        first_pixel_mm=(float(position[0]), float(position[1])),
    )


def _position(header: Header, stated: str | None) -> str:
    found = header.text("PatientPosition").upper()
    for value in (found, stated):
        if value and value not in PATIENT_POSITIONS:
            raise _identity("unsupported patient position", value, " ".join(PATIENT_POSITIONS), header, "position")
    if found and stated and found != stated:
        raise _identity("the image contradicts the stated patient position", found, stated, header, "position")
    if not (found or stated):
        raise _identity(
            "the radiograph does not say how the patient lies",
            "no Patient Position",
            f"it, or the option: {' '.join(PATIENT_POSITIONS)}",
            header,
            "position",
        )
    return found or str(stated)


def _table(header: Header, stated: float | None) -> float:
    found = number(header.dataset, "PatientSupportAngle", header.path)
    if found is None and stated is None:
        raise _identity(
            "the radiograph does not say how the table stands", "no Patient Support Angle", "it, or the option",
            header, "table",
        )  # fmt: skip
    if found is not None and stated is not None and abs((found - stated + 180.0) % 360.0 - 180.0) > 0.05:
        raise _identity("the image contradicts the stated table angle", f"{found:g}°", f"{stated:g}°", header, "table")
    return float(found if found is not None else stated)  # type: ignore[arg-type]


def _attenuation(header: Header, stated: str | None) -> NDArray[np.float32]:
    """Turn pixels into something that grows with attenuation.

    Pixel Intensity Relationship Sign (C.8.11.3.1.2) tells of *stored* values: +1, higher with more beam.
    """
    path, dataset = header.path, header.dataset
    if (frames := integer(dataset, "NumberOfFrames", path) or 1) != 1:
        raise _refused("a radiograph of several frames", str(frames), "one frame", path)
    sign = integer(dataset, "PixelIntensityRelationshipSign", path)
    if stated is not None and stated not in PIXELS:
        raise _refused("unknown meaning of pixels", stated, " or ".join(PIXELS), path)
    if sign is None and stated is None:
        raise _refused(
            "the radiograph does not say how its pixels depend on the beam",
            "no Pixel Intensity Relationship Sign",
            "it, or the option: " + " or ".join(PIXELS),
            path,
            code="pixel-meaning",
        )
    if sign is not None and sign not in (1, -1):
        raise _refused("Pixel Intensity Relationship Sign is not valid", str(sign), "1 or -1", path)
    if sign is not None and stated is not None and (sign > 0) != (stated == "intensity"):
        raise _refused("the image contradicts the stated meaning of its pixels", f"sign {sign:+d}", stated, path)
    slope = number(dataset, "RescaleSlope", path)
    slope = 1.0 if slope is None else slope
    if slope == 0:
        raise _refused("a rescale slope of zero", "0", "another slope", path)
    stored = read_stored_values(header, frames=1)[0].astype(np.float64)
    values = stored * slope + (number(dataset, "RescaleIntercept", path) or 0.0)
    grows = (sign > 0 if sign is not None else stated == "intensity") == (slope > 0)
    if not grows:
        return np.asarray(values, dtype=np.float32)
    if header.text("PixelIntensityRelationship").upper() == "LOG":
        return np.asarray(-values, dtype=np.float32)
    # Dead pixels and offsets below zero are darker than anything that a patient lets through.
    darkest = max(float(np.percentile(values, 99)), 0.0) * 1e-5
    if darkest <= 0:
        raise _refused("the radiograph is black", f"{values.max():g} at most", "positive intensities", path)
    return np.asarray(-np.log(np.maximum(values, darkest)), dtype=np.float32)


def _refused(message: str, found: str, expected: str, path: Path, *, code: str | None = None) -> DicomError:
    return DicomError(message, found=found, expected=expected, where=str(path), code=code)


def _identity(message: str, found: str, expected: str, header: Header, kind: str) -> IdentityError:
    code = {"position": "patient-position", "table": "table-angle"}[kind]
    return IdentityError(message, found=found, expected=expected, where=str(header.path), code=code)
