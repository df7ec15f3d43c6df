"""Commands on radiographs: ``igrt register-2d3d``, ``igrt drr``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from pydantic import Field

from imrt_core.dicom import read_radiograph, with_uids, write_radiograph
from imrt_core.dicom.rtimage import PIXELS
from imrt_core.geometry.radiograph import ProjectionView, Radiograph
from imrt_core.patient import (
    PATIENT_POSITIONS,
    IdentityError,
    InputRefusedError,
    PatientIdentity,
    PatientImage,
    RigidTransform,
)
from imrt_core.patient.transform import EULER_ORDER
from registration import couch_shift
from registration.itk import write_transform
from registration.projection import ProjectionMatch, attenuation_per_mm, project, register_radiographs
from registration.projection.attenuation import ENERGY_KEV

from ..images import LoadedImage, load_image
from ..radiograph_figures import drr_picture, overlay_picture, write_picture
from .output import Answer, ForceOption, JsonOption, Part, answering, console, parse_numbers, refuse_existing
from .registration import CouchFigures

Triple = tuple[float, float, float]
#: Longest side of a DRR in pixels.
_MOST_PIXELS = 4096


class Register2d3dAnswer(Answer):
    """What ``igrt register-2d3d`` prints."""

    mode: Literal["rigid", "translation", "in-plane", "in-plane translation"]
    degrees_of_freedom: int
    translation_mm: Triple = Field(description="LPS, of centre_lps, frame of the day from planning frame")
    rotation_deg: Triple = Field(description="about LPS x, y, z")
    centre_lps: Triple
    euler_order: str
    couch_shift: CouchFigures | None
    couch_shift_reason: str | None
    metric: float
    quality: dict[str, Any]
    seconds: float
    outputs: dict[str, Path]

    def must_look(self) -> bool:
        """Whether the match failed or the couch shift is withheld."""
        return not self.quality["passed"] or self.couch_shift is None


def register_2d3d(
    ct: Annotated[Path, typer.Argument(metavar="CT", help="Planning CT: DICOM folder, .mha, .nii, .nii.gz or .nrrd.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="kV radiographs: DICOM RT Image.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the transform and a picture per image.")],
    isocentre: Annotated[str | None, typer.Option("--isocentre", help="Planned isocentre x,y,z, LPS mm.")] = None,
    translation_only: Annotated[bool, typer.Option("--translation-only", help="Match no rotation.")] = False,
    patient_position: Annotated[
        str | None, typer.Option("--patient-position", help="HFS, HFP, FFS or FFP, where the images do not say.")
    ] = None,
    table_angle: Annotated[
        float | None, typer.Option("--table-angle", help="IEC angle, degrees, where the images do not say.")
    ] = None,
    source_offset: Annotated[
        float, typer.Option("--source-offset", help="Added to Gantry Angle where it is not the kV source's, degrees.")
    ] = 0.0,
    pixels: Annotated[
        str | None, typer.Option("--pixels", help="intensity or attenuation, where the images do not say.")
    ] = None,
    energy_kev: Annotated[float, typer.Option("--energy-kev", help="Effective energy of the images.")] = ENERGY_KEV,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> Register2d3dAnswer:
    """Match kV radiographs to a CT. One image alone tells what lies in its plane, and no couch shift."""
    started = time.perf_counter()
    _check_position(patient_position)
    if pixels is not None and pixels not in PIXELS:
        raise typer.BadParameter(f"--pixels is {' or '.join(PIXELS)}")
    planned = _point(isocentre)
    refuse_existing(out, force=force)
    planning = load_image(ct)
    radiographs = [
        read_radiograph(
            path,
            patient_position=patient_position,
            table_deg=table_angle,
            source_offset_deg=source_offset,
            pixels=pixels,
        )
        for path in images
    ]
    _check_patient(planning, radiographs, images)
    with console.status("match of radiographs"):
        match = register_radiographs(
            planning.volume,
            radiographs,
            isocentre_lps=planned,
            translation_only=translation_only,
            energy_kev=energy_kev,
        )
    out.mkdir(parents=True, exist_ok=True)
    outputs = {
        "transform": write_transform(match.moving_from_fixed, out / "transform.tfm", centre_lps=match.centre_lps)
    }
    attenuation = attenuation_per_mm(planning.volume, energy_kev=energy_kev)
    for n, radiograph in enumerate(radiographs):
        picture = overlay_picture(radiograph, attenuation, match.moving_from_fixed)
        outputs[f"overlay_{n + 1}"] = write_picture(picture, out / f"overlay_{n + 1}.png")
    shift, reason = _couch_shift(match, planned, radiographs[0])
    if reason:
        console.print(f"[yellow]couch shift withheld[/]: {reason}")
    return Register2d3dAnswer(
        mode=match.freedom,
        degrees_of_freedom=match.degrees_of_freedom,
        translation_mm=match.translation_mm,
        rotation_deg=match.rotation_deg,
        centre_lps=match.centre_lps,
        euler_order=EULER_ORDER,
        couch_shift=shift,
        couch_shift_reason=reason,
        metric=match.metric,
        quality={
            k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in asdict(match.quality).items()
        },
        seconds=time.perf_counter() - started,
        outputs={name: path.resolve() for name, path in outputs.items()},
    )


def _couch_shift(
    match: ProjectionMatch, planned: Triple | None, radiograph: Radiograph
) -> tuple[CouchFigures | None, str | None]:
    """Return the couch shift, or None with the reason.

    The radiographs' geometry states the machine isocentre: it is the origin of the frame of the day. That frame turns
    with the table (its axes are the table's own), so components along the table's axes need no table angle.
    """
    if planned is None:
        return None, "unknown: the planned isocentre (--isocentre)"
    if not match.depth_is_told:
        return None, "one image does not tell where the patient lies along its beam: a second direction is needed"
    if not match.quality.passed:
        return None, "the match failed its quality limits: " + "; ".join(match.quality.reasons)
    shift = couch_shift(
        match.moving_from_fixed,
        planned_isocentre_lps=planned,
        machine_isocentre_lps=(0.0, 0.0, 0.0),
        patient_position=radiograph.view.patient_position,
        table_angle_deg=0.0,
    )
    return CouchFigures(**asdict(shift)), None


def _check_patient(planning: LoadedImage, radiographs: Sequence[Radiograph], paths: Sequence[Path]) -> None:
    """Refuse images of another patient than the CT's, or of several."""
    known = planning.image.patient.patient_id if planning.image else radiographs[0].patient.patient_id
    for radiograph, path in zip(radiographs, paths, strict=True):
        if radiograph.patient.patient_id != known:
            raise IdentityError(
                "the radiograph is of another patient",
                found="another Patient ID",
                expected="that of the CT" if planning.image else "that of the first image",
                where=str(path),
                code="patient-mismatch",
            )


def _check_position(position: str | None) -> None:
    if position is not None and position not in PATIENT_POSITIONS:
        raise typer.BadParameter(f"--patient-position is one of {', '.join(PATIENT_POSITIONS)}")


def _point(text: str | None) -> Triple | None:
    if text is None:
        return None
    x, y, z = parse_numbers(text, (3,), option="--isocentre")
    return x, y, z


class DrrImage(Part):
    """One DRR; ``sides`` are the patient's at the left, right, top and bottom edge."""

    gantry_deg: float
    dicom: Path
    picture: Path
    sides: tuple[str, str, str, str]


class DrrAnswer(Answer):
    """What ``igrt drr`` prints."""

    images: tuple[DrrImage, ...]
    isocentre_lps: Triple
    patient_position: str
    seconds: float


def drr_command(
    ct: Annotated[Path, typer.Argument(metavar="CT", help="Planning CT: DICOM folder, .mha, .nii, .nii.gz or .nrrd.")],
    gantry: Annotated[list[float], typer.Option("--gantry", help="Angle of the source, degrees; may be repeated.")],
    isocentre: Annotated[str, typer.Option("--isocentre", help="Planned isocentre x,y,z, LPS mm.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for an RT Image and a PNG per angle.")],
    patient_position: Annotated[
        str | None, typer.Option("--patient-position", help="HFS, HFP, FFS or FFP; by default the CT's.")
    ] = None,
    table_angle: Annotated[float, typer.Option("--table-angle", help="IEC patient support angle, degrees.")] = 0.0,
    sad_mm: Annotated[float, typer.Option("--sad-mm", help="Source to isocentre.")] = 1000.0,
    sid_mm: Annotated[float, typer.Option("--sid-mm", help="Source to image plane.")] = 1500.0,
    pixel_mm: Annotated[float, typer.Option("--pixel-mm", help="Pixel at the image plane.")] = 0.776,
    size_mm: Annotated[str, typer.Option("--size-mm", help="Width,height of the image plane.")] = "400,300",
    energy_kev: Annotated[float, typer.Option("--energy-kev", help="Effective energy.")] = ENERGY_KEV,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> DrrAnswer:
    """Write the radiographs that the plan expects: attenuation along rays, planned isocentre at the machine's."""
    started = time.perf_counter()
    _check_position(patient_position)
    planned = _point(isocentre)
    width, height = parse_numbers(size_mm, (2,), option="--size-mm")
    if not (pixel_mm > 0 and pixel_mm <= min(width, height) and max(width, height) / pixel_mm <= _MOST_PIXELS):
        raise typer.BadParameter(f"--size-mm and --pixel-mm must give 1 to {_MOST_PIXELS} pixels a side")
    refuse_existing(out, force=force)
    planning = load_image(ct)
    position = patient_position or (planning.image.patient_position if planning.image else None)
    if position is None or planned is None:
        raise InputRefusedError(
            "the CT does not say how the patient lies", found="no patient position", expected="--patient-position",
            where=str(ct), code="patient-position",
        )  # fmt: skip
    image = with_uids(planning.image or PatientImage(planning.volume, PatientIdentity("")))
    attenuation = attenuation_per_mm(planning.volume, energy_kev=energy_kev)
    placed = RigidTransform.from_parameters(translation_mm=-np.asarray(planned))
    out.mkdir(parents=True, exist_ok=True)
    made = []
    for n, angle in enumerate(gantry):
        view = ProjectionView.from_iec(
            gantry_deg=angle,
            patient_position=position,
            shape=(round(height / pixel_mm), round(width / pixel_mm)),
            spacing_mm=(pixel_mm, pixel_mm),
            sad_mm=sad_mm,
            sid_mm=sid_mm,
            table_deg=table_angle,
        )
        drr = project(attenuation, view, placed).attenuation
        radiograph = Radiograph(
            view, drr.astype(np.float32), image.patient, label=f"DRR {angle % 360:.1f}", isocentre_lps=planned
        )
        name = f"drr_{n + 1}"
        dicom = write_radiograph(radiograph, image=image, path=out / f"{name}.dcm", number=n + 1)
        picture = write_picture(drr_picture(drr, view), out / f"{name}.png")
        made.append(
            DrrImage(gantry_deg=angle, dicom=dicom.resolve(), picture=picture.resolve(), sides=view.side_letters())
        )
    return DrrAnswer(
        images=tuple(made),
        isocentre_lps=planned,
        patient_position=position,
        seconds=time.perf_counter() - started,
    )


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("register-2d3d")(answering(register_2d3d))
    app.command("drr")(answering(drr_command))
